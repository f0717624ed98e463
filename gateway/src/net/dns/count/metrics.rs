//! The metrics of the DNS plane: their names, labels and values, and what they say.

/// Response codes with a label of their own (RFC 1035 §4.1.1, RFC 2136 §2.2); others are "other".
pub(super) const RCODES: [&str; 6] = ["noerror", "formerr", "servfail", "nxdomain", "notimp", "refused"];
/// Label of the other codes.
const OTHER: &str = "other";

/// A metric of the DNS plane.
#[derive(Clone, Copy)]
pub(super) struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its label; empty: none.
    pub label: &'static str,
    /// The label's values.
    pub values: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// The metrics; the counters stand in this order.
pub(super) const METRICS: [Metric; 11] = [
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
pub(super) const VALUES_MAX: usize = 10;
