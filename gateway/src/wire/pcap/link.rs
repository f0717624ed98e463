//! Link headers: from a captured frame to the IP datagram in it.
//!
//! Read: Ethernet II and 802.3 with LLC/SNAP, VLAN tags in any number (802.1Q, 802.1ad and the older tag types), backbone
//! bridging (802.1ah), VN-Tag and 802.1BR, MACsec without encryption (802.1AE), MPLS label stacks with IP or Ethernet below
//! (RFC 3032, RFC 4448), network service headers (RFC 8300), PPPoE (RFC 2516), PPP with and without HDLC framing (RFC 1661,
//! RFC 1662), its multilink (RFC 1990) and bridging (RFC 3518), Cisco HDLC, Linux cooked captures of both versions, BSD
//! loopback in both byte orders, and raw IP. Wireless frames are not read.

mod ether;
mod ppp;

pub(super) use self::ether::{ETHER_MPLS_UNICAST, ETHER_NSH, has_known_type};
use self::ether::{ETHER_PPPOE, ETHER_TYPE_MIN};
use super::file::LinkType;
use super::layers::{Layer, Layers, PassedOver};
use super::{array_at, prefix, u16_at};

/// Headers that are stepped over in one frame, and labels of one stack; real ones have two or three.
const STEPS_MAX: usize = 16;
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

impl Walk<'_> {
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
