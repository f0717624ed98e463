//! What the kernel says of queues and interfaces (rtnetlink(7): `RTM_GETQDISC`, `RTM_GETSTATS`). Whoever may open a socket may
//! ask.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Room for one part of an answer: the kernel fills at most half of it.
const ROOM: usize = 64 << 10;
/// Parts of one answer at most: a hundred thousand interfaces.
const PARTS_MAX: usize = 4_096;

/// Messages of rtnetlink(7).
const GET_QUEUES: u16 = 38;
const NEW_QUEUE: u16 = 36;
const GET_LINK: u16 = 18;
const NEW_LINK: u16 = 16;
const GET_STATISTICS: u16 = 94;
const NEW_STATISTICS: u16 = 92;
/// netlink(7): an error, the end of an answer, a request for all of a table, a table that changed meanwhile.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST_ALL: u16 = 0x301;
const CHANGED_MEANWHILE: u16 = 0x10;
/// Lengths of a message's header, of `struct tcmsg`, of `struct ifinfomsg` and of `struct if_stats_msg`.
const HEADER: usize = 16;
const LINK_MESSAGE: usize = 16;
const QUEUE_MESSAGE: usize = 20;
const STATISTICS_MESSAGE: usize = 12;
/// Attributes: `TCA_STATS2` with `TCA_STATS_BASIC` and `TCA_STATS_QUEUE` in it, `IFLA_STATS_LINK_64`.
const STATISTICS: u16 = 7;
const BASIC: u16 = 1;
const QUEUE: u16 = 3;
const LINK_STATISTICS: u16 = 1;
/// `IFLA_IFNAME`, `IFLA_LINK` and whether that is a number of another namespace (`IFLA_LINK_NETNSID`), `IFLA_MASTER`.
const NAME: u16 = 3;
const LOWER: u16 = 5;
const LOWER_ELSEWHERE: u16 = 37;
const MASTER: u16 = 10;
/// The bit that asks for the last of them.
const WANT_LINK_STATISTICS: u32 = 1;
/// The type of an attribute without its two flags.
const TYPE_MASK: u16 = 0x3fff;
/// Offsets in `struct rtnl_link_stats64`: packets that could not be sent, and those that were dropped instead.
const SEND_ERRORS: usize = 40;
const SEND_DROPS: usize = 56;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct QueueId {
    /// The interface's number.
    pub interface: u32,
    /// The queue's own number, and that of the one it hangs on.
    pub handle: u32,
    pub parent: u32,
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Packets dropped, modulo 2³².
    pub drops: u32,
    /// Bytes that passed.
    pub bytes: u64,
    /// Bytes that stand in it. Bytes, for a packet that will be cut into segments stands as one and passes as many.
    pub backlog: u32,
}

impl Found {
    /// Whether as many bytes have passed since as stood in it then.
    pub(super) fn has_passed(&self, then: &Self) -> bool {
        self.bytes.wrapping_sub(then.bytes) >= u64::from(then.backlog)
    }
}

/// A socket to ask by.
pub(super) struct Reader {
    socket: Socket,
    number: u32,
    room: Vec<u8>,
}

impl Reader {
    /// Opens it.
    ///
    /// # Errors
    /// What the system says: address family not permitted, no descriptor.
    pub(super) fn new() -> io::Result<Self> {
        let (family, protocol) = (Domain::from(libc::AF_NETLINK), Protocol::from(libc::NETLINK_ROUTE));
        let socket = Socket::new(family, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { socket, number: 0, room: vec![0; ROOM] })
    }

    /// Every queue.
    ///
    /// # Errors
    /// What the system says; `Interrupted` when queues changed meanwhile.
    pub(super) fn queues(&mut self) -> io::Result<HashMap<QueueId, Found>> {
        let mut queues = HashMap::new();
        self.ask(GET_QUEUES, &[0; QUEUE_MESSAGE], |kind, body| {
            if kind == NEW_QUEUE {
                queues.extend(queue(body));
            }
        })?;
        Ok(queues)
    }

    /// Packets that each interface could not send.
    ///
    /// # Errors
    /// As [`Reader::queues`].
    pub(super) fn unsent(&mut self) -> io::Result<HashMap<u32, u64>> {
        let mut unsent = HashMap::new();
        let mut message = [0; STATISTICS_MESSAGE];
        if let Some(wanted) = message.last_chunk_mut() {
            *wanted = WANT_LINK_STATISTICS.to_ne_bytes();
        }
        self.ask(GET_STATISTICS, &message, |kind, body| {
            if kind == NEW_STATISTICS {
                unsent.extend(statistics(body));
            }
        })?;
        Ok(unsent)
    }

    /// The name of each interface.
    ///
    /// # Errors
    /// As [`Reader::queues`].
    pub(super) fn names(&mut self) -> io::Result<HashMap<u32, String>> {
        let mut names = HashMap::new();
        self.ask(GET_LINK, &[0; LINK_MESSAGE], |kind, body| {
            if kind == NEW_LINK {
                names.extend(link(body));
            }
        })?;
        Ok(names)
    }

    /// The interfaces below each one that has some.
    ///
    /// # Errors
    /// As [`Reader::queues`].
    pub(super) fn below(&mut self) -> io::Result<HashMap<u32, Vec<u32>>> {
        let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
        self.ask(GET_LINK, &[0; LINK_MESSAGE], |kind, body| {
            if kind == NEW_LINK {
                let pairs = pairs(body);
                pairs.into_iter().flatten().for_each(|(upper, lower)| {
                    below.entry(upper).or_default().push(lower);
                });
            }
        })?;
        Ok(below)
    }

    /// Asks for a table; `take` gets each message of the answer.
    fn ask(&mut self, kind: u16, message: &[u8], mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.number = self.number.wrapping_add(1);
        let length = u32::try_from(HEADER.saturating_add(message.len())).unwrap_or(u32::MAX);
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend(REQUEST_ALL.to_ne_bytes());
        request.extend(self.number.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(message);
        self.socket.send(&request)?;
        for _ in 0..PARTS_MAX {
            let count = (&self.socket).read(&mut self.room)?;
            let mut rest = self.room.get(..count).unwrap_or_default();
            while let Some((head, body, next)) = message_of(rest) {
                rest = next;
                if head.number != self.number {
                    continue;
                }
                if head.flags & CHANGED_MEANWHILE != 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                match head.kind {
                    DONE => return Ok(()),
                    ERROR => return Err(error(body)),
                    kind => take(kind, body),
                }
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Head of a message.
struct Head {
    kind: u16,
    flags: u16,
    number: u32,
}

/// The first message, its body, and what follows it; none at the end.
fn message_of(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let head = Head { kind: half(bytes, 4)?, flags: half(bytes, 6)?, number: word(bytes, 8)? };
    let body = bytes.get(HEADER..length)?;
    Some((head, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// What an error message says.
fn error(body: &[u8]) -> io::Error {
    let code = word(body, 0).map_or(0, |code| i32::from_ne_bytes(code.to_ne_bytes()));
    io::Error::from_raw_os_error(code.checked_neg().unwrap_or(0))
}

/// A queue of `struct tcmsg` and its attributes.
fn queue(body: &[u8]) -> Option<(QueueId, Found)> {
    let place = QueueId { interface: word(body, 4)?, handle: word(body, 8)?, parent: word(body, 12)? };
    let statistics = attribute(body.get(QUEUE_MESSAGE..)?, STATISTICS)?;
    let queue = attribute(statistics, QUEUE)?;
    let bytes = attribute(statistics, BASIC).and_then(|basic| long(basic, 0)).unwrap_or(0);
    // Some count packets only.
    let backlog = word(queue, 4)?.max(word(queue, 0)?);
    Some((place, Found { backlog, drops: word(queue, 8)?, bytes }))
}

/// An interface and its name, of `struct ifinfomsg` and its attributes.
fn link(body: &[u8]) -> Option<(u32, String)> {
    let name = attribute(body.get(LINK_MESSAGE..)?, NAME)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((word(body, 4)?, String::from_utf8_lossy(name).into_owned()))
}

/// What an interface stands above of, and below of, as pairs of an upper and a lower one.
fn pairs(body: &[u8]) -> [Option<(u32, u32)>; 2] {
    let (number, attributes) = (word(body, 4), body.get(LINK_MESSAGE..).unwrap_or_default());
    let of = |kind| attribute(attributes, kind).and_then(|value| word(value, 0));
    let lower = of(LOWER).filter(|_| of(LOWER_ELSEWHERE).is_none());
    [number.zip(lower), of(MASTER).zip(number)]
}

/// What an interface could not send, of `struct if_stats_msg` and its attributes.
fn statistics(body: &[u8]) -> Option<(u32, u64)> {
    let counters = attribute(body.get(STATISTICS_MESSAGE..)?, LINK_STATISTICS)?;
    let lost = long(counters, SEND_ERRORS)?.saturating_add(long(counters, SEND_DROPS)?);
    Some((word(body, 4)?, lost))
}

/// The first attribute of a type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..length)?;
        if half(bytes, 2)? & TYPE_MASK == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// `u16` at an offset.
fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

/// `u32` at an offset.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// `u64` at an offset.
fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_make_no_sense_are_no_answers() {
        for length in 0..HEADER {
            assert!(message_of(&vec![1; length]).is_none());
        }
        let endless = [4, 0, 1, 0, 0, 0, 9, 0];
        assert!(attribute(&endless, STATISTICS).is_none(), "an attribute of no length");
        assert!(attribute(&[255, 255, 7, 0], STATISTICS).is_none(), "longer than there is");
        assert!(queue(&[0; QUEUE_MESSAGE]).is_none() && statistics(&[0; STATISTICS_MESSAGE]).is_none());
        assert!(link(&[0; LINK_MESSAGE]).is_none() && link(&[]).is_none());
    }

    #[test]
    fn a_queue_is_read_as_the_kernel_writes_it() {
        let mut body = vec![0; QUEUE_MESSAGE];
        body[4..16].copy_from_slice(&[[3, 0, 0, 0], [0, 0, 1, 0], [255; 4]].concat());
        let mut inner = vec![20, 0, 1, 0];
        inner.extend([9, 0, 0, 0, 0, 0, 0, 0]);
        inner.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        inner.extend([24, 0, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([u8::try_from(inner.len() + 4).unwrap(), 0, 7, 0]);
        body.extend(inner);
        let place = QueueId { interface: 3, handle: 0x1_0000, parent: u32::MAX };
        if cfg!(target_endian = "little") {
            assert_eq!(queue(&body), Some((place, Found { drops: 5, bytes: 9, backlog: 4 })));
        }
    }
}
