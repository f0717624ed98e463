//! Tunnels that are told by their UDP port: GTP-U, VXLAN, Geneve, Teredo and others.

use super::Wrapped;
use super::l2tp::l2tp;
use crate::wire::pcap::ip::Packet;
use crate::wire::pcap::layers::Layer;
use crate::wire::pcap::link::{Datagram, ETHER_MPLS_UNICAST, ETHER_NSH, Kind};
use crate::wire::pcap::transport::{self, Ports};
use crate::wire::pcap::{array_at, u16_at};

/// GTP-U of version 1, and of version 0.
const PORTS_GTP: [u16; 2] = [2_152, 3_386];
/// L2TP.
const PORT_L2TP: u16 = 1_701;
/// VXLAN, and what Linux used before the port was assigned.
const PORTS_VXLAN: [u16; 2] = [4_789, 8_472];
/// VXLAN with a protocol field.
const PORT_VXLAN_GPE: u16 = 4_790;
/// Geneve.
const PORT_GENEVE: u16 = 6_081;
/// MPLS in UDP.
const PORT_MPLS: u16 = 6_635;
/// Teredo.
const PORT_TEREDO: u16 = 3_544;
/// LISP data.
const PORT_LISP: u16 = 4_341;
/// Bytes of a UDP header.
const UDP_HEADER_BYTES: usize = 8;

/// A tunnel by UDP port.
pub(super) fn udp<'a>(packet: &Packet<'a>) -> Option<Datagram<'a>> {
    let Ports { source, destination } = transport::ports(packet.payload)?;
    let is = |port: u16| source == port || destination == port;
    let any = |ports: [u16; 2]| ports.into_iter().any(is);
    let wrapped = Wrapped::of(packet, UDP_HEADER_BYTES)?;
    if any(PORTS_GTP) {
        gtp(&wrapped.layer(Layer::GtpU).ok()?)
    } else if is(PORT_L2TP) {
        l2tp(&wrapped)
    } else if PORTS_VXLAN.contains(&destination) {
        vxlan(&wrapped.layer(Layer::Vxlan).ok()?)
    } else if destination == PORT_VXLAN_GPE {
        vxlan_gpe(&wrapped.layer(Layer::Vxlan).ok()?)
    } else if destination == PORT_GENEVE {
        geneve(&wrapped.layer(Layer::Geneve).ok()?)
    } else if destination == PORT_MPLS {
        wrapped.likely(0, Kind::Ether(ETHER_MPLS_UNICAST))
    } else if is(PORT_TEREDO) {
        teredo(&wrapped.layer(Layer::Teredo).ok()?)
    } else if destination == PORT_LISP {
        wrapped.layer(Layer::Lisp).ok()?.likely(8, Kind::Ip)
    } else {
        None
    }
}

/// GTP-U (3GPP TS 29.281 §5): a user's packet behind 8 bytes, and behind options and extension headers where flags say so.
/// Version 0 (3GPP TS 29.060 before release 99) has 20 bytes.
fn gtp<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    /// Message type of a user's packet.
    const USER_PACKET: u8 = 255;
    /// Any of extension header, sequence number, N-PDU number: four bytes more.
    const OPTIONS: u8 = 0x07;
    /// Extension headers follow.
    const EXTENSION: u8 = 0x04;
    /// Extension headers walked; real packets have one or two.
    const EXTENSIONS_MAX: usize = 8;
    let [flags, kind] = array_at(wrapped.bytes, 0)?;
    if kind != USER_PACKET {
        return None;
    }
    let mut length = match flags >> 4 {
        // Version 1, protocol type GTP.
        3 => 8_usize,
        // Version 0, protocol type GTP.
        1 => 20,
        _ => return None,
    };
    if length == 8 && flags & OPTIONS != 0 {
        let mut next = *wrapped.bytes.get(11)?;
        length = 12;
        for _ in 0..EXTENSIONS_MAX {
            if flags & EXTENSION == 0 || next == 0 {
                break;
            }
            // Length in words of four bytes; the last byte says what follows.
            let words = usize::from(*wrapped.bytes.get(length)?);
            if words == 0 {
                return None;
            }
            length = length.checked_add(words.checked_mul(4)?)?;
            next = *wrapped.bytes.get(length.checked_sub(1)?)?;
        }
    }
    // Sessions of type IP, and of type Ethernet (3GPP TS 23.501 §5.6.10).
    wrapped.likely(length, Kind::Ip).or_else(|| wrapped.likely(length, Kind::Frame))
}

/// VXLAN (RFC 7348 §5): the flag of the network number, and a frame.
fn vxlan<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    if wrapped.bytes.first()? & 0x08 == 0 {
        return None;
    }
    wrapped.likely(8, Kind::Frame)
}

/// VXLAN with the flag of a protocol field: what it carries (draft-ietf-nvo3-vxlan-gpe §3.2).
fn vxlan_gpe<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    let [flags, _, _, next] = array_at::<4>(wrapped.bytes, 0)?;
    let kind = match (flags & 0x04, next) {
        (0, _) | (_, 3) => Kind::Frame,
        (_, 1 | 2) => Kind::Ip,
        (_, 4) => Kind::Ether(ETHER_NSH),
        (_, 5) => Kind::Ether(ETHER_MPLS_UNICAST),
        _ => return None,
    };
    wrapped.likely(8, kind)
}

/// Geneve (RFC 8926 §3.4): version 0, options in words of four bytes, and an EtherType.
fn geneve<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    let first = *wrapped.bytes.first()?;
    let kind = u16_at(wrapped.bytes, 2)?;
    if first >> 6 != 0 {
        return None;
    }
    let options = usize::from(first & 0x3f).saturating_mul(4);
    wrapped.likely(8_usize.saturating_add(options), Kind::Ether(kind))
}

/// Teredo (RFC 4380 §5.1.1): IPv6, behind an authentication and an origin indication where there are any.
fn teredo<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    let mut skip = 0_usize;
    if let Some([0, 1, client, value]) = array_at::<4>(wrapped.bytes, 0) {
        // Lengths of client identifier and authentication value, a nonce of 8 bytes and one of confirmation.
        skip = 13_usize.saturating_add(usize::from(client)).saturating_add(usize::from(value));
    }
    if array_at::<2>(wrapped.bytes, skip) == Some([0, 0]) {
        skip = skip.saturating_add(8);
    }
    let is_six = wrapped.bytes.get(skip).is_some_and(|first| first >> 4 == 6);
    if is_six { wrapped.likely(skip, Kind::Ip) } else { None }
}
