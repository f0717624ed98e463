//! A subscriber whose TCP is his own: it says at the handshake what it will send, and sends what it likes. IPv4 alone.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::PATIENCE;
use super::link::Link;

/// SYN's options: segment size, selective acknowledgements, timestamps, window scale.
const USUAL: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
/// Flags (RFC 9293 §3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A connection of his.
pub struct RawStream {
    socket: Socket,
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// The next number to send, and the next to come.
    next: u32,
    expected: u32,
    /// Payload that came.
    pub received: Vec<u8>,
    /// How much of it was waited for.
    taken: usize,
    /// FIN came.
    pub finished: bool,
}

impl RawStream {
    /// Shakes hands with the usual options, and none on what completes it. Runs at the subscriber's end; the system there is
    /// kept from answering for a port that it knows nothing of.
    pub fn connect(link: &Link, from: SocketAddrV4, to: SocketAddrV4) -> Self {
        for rule in [
            "add table ip own".to_owned(),
            "add chain ip own out { type filter hook output priority 0; }".to_owned(),
            // Sent by the system, not by us: it has no mark.
            format!("add rule ip own out tcp sport {} tcp flags & rst == rst meta mark 0 drop", from.port()),
        ] {
            link.subscriber_runs(&format!("nft {rule}"));
        }
        let socket =
            link.at_subscriber(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap());
        socket.set_mark(1).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = Self {
            socket,
            from,
            to,
            next: 7_000,
            expected: 0,
            received: Vec::new(),
            taken: 0,
            finished: false,
        };
        stream.send(SYN, &USUAL, &[]);
        stream.next += 1;
        while stream.expected == 0 {
            stream.take();
        }
        stream.send(ACK, &[], &[]);
        stream
    }

    /// Shakes no hands: a SYN, and bytes behind it as if the server had answered, with a number that is guessed.
    pub fn blind(link: &Link, from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) {
        let socket =
            link.at_subscriber(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap());
        let mut stream = Self {
            socket,
            from,
            to,
            next: 7_000,
            expected: 1,
            received: Vec::new(),
            taken: 0,
            finished: false,
        };
        stream.send(SYN, &USUAL, &[]);
        stream.next += 1;
        stream.write(&[], bytes);
    }

    /// Another SYN on the ports of a connection of the system's.
    pub fn syn_beside(link: &Link, from: SocketAddrV4, to: SocketAddrV4) {
        let socket =
            link.at_subscriber(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap());
        let stream =
            Self { socket, from, to, next: 99, expected: 0, received: Vec::new(), taken: 0, finished: false };
        stream.send(SYN, &USUAL, &[]);
    }

    /// Sends bytes that die behind the gateway, or that nobody takes for their checksum; what follows stands at their place.
    pub fn decoy(&mut self, bytes: &[u8], bad_checksum: bool) {
        if bad_checksum {
            let mut segment = self.segment(ACK, &[], bytes);
            segment[16] ^= 0xff;
            self.socket.send_to(&segment, &self.to.into()).unwrap();
        } else {
            self.socket.set_ttl_v4(1).unwrap();
            self.send(ACK, &[], bytes);
            self.socket.set_ttl_v4(64).unwrap();
        }
    }

    /// Sends an empty segment whose IP header says that the packet has 40,000 bytes: no router forwards it.
    pub fn overstate(&self, link: &Link) {
        link.subscriber_runs("nft add rule ip own out meta mark 2 ip length set 40000");
        self.socket.set_mark(2).unwrap();
        self.send(ACK, &[], &[]);
        self.socket.set_mark(1).unwrap();
    }

    /// Waits until so many more bytes have come.
    pub fn await_received(&mut self, more: usize) {
        let (since, wanted) = (Instant::now(), self.taken + more);
        while self.received.len() < wanted {
            assert!(since.elapsed() < PATIENCE, "{} bytes of {wanted}", self.received.len());
            self.take();
        }
        self.taken = wanted;
    }

    /// Sends bytes in one segment with these options.
    pub fn write(&mut self, options: &[u8], bytes: &[u8]) {
        self.send(ACK, options, bytes);
        self.next += u32::try_from(bytes.len()).unwrap();
    }

    /// Sends a reset that does not fit, by one in the middle of the window: it is answered, and the connection goes on.
    pub fn reset_beside(&mut self) {
        let next = self.next;
        self.next += 100;
        self.send(RST, &[], &[]);
        self.next = next;
    }

    /// Reads until the other end has finished, acknowledging without options.
    pub fn read_to_end(&mut self) {
        let since = Instant::now();
        while !self.finished {
            assert!(since.elapsed() < PATIENCE, "{} bytes and no end", self.received.len());
            self.take();
        }
    }

    /// Finishes.
    pub fn finish(&mut self) {
        self.send(ACK | FIN, &[], &[]);
        self.next += 1;
    }

    /// Takes a segment that came.
    fn take(&mut self) {
        let mut packet = vec![0; 65_536];
        let length = (&self.socket).read(&mut packet).unwrap();
        packet.truncate(length);
        let segment = &packet[usize::from(packet[0] & 15) * 4..];
        let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
        let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        if (port(0), port(2)) != (self.to.port(), self.from.port()) {
            return;
        }
        let (flags, payload) = (segment[13], &segment[usize::from(segment[12] >> 4) * 4..]);
        if flags & SYN != 0 {
            self.expected = number(4).wrapping_add(1);
            return;
        }
        if payload.is_empty() && flags & FIN == 0 {
            return;
        }
        if number(4) == self.expected {
            self.expected = self.expected.wrapping_add(u32::try_from(payload.len()).unwrap());
            self.received.extend(payload);
            if flags & FIN != 0 {
                self.expected = self.expected.wrapping_add(1);
                self.finished = true;
            }
        }
        self.send(ACK, &[], &[]);
    }

    /// Sends a segment.
    fn send(&self, flags: u8, options: &[u8], payload: &[u8]) {
        self.socket.send_to(&self.segment(flags, options, payload), &self.to.into()).unwrap();
    }

    /// A segment.
    fn segment(&self, flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let mut segment = Vec::new();
        segment.extend(self.from.port().to_be_bytes());
        segment.extend(self.to.port().to_be_bytes());
        segment.extend(self.next.to_be_bytes());
        segment.extend(if flags & ACK == 0 { 0 } else { self.expected }.to_be_bytes());
        segment.extend([words << 4, flags, 255, 255, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(payload);
        let sum = checksum(*self.from.ip(), *self.to.ip(), &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }
}

/// RFC 9293 §3.1.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let length = u16::try_from(segment.len()).unwrap();
    let mut bytes = [from.octets(), to.octets()].concat();
    bytes.extend([0, 6]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(segment);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
