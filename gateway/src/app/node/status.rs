//! What the node says of itself: readiness, status, metrics.
//!
//! Every figure is written by whoever counts it and read here; no subscriber, name or address is among them.

mod count;
mod page;
mod readings;
mod whose;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allowlist::{Matcher, Validity};
use billing_export::{Account, SinkStanding, Usage};
use jiff::Timestamp;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::reload::outcome::Reloaded;
use crate::flow::belief::Step;
use crate::flow::session::Sessions;
use crate::net::dns::Plane;
use crate::net::edge::Edge;
use crate::net::kernel::watch::Figures;
use crate::net::lookup::{LookupCounts, Lookups};
use crate::net::node::policy::{Policy, PolicyCell};
use crate::net::node::report::Report;
use crate::net::radius::Accounting;
use crate::net::sys::attention::Attention;
use crate::net::sys::clock::wall;
use crate::net::sys::egress::Egress;
use crate::net::sys::overload::Overload;

/// Seconds without saved counts after which the node says it is not ready.
const UNSAVED_SECONDS_TOLD: i64 = 30;

/// The node's state as others may see it.
pub struct Status {
    /// Where metrics are counted; each node of a process has its own.
    recorder: PrometheusRecorder,
    /// Renders them.
    handle: PrometheusHandle,
    /// The policy in force.
    policy: Arc<PolicyCell>,
    /// Who has which addresses.
    sessions: Arc<Sessions>,
    /// Trusted answers and look-ups.
    lookups: Arc<Lookups>,
    /// What is written from elsewhere.
    facts: Mutex<Facts>,
    /// Name of the node.
    node_id: String,
    /// When the node started.
    started: Timestamp,
}

/// Facts that other parts tell.
#[derive(Default)]
struct Facts {
    /// What the last reading of list and subscribers came to.
    reload: Reloaded,
    /// Why counts cannot be saved or published; none when they can.
    export_fault: Option<String>,
    /// When a tick was last saved.
    last_saved: Option<Timestamp>,
    /// Epoch of the records.
    epoch: Option<u32>,
    /// Records sealed that the folder of usage files does not have.
    backlog_records: u64,
    /// Records sealed and in the state.
    outbox_records: u64,
    /// How each way out for records stands.
    sinks: Vec<SinkState>,
    /// Open flows, and those of them that are UDP, by worker.
    flows_open: Vec<(u64, u64)>,
    /// Conservation mismatches told so far.
    mismatches: u64,
    /// What the export task wants looked at.
    export_attention: Vec<Attention>,
    /// Whether the node accepts nothing more.
    draining: bool,
    /// Workers that did not answer at the last tick.
    silent_workers: usize,
    /// The DNS plane, where there is one.
    dns: Option<Arc<Plane>>,
    edge: Option<Arc<Edge>>,
    /// What the kernel counts, where it keeps the packets.
    kernel: Option<Arc<Figures>>,
    /// What hears RADIUS accounting, where there is some.
    accounting: Option<Arc<Accounting>>,
    /// What of the DNS plane cannot be used.
    dns_faults: Vec<String>,
    /// What is wrong with the certificate of DNS over TLS.
    dns_tls_fault: Option<String>,
    /// Whether memory or room runs short.
    overload: Option<Arc<Overload>>,
    /// The queues of interfaces.
    egress: Option<Arc<Egress>>,
}

impl Facts {
    /// Open flows of all workers, and those of them that are UDP.
    fn open(&self) -> (u64, u64) {
        self.flows_open.iter().fold((0, 0), |(all, udp), (open, open_udp)| {
            (u64::saturating_add(all, *open), u64::saturating_add(udp, *open_udp))
        })
    }
}

/// How a way out for records stands.
pub struct SinkState {
    /// Its id.
    pub id: String,
    /// What it has, and what waits for it; none while nobody can say.
    pub standing: Option<SinkStanding>,
    /// Tries that failed.
    pub errors: u64,
    /// When it last had all that was sealed.
    pub last_success: Option<Timestamp>,
    /// What of it wants attention.
    pub attention: Option<Attention>,
}

/// What the export task tells after each round.
pub struct ExportState {
    /// Why counts cannot be saved or published.
    pub fault: Option<String>,
    /// When a tick was last saved.
    pub last_saved: Option<Timestamp>,
    /// Epoch of the records.
    pub epoch: Option<u32>,
    /// Records sealed that the folder of usage files does not have; none while nobody can say.
    pub backlog_records: Option<u64>,
    /// Records sealed and in the state; none while the ledger is read again.
    pub outbox_records: Option<u64>,
    /// How each way out for records stands.
    pub sinks: Vec<SinkState>,
    /// Files whose bytes were not conserved.
    pub mismatches: u64,
    /// Workers that did not answer.
    pub silent_workers: usize,
    /// What wants attention.
    pub attention: Vec<Attention>,
}

impl Status {
    /// A node that has counted nothing.
    pub fn new(
        node_id: &str,
        started: Timestamp,
        (policy, sessions): (&Arc<PolicyCell>, &Arc<Sessions>),
        lookups: Arc<Lookups>,
    ) -> Arc<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let status = Self {
            recorder,
            handle,
            policy: Arc::clone(policy),
            sessions: Arc::clone(sessions),
            lookups,
            facts: Mutex::default(),
            node_id: node_id.to_owned(),
            started,
        };
        metrics::with_local_recorder(&status.recorder, || {
            readings::describe();
            gauge!("zrgw_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            // A counter that is absent until its first event cannot be watched.
            counter!("zrgw_conservation_mismatch_total").absolute(0);
            counter!("zrgw_accept_errors_total").absolute(0);
            counter!("zrgw_mark_errors_total").absolute(0);
            counter!("zrgw_spliced_bytes_total").absolute(0);
            counter!("zrgw_exempt_shared_address_bytes_total").absolute(0);
            counter!("zrgw_allowance_reached_total").absolute(0);
            counter!("zrgw_source_ports_used_up_total").absolute(0);
            counter!("zrgw_source_port_changed_total").absolute(0);
            counter!("zrgw_flows_judged_again_total").absolute(0);
            counter!("zrgw_meter_mismatch_total").absolute(0);
            counter!("zrgw_kernel_pieces_lost_total").absolute(0);
            counter!("zrgw_kernel_slotless_packets_total").absolute(0);
            for direction in ["up", "down"] {
                counter!("zrgw_stream_payload_bytes_total", "direction" => direction).absolute(0);
            }
            counter!("zrgw_flow_panics_total").absolute(0);
            for outcome in Step::LABELS {
                counter!("zrgw_clock_steps_total", "outcome" => outcome).absolute(0);
            }
            counter!("zrgw_undecided_evicted_total").absolute(0);
        });
        Arc::new(status)
    }

    /// Tells what the last reading of list and subscribers came to.
    pub fn set_reload(&self, reload: Reloaded) {
        self.facts().reload = reload;
    }

    /// Tells that nothing more is accepted.
    pub fn set_draining(&self) {
        self.facts().draining = true;
    }

    /// Tells what is wrong with the certificate of DNS over TLS, as last read.
    pub fn set_dns_tls(&self, fault: Option<String>) {
        self.facts().dns_tls_fault = fault;
    }

    /// Tells of the keeper of the kernel's rules.
    pub fn set_edge(&self, edge: Arc<Edge>) {
        self.facts().edge = Some(edge);
    }

    /// Tells of what the kernel counts.
    pub fn set_kernel(&self, figures: Arc<Figures>) {
        self.facts().kernel = Some(figures);
    }

    /// Tells of what hears RADIUS accounting.
    pub fn set_accounting(&self, accounting: Arc<Accounting>) {
        self.facts().accounting = Some(accounting);
    }

    /// Tells of the DNS plane, and what of it cannot be used.
    pub fn set_dns(&self, plane: Arc<Plane>, faults: Vec<String>) {
        let mut facts = self.facts();
        facts.dns = Some(plane);
        facts.dns_faults = faults;
    }

    /// Tells of what says whether memory or room runs short, and of the queues of interfaces.
    pub fn set_overload(&self, overload: Arc<Overload>, egress: Arc<Egress>) {
        let mut facts = self.facts();
        facts.overload = Some(overload);
        facts.egress = Some(egress);
    }

    /// Counts one worker's report.
    pub fn count(&self, worker: usize, report: &Report) {
        metrics::with_local_recorder(&self.recorder, || count::report(report));
        let mut facts = self.facts();
        if facts.flows_open.len() <= worker {
            facts.flows_open.resize(worker.saturating_add(1), (0, 0));
        }
        if let Some(open) = facts.flows_open.get_mut(worker) {
            *open = (report.flows_open, report.udp_flows_open);
        }
    }

    /// Counts the exempt accounts that reached a cap in one tick of all workers.
    pub fn count_reached(&self, capped: &[Account]) {
        metrics::with_local_recorder(&self.recorder, || count::reached(capped));
    }

    /// Adds bytes that a draining process counted.
    pub fn count_usage(&self, usage: &[Usage]) {
        metrics::with_local_recorder(&self.recorder, || count::bytes(usage));
    }

    /// Tells how the export task stands.
    pub fn set_export(&self, state: ExportState) {
        let mut facts = self.facts();
        let new = state.mismatches.saturating_sub(facts.mismatches);
        facts.mismatches = facts.mismatches.max(state.mismatches);
        facts.export_fault = state.fault;
        facts.last_saved = state.last_saved.or(facts.last_saved);
        facts.epoch = state.epoch.or(facts.epoch);
        facts.backlog_records = state.backlog_records.unwrap_or(facts.backlog_records);
        facts.outbox_records = state.outbox_records.unwrap_or(facts.outbox_records);
        facts.sinks = state.sinks;
        facts.silent_workers = state.silent_workers;
        facts.export_attention = state.attention;
        drop(facts);
        metrics::with_local_recorder(&self.recorder, || {
            count::mismatches(new);
            counter!("zrgw_ticks_total").increment(1);
        });
    }

    /// Counts what was seen of the system's clock.
    pub fn count_clock_step(&self, step: Step) {
        metrics::with_local_recorder(&self.recorder, || {
            counter!("zrgw_clock_steps_total", "outcome" => step.label()).increment(1);
        });
    }

    /// Adds what the look-ups came to.
    pub fn count_lookups(&self, counts: LookupCounts) {
        metrics::with_local_recorder(&self.recorder, || {
            for (outcome, count) in [
                ("answered", counts.answered),
                ("empty", counts.empty),
                ("failed", counts.failed),
                ("refused", counts.refused),
                ("scheduled", counts.scheduled),
                ("scheduled_failed", counts.scheduled_failed),
            ] {
                counter!("zrgw_lookups_total", "outcome" => outcome).increment(count);
            }
        });
    }

    /// The facts; a panic elsewhere does not make them unusable.
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The accepted list that comes into force next, if one is still to come.
fn pending(policy: &Policy) -> Option<&Matcher> {
    let ahead = |list: &&Arc<Matcher>| list.validity(wall()) == Validity::NotYetInForce;
    policy.list.iter().chain(&policy.pending).find(ahead).map(|list| &**list)
}
