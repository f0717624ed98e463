//! Link headers: from a captured frame to the IP datagram in it.
//!
//! Read: Ethernet II and 802.3 with LLC/SNAP, VLAN tags in any number (802.1Q, 802.1ad and the older tag types), backbone
//! bridging (802.1ah), VN-Tag and 802.1BR, MACsec without encryption (802.1AE), MPLS label stacks with IP or Ethernet below
//! (RFC 3032, RFC 4448), network service headers (RFC 8300), PPPoE (RFC 2516), PPP with and without HDLC framing (RFC 1661,
//! RFC 1662), its multilink (RFC 1990) and bridging (RFC 3518), Cisco HDLC, Linux cooked captures of both versions, BSD
//! loopback in both byte orders, and raw IP. Wireless frames are not read.

use super::file::LinkType;
use super::layers::{Layer, Layers, PassedOver};
use super::{array_at, looks_like_ip, prefix, u16_at};

/// Headers that are stepped over in one frame, and labels of one stack; real ones have two or three.
const STEPS_MAX: usize = 16;
/// EtherType of IPv4.
const ETHER_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const ETHER_IPV6: u16 = 0x86dd;
/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and two in use before it.
const ETHER_VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// EtherType of MPLS, unicast.
pub(super) const ETHER_MPLS_UNICAST: u16 = 0x8847;
/// EtherTypes of MPLS, unicast and multicast.
const ETHER_MPLS: [u16; 2] = [ETHER_MPLS_UNICAST, 0x8848];
/// EtherType of a PPPoE session.
const ETHER_PPPOE: u16 = 0x8864;
/// EtherType of the service tag of IEEE 802.1ah.
const ETHER_PBB: u16 = 0x88e7;
/// EtherType of VN-Tag.
const ETHER_VNTAG: u16 = 0x8926;
/// EtherType of the E-Tag of IEEE 802.1BR.
const ETHER_ETAG: u16 = 0x893f;
/// EtherType of MACsec.
const ETHER_MACSEC: u16 = 0x88e5;
/// EtherType of the network service header.
pub(super) const ETHER_NSH: u16 = 0x894f;
/// EtherType of bridged Ethernet (RFC 1701, "transparent Ethernet bridging").
const ETHER_BRIDGED: u16 = 0x6558;
/// EtherType of PPP, as GRE of version 1 has it (RFC 2637 §4.1).
const ETHER_PPP: u16 = 0x880b;
/// Below it the field is a length and LLC follows (IEEE 802.3 §3.2.6).
const ETHER_TYPE_MIN: u16 = 0x0600;
/// PPP protocol of IPv4.
const PPP_IPV4: u16 = 0x0021;
/// PPP protocol of IPv6.
const PPP_IPV6: u16 = 0x0057;
/// PPP protocol of MPLS unicast.
const PPP_MPLS: u16 = 0x0281;
/// PPP protocol of multilink fragments (RFC 1990 §3).
const PPP_MULTILINK: u16 = 0x003d;
/// PPP protocol of bridged frames (RFC 3518 §4.1).
const PPP_BRIDGED: u16 = 0x0031;
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
    /// What it was wrapped in.
    pub layers: Layers,
}

/// Why a frame has no IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDatagram {
    /// This link type is not read.
    UnknownLink,
    /// The frame carries something else.
    NotIp(PassedOver),
}

impl From<PassedOver> for NoDatagram {
    fn from(passed: PassedOver) -> Self {
        Self::NotIp(passed)
    }
}

/// How the bytes behind a header begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An EtherType says; below 0x0600 it is a length, and LLC follows.
    Ether(u16),
    /// An Ethernet frame.
    Frame,
    /// PPP, with address and control bytes or without.
    Ppp,
    /// IP, by its first half byte.
    Ip,
}

/// Finds the IP datagram in a frame of `wire_bytes` bytes of which `frame` was captured.
///
/// # Errors
/// [`NoDatagram`]. Whether the bytes really are IP is for [`super::ip::read`] to see.
pub fn network(link: LinkType, frame: &[u8], wire_bytes: usize) -> Result<Datagram<'_>, NoDatagram> {
    let cut = PassedOver::Header;
    let (kind, rest) = match link.0 {
        // BSD loopback: NULL in the order of the capturing machine, LOOP in network order; both are taken in both.
        0 | 108 => (Kind::Ip, loopback(frame).ok_or(cut)?),
        1 => (Kind::Frame, frame),
        9 | 50 => (Kind::Ppp, frame),
        // Raw IP: the value of the file format, and those of systems that wrote their own number.
        12 | 14 | 101 | 228 | 229 => (Kind::Ip, frame),
        51 => (Kind::Ether(ETHER_PPPOE), frame),
        104 => (Kind::Ether(u16_at(frame, 2).ok_or(cut)?), frame.get(4..).ok_or(cut)?),
        113 => cooked(u16_at(frame, 14).ok_or(cut)?, frame.get(16..).ok_or(cut)?)?,
        // pppd on Linux writes the direction over the HDLC address, so that the control byte stands alone behind it.
        166 => {
            let rest = frame.get(1..).ok_or(cut)?;
            (Kind::Ppp, rest.strip_prefix(&[0x03]).unwrap_or(rest))
        }
        // One byte of direction, then PPP.
        204 => (Kind::Ppp, frame.get(1..).ok_or(cut)?),
        276 => cooked(u16_at(frame, 0).ok_or(cut)?, frame.get(20..).ok_or(cut)?)?,
        _ => return Err(NoDatagram::UnknownLink),
    };
    let headers = frame.len().saturating_sub(rest.len());
    Ok(behind(kind, rest, wire_bytes.saturating_sub(headers), Layers::default())?)
}

/// The IP datagram in what stands behind a header: `rest` was captured of `wire_bytes` bytes that begin with `kind`.
///
/// # Errors
/// What stands there instead.
pub(super) fn behind(
    kind: Kind,
    rest: &[u8],
    wire_bytes: usize,
    layers: Layers,
) -> Result<Datagram<'_>, PassedOver> {
    let mut walk = Walk { kind, rest, layers, vlans: 0 };
    for _ in 0..=STEPS_MAX {
        if walk.kind == Kind::Ip {
            let wire_bytes = wire_bytes.saturating_sub(rest.len().saturating_sub(walk.rest.len()));
            return Ok(Datagram { bytes: prefix(walk.rest, wire_bytes), wire_bytes, layers: walk.layers });
        }
        walk.step()?;
    }
    Err(PassedOver::TooDeep)
}

/// Headers of a frame, one after the other.
struct Walk<'a> {
    kind: Kind,
    rest: &'a [u8],
    layers: Layers,
    /// VLAN tags so far; the second makes it QinQ.
    vlans: usize,
}

impl<'a> Walk<'a> {
    /// Steps over one header.
    fn step(&mut self) -> Result<(), PassedOver> {
        match self.kind {
            Kind::Ip => Ok(()),
            Kind::Frame => {
                let kind = Kind::Ether(u16_at(self.rest, 12).ok_or(PassedOver::Header)?);
                self.skip(14, kind)
            }
            Kind::Ppp => self.ppp(),
            Kind::Ether(kind) => self.ether(kind),
        }
    }

    /// Goes `length` bytes on, to what begins as `kind`.
    fn skip(&mut self, length: usize, kind: Kind) -> Result<(), PassedOver> {
        self.rest = self.rest.get(length..).ok_or(PassedOver::Header)?;
        self.kind = kind;
        Ok(())
    }

    /// Notes a wrapping.
    fn wrapped(&mut self, layer: Layer) -> Result<(), PassedOver> {
        self.layers = self.layers.with(layer).ok_or(PassedOver::TooDeep)?;
        Ok(())
    }

    /// The EtherType `length` bytes on.
    fn ether_at(&self, length: usize) -> Result<Kind, PassedOver> {
        u16_at(self.rest, length).map(Kind::Ether).ok_or(PassedOver::Header)
    }

    /// What an EtherType announces.
    fn ether(&mut self, kind: u16) -> Result<(), PassedOver> {
        match kind {
            ETHER_IPV4 | ETHER_IPV6 => self.skip(0, Kind::Ip),
            kind if ETHER_VLAN.contains(&kind) => {
                self.vlans = self.vlans.saturating_add(1);
                if self.vlans == 2 {
                    self.wrapped(Layer::QinQ)?;
                }
                let next = self.ether_at(2)?;
                self.skip(4, next)
            }
            kind if ETHER_MPLS.contains(&kind) => self.mpls(),
            ETHER_PPPOE => self.pppoe(),
            // Four bytes of service tag, then the customer's own frame.
            ETHER_PBB => self.wrapped(Layer::Pbb).and_then(|()| self.skip(4, Kind::Frame)),
            ETHER_VNTAG => {
                self.wrapped(Layer::VnTag)?;
                let next = self.ether_at(4)?;
                self.skip(6, next)
            }
            ETHER_ETAG => {
                self.wrapped(Layer::VnTag)?;
                let next = self.ether_at(6)?;
                self.skip(8, next)
            }
            ETHER_MACSEC => self.macsec(),
            ETHER_NSH => self.nsh(),
            ETHER_BRIDGED => self.skip(0, Kind::Frame),
            ETHER_PPP => self.skip(0, Kind::Ppp),
            kind if kind < ETHER_TYPE_MIN => self.llc(),
            kind => Err(PassedOver::EtherType(kind)),
        }
    }

    /// LLC (IEEE 802.2): the EtherType of a SNAP header, or IPv4 by its own service access point.
    fn llc(&mut self) -> Result<(), PassedOver> {
        match array_at::<3>(self.rest, 0).ok_or(PassedOver::Header)? {
            [0xaa, 0xaa, 0x03] => {
                let next = self.ether_at(6)?;
                self.skip(8, next)
            }
            [0x06, 0x06, 0x03] => self.skip(3, Kind::Ip),
            _ => Err(PassedOver::Llc),
        }
    }

    /// A stack of MPLS labels (RFC 3032 §2.1). What is below it is not announced: IP by its header, else Ethernet, behind a
    /// control word (RFC 4385 §3: a first half byte of 0) or not.
    fn mpls(&mut self) -> Result<(), PassedOver> {
        for _ in 0..STEPS_MAX {
            let [_, _, bottom, _] = array_at(self.rest, 0).ok_or(PassedOver::Header)?;
            self.skip(4, Kind::Ip)?;
            if bottom & 1 == 0 {
                continue;
            }
            if looks_like_ip(self.rest) {
                return self.wrapped(Layer::Mpls);
            }
            self.wrapped(Layer::EthernetOverMpls)?;
            let control =
                usize::from(self.rest.first().is_some_and(|first| first >> 4 == 0)).saturating_mul(4);
            let with_control = self.rest.get(control..).unwrap_or_default();
            // An address that begins with 0 looks like a control word: the type behind tells.
            let skip = if has_known_type(with_control) { control } else { 0 };
            return self.skip(skip, Kind::Frame);
        }
        Err(PassedOver::TooDeep)
    }

    /// MACsec (IEEE 802.1AE §9): a tag of 6 or 14 bytes with the EtherType; the check value behind the data is cut off by
    /// the length in the IP header.
    fn macsec(&mut self) -> Result<(), PassedOver> {
        /// The data is encrypted, or changed otherwise.
        const CHANGED: u8 = 0x0c;
        /// The tag names its channel in 8 bytes.
        const CHANNEL: u8 = 0x20;
        let control = *self.rest.first().ok_or(PassedOver::Header)?;
        if control & CHANGED != 0 {
            return Err(PassedOver::Encrypted);
        }
        self.wrapped(Layer::MacSec)?;
        let tag = if control & CHANNEL != 0 { 14 } else { 6 };
        let next = self.ether_at(tag)?;
        self.skip(tag.saturating_add(2), next)
    }

    /// Network service header (RFC 8300 §2.2): its length in words of 4 bytes, and what follows.
    fn nsh(&mut self) -> Result<(), PassedOver> {
        let [_, length, _, next] = array_at::<4>(self.rest, 0).ok_or(PassedOver::Header)?;
        let length = usize::from(length & 0x3f).saturating_mul(4);
        if length < 8 {
            return Err(PassedOver::Header);
        }
        self.wrapped(Layer::Nsh)?;
        let kind = match next {
            1 | 2 => Kind::Ip,
            3 => Kind::Frame,
            4 => Kind::Ether(ETHER_NSH),
            5 => Kind::Ether(ETHER_MPLS_UNICAST),
            _ => return Err(PassedOver::EtherType(ETHER_NSH)),
        };
        self.skip(length, kind)
    }

    /// A PPPoE session header (RFC 2516 §4) and PPP behind it. The length field cuts off Ethernet padding; the IP header does
    /// that too, so it is not needed.
    fn pppoe(&mut self) -> Result<(), PassedOver> {
        match array_at(self.rest, 0) {
            Some([0x11, 0]) => {}
            Some(_) | None => return Err(PassedOver::Header),
        }
        self.wrapped(Layer::Pppoe)?;
        self.skip(6, Kind::Ppp)
    }

    /// PPP, with address and control bytes or without; Cisco framing has 0x0f or 0x8f and an EtherType.
    fn ppp(&mut self) -> Result<(), PassedOver> {
        match array_at::<2>(self.rest, 0).ok_or(PassedOver::Header)? {
            [0xff, 0x03] => self.skip(2, Kind::Ppp)?,
            [0x0f | 0x8f, 0x00] => {
                let next = self.ether_at(2)?;
                return self.skip(4, next);
            }
            _ => {}
        }
        let (protocol, length) = ppp_protocol(self.rest).ok_or(PassedOver::Header)?;
        match protocol {
            PPP_IPV4 | PPP_IPV6 => self.skip(length, Kind::Ip),
            PPP_MPLS => self.skip(length, Kind::Ether(ETHER_MPLS_UNICAST)),
            PPP_MULTILINK => self.skip(length, Kind::Ppp).and_then(|()| self.multilink()),
            // One byte of flags and one of the address's kind, then the frame.
            PPP_BRIDGED => self.skip(length.saturating_add(2), Kind::Frame),
            other => Err(PassedOver::Ppp(other)),
        }
    }

    /// A multilink fragment (RFC 1990 §3) that is a whole packet: it begins and ends one. The sequence number has 24 bits
    /// behind six bits of zero, or 12.
    fn multilink(&mut self) -> Result<(), PassedOver> {
        /// Begins and ends a packet.
        const WHOLE: u8 = 0xc0;
        let first = *self.rest.first().ok_or(PassedOver::Header)?;
        if first & WHOLE != WHOLE {
            return Err(PassedOver::Ppp(PPP_MULTILINK));
        }
        self.wrapped(Layer::Multilink)?;
        let long =
            self.rest.get(4..).and_then(ppp_protocol).is_some_and(|(protocol, _)| is_carried(protocol));
        self.skip(if first & !WHOLE == 0 && long { 4 } else { 2 }, Kind::Ppp)
    }
}

/// The PPP protocol field, and its length: one byte when that is odd (RFC 1661 §2).
fn ppp_protocol(rest: &[u8]) -> Option<(u16, usize)> {
    let first = *rest.first()?;
    if first & 1 == 1 { Some((u16::from(first), 1)) } else { Some((u16_at(rest, 0)?, 2)) }
}

/// Whether PPP with this protocol carries packets that are read.
const fn is_carried(protocol: u16) -> bool {
    matches!(protocol, PPP_IPV4 | PPP_IPV6 | PPP_MPLS | PPP_BRIDGED)
}

/// Whether an Ethernet frame with a type that is read begins here.
pub(super) fn has_known_type(frame: &[u8]) -> bool {
    u16_at(frame, 12).is_some_and(|kind| {
        matches!(kind, ETHER_IPV4 | ETHER_IPV6 | ETHER_PPPOE | ETHER_PBB | ETHER_MACSEC | ETHER_NSH)
            || ETHER_VLAN.contains(&kind)
            || ETHER_MPLS.contains(&kind)
    })
}

/// Linux cooked capture: an EtherType, or a small number of Linux's own.
fn cooked(protocol: u16, rest: &[u8]) -> Result<(Kind, &[u8]), PassedOver> {
    if protocol < ETHER_TYPE_MIN && !COOKED_LLC.contains(&protocol) {
        return Err(PassedOver::EtherType(protocol));
    }
    Ok((Kind::Ether(protocol), rest))
}

/// BSD loopback: an address family of 32 bits.
fn loopback(frame: &[u8]) -> Option<&[u8]> {
    let raw = array_at::<4>(frame, 0)?;
    let is_ip = |family: u32| family == FAMILY_IPV4 || FAMILY_IPV6.contains(&family);
    if is_ip(u32::from_le_bytes(raw)) || is_ip(u32::from_be_bytes(raw)) { frame.get(4..) } else { None }
}
