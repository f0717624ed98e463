//! Metrics without labels that are read when the page is asked for: each in one row, with what it says and where it is read.
//! Those of workers are in [`Event`], those of the DNS plane in `net/dns/count.rs`, those with labels in [`super::count`].

use jiff::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{Facts, count, pending};
use crate::flow::session::Sessions;
use crate::net::dns;
use crate::net::edge::Edge;
use crate::net::lookup::Lookups;
use crate::net::lookup::answers::AnswerFigures;
use crate::net::node::event::Event;
use crate::net::node::policy::{Exemption, Policy};
use crate::net::sys::overload::Overload;

/// What the rows read.
pub(super) struct View<'s> {
    pub(super) now: Timestamp,
    pub(super) is_ready: bool,
    pub(super) policy: &'s Policy,
    pub(super) sessions: &'s Sessions,
    pub(super) lookups: &'s Lookups,
    pub(super) answers: AnswerFigures,
    pub(super) facts: &'s Facts,
}

impl View<'_> {
    /// The edge, where there is one.
    fn edge(&self) -> Option<&Edge> {
        self.facts.edge.as_deref()
    }

    /// Whether memory or room runs short, once somebody has told.
    fn overload(&self) -> Option<&Overload> {
        self.facts.overload.as_deref()
    }
}

/// Whether a metric may fall.
enum Kind {
    Gauge,
    Counter,
}

/// A metric.
struct Metric {
    kind: Kind,
    name: &'static str,
    help: &'static str,
    /// Its value; none: it is not shown.
    read: fn(&View<'_>) -> Option<u64>,
}

/// A metric that may fall.
const fn gauge(name: &'static str, help: &'static str, read: fn(&View<'_>) -> Option<u64>) -> Metric {
    Metric { kind: Kind::Gauge, name, help, read }
}

/// A metric that only rises.
const fn counter(name: &'static str, help: &'static str, read: fn(&View<'_>) -> Option<u64>) -> Metric {
    Metric { kind: Kind::Counter, name, help, read }
}

/// The metrics.
const METRICS: [Metric; 39] = [
    gauge("zrgw_ready", "1 while traffic is carried and judged by a good list", |view| {
        Some(u64::from(view.is_ready))
    }),
    gauge("zrgw_list_serial", "Serial of the list in force; 0 without one", |view| {
        Some(view.policy.list.as_ref().map_or(0, |list| list.serial()))
    }),
    gauge(
        "zrgw_list_pending_serial",
        "Serial of the accepted list that comes into force next; 0 without one",
        |view| Some(pending(view.policy).map_or(0, |list| list.serial())),
    ),
    gauge("zrgw_list_age_seconds", "Time since the list in force was issued", |view| {
        Some(seconds(view.now.duration_since(view.policy.list.as_ref()?.issued()).as_secs()))
    }),
    gauge("zrgw_sessions", "Address prefixes with a subscriber", |view| Some(view.sessions.len() as u64)),
    gauge("zrgw_flows_open", "Flows open at the last tick", |view| Some(view.facts.open().0)),
    gauge(
        "zrgw_edge_silent",
        "Pairs of subscriber and destination that pass by since the destination did not answer",
        |view| Some(view.edge()?.silences().held()),
    ),
    counter("zrgw_edge_silent_total", "Connections that their destinations did not take", |view| {
        Some(view.edge()?.silences().failures())
    }),
    counter(
        "zrgw_edge_silent_full_total",
        "Those that found no room in the memory (edge.silent_max, edge.silent_per_subscriber_max)",
        |view| Some(view.edge()?.silences().full()),
    ),
    gauge("zrgw_edge_candidates", "Addresses whose flows the kernel leads here", |view| {
        Some(view.edge()?.candidates()?.held())
    }),
    counter(
        "zrgw_edge_candidates_full_total",
        "Times an address or prefix found no room among them (edge.candidates_max)",
        |view| Some(view.edge()?.candidates()?.full()),
    ),
    gauge("zrgw_kernel_slots_taken", "Slots of the kernel that a flow has (edge.slots_max)", |view| {
        Some(view.facts.kernel.as_ref()?.taken())
    }),
    counter(
        "zrgw_kernel_unseen_bytes_total",
        "Bytes that passed the subscribers' interfaces and that the kernel's programs did not see: an alarm",
        |view| Some(view.facts.kernel.as_ref()?.unseen()),
    ),
    counter(
        "zrgw_kernel_dropped_bytes_total",
        "Bytes to subscribers that this machine's queues dropped behind the kernel's programs: not counted as carried",
        |view| Some(view.facts.kernel.as_ref()?.dropped()),
    ),
    counter(
        "zrgw_kernel_dropped_packets_total",
        "Packets that these queues dropped, as far as the kernel told which",
        |view| Some(view.facts.kernel.as_ref()?.dropped_packets()),
    ),
    gauge("zrgw_export_backlog_records", "Records sealed and not yet published", |view| {
        Some(view.facts.backlog_records)
    }),
    gauge("zrgw_outbox_records", "Records sealed and in the state folder (export.release)", |view| {
        Some(view.facts.outbox_records)
    }),
    gauge("zrgw_export_last_success_timestamp_seconds", "When counts were last saved", |view| {
        Some(seconds(view.facts.last_saved?.as_second()))
    }),
    gauge("zrgw_allowance_counters", "Counters of allowances held (allowance.counters_max)", |view| {
        Some(view.policy.allowances.figures().counters)
    }),
    counter(
        "zrgw_allowance_full_total",
        "Verdicts that were overload because no counter was free. Remedy: allowance.counters_max",
        |view| Some(view.policy.allowances.figures().full),
    ),
    gauge("zrgw_trusted_answers", "Pairs of listed name and address that are vouched for", |view| {
        Some(view.answers.pairs)
    }),
    gauge(
        "zrgw_shared_addresses",
        "Addresses of listed names that count as shared with other sites for everybody",
        |view| Some(view.answers.shared_addresses),
    ),
    gauge("zrgw_dns_only_pairs", "Pairs of subscribers' own look-ups, for rules with dns_only", |view| {
        Some(view.answers.dns_only_pairs)
    }),
    gauge("zrgw_dns_only_subscribers", "Subscribers with such pairs", |view| {
        Some(view.answers.dns_only_subscribers)
    }),
    counter("zrgw_answers_private_total", "Answers not learnt: private or our own addresses", |view| {
        Some(view.answers.private)
    }),
    counter("zrgw_answers_no_room_total", "Answers not learnt: the maps are full", |view| {
        Some(view.answers.full)
    }),
    counter("zrgw_answers_displaced_total", "Names below rules displaced from the trusted answers", |view| {
        Some(view.answers.displaced)
    }),
    counter(
        "zrgw_ech_suspects_total",
        "Hellos whose outer name and ECH key do not belong together",
        |view| Some(view.answers.ech_suspects),
    ),
    gauge(
        "zrgw_lookups_failing",
        "1 while no resolver answers our own look-ups: unknown addresses are charged, an alarm",
        |view| Some(u64::from(view.lookups.is_failing())),
    ),
    gauge("zrgw_exemption_suspended", "1 while counts cannot be saved and nothing is exempt", |view| {
        Some(u64::from(view.policy.exemption == Exemption::Suspended))
    }),
    gauge("zrgw_dns_stale_answers", "Old DNS answers held", |view| {
        Some(view.facts.dns.as_ref()?.stale_answers() as u64)
    }),
    gauge("zrgw_dns_servers_down", "Resolvers that do not answer", |view| {
        Some(view.facts.dns.as_ref()?.servers_down().0 as u64)
    }),
    counter("zrgw_egress_dropped_packets_total", "Packets that our interfaces dropped, at most", |view| {
        Some(view.facts.egress.as_ref()?.dropped())
    }),
    gauge(
        "zrgw_overload_level",
        "0 enough memory; 1 timers shortened; 2 new flows not read, steered ones wait; 3 led past (limits.memory_max)",
        |view| Some(u64::from(view.overload()?.level().number())),
    ),
    counter(
        "zrgw_flows_shed_total",
        "Flows ended because there was hardly room for new ones: of whoever holds most, and of UDP that nobody answers",
        |view| Some(view.overload()?.shed_total()),
    ),
    gauge(
        "zrgw_socket_memory_bytes",
        "Memory that sockets of TCP flows hold in the kernel; it counts into limits.memory_max",
        |view| Some(view.overload()?.queued()),
    ),
    counter(
        "zrgw_stalled_ended_total",
        "Flows ended because their receivers took nothing and held too much (limits.socket_memory_per_subscriber_max)",
        |view| Some(view.overload()?.stalled_total()),
    ),
    counter(
        "zrgw_unanswered_given_up_total",
        "UDP flows that nobody had answered and that gave way to newer ones (limits.unanswered_per_subscriber_max, limits.flows_max)",
        |view| Some(view.overload()?.given_up_total()),
    ),
    counter(
        "zrgw_flows_over_limit_total",
        "Flows beyond what their subscribers may have, carried unread and charged as overload (limits.flows_per_subscriber_max)",
        |view| Some(view.overload()?.over_limit.total()),
    ),
];

/// Seconds; before the epoch, or of a list from the future, none.
fn seconds(seconds: i64) -> u64 {
    seconds.max(0).unsigned_abs()
}

/// A gauge's value.
#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "gauges of the metrics library are f64; no bill is made of them"
)]
pub(super) fn reading(count: u64) -> f64 {
    count as f64
}

/// Sets every metric to what it is.
pub(super) fn show(view: &View<'_>) {
    for metric in &METRICS {
        let Some(value) = (metric.read)(view) else { continue };
        match metric.kind {
            Kind::Gauge => gauge!(metric.name).set(reading(value)),
            Kind::Counter => counter!(metric.name).absolute(value),
        }
    }
}

/// Says of each metric of the gateway what it counts and in which unit.
pub(super) fn describe() {
    let of_workers = Event::ALL.iter().map(|event| (event.metric(), event.help()));
    for (name, help) in of_workers.chain(dns::described()).chain(count::DESCRIBED) {
        describe_one(name, help, if name.ends_with("_total") { &Kind::Counter } else { &Kind::Gauge });
    }
    for metric in &METRICS {
        describe_one(metric.name, metric.help, &metric.kind);
    }
}

/// Says of a metric what it counts; its name ends with its unit.
fn describe_one(name: &'static str, help: &'static str, kind: &Kind) {
    let name_of_unit = name.trim_end_matches("_total");
    let unit = if name_of_unit.ends_with("_bytes") {
        Some(Unit::Bytes)
    } else if name_of_unit.ends_with("_seconds") {
        Some(Unit::Seconds)
    } else {
        None
    };
    match (kind, unit) {
        (Kind::Gauge, Some(unit)) => describe_gauge!(name, unit, help),
        (Kind::Gauge, None) => describe_gauge!(name, help),
        (Kind::Counter, Some(unit)) => describe_counter!(name, unit, help),
        (Kind::Counter, None) => describe_counter!(name, help),
    }
}
