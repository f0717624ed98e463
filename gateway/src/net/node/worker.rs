//! One worker: a thread's flows, their verdicts and their counts.
//!
//! All of it runs on one thread with a single-threaded event loop; nothing is shared with other workers but the
//! published policy, the sessions, the trusted answers (asked once a flow) and the two flow limits.

mod carrier;
mod count;
mod flows;
mod idle;
mod queues;
mod sessions;
mod shed;
mod verdict;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use allowlist::Transport;
use billing_export::{Account, Reason, Volume};
use jiff::Timestamp;
use tokio::sync::Notify;

use self::flows::Flows;
use self::queues::Queues;
use super::event::{Event, Events};
use super::flow_record::{Cut, Flow, Place, State, SubscriberSide};
use super::report::{DropCause, FlowLabels, Refusal, UsageMap};
use super::shared::{Entrance, Shared};
use crate::flow::engine::{Claim, Engine, Observation, Start};
use crate::flow::race::Failures;
use crate::flow::session::{Standing, SubscriberKey, network};
use crate::flow::time::Monotonic;
use crate::net::sys::beats;
use crate::net::tcp::splice::PipePool;
use crate::net::udp::unanswered::Unanswered;

/// How often deadlines, idle flows and dates are looked at.
const HOUSEKEEPING: Duration = beats::INTERVAL;

/// Rounds of it between two sweeps of connection ids: a minute, as long as one is of use.
const ROUNDS_PER_SWEEP: u32 = 600;

/// From one flow's number to the next of the same worker; the least digits are the worker's, so that no two workers have one.
const IDS_STEP: u64 = 1_024;

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
            open: Cell::new(0),
            udp_open: Cell::new(0),
            observes_headers: Cell::new((true, 0)),
            judged_by: Cell::new(generation),
            sessions_seen: Cell::new(sessions_seen),
            shed_told: Cell::default(),
            next_change: Cell::new(next_change),
        })
    }

    /// Begins a flow. What is over its subscriber's limit is not read and is charged, but carried all the same
    /// (decision 28).
    pub fn open_flow(
        self: &Rc<Self>,
        source: IpAddr,
        place: Place,
        mut subscriber: SubscriberSide,
    ) -> OpenFlow {
        let source = source.to_canonical();
        subscriber.begin(self.shared.egress.queues());
        let standing = Standing::at_start(self.holding_now(source));
        let (v4, v6) = self.shared.limits.unknown_prefix;
        let network = network(source, v4, v6);
        let key = standing.key(network);
        let transport = subscriber.transport();
        let opened = self.shared.clock.monotonic();
        let is_over_limit = self.enter(&key, transport);
        if is_over_limit {
            self.shared.overload.over_limit.begin(opened);
        }
        let id = self.next_id.replace(self.next_id.get().wrapping_add(IDS_STEP));
        log_opened(id, source, &place, transport);
        let is_held = matches!(place, Place::Steered { .. });
        // Steered flows wait for their name: they do not begin while memory is too short to read it.
        let unread = !is_held && (is_over_limit || self.shared.overload.is_unread());
        let dns_only = match place {
            Place::Steered { .. } => None,
            Place::Original(destination) => self.shared.lookups.answers().dns_only(&key, destination.ip()),
        };
        let limits = &self.shared.limits;
        let claim = match transport {
            Transport::Tcp => Claim::of_stream(&limits.identify),
            Transport::Udp => Claim::of_datagrams(&limits.quic),
        };
        let claim = if unread { claim.unread(Reason::Overload) } else { claim };
        let start = Start { network, place, transport, is_over_limit, dns_only };
        let flow = Rc::new(Flow {
            id,
            source,
            opened,
            last_activity: Cell::new(opened),
            recent: Cell::default(),
            segments_seen: Cell::new(0),
            has_place: Cell::new(transport == Transport::Tcp),
            is_dirty: Cell::default(),
            cut: Cut::default(),
            state: RefCell::new(State {
                engine: Engine::new(start, standing, claim),
                subscriber: Some(subscriber),
                remainder: None,
                origin: Weak::new(),
            }),
        });
        self.flows.borrow_mut().insert(Rc::clone(&flow));
        self.open.set(self.open.get().saturating_add(1));
        match transport {
            Transport::Tcp => self.undecided.borrow_mut().push_back(Rc::downgrade(&flow)),
            // Their table keeps them in order and within its cap.
            Transport::Udp => self.udp_open.set(self.udp_open.get().saturating_add(1)),
        }
        if unread {
            self.observe(&flow, Observation::Unread);
        }
        let is_short = || self.shared.overload.surplus(self.shared.flows_in_use()) > 0;
        if is_over_limit && transport == Transport::Tcp && is_short() {
            // Where flows are ended for room, it would be the first: no other subscriber's place is for it.
            flow.cut.ask_for_room();
            self.shared.overload.count_shed(1);
        }
        OpenFlow { worker: Rc::clone(self), flow, key }
    }

    /// Takes one of the subscriber's places; whether it is over his limit. Where UDP that nobody answers has all that it may,
    /// his oldest such flow gives way: whoever forges his address must not keep him out. Where they all are other workers',
    /// this one has one more, and the next gives way to it.
    fn enter(&self, key: &SubscriberKey, transport: Transport) -> bool {
        let entrance = match self.shared.enter(key, transport) {
            Entrance::Crowded => {
                if self.unanswered.give_up_of(key) {
                    self.shared.overload.count_given_up();
                }
                self.shared.enter_crowded(key, transport)
            }
            entrance @ (Entrance::Taken | Entrance::OverLimit) => entrance,
        };
        match entrance {
            Entrance::OverLimit => true,
            Entrance::Taken | Entrance::Crowded => false,
        }
    }

    /// A UDP flow was answered, or has ended.
    fn settle_unanswered(&self, flow: &Flow, subscriber: &SubscriberKey) {
        if self.unanswered.settle(subscriber, flow.id) {
            self.shared.overload.give_back_reclaimable();
        }
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

    /// Deadlines, idle flows, dates, new policies and sessions; runs until the worker's event loop ends.
    pub async fn keep_house(self: Rc<Self>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            tick.tick().await;
            self.shared.beats.give(self.index, self.shared.clock.monotonic());
            if let Some(headers) = self.shared.headers.as_ref().filter(|_| self.index == 0) {
                headers.pass_time();
            }
            self.expire_undecided();
            self.follow_policy();
            self.follow_sessions();
            self.shed();
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(10) {
                self.end_idle();
                self.settle_ended();
                self.look_at_queues();
                self.shared.suspend_if_unsaved();
            }
            if rounds.is_multiple_of(ROUNDS_PER_SWEEP) {
                self.shared.connection_ids.sweep(self.shared.clock.monotonic());
            }
        }
    }

    /// Settles flows whose deadline for a verdict has passed.
    fn expire_undecided(self: &Rc<Self>) {
        let now = self.shared.clock.monotonic();
        let limit = self.shared.overload.shorten(self.shared.limits.identify_deadline);
        loop {
            let flow = {
                let mut undecided = self.undecided.borrow_mut();
                match undecided.front().map(Weak::upgrade) {
                    None => return,
                    Some(Some(flow)) if now.since(flow.opened) < limit => return,
                    Some(flow) => {
                        undecided.pop_front();
                        flow
                    }
                }
            };
            if let Some(flow) = flow {
                self.deadline(&flow);
            }
        }
    }

    /// The flow's sockets are closing: the last reading, and the verdict on what is known.
    fn close(self: &Rc<Self>, flow: &Rc<Flow>) {
        {
            let mut state = flow.state.borrow_mut();
            self.tell(flow, &mut state, Observation::Tick);
            state.close(self.shared.egress.queues());
            self.tell(flow, &mut state, Observation::Ended);
        }
        self.mark_dirty(flow);
        self.open.set(self.open.get().saturating_sub(1));
        if flow.transport() == Transport::Udp {
            self.udp_open.set(self.udp_open.get().saturating_sub(1));
        }
    }
}

/// A flow's first line in the log, at DEBUG: every other that speaks of it has its number alone.
fn log_opened(id: u64, client: IpAddr, place: &Place, transport: Transport) {
    let destination = match place {
        Place::Steered { .. } => None,
        Place::Original(destination) => Some(tracing::field::display(destination)),
    };
    tracing::debug!(flow = id, %client, destination, transport = transport.label(), "opened");
}

/// A flow while its task runs; when it is dropped, for whatever cause, the last counts are taken.
pub struct OpenFlow {
    worker: Rc<Worker>,
    flow: Rc<Flow>,
    key: SubscriberKey,
}

impl OpenFlow {
    /// The flow.
    pub fn flow(&self) -> &Rc<Flow> {
        &self.flow
    }

    /// The worker that carries it.
    pub const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Who it counts against.
    pub fn subscriber(&self) -> &SubscriberKey {
        &self.key
    }
}

impl Drop for OpenFlow {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.count_event(Event::Panic);
        }
        let (unanswered, is_over_limit) = {
            let engine = &self.flow.state.borrow().engine;
            (engine.is_unanswered(), engine.start().is_over_limit)
        };
        self.worker.close(&self.flow);
        if unanswered {
            self.worker.settle_unanswered(&self.flow, &self.key);
        }
        self.worker.shared.leave(&self.key, unanswered);
        if is_over_limit {
            self.worker.shared.overload.over_limit.end();
        }
    }
}
