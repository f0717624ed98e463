//! What an EtherType announces: the headers that stand in front of IP in an Ethernet frame.

use super::{Kind, STEPS_MAX, Walk};
use crate::wire::pcap::layers::{Layer, PassedOver};
use crate::wire::pcap::{array_at, looks_like_ip, u16_at};

/// EtherType of IPv4.
const ETHER_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const ETHER_IPV6: u16 = 0x86dd;
/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and two in use before it.
const ETHER_VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
/// EtherType of MPLS, unicast.
pub(in crate::wire::pcap) const ETHER_MPLS_UNICAST: u16 = 0x8847;
/// EtherTypes of MPLS, unicast and multicast.
const ETHER_MPLS: [u16; 2] = [ETHER_MPLS_UNICAST, 0x8848];
/// EtherType of a PPPoE session.
pub(super) const ETHER_PPPOE: u16 = 0x8864;
/// EtherType of the service tag of IEEE 802.1ah.
const ETHER_PBB: u16 = 0x88e7;
/// EtherType of VN-Tag.
const ETHER_VNTAG: u16 = 0x8926;
/// EtherType of the E-Tag of IEEE 802.1BR.
const ETHER_ETAG: u16 = 0x893f;
/// EtherType of MACsec.
const ETHER_MACSEC: u16 = 0x88e5;
/// EtherType of the network service header.
pub(in crate::wire::pcap) const ETHER_NSH: u16 = 0x894f;
/// EtherType of bridged Ethernet (RFC 1701, "transparent Ethernet bridging").
const ETHER_BRIDGED: u16 = 0x6558;
/// EtherType of PPP, as GRE of version 1 has it (RFC 2637 §4.1).
const ETHER_PPP: u16 = 0x880b;
/// Below it the field is a length and LLC follows (IEEE 802.3 §3.2.6).
pub(super) const ETHER_TYPE_MIN: u16 = 0x0600;

impl Walk<'_> {
    /// What an EtherType announces.
    pub(super) fn ether(&mut self, kind: u16) -> Result<(), PassedOver> {
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
}

/// Whether an Ethernet frame with a type that is read begins here.
pub(in crate::wire::pcap) fn has_known_type(frame: &[u8]) -> bool {
    u16_at(frame, 12).is_some_and(|kind| {
        matches!(kind, ETHER_IPV4 | ETHER_IPV6 | ETHER_PPPOE | ETHER_PBB | ETHER_MACSEC | ETHER_NSH)
            || ETHER_VLAN.contains(&kind)
            || ETHER_MPLS.contains(&kind)
    })
}
