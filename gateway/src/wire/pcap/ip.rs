//! IPv4 and IPv6 headers: who speaks to whom, how long the datagram is, and what it carries.
//!
//! RFC 791, RFC 8200 §4 (extension headers), RFC 8754 (segment routing: the last segment is who the packet is for), RFC 4302
//! (authentication header, looked through). The header structures are
//! read by `etherparse`; here its facts are put together, with the two lengths kept apart: total length on the wire,
//! and what was captured.

use core::net::{IpAddr, Ipv6Addr};

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, ip_number,
};

use super::fragment::Progress;
use super::layers::Layers;
use super::link::Datagram;
use super::{array_at, prefix};

/// Extension headers of one datagram that are walked; RFC 8200 §4.1 has seven, none twice but one.
const EXTENSIONS_MAX: usize = 16;
/// Bytes of the IPv6 header, which its payload length does not count.
const IPV6_HEADER_BYTES: usize = 40;

/// A datagram's header facts and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Sender; IPv4 also when written as an IPv4-mapped IPv6 address.
    pub source: IpAddr,
    /// Receiver, in the same form.
    pub destination: IpAddr,
    /// What the payload is (IANA protocol number); of a fragment, what the whole is.
    pub protocol: u8,
    /// Length of the datagram on the wire, headers included: what is billed.
    pub total_bytes: u64,
    /// What was captured behind the headers.
    pub payload: &'a [u8],
    /// How long that was on the wire.
    pub payload_bytes: usize,
    /// Where it belongs, when this is a fragment.
    pub fragment: Option<Fragment>,
    /// Whether a segment routing header (RFC 8754) stood before the payload; the receiver is then the last segment.
    pub segment_routing: bool,
    /// What it was wrapped in.
    pub layers: Layers,
}

/// A fragment's place in the whole (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification that the fragments of one datagram share.
    pub identification: u32,
    /// Offset of the payload in the whole payload.
    pub offset_bytes: usize,
    /// Whether more follow.
    pub more: bool,
}

/// TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// Reads the headers of a datagram; `None` when they are malformed or not captured whole.
///
/// A length field of 0 (segmentation offload) means: as long as the frame says.
pub fn read<'a>(datagram: &Datagram<'a>) -> Option<Packet<'a>> {
    match datagram.bytes.first()? >> 4 {
        4 => ipv4(datagram),
        6 => ipv6(datagram),
        _ => None,
    }
}

/// IPv4.
fn ipv4<'a>(datagram: &Datagram<'a>) -> Option<Packet<'a>> {
    let header = Ipv4HeaderSlice::from_slice(datagram.bytes).ok()?;
    let header_bytes = header.slice().len();
    let total = match usize::from(header.total_len()) {
        0 => datagram.wire_bytes,
        total => total,
    };
    let payload_bytes = total.checked_sub(header_bytes)?;
    let offset_bytes = usize::from(header.fragments_offset().byte_offset());
    let more = header.more_fragments();
    let identification = u32::from(header.identification());
    let mut packet = Packet {
        source: IpAddr::V4(header.source_addr()),
        destination: IpAddr::V4(header.destination_addr()),
        protocol: header.protocol().0,
        total_bytes: total as u64,
        payload: prefix(datagram.bytes.get(header_bytes..)?, payload_bytes),
        payload_bytes,
        fragment: (more || offset_bytes > 0).then_some(Fragment { identification, offset_bytes, more }),
        segment_routing: false,
        layers: datagram.layers,
    };
    if packet.fragment.is_none() {
        packet.walk(Family::V4);
    }
    Some(packet)
}

/// IPv6 with its extension headers.
fn ipv6<'a>(datagram: &Datagram<'a>) -> Option<Packet<'a>> {
    let header = Ipv6HeaderSlice::from_slice(datagram.bytes).ok()?;
    let total = match usize::from(header.payload_length()) {
        0 => datagram.wire_bytes,
        payload => payload.checked_add(IPV6_HEADER_BYTES)?,
    };
    let payload_bytes = total.checked_sub(IPV6_HEADER_BYTES)?;
    let mut packet = Packet {
        source: canonical(header.source_addr()),
        destination: canonical(header.destination_addr()),
        protocol: header.next_header().0,
        total_bytes: total as u64,
        payload: prefix(datagram.bytes.get(IPV6_HEADER_BYTES..)?, payload_bytes),
        payload_bytes,
        fragment: None,
        segment_routing: false,
        layers: datagram.layers,
    };
    packet.walk(Family::V6);
    Some(packet)
}

/// IPv4 for an IPv4-mapped address.
fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// Which extension headers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// The authentication header only.
    V4,
    /// All.
    V6,
}

/// The datagram whose fragments were put together: addresses of `last`, the last fragment to arrive, and the whole payload.
///
/// `total_bytes` is what the fragments still owe to their flow.
pub fn reassembled<'a>(last: &Packet<'_>, progress: &'a Progress) -> Packet<'a> {
    let mut packet = Packet {
        source: last.source,
        destination: last.destination,
        protocol: progress.protocol,
        total_bytes: progress.owed_bytes,
        payload: &progress.payload,
        payload_bytes: progress.complete.unwrap_or(progress.payload.len()),
        fragment: None,
        segment_routing: last.segment_routing,
        layers: last.layers,
    };
    packet.walk(if last.source.is_ipv4() { Family::V4 } else { Family::V6 });
    packet
}

impl Packet<'_> {
    /// Steps over extension headers, up to a fragment header that leaves only a part of the payload here.
    ///
    /// A header that is not whole ends the walk: its number stays, which is neither TCP nor UDP.
    fn walk(&mut self, family: Family) {
        for _ in 0..EXTENSIONS_MAX {
            if family == Family::V4 && IpNumber(self.protocol) != ip_number::AUTH {
                return;
            }
            if IpNumber(self.protocol) == ip_number::IPV6_ROUTE {
                self.route();
            }
            let (next, length) = match IpNumber(self.protocol) {
                ip_number::IPV6_HOP_BY_HOP
                | ip_number::IPV6_ROUTE
                | ip_number::IPV6_DEST_OPTIONS
                | ip_number::MOBILITY
                | ip_number::HIP
                | ip_number::SHIM6 => {
                    let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(self.payload) else { return };
                    (header.next_header(), header.slice().len())
                }
                ip_number::AUTH => {
                    let Ok(header) = IpAuthHeaderSlice::from_slice(self.payload) else { return };
                    (header.next_header(), header.slice().len())
                }
                ip_number::IPV6_FRAG => {
                    let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(self.payload) else { return };
                    let fragment = Fragment {
                        identification: header.identification(),
                        offset_bytes: usize::from(header.fragment_offset().byte_offset()),
                        more: header.more_fragments(),
                    };
                    // An atomic fragment (RFC 6946) is whole.
                    if fragment.more || fragment.offset_bytes > 0 {
                        self.fragment = Some(fragment);
                    }
                    (header.next_header(), header.slice().len())
                }
                _ => return,
            };
            let Some(rest) = self.payload.get(length..) else { return };
            let Some(rest_bytes) = self.payload_bytes.checked_sub(length) else { return };
            self.protocol = next.0;
            self.payload = rest;
            self.payload_bytes = rest_bytes;
            if self.fragment.is_some() {
                return;
            }
        }
    }

    /// Notes the last segment of a segment routing header (RFC 8754 §2): while segments are left, the destination in the IP
    /// header is only the next one.
    fn route(&mut self) {
        /// Routing type of segment routing.
        const SEGMENTS: u8 = 4;
        let Some([kind, left]) = array_at::<2>(self.payload, 2) else { return };
        if kind != SEGMENTS {
            return;
        }
        self.segment_routing = true;
        if let (1.., Some(last)) = (left, array_at::<16>(self.payload, 8)) {
            self.destination = canonical(Ipv6Addr::from(last));
        }
    }
}
