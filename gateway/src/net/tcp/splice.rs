//! Bytes that nobody looks at any more move from socket to socket inside the kernel: splice(2) through a pipe
//! (decision 23).
//!
//! A pipe costs two descriptors and up to a mebibyte of kernel memory, so there are few, taken from the worker's pool while
//! bytes are in flight and given back empty. Without a free one bytes are copied as before.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::stream::TcpStream;

/// What is asked of the kernel for each pipe; it may grant less (pipe(7): 1 MiB unprivileged, then two pages).
const PIPE_BYTES: usize = 1024 * 1024;

/// A worker's pipes.
pub struct PipePool {
    /// Those that are free, all empty.
    free: RefCell<Vec<Pipe>>,
    /// How many exist.
    made: Cell<usize>,
    /// How many may exist.
    pipes_max: usize,
}

/// A pipe with nothing in it, unless it is in use.
struct Pipe {
    /// Where bytes come out.
    out: OwnedFd,
    /// Where bytes go in.
    into: OwnedFd,
    /// What it holds at most.
    capacity: usize,
}

/// A pipe in use; it goes back to its pool when it is dropped empty, and is closed when it is not.
pub struct Taken {
    pool: Rc<PipePool>,
    /// None only while it is being given back.
    pipe: Option<Pipe>,
    /// Bytes in it.
    filled: usize,
}

impl PipePool {
    /// A pool of at most `pipes_max` pipes, none of which is made before it is wanted.
    pub fn new(pipes_max: usize) -> Rc<Self> {
        Rc::new(Self { free: RefCell::default(), made: Cell::new(0), pipes_max })
    }

    /// A pipe, unless all are in use or the system gives none.
    pub fn take(self: &Rc<Self>) -> Option<Taken> {
        let known = self.free.borrow_mut().pop();
        let pipe = match known {
            Some(pipe) => pipe,
            None if self.made.get() < self.pipes_max => {
                let pipe = Pipe::new().ok()?;
                self.made.set(self.made.get().saturating_add(1));
                pipe
            }
            None => return None,
        };
        Some(Taken { pool: Rc::clone(self), pipe: Some(pipe), filled: 0 })
    }

    /// Pipes that exist, in use or not.
    pub fn made(&self) -> usize {
        self.made.get()
    }
}

impl Pipe {
    /// A new pipe, as large as the kernel grants.
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let granted =
            fcntl_setpipe_size(&into, PIPE_BYTES).or_else(|_| rustix::pipe::fcntl_getpipe_size(&into))?;
        Ok(Self { out, into, capacity: granted.max(1) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        match self.pipe.take() {
            Some(pipe) if self.filled == 0 => self.pool.free.borrow_mut().push(pipe),
            // What is left in it belongs to a connection that has failed.
            Some(_) => self.pool.made.set(self.pool.made.get().saturating_sub(1)),
            None => {}
        }
    }
}

impl Taken {
    /// Moves what `from` has into the pipe, without waiting; none when it has nothing, zero at its end, or with FIN in
    /// front of an urgent byte: a read tells which. The pipe must be empty.
    ///
    /// # Errors
    /// The socket's.
    pub fn fill(&mut self, from: &TcpStream) -> io::Result<Option<usize>> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        match from.try_io(Interest::READABLE, || move_bytes(from, &pipe.into, pipe.capacity)) {
            Ok(count) => {
                self.filled = self.filled.saturating_add(count);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves what `to` takes of the pipe's bytes, without waiting; none when it takes nothing.
    ///
    /// # Errors
    /// The socket's.
    pub fn drain(&mut self, to: &TcpStream) -> io::Result<Option<usize>> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        match to.try_io(Interest::WRITABLE, || move_bytes(&pipe.out, to, self.filled)) {
            Ok(count) => {
                self.filled = self.filled.saturating_sub(count);
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether all that came in has gone out.
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }
}

/// One splice(2), never waiting.
fn move_bytes(from: impl AsFd, to: impl AsFd, count: usize) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, count, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(rustix::io::Errno::INTR) => {}
            moved => return Ok(moved?),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection over loopback.
    async fn pair() -> (tokio::net::TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let far = far.unwrap().0.into_std().unwrap();
        (near.unwrap(), TcpStream::from_std(far).unwrap())
    }

    #[tokio::test]
    async fn bytes_pass_unchanged_and_the_pipe_goes_back_empty() {
        let pool = PipePool::new(1);
        let ((mut near, from), (mut far, to)) = (pair().await, pair().await);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let sender = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.unwrap();
            read
        });
        let mut moved = 0;
        let mut taken = pool.take().unwrap();
        assert!(pool.take().is_none(), "one over the limit");
        loop {
            from.readable().await.unwrap();
            match taken.fill(&from).unwrap() {
                None => {}
                Some(0) => break,
                Some(_) => {
                    while !taken.is_empty() {
                        match taken.drain(&to).unwrap() {
                            Some(count) => moved += count,
                            None => to.writable().await.unwrap(),
                        }
                    }
                }
            }
        }
        drop((taken, to));
        sender.await.unwrap();
        assert!(reader.await.unwrap() == expected);
        assert_eq!((moved, pool.made()), (expected.len(), 1));
        assert!(pool.take().is_some());
    }

    #[tokio::test]
    async fn a_pipe_that_is_dropped_with_bytes_in_it_is_closed() {
        let pool = PipePool::new(1);
        let (mut near, from) = pair().await;
        near.write_all(b"left behind").await.unwrap();
        let mut taken = pool.take().unwrap();
        from.readable().await.unwrap();
        assert_eq!(taken.fill(&from).unwrap(), Some(11));
        drop(taken);
        assert_eq!(pool.made(), 0);
        assert!(pool.take().is_some(), "another one is made");
    }

    #[test]
    fn a_pool_without_pipes_gives_none() {
        assert!(PipePool::new(0).take().is_none());
    }
}
