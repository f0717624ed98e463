//! What happens in the DNS plane and is counted, and where the counter of each stands.
//!
//! The places follow the order of the metrics and of their labels' values.

use super::metrics::RCODES;

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Event {
    /// A query came over this transport.
    Query(Transport),
    /// An answer was given with this code.
    Answer(u16),
    /// A question was answered by us.
    Steered(Steered),
    /// A query was not passed on.
    Refused(Refused),
    /// An answer of a server could not be read; it was passed on all the same.
    Unparsed,
    /// An old answer was given.
    Stale,
    /// Something about a server.
    Upstream(Upstream),
    /// Something about dnstap.
    Dnstap(Dnstap),
    /// An answer that its client could not be sent.
    Lost,
    /// A client's questions below one domain look like a tunnel.
    TunnelSuspected,
    /// A source over its limit was told to come over TCP.
    Truncated,
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Transport {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
    /// A connection over TLS.
    Tls,
}

/// What we answered ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Steered {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// A service binding, or that there is none.
    Service,
}

/// Why a query was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Refused {
    /// Its sender may not ask here; dropped.
    Client,
    /// Its source port or address is one that answers come from; dropped.
    Source,
    /// It is an answer; dropped.
    Response,
    /// Its sender asks too much; told to come over TCP, as long as that is not too much too.
    Rate,
    /// It breaks its format.
    Malformed,
    /// Another operation, or another version of EDNS.
    Operation,
    /// A zone transfer.
    Transfer,
    /// ANY: answered minimally (RFC 8482).
    Any,
    /// Too many queries are under way.
    InFlight,
    /// Too many connections.
    Connection,
}

/// What happened with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Upstream {
    /// A query was sent.
    Sent,
    /// No answer in time.
    Timeout,
    /// It cannot be reached, or ended the connection.
    Unreachable,
    /// It answered that it failed.
    Failure,
    /// A reply that answers no query.
    BadReply,
    /// A reply to a query that had its answer already.
    Late,
    /// A source port was given up for its bad replies; TCP is used for a while.
    GaveUpPort,
    /// A query could not be sent, and that is not its fault: too long for a datagram, or no room here.
    Unsent,
}

/// What came over dnstap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net::dns) enum Dnstap {
    /// An answer that was read.
    Answer,
    /// A frame that tells of no answer.
    Ignored,
    /// A frame that breaks its format; its connection ends.
    Malformed,
    /// A connection over the limit.
    Connection,
}

impl Event {
    /// Where its counter stands: its metric, its label's value.
    pub(super) fn place(self) -> (usize, usize) {
        match self {
            Self::Query(transport) => (0, transport.place()),
            Self::Answer(code) => (1, usize::from(code).min(RCODES.len())),
            Self::Steered(steered) => (2, steered.place()),
            Self::Refused(refused) => (3, refused.place()),
            Self::Unparsed => (4, 0),
            Self::Stale => (5, 0),
            Self::Upstream(upstream) => (6, upstream.place()),
            Self::Dnstap(dnstap) => (7, dnstap.place()),
            Self::Lost => (8, 0),
            Self::TunnelSuspected => (9, 0),
            Self::Truncated => (10, 0),
        }
    }
}

impl Transport {
    /// Its place among the values of its label.
    const fn place(self) -> usize {
        match self {
            Self::Udp => 0,
            Self::Tcp => 1,
            Self::Tls => 2,
        }
    }
}

impl Steered {
    /// Its place among the values of its label.
    const fn place(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
            Self::Service => 2,
        }
    }
}

impl Refused {
    /// Its place among the values of its label.
    const fn place(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Source => 1,
            Self::Response => 2,
            Self::Rate => 3,
            Self::Malformed => 4,
            Self::Operation => 5,
            Self::Transfer => 6,
            Self::Any => 7,
            Self::InFlight => 8,
            Self::Connection => 9,
        }
    }
}

impl Upstream {
    /// Its place among the values of its label.
    const fn place(self) -> usize {
        match self {
            Self::Sent => 0,
            Self::Timeout => 1,
            Self::Unreachable => 2,
            Self::Failure => 3,
            Self::BadReply => 4,
            Self::Late => 5,
            Self::GaveUpPort => 6,
            Self::Unsent => 7,
        }
    }
}

impl Dnstap {
    /// Its place among the values of its label.
    const fn place(self) -> usize {
        match self {
            Self::Answer => 0,
            Self::Ignored => 1,
            Self::Malformed => 2,
            Self::Connection => 3,
        }
    }
}
