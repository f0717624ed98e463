//! A TCP connection as the relay watches it: whether it may be read or written, and whether urgent data has come.
//!
//! tokio's own `TcpStream` does not ask for the last of these (`EPOLLPRI`). A read ends in front of an urgent byte (tcp(7),
//! `MSG_OOB`; RFC 9293 §3.8.5), and so does splice(2): who does not know of it takes a short read for all there is, and waits for
//! ever. Asking costs nothing: it is one more bit of the same registration.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

use crate::net::sys::socket;
use crate::net::upstream::own_ends::StreamEnd;

/// A connection that never blocks.
#[derive(Debug)]
pub struct TcpStream {
    io: AsyncFd<std::net::TcpStream>,
    /// Where it left from, while it may come back to us.
    own_end: Cell<Option<StreamEnd>>,
}

impl TcpStream {
    /// Has the event loop of this thread watch a connection that never blocks.
    ///
    /// # Errors
    /// The event loop's.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self { io: socket::watch_stream(stream)?, own_end: Cell::new(None) })
    }

    /// It leaves from an address of ours, and may come back.
    pub fn set_own_end(&self, end: Option<StreamEnd>) {
        self.own_end.set(end);
    }

    /// Where it left from, if it might come back so far; from here on it does not.
    pub fn take_own_end(&self) -> Option<StreamEnd> {
        self.own_end.take()
    }

    /// Waits for one of these.
    ///
    /// # Errors
    /// When the event loop ends.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.io.ready(interest).await.map(|ready| ready.ready())
    }

    /// Waits until something may be read.
    ///
    /// # Errors
    /// When the event loop ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(|_| ())
    }

    /// Waits until something may be written.
    ///
    /// # Errors
    /// When the event loop ends.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(|_| ())
    }

    /// Ready when something may be read, or the sender has ended.
    ///
    /// # Errors
    /// When the event loop ends.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = ready!(self.io.poll_read_ready(context));
        Poll::Ready(guard.map(|mut guard| guard.retain_ready()))
    }

    /// Ready when something may be written, or the receiver is gone.
    ///
    /// # Errors
    /// When the event loop ends.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = ready!(self.io.poll_write_ready(context));
        Poll::Ready(guard.map(|mut guard| guard.retain_ready()))
    }

    /// Calls the system if it may, by what the event loop said last; `WouldBlock` of the call takes that back.
    ///
    /// # Errors
    /// The call's.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.io.try_io(interest, |_| call())
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when nothing is there.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_io(Interest::READABLE, || socket::receive(self, buffer))
    }

    /// Writes what the system takes.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, || io::Write::write(&mut self.io.get_ref(), bytes))
    }

    /// Behind a read that found less than it had room for, and no urgent byte: whether that was the last, and FIN has come,
    /// as far as the event loop has told; no system call. A reset is no such end.
    pub fn has_ended(&self) -> bool {
        // What was readable was taken back then; that the sender has ended is not (`Ready::READ_CLOSED` of tokio).
        self.try_io(Interest::READABLE, || Ok(())).is_ok() && self.try_io(Interest::ERROR, || Ok(())).is_err()
    }

    /// Whether an urgent byte has come that may not have been read yet; no system call.
    pub fn has_urgent(&self) -> bool {
        // True as well once the sender has ended (`Interest::PRIORITY` of tokio): what it was is looked at then alone.
        self.try_io(Interest::PRIORITY, || Ok(())).is_ok() && self.is_told_urgent()
    }

    /// Whether the event loop told of an urgent byte.
    fn is_told_urgent(&self) -> bool {
        let ready = pin!(self.io.ready(Interest::PRIORITY));
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(mut guard)) => {
                guard.retain_ready();
                guard.ready().is_priority()
            }
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// The urgent byte was read; the next one is told anew.
    pub fn forget_urgent(&self) {
        let _ = self.try_io::<()>(Interest::PRIORITY, || Err(io::ErrorKind::WouldBlock.into()));
    }

    /// Our own end.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    /// The error that came in, taken away.
    ///
    /// # Errors
    /// What the system says.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.io.get_ref().take_error()
    }

    /// The connection as the standard library has it, to ask about.
    pub fn as_std(&self) -> &std::net::TcpStream {
        self.io.get_ref()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// A connection from afar, and our end of it.
    fn pair() -> (std::net::TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, _) = listener.accept().unwrap();
        near.set_nonblocking(true).unwrap();
        (far, TcpStream::from_std(near).unwrap())
    }

    /// Reads as the relay does: what does not fill the buffer is all there is.
    fn read_all(stream: &TcpStream) -> usize {
        let mut found = 0;
        let _ = stream.try_io::<()>(Interest::READABLE, || {
            found = socket::receive(stream, &mut [0; 64])?;
            Err(io::ErrorKind::WouldBlock.into())
        });
        found
    }

    /// Waits until the event loop has told that nothing more comes.
    async fn closed(stream: &TcpStream) {
        while !stream.ready(Interest::READABLE).await.unwrap().is_read_closed() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn bytes_that_fin_came_with_are_the_last_and_others_are_not() {
        let (mut far, near) = pair();
        far.write_all(b"first").unwrap();
        near.readable().await.unwrap();
        assert_eq!(read_all(&near), 5);
        assert!(!near.has_ended(), "nothing was told of an end");
        far.write_all(b"last").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        closed(&near).await;
        assert_eq!(read_all(&near), 4);
        assert!(near.has_ended());
    }

    #[tokio::test]
    async fn a_reset_is_no_end() {
        let (mut far, near) = pair();
        far.write_all(b"last").unwrap();
        socket::reset_on_close(&far).unwrap();
        drop(far);
        closed(&near).await;
        read_all(&near);
        assert!(!near.has_ended());
    }

    #[tokio::test]
    async fn f37_an_urgent_byte_is_told_until_it_is_forgotten_and_an_end_is_none() {
        let (mut far, near) = pair();
        assert!(!near.has_urgent());
        far.write_all(b"ordinary").unwrap();
        near.readable().await.unwrap();
        assert!(!near.has_urgent());
        socket::send_urgent(&far, b'!').unwrap();
        near.ready(Interest::PRIORITY).await.unwrap();
        assert!(near.has_urgent() && near.has_urgent());
        near.forget_urgent();
        assert!(!near.has_urgent());
        socket::send_urgent(&far, b'!').unwrap();
        near.ready(Interest::PRIORITY).await.unwrap();
        assert!(near.has_urgent(), "the next one is told anew");
        while near.try_read(&mut [0; 64]).is_ok() {}
        near.forget_urgent();
        far.shutdown(Shutdown::Write).unwrap();
        closed(&near).await;
        assert!(!near.has_urgent(), "what has ended is not urgent");
    }
}
