//! Tunnels: from the payload of an IP datagram to the datagram wrapped in it.
//!
//! By IP protocol number: IP in IP of all four kinds (RFC 2003, RFC 2473, RFC 4213), with segment routing (RFC 8986), GRE of
//! both versions with ERSPAN in it (RFC 2784, RFC 2890, RFC 2637), MPLS (RFC 4023), Ethernet (RFC 3378) and L2TPv3 (RFC 3931).
//! By UDP port: GTP-U (3GPP TS 29.281), L2TP (RFC 2661), VXLAN (RFC 7348) and its generic protocol extension, Geneve
//! (RFC 8926), MPLS (RFC 7510), Teredo (RFC 4380) and LISP (RFC 9300).
//!
//! A port is only a hint, for it may be a client's own: what does not begin as the tunnel's header says, with an IP datagram
//! inside that fits, is left to be an ordinary UDP flow. So are control messages.

use super::ip::{PROTOCOL_UDP, Packet};
use super::layers::{Layer, Layers, PassedOver};
use super::link::{Datagram, ETHER_MPLS_UNICAST, ETHER_NSH, Kind, behind, has_known_type};
use super::transport::{self, Ports};
use super::{array_at, looks_like_ip, u16_at};

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

/// GRE (RFC 2784 §2, RFC 2890 §2): flags, an EtherType, and fields that the flags announce. Version 1 is PPTP's (RFC 2637
/// §4.1), with an acknowledgement behind.
fn gre<'a>(wrapped: &Wrapped<'a>) -> Result<Datagram<'a>, PassedOver> {
    /// Checksum and offset.
    const CHECKSUM: u16 = 0x8000;
    /// Source routes (RFC 1701), which nobody sends.
    const ROUTING: u16 = 0x4000;
    /// A key.
    const KEY: u16 = 0x2000;
    /// A sequence number.
    const SEQUENCE: u16 = 0x1000;
    /// An acknowledgement, in version 1.
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    /// EtherType of redirected packets (WCCP), in front of which four bytes may stand.
    const WCCP: u16 = 0x883e;
    let flags = u16_at(wrapped.bytes, 0).ok_or(PassedOver::Header)?;
    let kind = u16_at(wrapped.bytes, 2).ok_or(PassedOver::Header)?;
    let field = |flag: u16| if flags & flag == 0 { 0_usize } else { 4 };
    let length = match flags & 0x0007 {
        0 if flags & ROUTING == 0 => {
            4_usize.saturating_add(field(CHECKSUM)).saturating_add(field(KEY)).saturating_add(field(SEQUENCE))
        }
        1 => 8_usize.saturating_add(field(SEQUENCE)).saturating_add(field(ACKNOWLEDGEMENT)),
        _ => return Err(PassedOver::Header),
    };
    match kind {
        0x88be | 0x22eb => erspan(&wrapped.layer(Layer::Erspan)?, length, kind, field(SEQUENCE) > 0),
        WCCP => {
            let wrapped = wrapped.layer(Layer::Gre)?;
            let rest = wrapped.bytes.get(length..).unwrap_or_default();
            let redirect = if looks_like_ip(rest) { 0 } else { 4 };
            wrapped.at(length.saturating_add(redirect), Kind::Ip)
        }
        kind => wrapped.layer(Layer::Gre)?.at(length, Kind::Ether(kind)),
    }
}

/// A mirrored frame: type I has no header of its own, type II one of 8 bytes, type III one of 12 and perhaps 8 more.
fn erspan<'a>(
    wrapped: &Wrapped<'a>,
    length: usize,
    kind: u16,
    has_sequence: bool,
) -> Result<Datagram<'a>, PassedOver> {
    let header = match (kind, has_sequence) {
        (0x22eb, _) => {
            let flags = *wrapped.bytes.get(length.saturating_add(11)).ok_or(PassedOver::Header)?;
            if flags & 1 == 0 { 12 } else { 20 }
        }
        (_, true) => 8,
        (_, false) => 0,
    };
    wrapped.at(length.saturating_add(header), Kind::Frame)
}

/// A tunnel by UDP port.
fn udp<'a>(packet: &Packet<'a>) -> Option<Datagram<'a>> {
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

/// L2TP over UDP: version 2 (RFC 2661 §3.1) has flags for its fields, version 3 a session (RFC 3931 §4.1.2.1).
fn l2tp<'a>(wrapped: &Wrapped<'a>) -> Option<Datagram<'a>> {
    /// A control message.
    const CONTROL: u16 = 0x8000;
    /// A length field.
    const LENGTH: u16 = 0x4000;
    /// Sequence numbers.
    const SEQUENCE: u16 = 0x0800;
    /// An offset field, and so many bytes of padding.
    const OFFSET: u16 = 0x0200;
    let flags = u16_at(wrapped.bytes, 0)?;
    if flags & CONTROL != 0 {
        return None;
    }
    match flags & 0x000f {
        2 => {
            let mut length = 6_usize;
            if flags & LENGTH != 0 {
                length = length.saturating_add(2);
            }
            if flags & SEQUENCE != 0 {
                length = length.saturating_add(4);
            }
            if flags & OFFSET != 0 {
                let padding = usize::from(u16_at(wrapped.bytes, length)?);
                length = length.saturating_add(2).saturating_add(padding);
            }
            wrapped.layer(Layer::L2tp).ok()?.likely(length, Kind::Ppp)
        }
        3 => session(wrapped, 8),
        _ => None,
    }
}

/// A session of L2TPv3 (RFC 3931 §4.1): behind the header a cookie of 0, 4 or 8 bytes and a sublayer of 0 or 4, which only the
/// two ends know: the first length at which a frame, PPP or IP with a datagram that fits begins.
fn session<'a>(wrapped: &Wrapped<'a>, header: usize) -> Option<Datagram<'a>> {
    /// Cookie and sublayer together.
    const BEHIND: [usize; 4] = [0, 4, 8, 12];
    let wrapped = wrapped.layer(Layer::L2tp).ok()?;
    let at = |kind: Kind| {
        BEHIND.into_iter().find_map(|length| {
            let skip = header.saturating_add(length);
            let rest = wrapped.bytes.get(skip..)?;
            let begins = match kind {
                Kind::Frame => has_known_type(rest),
                Kind::Ip => looks_like_ip(rest),
                Kind::Ppp => rest.starts_with(&[0xff, 0x03]),
                Kind::Ether(_) => false,
            };
            if begins { wrapped.likely(skip, kind) } else { None }
        })
    };
    at(Kind::Frame).or_else(|| at(Kind::Ppp)).or_else(|| at(Kind::Ip))
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
