//! What the DNS plane counts. No name, address or subscriber is among it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Response codes with a label of their own (RFC 1035 §4.1.1, RFC 2136 §2.2); others are "other".
const RCODES: [&str; 6] = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused"];
/// Label of the other codes.
const OTHER: &str = "other";

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
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
pub(super) enum Transport {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
    /// A connection over TLS.
    Tls,
}

/// What we answered ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steered {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// A service binding, or that there is none.
    Service,
}

/// Why a query was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
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
pub(super) enum Upstream {
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
pub(super) enum Dnstap {
    /// An answer that was read.
    Answer,
    /// A frame that tells of no answer.
    Ignored,
    /// A frame that breaks its format; its connection ends.
    Malformed,
    /// A connection over the limit.
    Connection,
}

/// A metric of the DNS plane.
#[derive(Clone, Copy)]
struct Metric {
    /// Its name.
    name: &'static str,
    /// Its label; empty: none.
    label: &'static str,
    /// The label's values.
    values: &'static [&'static str],
    /// What it says.
    help: &'static str,
}

/// The metrics; the counters stand in this order.
const METRICS: [Metric; 11] = [
    Metric {
        name: "zrgw_dns_queries_total",
        label: "transport",
        values: &["udp", "tcp", "tls"],
        help: "DNS queries by transport",
    },
    Metric {
        name: "zrgw_dns_answers_total",
        label: "rcode",
        values: &["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", OTHER],
        help: "DNS answers given by response code",
    },
    Metric {
        name: "zrgw_dns_steered_total",
        label: "kind",
        values: &["v4", "v6", "service"],
        help: "DNS questions answered by the gateway itself",
    },
    Metric {
        name: "zrgw_dns_refused_total",
        label: "cause",
        values: &[
            "client",
            "source",
            "response",
            "rate",
            "malformed",
            "operation",
            "transfer",
            "any",
            "in_flight",
            "connection",
        ],
        help: "DNS queries not passed on by cause",
    },
    Metric::plain("zrgw_dns_unparsed_total", "DNS answers relayed that could not be read"),
    Metric::plain("zrgw_dns_stale_total", "Old DNS answers given while the resolvers were silent"),
    Metric {
        name: "zrgw_dns_upstream_total",
        label: "event",
        values: &["sent", "timeout", "unreachable", "failure", "bad_reply", "late", "gave_up_port", "unsent"],
        help: "What became of queries to the resolvers",
    },
    Metric {
        name: "zrgw_dns_dnstap_total",
        label: "outcome",
        values: &["answer", "ignored", "malformed", "connection"],
        help: "What came over dnstap",
    },
    Metric::plain("zrgw_dns_lost_total", "DNS answers that their client could not be sent"),
    Metric::plain(
        "zrgw_dns_tunnel_suspected_total",
        "Times that a client's DNS questions below one domain looked like a tunnel",
    ),
    Metric::plain(
        "zrgw_dns_truncated_total",
        "DNS queries of sources over their limit that were told to come over TCP",
    ),
];

impl Metric {
    /// One without a label.
    const fn plain(name: &'static str, help: &'static str) -> Self {
        Self { name, label: "", values: &[""], help }
    }
}

/// Each metric, and what it says.
pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    METRICS.iter().map(|metric| (metric.name, metric.help))
}

/// Most values of one label.
const VALUES_MAX: usize = 10;

/// The counters.
#[derive(Default)]
pub(super) struct Counts {
    counters: [[AtomicU64; VALUES_MAX]; METRICS.len()],
}

impl Counts {
    /// Counts one event.
    pub(super) fn count(&self, event: Event) {
        self.count_many(event, 1);
    }

    /// Counts an event that happened so often.
    pub(super) fn count_many(&self, event: Event, times: usize) {
        let (metric, value) = place(event);
        if let Some(counter) = self.counters.get(metric).and_then(|values| values.get(value)) {
            counter.fetch_add(u64::try_from(times).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// How often an event was counted.
    #[cfg(test)]
    fn of(&self, event: Event) -> u64 {
        let (metric, value) = place(event);
        let counter = self.counters.get(metric).and_then(|values| values.get(value));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// All of them: metric, label (empty: none), value of the label, count.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64)> {
        self.counters.iter().zip(METRICS).flat_map(|(counters, Metric { name, label, values, .. })| {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            counters.iter().zip(values).map(move |(counter, value)| (name, label, *value, read(counter)))
        })
    }
}

/// Where an event's counter stands: its metric, its label's value.
fn place(event: Event) -> (usize, usize) {
    match event {
        Event::Query(transport) => (
            0,
            match transport {
                Transport::Udp => 0,
                Transport::Tcp => 1,
                Transport::Tls => 2,
            },
        ),
        Event::Answer(code) => (1, usize::from(code).min(RCODES.len())),
        Event::Steered(steered) => (
            2,
            match steered {
                Steered::V4 => 0,
                Steered::V6 => 1,
                Steered::Service => 2,
            },
        ),
        Event::Refused(refused) => (
            3,
            match refused {
                Refused::Client => 0,
                Refused::Source => 1,
                Refused::Response => 2,
                Refused::Rate => 3,
                Refused::Malformed => 4,
                Refused::Operation => 5,
                Refused::Transfer => 6,
                Refused::Any => 7,
                Refused::InFlight => 8,
                Refused::Connection => 9,
            },
        ),
        Event::Unparsed => (4, 0),
        Event::Stale => (5, 0),
        Event::Upstream(upstream) => (
            6,
            match upstream {
                Upstream::Sent => 0,
                Upstream::Timeout => 1,
                Upstream::Unreachable => 2,
                Upstream::Failure => 3,
                Upstream::BadReply => 4,
                Upstream::Late => 5,
                Upstream::GaveUpPort => 6,
                Upstream::Unsent => 7,
            },
        ),
        Event::Dnstap(dnstap) => (
            7,
            match dnstap {
                Dnstap::Answer => 0,
                Dnstap::Ignored => 1,
                Dnstap::Malformed => 2,
                Dnstap::Connection => 3,
            },
        ),
        Event::Lost => (8, 0),
        Event::TunnelSuspected => (9, 0),
        Event::Truncated => (10, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_counter_of_its_own() {
        let counts = Counts::default();
        let events = [
            (Event::Query(Transport::Tls), "zrgw_dns_queries_total", "tls"),
            (Event::Answer(3), "zrgw_dns_answers_total", "nxdomain"),
            (Event::Answer(16), "zrgw_dns_answers_total", "other"),
            (Event::Steered(Steered::Service), "zrgw_dns_steered_total", "service"),
            (Event::Refused(Refused::Connection), "zrgw_dns_refused_total", "connection"),
            (Event::Unparsed, "zrgw_dns_unparsed_total", ""),
            (Event::Stale, "zrgw_dns_stale_total", ""),
            (Event::Upstream(Upstream::GaveUpPort), "zrgw_dns_upstream_total", "gave_up_port"),
            (Event::Dnstap(Dnstap::Connection), "zrgw_dns_dnstap_total", "connection"),
            (Event::Lost, "zrgw_dns_lost_total", ""),
            (Event::TunnelSuspected, "zrgw_dns_tunnel_suspected_total", ""),
            (Event::Truncated, "zrgw_dns_truncated_total", ""),
        ];
        for (event, _, _) in events {
            counts.count(event);
            assert_eq!(counts.of(event), 1, "{event:?}");
        }
        for (_, metric, value) in events {
            let found = counts.all().find(|(name, _, label, _)| (*name, *label) == (metric, value));
            assert_eq!(found.map(|(_, _, _, count)| count), Some(1), "{metric} {value}");
        }
        assert_eq!(counts.all().map(|(_, _, _, count)| count).sum::<u64>(), 12);
        assert!(METRICS.iter().all(|metric| metric.values.len() <= VALUES_MAX));
        assert_eq!(METRICS[1].values[..RCODES.len()], RCODES);
    }
}
