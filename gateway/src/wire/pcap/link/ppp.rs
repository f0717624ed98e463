//! PPP: over Ethernet or a line, in multilink fragments, or with an Ethernet frame in it.

use super::ether::ETHER_MPLS_UNICAST;
use super::{Kind, Walk};
use crate::wire::pcap::layers::{Layer, PassedOver};
use crate::wire::pcap::{array_at, u16_at};

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

impl Walk<'_> {
    /// A PPPoE session header (RFC 2516 §4) and PPP behind it. The length field cuts off Ethernet padding; the IP header does
    /// that too, so it is not needed.
    pub(super) fn pppoe(&mut self) -> Result<(), PassedOver> {
        match array_at(self.rest, 0) {
            Some([0x11, 0]) => {}
            Some(_) | None => return Err(PassedOver::Header),
        }
        self.wrapped(Layer::Pppoe)?;
        self.skip(6, Kind::Ppp)
    }

    /// PPP, with address and control bytes or without; Cisco framing has 0x0f or 0x8f and an EtherType.
    pub(super) fn ppp(&mut self) -> Result<(), PassedOver> {
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
