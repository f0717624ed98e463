//! What a packet was wrapped in between the frame and the datagram that is counted, and what was passed over.

use core::fmt;

/// Encapsulations of one packet that are looked into; what is wrapped deeper is passed over.
pub const LAYERS_MAX: usize = 4;

/// One encapsulation; IEEE, RFC or 3GPP names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Two or more VLAN tags (IEEE 802.1ad).
    QinQ,
    /// Provider backbone bridging (IEEE 802.1ah).
    Pbb,
    /// VN-Tag, and the E-Tag of IEEE 802.1BR.
    VnTag,
    /// MACsec without encryption (IEEE 802.1AE).
    MacSec,
    /// A stack of MPLS labels with IP below it (RFC 3032), also in IP or UDP (RFC 4023, RFC 7510).
    Mpls,
    /// Ethernet over MPLS (RFC 4448).
    EthernetOverMpls,
    /// A PPPoE session (RFC 2516).
    Pppoe,
    /// PPP multilink (RFC 1990).
    Multilink,
    /// Network service header (RFC 8300).
    Nsh,
    /// Generic routing encapsulation (RFC 2784, RFC 2890), also PPTP's (RFC 2637).
    Gre,
    /// Mirrored Ethernet in GRE.
    Erspan,
    /// IPv4 in IPv4 (RFC 2003).
    IpInIp,
    /// IPv6 in IPv4 (RFC 4213), 6rd and 6to4 too.
    SixInFour,
    /// IPv4 in IPv6 (RFC 2473): DS-Lite, MAP-E.
    FourInSix,
    /// IPv6 in IPv6 (RFC 2473).
    SixInSix,
    /// Segment routing over IPv6 with a packet or frame inside (RFC 8986).
    SegmentRouting,
    /// Ethernet in IP (RFC 3378).
    EtherIp,
    /// GTP-U (3GPP TS 29.281).
    GtpU,
    /// L2TP, version 2 (RFC 2661) or 3 (RFC 3931).
    L2tp,
    /// VXLAN (RFC 7348) and its generic protocol extension.
    Vxlan,
    /// Geneve (RFC 8926).
    Geneve,
    /// Teredo (RFC 4380).
    Teredo,
    /// LISP data (RFC 9300).
    Lisp,
}

impl Layer {
    /// The word in `classify`'s key `tunnel`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QinQ => "qinq",
            Self::Pbb => "pbb",
            Self::VnTag => "vntag",
            Self::MacSec => "macsec",
            Self::Mpls => "mpls",
            Self::EthernetOverMpls => "eompls",
            Self::Pppoe => "pppoe",
            Self::Multilink => "mlppp",
            Self::Nsh => "nsh",
            Self::Gre => "gre",
            Self::Erspan => "erspan",
            Self::IpInIp => "ipip",
            Self::SixInFour => "6in4",
            Self::FourInSix => "4in6",
            Self::SixInSix => "6in6",
            Self::SegmentRouting => "srv6",
            Self::EtherIp => "etherip",
            Self::GtpU => "gtp-u",
            Self::L2tp => "l2tp",
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Teredo => "teredo",
            Self::Lisp => "lisp",
        }
    }

    /// Whether it stands between two IP headers. What stands below the first one may differ by direction (a label is popped
    /// one hop early, a tag is set one way only) and tells no flows apart.
    const fn is_between_ip(self) -> bool {
        match self {
            Self::QinQ
            | Self::Pbb
            | Self::VnTag
            | Self::MacSec
            | Self::Mpls
            | Self::EthernetOverMpls
            | Self::Pppoe
            | Self::Multilink
            | Self::Nsh => false,
            Self::Gre
            | Self::Erspan
            | Self::IpInIp
            | Self::SixInFour
            | Self::FourInSix
            | Self::SixInSix
            | Self::SegmentRouting
            | Self::EtherIp
            | Self::GtpU
            | Self::L2tp
            | Self::Vxlan
            | Self::Geneve
            | Self::Teredo
            | Self::Lisp => true,
        }
    }
}

/// The encapsulations of one packet, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layers {
    /// Filled from the front.
    stack: [Option<Layer>; LAYERS_MAX],
}

impl Layers {
    /// Adds the next one inwards; none when there are [`LAYERS_MAX`] already.
    #[must_use]
    pub fn with(mut self, layer: Layer) -> Option<Self> {
        *self.stack.iter_mut().find(|place| place.is_none())? = Some(layer);
        Some(self)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        matches!(self.stack, [None, ..])
    }

    /// Those that tell flows apart: tunnels between two IP headers. The same packet seen outside and inside a tunnel then
    /// counts for two flows, not twice for one.
    #[must_use]
    pub fn tunnels(&self) -> Self {
        let between = self.stack.iter().flatten().filter(|layer| layer.is_between_ip());
        between.fold(Self::default(), |tunnels, layer| tunnels.with(*layer).unwrap_or(tunnels))
    }
}

impl fmt::Display for Layers {
    /// Labels joined by `/`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, layer) in self.stack.iter().flatten().enumerate() {
            if number > 0 {
                formatter.write_str("/")?;
            }
            formatter.write_str(layer.label())?;
        }
        Ok(())
    }
}

/// Why a packet belongs to no TCP or UDP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassedOver {
    /// The frame carries this EtherType.
    EtherType(u16),
    /// PPP carries this protocol.
    Ppp(u16),
    /// LLC with other than IP: spanning tree, IS-IS.
    Llc,
    /// The datagram carries this protocol (IANA protocol number).
    Protocol(u8),
    /// A header is malformed or was not captured whole.
    Header,
    /// MACsec with encryption.
    Encrypted,
    /// Wrapped in more than [`LAYERS_MAX`] encapsulations.
    TooDeep,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EtherType(0x0806) => formatter.write_str("ARP"),
            Self::EtherType(0x8035) => formatter.write_str("RARP"),
            Self::EtherType(0x8863) => formatter.write_str("PPPoE discovery"),
            Self::EtherType(0x888e) => formatter.write_str("EAPOL"),
            Self::EtherType(0x88cc) => formatter.write_str("LLDP"),
            Self::EtherType(0x8809) => formatter.write_str("LACP"),
            Self::EtherType(0x88f7) => formatter.write_str("PTP"),
            Self::EtherType(number) => write!(formatter, "EtherType 0x{number:04x}"),
            Self::Ppp(0xc021) => formatter.write_str("LCP"),
            Self::Ppp(0x8021) => formatter.write_str("IPCP"),
            Self::Ppp(0x8057) => formatter.write_str("IPv6CP"),
            Self::Ppp(0xc023) => formatter.write_str("PAP"),
            Self::Ppp(0xc223) => formatter.write_str("CHAP"),
            Self::Ppp(number) => write!(formatter, "PPP protocol 0x{number:04x}"),
            Self::Llc => formatter.write_str("LLC"),
            Self::Protocol(number) => match protocol_name(*number) {
                Some(name) => formatter.write_str(name),
                None => write!(formatter, "IP protocol {number}"),
            },
            Self::Header => formatter.write_str("header malformed or cut"),
            Self::Encrypted => formatter.write_str("MACsec encrypted"),
            Self::TooDeep => write!(formatter, "more than {LAYERS_MAX} encapsulations"),
        }
    }
}

/// The name of an IP protocol that captures at an edge show (IANA protocol numbers).
const fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "ICMP",
        2 => "IGMP",
        6 => "TCP without ports",
        17 => "UDP without ports",
        46 => "RSVP",
        47 => "GRE without IP",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        59 => "IPv6 without a next header",
        88 => "EIGRP",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        115 => "L2TPv3 without IP",
        132 => "SCTP",
        136 => "UDP-Lite",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f50_at_most_four_layers_are_held_and_shown_outermost_first() {
        let stack = [Layer::QinQ, Layer::Pppoe, Layer::GtpU, Layer::SixInFour];
        let layers = stack.iter().try_fold(Layers::default(), |layers, layer| layers.with(*layer)).unwrap();
        assert_eq!(layers.to_string(), "qinq/pppoe/gtp-u/6in4");
        assert_eq!(layers.with(Layer::Gre), None);
        assert_eq!(layers.tunnels().to_string(), "gtp-u/6in4");
        assert!(Layers::default().is_empty() && !layers.is_empty());
    }
}
