//! What a datagram tells the system beside its bytes, and the system of one: between whom, with which code point and marks,
//! cut into which pieces.
//!
//! `quinn-udp` writes and reads the congestion mark alone there; datagrams carry more. cmsg(3), ip(7) `IP_PKTINFO`
//! and `IP_TOS`; RFC 3542 §6; udp(7) `UDP_SEGMENT`; socket(7) `SO_MARK` (Linux 5.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of a message's head: length, level, type (`struct cmsghdr`).
const HEAD: usize = size_of::<libc::cmsghdr>();
/// Messages begin at multiples of it (`CMSG_ALIGN`).
const ALIGNMENT: usize = size_of::<usize>();
/// Room for one message of each kind: the longest source, code point, mark, size of pieces.
const ROOM: usize = 4 * HEAD + 24 + 3 * 8;

const _: () = assert!(HEAD == 2 * ALIGNMENT && ALIGNMENT == 8, "the head of 64-bit systems is written below");

/// Control messages behind one another; no heap.
pub struct Control {
    bytes: [u8; ROOM],
    used: usize,
}

impl Control {
    /// None.
    pub const fn none() -> Self {
        Self { bytes: [0; ROOM], used: 0 }
    }

    /// Sent in the name of this address.
    #[must_use]
    pub fn from(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                // `struct in_pktinfo`: interface, local address, header's address.
                let mut info = [0; 12];
                info[4..8].copy_from_slice(&address.octets());
                self.with(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
            }
            IpAddr::V6(address) => {
                // `struct in6_pktinfo`: address, interface.
                let mut info = [0; 20];
                info[..16].copy_from_slice(&address.octets());
                self.with(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
            }
        }
    }

    /// With this octet as type of service or traffic class.
    #[must_use]
    pub fn octet(self, is_ipv4: bool, octet: u8) -> Self {
        let value = i32::from(octet).to_ne_bytes();
        if is_ipv4 {
            self.with(libc::IPPROTO_IP, libc::IP_TOS, &value)
        } else {
            self.with(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value)
        }
    }

    /// With this mark on this machine.
    #[must_use]
    pub fn firewall_mark(self, mark: u32) -> Self {
        self.with(libc::SOL_SOCKET, libc::SO_MARK, &mark.to_ne_bytes())
    }

    /// Cut into datagrams of this size.
    #[must_use]
    pub fn segment(self, size: u16) -> Self {
        self.with(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes())
    }

    /// The messages as the system takes them.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// With one more; it is left out where there is no room, which [`ROOM`] has for one of each kind.
    fn with(mut self, level: i32, kind: i32, data: &[u8]) -> Self {
        let length = HEAD.saturating_add(data.len());
        let end = self.used.saturating_add(length.next_multiple_of(ALIGNMENT));
        let Some(place) = self.bytes.get_mut(self.used..end) else { return self };
        let head = length.to_ne_bytes().into_iter().chain(level.to_ne_bytes()).chain(kind.to_ne_bytes());
        for (byte, value) in place.iter_mut().zip(head.chain(data.iter().copied())) {
            *byte = value;
        }
        self.used = end;
        self
    }
}

/// Room for a sender's address (`struct sockaddr_in6`).
pub const NAME_ROOM: usize = 28;
/// Room for what is said of a datagram: the longest local address, code point, size of pieces, size of fragments.
pub const HEAD_ROOM: usize = 4 * HEAD + 24 + 3 * 8;
/// The size of the largest fragment, and the option that asks for it (`linux/in.h`, `linux/in6.h`), which the libraries lack.
pub const IP_RECVFRAGSIZE: i32 = 25;
/// The same of IPv6.
pub const IPV6_RECVFRAGSIZE: i32 = 77;

/// What the system said of the datagrams in one buffer, as it wrote it.
#[derive(Clone, Copy)]
pub struct Head {
    /// The sender (`struct sockaddr_in` or `sockaddr_in6`).
    pub name: [u8; NAME_ROOM],
    /// Control messages.
    pub control: [u8; HEAD_ROOM],
    /// Bytes of them.
    pub control_length: usize,
    /// Bytes in the buffer.
    pub length: usize,
}

/// The same, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent the datagrams; the flow label is left out, for it changes within a flow.
    pub peer: SocketAddr,
    /// The local address they came to, when the system says.
    pub local: Option<IpAddr>,
    /// Type of service or traffic class.
    pub octet: u8,
    /// It came in fragments.
    pub in_fragments: bool,
    /// Bytes in the buffer.
    pub length: usize,
    /// The size of each datagram but the last.
    pub stride: usize,
}

impl Received {
    /// Of a buffer that holds nothing.
    pub const NOTHING: Self = Self {
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        local: None,
        octet: 0,
        in_fragments: false,
        length: 0,
        stride: 0,
    };
}

impl Head {
    /// Nothing was said.
    pub const EMPTY: Self =
        Self { name: [0; NAME_ROOM], control: [0; HEAD_ROOM], control_length: 0, length: 0 };

    /// Reads it; what is not understood is passed over.
    pub fn read(&self) -> Received {
        let mut received =
            Received { peer: self.peer(), length: self.length, stride: self.length, ..Received::NOTHING };
        let mut rest = self.control.get(..self.control_length).unwrap_or_default();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
            let length = usize::from_ne_bytes([a, b, c, d, e, f, g, h]);
            let level = i32::from_ne_bytes([i, j, k, l]);
            let Some(data) = length.checked_sub(HEAD).and_then(|length| behind.get(..length)) else { break };
            received.take(level, i32::from_ne_bytes([m, n, o, p]), data);
            rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
        received
    }

    /// The sender.
    fn peer(&self) -> SocketAddr {
        let [f0, f1, p0, p1, a, b, c, d, six @ .., s0, s1, s2, s3] = self.name;
        let port = u16::from_be_bytes([p0, p1]);
        if i32::from(u16::from_ne_bytes([f0, f1])) == libc::AF_INET6 {
            let scope = u32::from_ne_bytes([s0, s1, s2, s3]);
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(six), port, 0, scope))
        } else {
            SocketAddr::new(IpAddr::from([a, b, c, d]), port)
        }
    }
}

impl Received {
    /// Takes what one message says.
    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind, data) {
            (libc::IPPROTO_IP, libc::IP_TOS, [octet, ..]) => self.octet = *octet,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, [a, b, c, d, ..]) => {
                let [octet, ..] = i32::from_ne_bytes([*a, *b, *c, *d]).to_le_bytes();
                self.octet = octet;
            }
            // `struct in_pktinfo`: interface, local address, header's address.
            (libc::IPPROTO_IP, libc::IP_PKTINFO, [_, _, _, _, _, _, _, _, a, b, c, d, ..]) => {
                self.local = Some(IpAddr::from([*a, *b, *c, *d]));
            }
            // `struct in6_pktinfo`: address, interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, data) => {
                self.local = data.first_chunk::<16>().map(|address| IpAddr::from(*address));
            }
            (libc::IPPROTO_IP, IP_RECVFRAGSIZE, _) | (libc::IPPROTO_IPV6, IPV6_RECVFRAGSIZE, _) => {
                self.in_fragments = true;
            }
            (libc::SOL_UDP, libc::UDP_GRO, [a, b, c, d, ..]) => {
                self.stride = usize::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).unwrap_or(self.stride);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
impl Head {
    /// What the system would say of this.
    pub fn of(received: &Received) -> Self {
        let mut head = Self { length: received.length, ..Self::EMPTY };
        let mut name = vec![];
        match received.peer {
            SocketAddr::V4(peer) => {
                name.extend(u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
                name.extend(peer.port().to_be_bytes());
                name.extend(peer.ip().octets());
            }
            SocketAddr::V6(peer) => {
                name.extend(u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes());
                name.extend(peer.port().to_be_bytes());
                name.extend(0x1234_u32.to_be_bytes());
                name.extend(peer.ip().octets());
                name.extend(peer.scope_id().to_ne_bytes());
            }
        }
        head.name[..name.len()].copy_from_slice(&name);
        let mut said = Control::none();
        match received.local {
            // The system gives the header's address behind the local one.
            Some(IpAddr::V4(local)) => {
                let info = [[0; 4], [127, 0, 0, 9], local.octets()].concat();
                said = said.with(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            Some(local @ IpAddr::V6(_)) => said = said.from(local),
            None => {}
        }
        said = if received.peer.is_ipv4() {
            said.with(libc::IPPROTO_IP, libc::IP_TOS, &[received.octet])
        } else {
            said.octet(false, received.octet)
        };
        if received.in_fragments {
            let (level, kind) = if received.peer.is_ipv4() {
                (libc::IPPROTO_IP, IP_RECVFRAGSIZE)
            } else {
                (libc::IPPROTO_IPV6, IPV6_RECVFRAGSIZE)
            };
            said = said.with(level, kind, &1_280_i32.to_ne_bytes());
        }
        if received.stride != received.length {
            let stride = i32::try_from(received.stride).unwrap();
            said = said.with(libc::SOL_UDP, libc::UDP_GRO, &stride.to_ne_bytes());
        }
        head.control[..said.used].copy_from_slice(said.as_bytes());
        head.control_length = said.used;
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f37_what_the_system_says_of_a_datagram_is_read_as_it_was_written() {
        for (peer, local) in [
            ("192.0.2.1:443", Some("127.0.0.1")),
            ("[2001:db8::1]:443", Some("::1")),
            ("[fe80::1%7]:1", None),
        ] {
            let local = local.map(|local| local.parse().unwrap());
            for octet in [0, 2, 0xb9, 0xff] {
                for (stride, in_fragments) in [(1_200, false), (3_000, false), (3_000, true)] {
                    let peer = peer.parse().unwrap();
                    let said = Received { peer, local, octet, in_fragments, length: 3_000, stride };
                    assert_eq!(Head::of(&said).read(), said);
                }
            }
        }
    }

    #[test]
    fn what_is_cut_short_or_strange_says_nothing() {
        let said = Received { octet: 7, length: 9, stride: 3, ..Received::NOTHING };
        let whole = Head::of(&said);
        for control_length in 0..whole.control_length {
            let read = Head { control_length, ..whole }.read();
            assert!(read.length == 9 && [0, 7].contains(&read.octet) && [3, 9].contains(&read.stride));
        }
        for length in [0_usize, 1, HEAD, usize::MAX] {
            let mut strange = whole;
            strange.control[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(strange.read().length, 9, "no panic, no loop");
        }
        assert_eq!(Head { control_length: HEAD_ROOM + 1, ..whole }.read().octet, 0);
    }

    #[test]
    fn there_is_room_for_one_of_each_kind_and_not_for_more() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            let all = Control::none().from(address).octet(address.is_ipv4(), 1).firewall_mark(2).segment(3);
            let info = if address.is_ipv4() { 16 } else { 24 };
            assert_eq!(all.as_bytes().len(), 4 * HEAD + info + 3 * 8);
            let length = all.as_bytes().len();
            let more = all.from(address);
            assert_eq!(more.as_bytes().len(), length, "one over");
        }
        assert_eq!(Control::none().as_bytes(), b"");
    }

    #[test]
    fn messages_are_laid_out_as_the_system_reads_them() {
        let control = Control::none().firewall_mark(0x0102_0304).segment(1_200);
        let bytes = control.as_bytes();
        assert_eq!(bytes[..8], 20_usize.to_ne_bytes());
        assert_eq!(bytes[8..12], libc::SOL_SOCKET.to_ne_bytes());
        assert_eq!(bytes[12..16], libc::SO_MARK.to_ne_bytes());
        assert_eq!(bytes[16..20], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(bytes[20..24], [0; 4]);
        assert_eq!(bytes[24..32], 18_usize.to_ne_bytes());
        assert_eq!(bytes[40..42], 1_200_u16.to_ne_bytes());
        assert_eq!(bytes.len(), 48);
    }
}
