//! Link headers: from a captured frame to the IP datagram in it.
//!
//! Read: Ethernet II and 802.3 with LLC/SNAP, VLAN tags in any number (802.1Q, 802.1ad and the older tag types), MPLS
//! label stacks, PPPoE (RFC 2516), PPP with and without HDLC framing (RFC 1661, RFC 1662), Cisco HDLC, Linux cooked
//! captures of both versions, BSD loopback in both byte orders, and raw IP. Wireless frames are not read.

use super::file::LinkType;
use super::{array_at, prefix, u16_at};

/// VLAN tags and MPLS labels of one frame; real stacks have two or three.
const TAGS_MAX: usize = 16;
/// EtherType of IPv4.
const ETHER_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const ETHER_IPV6: u16 = 0x86dd;
/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and two in use before it.
const ETHER_VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// EtherTypes of MPLS, unicast and multicast.
const ETHER_MPLS: [u16; 2] = [0x8847, 0x8848];
/// EtherType of a PPPoE session.
const ETHER_PPPOE: u16 = 0x8864;
/// Below it the field is a length and LLC follows (IEEE 802.3 §3.2.6).
const ETHER_TYPE_MIN: u16 = 0x0600;
/// PPP protocol of IPv4.
const PPP_IPV4: u16 = 0x0021;
/// PPP protocol of IPv6.
const PPP_IPV6: u16 = 0x0057;
/// PPP protocol of MPLS unicast.
const PPP_MPLS: u16 = 0x0281;
/// Address families of IPv6 in BSD loopback headers: NetBSD and OpenBSD, FreeBSD, Darwin, Linux, Windows.
const FAMILY_IPV6: [u32; 5] = [24, 28, 30, 10, 23];
/// Address family of IPv4, everywhere.
const FAMILY_IPV4: u32 = 2;
/// Linux cooked: the protocol field of 802.3 frames without, and with, LLC.
const COOKED_LLC: [u16; 2] = [0x0001, 0x0004];

/// The IP datagram of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// What was captured from the IP header on; may have padding behind it.
    pub bytes: &'a [u8],
    /// How long that was on the wire: the frame less all link headers.
    pub wire_bytes: usize,
}

/// Why a frame has no IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDatagram {
    /// This link type is not read.
    UnknownLink,
    /// The frame carries something else, or its header is not whole.
    NotIp,
}

/// Finds the IP datagram in a frame of `wire_bytes` bytes of which `frame` was captured.
///
/// # Errors
/// [`NoDatagram`]. Whether the bytes really are IP is for [`super::ip::read`] to see.
pub fn network(link: LinkType, frame: &[u8], wire_bytes: usize) -> Result<Datagram<'_>, NoDatagram> {
    let found = match link.0 {
        // BSD loopback: NULL in the order of the capturing machine, LOOP in network order; both are taken in both.
        0 | 108 => loopback(frame),
        1 => ethernet(frame),
        9 => ppp(frame),
        // Raw IP: the value of the file format, and those of systems that wrote their own number.
        12 | 14 | 101 | 228 | 229 => Some(frame),
        50 => ppp(frame),
        51 => pppoe(frame),
        104 => behind(frame, u16_at(frame, 2), 4),
        113 => cooked(frame, u16_at(frame, 14), 16),
        // pppd on Linux writes the direction over the HDLC address, so that the control byte stands alone behind it.
        166 => frame.get(1..).and_then(|rest| ppp(rest.strip_prefix(&[0x03]).unwrap_or(rest))),
        // One byte of direction, then PPP.
        204 => frame.get(1..).and_then(ppp),
        276 => cooked(frame, u16_at(frame, 0), 20),
        _ => return Err(NoDatagram::UnknownLink),
    };
    let bytes = found.ok_or(NoDatagram::NotIp)?;
    let headers = frame.len().saturating_sub(bytes.len());
    let wire_bytes = wire_bytes.saturating_sub(headers);
    Ok(Datagram { bytes: prefix(bytes, wire_bytes), wire_bytes })
}

/// Ethernet: two addresses and a type.
fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    behind(frame, u16_at(frame, 12), 14)
}

/// What stands behind a header of `length` bytes that ends in, or contains, the given EtherType.
fn behind(frame: &[u8], kind: Option<u16>, length: usize) -> Option<&[u8]> {
    let mut kind = kind?;
    let mut rest = frame.get(length..)?;
    for _ in 0..=TAGS_MAX {
        if kind == ETHER_IPV4 || kind == ETHER_IPV6 {
            return Some(rest);
        }
        if ETHER_VLAN.contains(&kind) {
            kind = u16_at(rest, 2)?;
            rest = rest.get(4..)?;
        } else if ETHER_MPLS.contains(&kind) {
            return mpls(rest);
        } else if kind == ETHER_PPPOE {
            return pppoe(rest);
        } else if kind < ETHER_TYPE_MIN {
            // LLC; only SNAP goes round again.
            let (snap, behind) = llc(rest)?;
            kind = snap;
            rest = behind;
        } else {
            return None;
        }
    }
    None
}

/// LLC (IEEE 802.2): the EtherType of a SNAP header, or IPv4 by its own service access point.
fn llc(rest: &[u8]) -> Option<(u16, &[u8])> {
    match array_at::<3>(rest, 0)? {
        [0xaa, 0xaa, 0x03] => Some((u16_at(rest, 6)?, rest.get(8..)?)),
        [0x06, 0x06, 0x03] => Some((ETHER_IPV4, rest.get(3..)?)),
        _ => None,
    }
}

/// A stack of MPLS labels (RFC 3032 §2.1) with IP below it: the first half byte tells.
fn mpls(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..TAGS_MAX {
        let [_, _, bottom, _] = array_at(rest, 0)?;
        rest = rest.get(4..)?;
        if bottom & 1 == 1 {
            let version = rest.first()? >> 4;
            return (version == 4 || version == 6).then_some(rest);
        }
    }
    None
}

/// A PPPoE session header (RFC 2516 §4) and PPP behind it.
fn pppoe(rest: &[u8]) -> Option<&[u8]> {
    let [version_type, code] = array_at(rest, 0)?;
    if version_type != 0x11 || code != 0 {
        return None;
    }
    // The length field cuts off Ethernet padding; the IP header does that too, so it is not needed.
    ppp_protocol(rest.get(6..)?)
}

/// PPP, with address and control bytes or without; Cisco framing has 0x0f or 0x8f and an EtherType.
fn ppp(frame: &[u8]) -> Option<&[u8]> {
    match array_at::<2>(frame, 0)? {
        [0xff, 0x03] => ppp_protocol(frame.get(2..)?),
        [0x0f | 0x8f, 0x00] => behind(frame, u16_at(frame, 2), 4),
        _ => ppp_protocol(frame),
    }
}

/// The PPP protocol field, of one byte when that is odd (RFC 1661 §2).
fn ppp_protocol(rest: &[u8]) -> Option<&[u8]> {
    let first = *rest.first()?;
    let (protocol, rest) =
        if first & 1 == 1 { (u16::from(first), rest.get(1..)?) } else { (u16_at(rest, 0)?, rest.get(2..)?) };
    match protocol {
        PPP_IPV4 | PPP_IPV6 => Some(rest),
        PPP_MPLS => mpls(rest),
        _ => None,
    }
}

/// Linux cooked capture: an EtherType, or a small number of Linux's own.
fn cooked(frame: &[u8], protocol: Option<u16>, length: usize) -> Option<&[u8]> {
    let protocol = protocol?;
    if protocol < ETHER_TYPE_MIN && !COOKED_LLC.contains(&protocol) {
        return None;
    }
    behind(frame, Some(protocol), length)
}

/// BSD loopback: an address family of 32 bits.
fn loopback(frame: &[u8]) -> Option<&[u8]> {
    let raw = array_at::<4>(frame, 0)?;
    let is_ip = |family: u32| family == FAMILY_IPV4 || FAMILY_IPV6.contains(&family);
    if is_ip(u32::from_le_bytes(raw)) || is_ip(u32::from_be_bytes(raw)) { frame.get(4..) } else { None }
}
