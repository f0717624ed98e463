//! What is asked: each probe of the audit with its name, address, size and the answer it must get. Values only.
//!
//! Each probe of a subscriber has a size of its own, a base doubled so and so often. Then every sum of sizes is of one set
//! of probes only, and the one exempt total in the records tells which of them were exempt (as MobileAtlas does it).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name on the list.
pub(super) const LISTED_NAME: &str = "listed.example";
/// A name that is not on the list.
pub(super) const OTHER_NAME: &str = "other.example";
/// Id of the service on the list.
pub(super) const SERVICE: &str = "listed";
/// Port of every site.
pub(super) const HTTPS: u16 = 443;
/// What the gateway marks exempt packets with (AF11, RFC 2597 §6), and the core goes by.
pub(super) const EXEMPT_DSCP: u8 = 10;
/// Bytes of a connection that the core passes on without a mark: room for the handshake, and far below every size.
pub(super) const UNMARKED_BYTES_MAX: u64 = 8 * 1024;
/// The smallest size. Far above what handshakes add, so that they change no sum into another.
const BASE_BYTES: u64 = 32 * 1024;
/// Exponent of the first QUIC probe.
const QUIC_FIRST: u32 = 0;
/// Exponent of the first TCP probe. One is left out between QUIC and TCP: the headers of QUIC weigh more than those of TLS,
/// and all QUIC probes together must stay below the least TCP probe.
const TCP_FIRST: u32 = 7;

/// A question of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audit {
    /// The listed name at its own address.
    Validate,
    /// The listed name at a foreign address: a forwarder that takes the name in vain.
    CheckSni,
    /// The listed address with another name.
    CheckIp,
    /// A subscriber without credit: the listed name at its own address is all that reaches him.
    ZeroBalance,
}

/// What carries a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// TLS over TCP.
    Tcp,
    /// HTTP/3 over QUIC.
    Quic,
}

/// The IP version of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where a site stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// The address that the operator's trusted answers give for the listed name.
    Listed,
    /// Another one.
    Foreign,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A subscriber who is served whatever it costs.
    Paying,
    /// One without credit: the core passes on to him what the gateway has marked as exempt, and nothing else.
    WithoutCredit,
}

/// What must come of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All its bytes are in the exempt records.
    Exempt,
    /// None of its bytes are.
    NotExempt,
    /// No more comes back than the core passes on of any connection.
    CutOff,
}

/// One connection with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// The question it belongs to.
    pub audit: Audit,
    /// Who asks.
    pub who: Who,
    /// What carries it.
    pub protocol: Protocol,
    /// The IP version.
    pub family: Family,
    /// The name in its hello and request.
    pub name: &'static str,
    /// Where it goes.
    pub place: Site,
    /// Bytes of the body it asks for.
    pub payload_bytes: u64,
    /// What must come of it.
    pub wanted: Wanted,
}

impl Audit {
    /// As it is called in reports; the names are MobileAtlas's.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::CheckSni => "CheckSni",
            Self::CheckIp => "CheckIp",
            Self::ZeroBalance => "zero-balance",
        }
    }
}

impl Protocol {
    /// As it is called in reports.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

impl Family {
    /// As it is called in reports.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl Who {
    /// Everyone.
    pub(super) const ALL: [Self; 2] = [Self::Paying, Self::WithoutCredit];

    /// The id in the subscriber table.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Paying => "paying",
            Self::WithoutCredit => "without-credit",
        }
    }

    /// The subscriber's address.
    pub(super) const fn address(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::Paying, Family::V4) => IpAddr::V4(Ipv4Addr::new(11, 1, 0, 2)),
            (Self::Paying, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2f00, 1, 0, 0, 0, 0, 0, 2)),
            (Self::WithoutCredit, Family::V4) => IpAddr::V4(Ipv4Addr::new(11, 1, 0, 3)),
            (Self::WithoutCredit, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2f00, 1, 0, 0, 0, 0, 0, 3)),
        }
    }
}

impl Site {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Listed, Self::Foreign];

    /// The site's address.
    pub(super) const fn address(self, family: Family) -> IpAddr {
        match (self, family) {
            (Self::Listed, Family::V4) => IpAddr::V4(Ipv4Addr::new(11, 2, 0, 10)),
            (Self::Foreign, Family::V4) => IpAddr::V4(Ipv4Addr::new(11, 2, 0, 20)),
            (Self::Listed, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2f00, 2, 0, 0, 0, 0, 0, 0x10)),
            (Self::Foreign, Family::V6) => IpAddr::V6(Ipv6Addr::new(0x2f00, 2, 0, 0, 0, 0, 0, 0x20)),
        }
    }
}

impl Wanted {
    /// As it is called in reports.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::NotExempt => "not exempt",
            Self::CutOff => "cut off",
        }
    }
}

/// Every question: who asks, for which name, where, and what must come of it.
const QUESTIONS: [(Audit, Who, &str, Site, Wanted); 6] = [
    (Audit::Validate, Who::Paying, LISTED_NAME, Site::Listed, Wanted::Exempt),
    (Audit::CheckSni, Who::Paying, LISTED_NAME, Site::Foreign, Wanted::NotExempt),
    (Audit::CheckIp, Who::Paying, OTHER_NAME, Site::Listed, Wanted::NotExempt),
    (Audit::ZeroBalance, Who::WithoutCredit, LISTED_NAME, Site::Listed, Wanted::Exempt),
    (Audit::ZeroBalance, Who::WithoutCredit, LISTED_NAME, Site::Foreign, Wanted::CutOff),
    (Audit::ZeroBalance, Who::WithoutCredit, OTHER_NAME, Site::Listed, Wanted::CutOff),
];

/// The probes over `protocols`, in the order in which they are made.
pub(super) fn probes(protocols: &[Protocol]) -> Vec<Probe> {
    let mut probes = Vec::new();
    for asking in Who::ALL {
        for (protocol, first) in [(Protocol::Quic, QUIC_FIRST), (Protocol::Tcp, TCP_FIRST)] {
            if !protocols.contains(&protocol) {
                continue;
            }
            let mut payload_bytes = BASE_BYTES << first;
            for (audit, who, name, place, wanted) in QUESTIONS {
                if who != asking {
                    continue;
                }
                for family in [Family::V4, Family::V6] {
                    probes.push(Probe { audit, who, protocol, family, name, place, payload_bytes, wanted });
                    payload_bytes = payload_bytes.saturating_mul(2);
                }
            }
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::address::is_public;
    use crate::flow::binding::Nat64;

    #[test]
    fn every_size_is_above_the_sum_of_those_below() {
        let probes = probes(&[Protocol::Tcp, Protocol::Quic]);
        for who in Who::ALL {
            let own = probes.iter().filter(|probe| probe.who == who);
            let mut sizes: Vec<u64> = own.map(|probe| probe.payload_bytes).collect();
            assert_eq!(sizes.len(), 12);
            sizes.sort_unstable();
            let mut sum = 0;
            for size in sizes {
                assert!(size > sum, "{size} is not above {sum}");
                sum += size;
            }
        }
    }

    #[test]
    fn the_gateway_may_dial_every_site() {
        for family in [Family::V4, Family::V6] {
            assert!(Site::ALL.iter().all(|place| is_public(place.address(family), &Nat64::default())));
            assert_ne!(Site::Listed.address(family), Site::Foreign.address(family));
        }
    }
}
