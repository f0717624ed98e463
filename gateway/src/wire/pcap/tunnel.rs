//! Tunnels: from the payload of an IP datagram to the datagram wrapped in it.
//!
//! By IP protocol number: IP in IP of all four kinds (RFC 2003, RFC 2473, RFC 4213), with segment routing (RFC 8986), GRE of
//! both versions with ERSPAN in it (RFC 2784, RFC 2890, RFC 2637), MPLS (RFC 4023), Ethernet (RFC 3378) and L2TPv3 (RFC 3931).
//! By UDP port: GTP-U (3GPP TS 29.281), L2TP (RFC 2661), VXLAN (RFC 7348) and its generic protocol extension, Geneve
//! (RFC 8926), MPLS (RFC 7510), Teredo (RFC 4380) and LISP (RFC 9300).
//!
//! A port is only a hint, for it may be a client's own: what does not begin as the tunnel's header says, with an IP datagram
//! inside that fits, is left to be an ordinary UDP flow. So are control messages.

mod gre;
mod l2tp;
mod udp;

use self::gre::gre;
use self::l2tp::session;
use self::udp::udp;
use super::ip::{PROTOCOL_UDP, Packet};
use super::layers::{Layer, Layers, PassedOver};
use super::link::{Datagram, ETHER_MPLS_UNICAST, Kind, behind};
use super::{looks_like_ip, u16_at};

/// IPv4 in IP.
const PROTOCOL_IPV4: u8 = 4;
/// IPv6 in IP.
const PROTOCOL_IPV6: u8 = 41;
/// GRE.
const PROTOCOL_GRE: u8 = 47;
/// EtherIP.
const PROTOCOL_ETHERIP: u8 = 97;
/// L2TPv3.
const PROTOCOL_L2TP: u8 = 115;
/// MPLS in IP.
const PROTOCOL_MPLS: u8 = 137;
/// Ethernet in segment routing (RFC 8986 §9.1).
const PROTOCOL_ETHERNET: u8 = 143;

/// The datagram wrapped in a packet; none when nothing is.
///
/// # Errors
/// What the tunnel carries instead of IP, where the tunnel is sure: an IP protocol number, not a UDP port.
pub fn inner<'a>(packet: &Packet<'a>) -> Result<Option<Datagram<'a>>, PassedOver> {
    let source_is_v4 = packet.source.is_ipv4();
    let layer = match (packet.protocol, source_is_v4) {
        (PROTOCOL_UDP, _) => return Ok(udp(packet)),
        (PROTOCOL_IPV4 | PROTOCOL_IPV6 | PROTOCOL_ETHERNET, _) if packet.segment_routing => {
            Layer::SegmentRouting
        }
        (PROTOCOL_IPV4, true) => Layer::IpInIp,
        (PROTOCOL_IPV4, false) => Layer::FourInSix,
        (PROTOCOL_IPV6, true) => Layer::SixInFour,
        (PROTOCOL_IPV6, false) => Layer::SixInSix,
        (PROTOCOL_GRE, _) => return gre(&Wrapped::of(packet, 0).ok_or(PassedOver::Header)?).map(Some),
        (PROTOCOL_ETHERIP, _) => Layer::EtherIp,
        (PROTOCOL_L2TP, _) => {
            let found = Wrapped::of(packet, 0).and_then(|wrapped| session(&wrapped, 4));
            return found.map(Some).ok_or(PassedOver::Protocol(PROTOCOL_L2TP));
        }
        // The stack of labels tells itself.
        (PROTOCOL_MPLS, _) => {
            let wrapped = Wrapped::of(packet, 0).ok_or(PassedOver::Header)?;
            return wrapped.at(0, Kind::Ether(ETHER_MPLS_UNICAST)).map(Some);
        }
        (PROTOCOL_ETHERNET, _) => return Err(PassedOver::Protocol(PROTOCOL_ETHERNET)),
        _ => return Ok(None),
    };
    let wrapped = Wrapped::of(packet, 0).ok_or(PassedOver::Header)?.layer(layer)?;
    let (skip, kind) = match packet.protocol {
        // Version 3, then twelve bits of zero.
        PROTOCOL_ETHERIP => (2, Kind::Frame),
        PROTOCOL_ETHERNET => (0, Kind::Frame),
        _ => (0, Kind::Ip),
    };
    wrapped.at(skip, kind).map(Some)
}

/// What stands inside a packet from some header on.
#[derive(Clone, Copy)]
struct Wrapped<'a> {
    bytes: &'a [u8],
    wire_bytes: usize,
    layers: Layers,
}

impl<'a> Wrapped<'a> {
    /// The payload of a packet from `skip` on.
    fn of(packet: &Packet<'a>, skip: usize) -> Option<Self> {
        Some(Self {
            bytes: packet.payload.get(skip..)?,
            wire_bytes: packet.payload_bytes.checked_sub(skip)?,
            layers: packet.layers,
        })
    }

    /// With one wrapping more.
    fn layer(self, layer: Layer) -> Result<Self, PassedOver> {
        Ok(Self { layers: self.layers.with(layer).ok_or(PassedOver::TooDeep)?, ..self })
    }

    /// The datagram from `skip` on, which begins as `kind`.
    fn at(&self, skip: usize, kind: Kind) -> Result<Datagram<'a>, PassedOver> {
        let rest = self.bytes.get(skip..).ok_or(PassedOver::Header)?;
        behind(kind, rest, self.wire_bytes.saturating_sub(skip), self.layers)
    }

    /// As [`Wrapped::at`], if an IP datagram that fits is there: for headers that are only likely.
    fn likely(&self, skip: usize, kind: Kind) -> Option<Datagram<'a>> {
        let datagram = self.at(skip, kind).ok()?;
        fits(&datagram).then_some(datagram)
    }
}

/// Whether an IP datagram begins here that is no longer than what is there.
fn fits(datagram: &Datagram<'_>) -> bool {
    let length = match datagram.bytes.first().map(|first| first >> 4) {
        Some(4) => u16_at(datagram.bytes, 2).map(usize::from),
        Some(6) => u16_at(datagram.bytes, 4).map(|payload| usize::from(payload).saturating_add(40)),
        Some(_) | None => None,
    };
    looks_like_ip(datagram.bytes) && length.is_some_and(|length| length <= datagram.wire_bytes)
}
