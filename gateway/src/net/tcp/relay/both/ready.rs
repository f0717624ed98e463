//! Reading and writing what a socket has, or takes, at once.

use std::io;

use tokio::io::Interest;

use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;

/// Reads what is there; none when the readiness was spurious. What does not fill the buffer is all there was: the socket
/// counts as empty from then on, without being asked once more (epoll(7), question 9). A FIN stays known. Where an urgent
/// byte has come the read may have ended in front of it, and the socket is asked again.
pub fn read_ready(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let mut all = None;
    let outcome = stream.try_io(Interest::READABLE, || {
        let count = socket::receive(stream, buffer)?;
        if count == 0 || count == buffer.len() || stream.has_urgent() {
            return Ok(count);
        }
        all = Some(count);
        Err(io::ErrorKind::WouldBlock.into())
    });
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if all.is_none() {
                // Nothing is there, not even an urgent byte.
                stream.forget_urgent();
            }
            Ok(all)
        }
        Err(error) => Err(error),
    }
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::tcp::relay) enum Manner {
    /// As they come.
    Ordinary,
    /// One byte, as urgent.
    Urgent,
    /// FIN follows at once: the kernel may wait for it.
    BeforeFin,
}

impl Manner {
    /// Of bytes that are urgent, or the last that there are.
    pub(super) const fn of(urgent: bool, is_last: bool) -> Self {
        match (urgent, is_last) {
            (true, _) => Self::Urgent,
            (false, true) => Self::BeforeFin,
            (false, false) => Self::Ordinary,
        }
    }
}

/// Writes what the socket takes at once.
pub(in crate::net::tcp::relay) fn write_ready(
    stream: &TcpStream,
    bytes: &[u8],
    manner: Manner,
) -> io::Result<usize> {
    let written = match (manner, bytes) {
        (Manner::Urgent, [byte]) => stream.try_io(Interest::WRITABLE, || socket::send_urgent(stream, *byte)),
        (Manner::BeforeFin, _) => {
            stream.try_io(Interest::WRITABLE, || socket::send_before_fin(stream, bytes))
        }
        (Manner::Ordinary | Manner::Urgent, _) => stream.try_write(bytes),
    };
    match written {
        Ok(taken) => Ok(taken),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error),
    }
}
