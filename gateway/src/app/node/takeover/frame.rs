//! Messages over the restart socket: a length, JSON, and at most one descriptor.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message: the rows of one delta, each with the longest ids there are, need less.
pub(super) const BYTES_MAX: usize = 16 << 20;
/// How long the rest of a message may take once it has begun.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// Sends a message, with a descriptor where there is one.
///
/// # Errors
/// The system's word; a message that is too long.
pub(super) fn send(
    stream: &UnixStream,
    message: &impl Serialize,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BYTES_MAX);
    let length = length.ok_or_else(|| invalid("a message that is too long"))?.to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors
        && !control.push(SendAncillaryMessage::ScmRights(descriptors))
    {
        return Err(invalid("no room for a descriptor"));
    }
    stream.set_write_timeout(Some(REST_LIMIT))?;
    let sent = sendmsg(stream, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    let mut stream = stream;
    stream.write_all(length.get(sent..).unwrap_or_default())?;
    stream.write_all(&body)
}

/// Waits for a message, at most `limit`, and for its rest a little longer.
///
/// # Errors
/// `WouldBlock` or `TimedOut` when none has come; `UnexpectedEof` when the other side has ended; a message that cannot be
/// read.
pub(super) fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
    limit: Option<Duration>,
) -> io::Result<(T, Option<OwnedFd>)> {
    stream.set_read_timeout(limit)?;
    let mut length = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptor = None;
    for message in control.drain() {
        // Further ones are closed: there is room for one.
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.set_read_timeout(Some(REST_LIMIT))?;
    let mut stream = stream;
    stream.read_exact(length.get_mut(count..).unwrap_or_default()).map_err(broken)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > BYTES_MAX {
        return Err(invalid("a message that is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(broken)?;
    let message = serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
    Ok((message, descriptor))
}

/// Whether nothing has come yet.
pub(super) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A message that began and did not end: never to be mistaken for silence.
fn broken(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a message that does not end: {error}"))
}

/// What cannot be a message.
fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor_and_the_next_without() {
        let (one, other) = UnixStream::pair().unwrap();
        let (passed, mut far) = UnixStream::pair().unwrap();
        send(&one, &"first", Some(passed.as_fd())).unwrap();
        send(&one, &"second", None).unwrap();
        drop(passed);
        let (text, descriptor) = receive::<String>(&other, None).unwrap();
        assert_eq!(text, "first");
        let mut near = UnixStream::from(descriptor.unwrap());
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
        let (text, descriptor) = receive::<String>(&other, None).unwrap();
        assert!(text == "second" && descriptor.is_none());
    }

    #[test]
    fn silence_an_end_and_nonsense_are_told_apart() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let soon = Some(Duration::from_millis(10));
        assert!(is_silence(&receive::<String>(&other, soon).unwrap_err()));
        one.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(receive::<String>(&other, soon).unwrap_err().kind(), io::ErrorKind::InvalidData);
        one.write_all(&[0, 0, 0, 2, b'"', b'?']).unwrap();
        assert_eq!(receive::<String>(&other, soon).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // At the limit it passes, one over is not sent.
        let fits = "x".repeat(BYTES_MAX - 2);
        let reader = std::thread::spawn(move || {
            let first = receive::<String>(&other, None).unwrap().0.len();
            (first, receive::<String>(&other, None).unwrap_err().kind())
        });
        send(&one, &fits, None).unwrap();
        assert!(send(&one, &"x".repeat(BYTES_MAX - 1), None).is_err());
        // An end within a message is no silence.
        one.write_all(&[0, 0]).unwrap();
        drop(one);
        assert_eq!(reader.join().unwrap(), (BYTES_MAX - 2, io::ErrorKind::InvalidData));
    }
}
