//! Datagrams of one socket that leave in one call: what one wake of the worker brought, the answers to clients as well as
//! the queries to a server. Nothing waits here for a time: who puts something in has it sent before the worker rests.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

/// Datagrams that are sent in one call.
pub(super) const DATAGRAMS_PER_CALL_MAX: usize = 32;
/// Bytes from which on what waits is sent, however few it is: the buffer stays small.
const BYTES_MAX: usize = 1 << 16;

/// Datagrams that wait to be sent in one call, each with what its sender knows it by.
pub(super) struct Outbox<T> {
    /// Their bytes, one behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    datagrams: Vec<Datagram<T>>,
}

/// One of them.
struct Datagram<T> {
    /// What its sender knows it by.
    whose: T,
    /// Where it goes; none: to where its socket is connected.
    to: Option<SocketAddrAny>,
    /// Where it ends; it begins where the one before it ends.
    end: usize,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), datagrams: Vec::new() }
    }
}

impl<T> Outbox<T> {
    /// Puts in a datagram.
    pub(super) fn push(&mut self, whose: T, to: Option<SocketAddr>, contents: &[u8]) {
        self.bytes.extend_from_slice(contents);
        let end = self.bytes.len();
        self.datagrams.push(Datagram { whose, to: to.map(SocketAddrAny::from), end });
    }

    /// Whether it is to be sent before another is put in.
    pub(super) fn is_full(&self) -> bool {
        self.datagrams.len() >= DATAGRAMS_PER_CALL_MAX || self.bytes.len() >= BYTES_MAX
    }

    /// Sends what waits, past the event loop, in as few calls as may be (sendmmsg(2)), and is empty then. What the system does
    /// not take (no room, no way to there) is told to `lost`, and costs no other its turn; how many it took.
    pub(super) fn send(&mut self, socket: &impl AsFd, mut lost: impl FnMut(T, Errno)) -> usize {
        let errors = send_each(socket, &self.bytes, &self.datagrams);
        self.bytes.clear();
        let all = self.datagrams.len();
        let mut errors = errors.into_iter().peekable();
        let mut failed = 0_usize;
        for (number, datagram) in self.datagrams.drain(..).enumerate() {
            if let Some((_, error)) = errors.next_if(|(which, _)| *which == number) {
                failed = failed.saturating_add(1);
                lost(datagram.whose, error);
            }
        }
        all.saturating_sub(failed)
    }
}

/// Sends each of `datagrams`, whose ends in `bytes` they say; the numbers of those that the system did not take, in their
/// order, and why.
fn send_each<T>(socket: &impl AsFd, bytes: &[u8], datagrams: &[Datagram<T>]) -> Vec<(usize, Errno)> {
    let mut contents = [[IoSlice::new(&[])]; DATAGRAMS_PER_CALL_MAX];
    let mut errors = Vec::new();
    let (mut start, mut done) = (0, 0_usize);
    for some in datagrams.chunks(DATAGRAMS_PER_CALL_MAX) {
        for (place, datagram) in contents.iter_mut().zip(some) {
            *place = [IoSlice::new(bytes.get(start..datagram.end).unwrap_or_default())];
            start = datagram.end;
        }
        let mut controls: [_; DATAGRAMS_PER_CALL_MAX] =
            std::array::from_fn(|_| SendAncillaryBuffer::new(&mut []));
        let parts = some.iter().zip(&contents).zip(&mut controls);
        let mut messages: Vec<MMsgHdr<'_>> = parts
            .map(|((datagram, contents), control)| match &datagram.to {
                Some(to) => MMsgHdr::new_with_addr(to, contents, control),
                None => MMsgHdr::new(contents, control),
            })
            .collect();
        let mut rest = messages.as_mut_slice();
        while !rest.is_empty() {
            let taken = match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(Errno::INTR) => 0,
                // The error is that of the first, for one behind it ends the call without a word; the others have their turn.
                Err(error) => {
                    errors.push((done, error));
                    1
                }
            };
            done = done.saturating_add(taken);
            rest = rest.get_mut(taken..).unwrap_or_default();
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// The numbers of those that were lost, and how many were sent.
    fn send(socket: &UdpSocket, outbox: &mut Outbox<usize>) -> (Vec<usize>, usize) {
        let mut lost = Vec::new();
        let sent = outbox.send(socket, |whose, _| lost.push(whose));
        assert!(outbox.bytes.is_empty() && outbox.datagrams.is_empty());
        (lost, sent)
    }

    /// The next datagram that comes to `socket`.
    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 64];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn answers_go_to_who_asked_and_one_that_cannot_leave_costs_no_other() {
        let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let address = |client: usize| Some(clients[client].local_addr().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::default();
        let too_long = vec![0; 65_535];
        outbox.push(0, address(0), b"first");
        outbox.push(1, address(1), &too_long);
        outbox.push(2, Some("[::1]:53".parse().unwrap()), b"of another family");
        outbox.push(3, address(1), b"second");
        outbox.push(4, address(2), b"");
        outbox.push(5, address(0), b"third");
        outbox.push(6, address(2), &too_long);
        assert_eq!(send(&socket, &mut outbox), (vec![1, 2, 6], 4));
        assert_eq!(receive(&clients[0]), b"first");
        assert_eq!(receive(&clients[0]), b"third");
        assert_eq!(receive(&clients[1]), b"second");
        assert_eq!(receive(&clients[2]), b"");
        assert_eq!(send(&socket, &mut outbox), (vec![], 0), "nothing is sent twice");
    }

    #[test]
    fn a_server_that_refuses_costs_the_first_query_alone() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = gone.local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        drop(gone);
        socket.send(b"refused").unwrap();
        let server = UdpSocket::bind(address).unwrap();
        let mut outbox = Outbox::default();
        for number in 0..3 {
            outbox.push(number, None, &[u8::try_from(number).unwrap()]);
        }
        // The word of the refusal came back while the query was sent: loopback has no way to be slow.
        assert_eq!(send(&socket, &mut outbox), (vec![0], 2));
        assert_eq!(receive(&server), [1]);
        assert_eq!(receive(&server), [2]);
    }

    #[test]
    fn a_full_outbox_says_so_and_more_than_one_call_takes_is_sent_whole() {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = client.local_addr().ok();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::default();
        for number in 0..DATAGRAMS_PER_CALL_MAX {
            assert!(!outbox.is_full());
            outbox.push(number, to, &[u8::try_from(number).unwrap()]);
        }
        assert!(outbox.is_full());
        outbox.push(DATAGRAMS_PER_CALL_MAX, to, &[u8::try_from(DATAGRAMS_PER_CALL_MAX).unwrap()]);
        assert_eq!(send(&socket, &mut outbox), (vec![], DATAGRAMS_PER_CALL_MAX + 1));
        for number in 0..=DATAGRAMS_PER_CALL_MAX {
            assert_eq!(receive(&client), [u8::try_from(number).unwrap()]);
        }
        outbox.push(0, to, &vec![0; BYTES_MAX - 1]);
        assert!(!outbox.is_full());
        outbox.push(1, to, &[0]);
        assert!(outbox.is_full(), "many bytes are enough");
    }

    #[test]
    fn what_has_no_room_is_lost_and_told() {
        let (sender, peer) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let mut outbox = Outbox::default();
        for number in 0..10_000 {
            outbox.push(number, None, b"x");
        }
        let (mut lost, mut kinds) = (0_usize, Vec::new());
        let sent = outbox.send(&sender, |_, error| {
            lost += 1;
            kinds.push(error);
        });
        assert!(sent > 0 && lost > 0 && sent + lost == 10_000, "{sent} and {lost}");
        assert!(kinds.iter().all(|kind| *kind == Errno::AGAIN));
        peer.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8];
        let came = std::iter::from_fn(|| peer.recv(&mut buffer).ok()).count();
        assert_eq!(came, sent, "what was taken came, and came once");
    }
}
