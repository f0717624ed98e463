//! The word of a router that a datagram is longer than the next link takes in one piece, written for its sender.
//!
//! Sections: RFC 792 and RFC 1191 §4 (IPv4: destination unreachable, fragmentation needed), RFC 4443 §3.2 (IPv6: packet too
//! big), RFC 768. The front of the datagram is rebuilt from what its sender knows it by: both ends and its length.

use core::net::{IpAddr, SocketAddr};

/// Bytes of a UDP header (RFC 768).
const UDP_BYTES: usize = 8;
/// The number of UDP in IP headers.
const UDP: u8 = 17;
/// Bytes of an IPv4 header without options (RFC 791 §3.1).
const V4_BYTES: usize = 20;
/// Bytes of an IPv6 header (RFC 8200 §3).
const V6_BYTES: usize = 40;
/// Hops that the rebuilt datagram seems to have left.
const HOPS: u8 = 64;

/// Bytes of IP and UDP headers in front of a datagram's payload.
pub const fn header_bytes(is_ipv4: bool) -> usize {
    if is_ipv4 { V4_BYTES + UDP_BYTES } else { V6_BYTES + UDP_BYTES }
}

/// Tells `source` that what it sent to `destination` is longer than `mtu` bytes, IP header included. The message begins with
/// the ICMP header; the checksum of IPv6 is left to the system, which knows the addresses it goes between. None for ends of two
/// IP versions.
pub fn too_long(source: SocketAddr, destination: SocketAddr, mtu: u16) -> Option<Vec<u8>> {
    // One more than passes, for what was sent is not kept.
    let length = mtu.saturating_add(1);
    let mut message = Vec::with_capacity(8 + V6_BYTES + UDP_BYTES);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            message.extend([3, 4, 0, 0, 0, 0]);
            message.extend(mtu.to_be_bytes());
            let mut header = Vec::with_capacity(V4_BYTES);
            header.extend([0x45, 0]);
            header.extend(length.to_be_bytes());
            // Identification 0; do not fragment.
            header.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            put(&mut header, 10, sum);
            message.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            message.extend([2, 0, 0, 0, 0, 0]);
            message.extend(mtu.to_be_bytes());
            message.extend([0x60, 0, 0, 0]);
            message.extend(length.saturating_sub(40).to_be_bytes());
            message.extend([UDP, HOPS]);
            message.extend(from.octets());
            message.extend(to.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    }
    message.extend(source.port().to_be_bytes());
    message.extend(destination.port().to_be_bytes());
    let ip_bytes = if source.is_ipv4() { 20 } else { 40 };
    message.extend(length.saturating_sub(ip_bytes).to_be_bytes());
    message.extend([0, 0]);
    if source.is_ipv4() {
        let sum = checksum(&message);
        put(&mut message, 2, sum);
    }
    Some(message)
}

/// Writes two bytes at a place that is there.
fn put(bytes: &mut [u8], at: usize, value: u16) {
    for (byte, value) in bytes.iter_mut().skip(at).zip(value.to_be_bytes()) {
        *byte = value;
    }
}

/// The internet checksum (RFC 1071), of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let sum = words.fold(0_u16, |sum, word| {
        let (sum, carried) = sum.overflowing_add(word);
        sum.wrapping_add(u16::from(carried))
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f45_etherparse_reads_the_message_and_the_datagram_in_it() {
        let (source, destination) = ("10.7.0.1:50000", "192.0.2.1:443");
        let message = too_long(source.parse().unwrap(), destination.parse().unwrap(), 1_300).unwrap();
        let (icmp, inner) = etherparse::Icmpv4Slice::from_slice(&message)
            .map(|slice| (slice.icmp_type(), slice.payload().to_vec()))
            .unwrap();
        let expected = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1_300 };
        assert_eq!(icmp, etherparse::Icmpv4Type::DestinationUnreachable(expected));
        assert_eq!(checksum(&message), 0, "the sum over all is right");
        assert_eq!(checksum(&inner[..V4_BYTES]), 0);
        let (header, rest) = etherparse::Ipv4Header::from_slice(&inner).unwrap();
        assert_eq!((header.source, header.destination), ([10, 7, 0, 1], [192, 0, 2, 1]));
        assert!(header.dont_fragment && header.total_len == 1_301);
        let (udp, _) = etherparse::UdpHeader::from_slice(rest).unwrap();
        assert_eq!((udp.source_port, udp.destination_port, udp.length), (50_000, 443, 1_281));

        let (source, destination) = ("[2001:db8::7]:50000", "[2001:db8::1]:443");
        let message = too_long(source.parse().unwrap(), destination.parse().unwrap(), 1_300).unwrap();
        assert_eq!(message[..8], [2, 0, 0, 0, 0, 0, 5, 20]);
        let (header, rest) = etherparse::Ipv6Header::from_slice(&message[8..]).unwrap();
        assert_eq!((header.payload_length, rest.len()), (1_261, UDP_BYTES));
        assert_eq!(etherparse::UdpHeader::from_slice(rest).unwrap().0.destination_port, 443);

        let mixed = too_long("10.7.0.1:1".parse().unwrap(), destination.parse().unwrap(), 1_300);
        assert!(mixed.is_none());
    }

    #[test]
    fn no_length_overflows() {
        for mtu in [0, 20, 40, u16::MAX] {
            for ends in ["10.7.0.1:1", "[2001:db8::7]:1"] {
                assert!(too_long(ends.parse().unwrap(), ends.parse().unwrap(), mtu).is_some());
            }
        }
        assert_eq!((header_bytes(true), header_bytes(false)), (28, 48));
    }
}
