//! What a datagram tells the system beside its bytes: from whom, with which code point and marks, cut into which pieces.
//!
//! `quinn-udp` writes the congestion mark alone there; datagrams of exempt flows carry more. cmsg(3), ip(7) `IP_PKTINFO`
//! and `IP_TOS`; RFC 3542 §6; udp(7) `UDP_SEGMENT`; socket(7) `SO_MARK` (Linux 5.5).

use std::net::IpAddr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
