//! The words of a rule.
//!
//! A rule speaks of a host (exact, subtree or one label below) or of an address prefix with protocol and ports, may be
//! bounded in time, and belongs to a service; a deny rule takes names away again.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

/// The service name under which deny rules are reported.
pub const DENY_SERVICE: &str = "deny";

/// Ports of a host rule that states none: web pages over TCP.
const WEB_TCP_PORTS: [u16; 2] = [80, 443];

/// Port of a host rule that states none: web pages over QUIC.
const WEB_UDP_PORT: u16 = 443;

/// The transport protocol of a flow or of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The word used in lists and reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

/// How far a host rule reaches. Ordered from the most specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The host itself.
    Exact,
    /// Names exactly one label below the host, as in a certificate's `*.host`; not the host itself.
    OneLabel,
    /// The host and everything below it.
    Subtree,
}

impl Scope {
    /// The word used in lists and reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Scope::Exact => "exact",
            Scope::OneLabel => "one-label",
            Scope::Subtree => "subtree",
        }
    }

    /// Whether a rule on a host reaches a name that stands `labels_below` labels below that host.
    #[must_use]
    pub const fn reaches(self, labels_below: usize) -> bool {
        match self {
            Scope::Exact => labels_below == 0,
            Scope::OneLabel => labels_below == 1,
            Scope::Subtree => true,
        }
    }
}

/// Where the knowledge of a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Named in public code, vendor pages or traffic.
    Seen,
    /// To be confirmed with the platform before billing on it.
    Guess,
}

impl Evidence {
    /// The word used in lists and reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Evidence::Seen => "seen",
            Evidence::Guess => "guess",
        }
    }
}

/// A range of ports, both ends included; never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// Lowest port.
    first: u16,
    /// Highest port.
    last: u16,
}

impl PortRange {
    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether the range has the port.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A text that is no port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRangeError;

impl FromStr for PortRange {
    type Err = PortRangeError;

    /// Reads `"N"` or `"A-B"` with 1 ≤ A ≤ B ≤ 65535, decimal digits only, no leading zero.
    fn from_str(text: &str) -> Result<PortRange, PortRangeError> {
        let port = |digits: &str| -> Result<u16, PortRangeError> {
            if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(PortRangeError);
            }
            digits.parse().map_err(|_| PortRangeError)
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(text)?, port(text)?),
        };
        if first > last {
            return Err(PortRangeError);
        }
        Ok(PortRange { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// The protocol and ports a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ports {
    /// A host rule that states nothing: tcp 80, tcp 443, udp 443.
    Web,
    /// Stated in the rule.
    Stated {
        /// The protocol.
        transport: Transport,
        /// The ports, in the order written; never empty.
        ranges: Box<[PortRange]>,
    },
}

impl Ports {
    /// Whether a flow of this protocol to this port is meant.
    #[must_use]
    pub fn fit(&self, transport: Transport, port: u16) -> bool {
        match self {
            Ports::Web => match transport {
                Transport::Tcp => WEB_TCP_PORTS.contains(&port),
                Transport::Udp => port == WEB_UDP_PORT,
            },
            Ports::Stated { transport: stated, ranges } => {
                *stated == transport && ranges.iter().any(|range| range.contains(port))
            }
        }
    }
}

/// When a rule is in force: from the first instant up to, not including, the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Window {
    /// First instant in force; none: since ever.
    pub from: Option<Timestamp>,
    /// First instant no longer in force; none: for ever.
    pub to: Option<Timestamp>,
}

impl Window {
    /// Whether the rule is in force at that instant; without an instant, dates are not looked at.
    #[must_use]
    pub fn contains(&self, at: Option<Timestamp>) -> bool {
        let Some(at) = at else { return true };
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }
}
