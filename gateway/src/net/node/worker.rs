//! One worker: a thread's flows, their verdicts and their counts.
//!
//! All of it runs on one thread with a single-threaded event loop; nothing is shared with other workers but the
//! published policy, the sessions, the trusted answers (asked once a flow) and the two flow limits.

mod carrier;
mod count;
mod flows;
mod house;
mod idle;
mod open;
mod queues;
mod sessions;
mod shed;
mod verdict;
mod watched;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use allowlist::Transport;
use billing_export::{Account, Volume};
use jiff::Timestamp;
use tokio::sync::Notify;

use self::flows::Flows;
pub use self::open::OpenFlow;
use self::queues::Queues;
use super::event::{Event, Events};
use super::flow_record::Flow;
use super::report::{DropCause, FlowLabels, Refusal, UsageMap};
use super::shared::Shared;
use crate::flow::race::Failures;
use crate::flow::time::Monotonic;
use crate::net::kernel::claims::Claims;
use crate::net::tcp::splice::PipePool;
use crate::net::udp::unanswered::Unanswered;

/// One thread's flows.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its number among the workers.
    index: usize,
    /// The one read buffer; borrowed only between two awaits.
    pub buffer: RefCell<Box<[u8]>>,
    /// Pipes for bytes that move inside the kernel.
    pub pipes: Rc<PipePool>,
    /// Tells the accept loops to end.
    pub draining: Notify,
    /// Open flows, and ended ones whose look-up is on its way.
    flows: RefCell<Flows>,
    /// Flows that moved bytes since the last tick, or wait for a verdict or an acknowledgement.
    dirty: RefCell<Vec<Rc<Flow>>>,
    /// UDP flows that nobody has answered.
    pub unanswered: Unanswered,
    /// Addresses that failed when they were dialled.
    pub failures: RefCell<Failures>,
    /// Flows without a verdict in the order of their deadlines.
    undecided: RefCell<VecDeque<Weak<Flow>>>,
    /// What the sockets of flows hold.
    queues: RefCell<Queues>,
    /// Bytes by account since the last report.
    usage: RefCell<UsageMap>,
    /// Counts since the last report.
    counts: RefCell<Counts>,
    /// Number of the next flow.
    next_id: Cell<u64>,
    /// What is known of names, for a process that goes on with the flows of the kernel's slots.
    pub(in crate::net) claims: RefCell<Claims>,
    /// Flows that have not ended.
    open: Cell<u64>,
    /// Those of them that are UDP.
    udp_open: Cell<u64>,
    /// Whether the filter that looks at headers stands at the listeners, and how often that has changed.
    observes_headers: Cell<(bool, u64)>,
    /// Generation of the policy that open flows were judged by.
    judged_by: Cell<u64>,
    /// Number of the last change of sessions that open flows followed.
    sessions_seen: Cell<u64>,
    /// When it was last told that flows are ended for room.
    shed_told: Cell<Option<Monotonic>>,
    /// The next instant at which a date changes an answer.
    next_change: Cell<Option<Timestamp>>,
}

/// Counts for the report.
#[derive(Default)]
struct Counts {
    seen: Volume,
    stream_payload: Volume,
    flows: HashMap<FlowLabels, u64>,
    refusals: HashMap<Refusal, u64>,
    dropped: HashMap<DropCause, u64>,
    events: Events,
    /// Exempt accounts that reached a cap.
    capped: HashSet<Account>,
}

impl Worker {
    /// A worker without flows.
    pub fn new(shared: Arc<Shared>, index: usize) -> Rc<Self> {
        let policy = shared.policy.load();
        let generation = policy.generation;
        let sessions_seen = shared.sessions.number();
        let next_change = policy.next_change_after(shared.clock.now().wall);
        drop(policy);
        let buffer = vec![0; shared.limits.relay_buffer].into_boxed_slice();
        let pipes_max = shared.limits.pipes_per_worker_max;
        let unanswered = Unanswered::new(shared.limits.unanswered_per_worker_max);
        let failures = Failures::new(shared.limits.failed_timeout, shared.limits.failed_per_worker_max);
        Rc::new(Self {
            shared,
            index,
            buffer: RefCell::new(buffer),
            pipes: PipePool::new(pipes_max),
            draining: Notify::new(),
            flows: RefCell::default(),
            dirty: RefCell::default(),
            unanswered,
            failures: RefCell::new(failures),
            undecided: RefCell::default(),
            queues: RefCell::default(),
            usage: RefCell::default(),
            counts: RefCell::default(),
            next_id: Cell::new(index as u64),
            claims: RefCell::default(),
            open: Cell::new(0),
            udp_open: Cell::new(0),
            observes_headers: Cell::new((true, 0)),
            judged_by: Cell::new(generation),
            sessions_seen: Cell::new(sessions_seen),
            shed_told: Cell::default(),
            next_change: Cell::new(next_change),
        })
    }

    /// Counts a connection that is not carried.
    pub fn count_refusal(&self, refusal: Refusal) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.refusals.entry(refusal).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Counts datagrams that go no further.
    pub fn count_dropped(&self, cause: DropCause, datagrams: u64) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.dropped.entry(cause).or_insert(0);
        *count = count.saturating_add(datagrams);
    }

    /// Counts something that happened.
    pub fn count_event(&self, event: Event) {
        self.counts.borrow_mut().events.add(event, 1);
    }

    /// Another process is about to put its own filter at the listeners, or it is gone and ours is to stand there again.
    pub fn observe_headers(&self, whether: bool) {
        let (_, changes) = self.observes_headers.get();
        self.observes_headers.set((whether, changes.wrapping_add(1)));
    }

    /// Whether our filter is to stand at the listeners, and how often that has changed.
    pub(in crate::net) fn observes_headers(&self) -> (bool, u64) {
        self.observes_headers.get()
    }

    /// Open flows.
    pub fn flows_open(&self) -> u64 {
        self.open.get()
    }

    /// Ends every TCP flow that was idle for at least `idle`; those of UDP are ended by their table.
    pub fn cut_idle(&self, idle: Duration) {
        let now = self.shared.clock.monotonic();
        for flow in self.flows.borrow().values().filter(|flow| flow.transport() == Transport::Tcp) {
            if now.since(flow.last_activity.get()) >= idle {
                flow.cut.ask();
            }
        }
    }
}
