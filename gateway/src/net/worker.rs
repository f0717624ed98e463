//! One worker: a thread's flows, their verdicts and their counts.
//!
//! All of it runs on one thread with a single-threaded event loop; nothing is shared with other workers but the
//! published policy, the trusted answers (asked once a flow) and the two flow limits.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use allowlist::Transport;
use billing_export::{Class, Flag, Flags, Volume};
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::flow_record::{Flow, Place, Ruling, State, SubscriberSide};
use super::policy::{Policy, Standing};
use super::report::{FlowLabels, ProtocolLabel, Refusal, Report, UsageMap};
use super::shared::{Shared, SubscriberKey};
use crate::flow::decide::{Case, Decision, Vouched, decide};
use crate::flow::identify::{Identifier, Identity, Progress};
use crate::flow::tally::Tally;
use crate::flow::verdict::{Outcome, Verdict};

/// How often deadlines, idle flows and dates are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// One thread's flows.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The one read buffer; borrowed only between two awaits.
    pub buffer: RefCell<Box<[u8]>>,
    /// Tells the accept loops to end.
    pub draining: Notify,
    /// Open flows, and ended ones whose look-up is on its way.
    flows: RefCell<HashMap<u64, Rc<Flow>>>,
    /// Flows that moved bytes since the last tick, or wait for a verdict or an acknowledgement.
    dirty: RefCell<Vec<Rc<Flow>>>,
    /// Flows without a verdict in the order of their deadlines.
    undecided: RefCell<VecDeque<Weak<Flow>>>,
    /// Bytes by account since the last report.
    usage: RefCell<UsageMap>,
    /// Counts since the last report.
    counts: RefCell<Counts>,
    /// Number of the next flow.
    next_id: Cell<u64>,
    /// Flows that have a socket.
    open: Cell<u64>,
    /// Generation of the policy that open flows were judged by.
    judged_by: Cell<u64>,
    /// The next instant at which a date changes an answer.
    next_change: Cell<Option<Timestamp>>,
}

/// Counts for the report.
#[derive(Default)]
struct Counts {
    seen: Volume,
    flows: HashMap<FlowLabels, u64>,
    refusals: HashMap<Refusal, u64>,
    panics: u64,
    accept_errors: u64,
}

impl Worker {
    /// A worker without flows.
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let policy = shared.policy.load();
        let generation = policy.generation;
        let next_change = policy.next_change_after(shared.clock.now().wall);
        drop(policy);
        let buffer = vec![0; shared.limits.relay_buffer].into_boxed_slice();
        Rc::new(Self {
            shared,
            buffer: RefCell::new(buffer),
            draining: Notify::new(),
            flows: RefCell::default(),
            dirty: RefCell::default(),
            undecided: RefCell::default(),
            usage: RefCell::default(),
            counts: RefCell::default(),
            next_id: Cell::new(0),
            open: Cell::new(0),
            judged_by: Cell::new(generation),
            next_change: Cell::new(next_change),
        })
    }

    /// Begins a flow; none when its subscriber has too many.
    pub fn open_flow(
        self: &Rc<Self>,
        source: IpAddr,
        place: Place,
        socket: Rc<TcpStream>,
    ) -> Option<OpenFlow> {
        let source = source.to_canonical();
        let policy = self.shared.policy.load();
        let standing = Standing::at_start(policy.subscribers.find(source));
        let key = match &standing {
            Standing::Known(session) => SubscriberKey::Session(session.clone()),
            Standing::Unknown | Standing::Ended => SubscriberKey::stranger(source),
        };
        if !self.shared.enter(&key) {
            self.count_refusal(Refusal::FlowsPerSubscriber);
            return None;
        }
        let opened = self.shared.clock.monotonic();
        let dns_only = match place {
            Place::Original(destination) => {
                self.shared.answers.dns_only(&key, destination.ip()).map(Box::new)
            }
            Place::Steered { .. } => None,
        };
        let id = self.next_id.replace(self.next_id.get().wrapping_add(1));
        let (vouched, held) = match place {
            Place::Steered { .. } => (Vouched::No, true),
            Place::Original(_) => (Vouched::NotYet, false),
        };
        let flow = Rc::new(Flow {
            id,
            source,
            place,
            opened,
            last_activity: Cell::new(opened),
            cut: Notify::new(),
            state: RefCell::new(State {
                identifier: Some(Identifier::new(&self.shared.limits.identify)),
                identity: None,
                protocol: ProtocolLabel::Tcp,
                standing,
                vouched,
                dns_only,
                held,
                tally: Tally::default(),
                subscriber: Some(SubscriberSide::new(socket)),
                ruling: Ruling::Pending,
                dirty: false,
            }),
        });
        self.flows.borrow_mut().insert(id, Rc::clone(&flow));
        self.undecided.borrow_mut().push_back(Rc::downgrade(&flow));
        self.open.set(self.open.get().saturating_add(1));
        Some(OpenFlow { worker: Rc::clone(self), flow, key })
    }

    /// Counts a connection that is not carried.
    pub fn count_refusal(&self, refusal: Refusal) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.refusals.entry(refusal).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Counts an error of accept(2).
    pub fn count_accept_error(&self) {
        let mut counts = self.counts.borrow_mut();
        counts.accept_errors = counts.accept_errors.saturating_add(1);
    }

    /// Open flows.
    pub fn flows_open(&self) -> u64 {
        self.open.get()
    }

    /// Ends every flow that was idle for at least `idle`.
    pub fn cut_idle(&self, idle: Duration) {
        let now = self.shared.clock.monotonic();
        for flow in self.flows.borrow().values() {
            if now.since(flow.last_activity.get()) >= idle {
                flow.cut.notify_one();
            }
        }
    }

    /// Deadlines, idle flows, dates and new policies; runs until the worker's event loop ends.
    pub async fn keep_house(self: Rc<Self>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            tick.tick().await;
            self.expire_undecided();
            self.follow_policy();
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(10) {
                self.cut_idle(self.shared.limits.idle_timeout);
                self.dirty.borrow_mut().retain(|flow| !flow.is_settled());
                self.shared.suspend_if_unsaved();
            }
        }
    }

    /// Settles flows whose deadline for a verdict has passed.
    fn expire_undecided(self: &Rc<Self>) {
        let now = self.shared.clock.monotonic();
        loop {
            let flow = {
                let mut undecided = self.undecided.borrow_mut();
                match undecided.front().map(Weak::upgrade) {
                    None => return,
                    Some(Some(flow)) if now.since(flow.opened) < self.shared.limits.identify_deadline => {
                        return;
                    }
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

    /// The flow's time for a name is over: it is judged by what is known. The watch for a second hello goes on.
    pub fn deadline(self: &Rc<Self>, flow: &Rc<Flow>) {
        {
            let mut state = flow.state.borrow_mut();
            let Some(identifier) = &mut state.identifier else { return };
            let settled = identifier.deadline() == Progress::Settled;
            state.identity = state.identifier.as_ref().and_then(Identifier::identity).cloned();
            if settled {
                state.identifier = None;
            }
        }
        self.judge(flow);
    }

    /// Takes bytes the subscriber sent: counts them and shows them to the reader of names.
    pub fn received(self: &Rc<Self>, flow: &Rc<Flow>, bytes: &[u8]) {
        let count = bytes.len() as u64;
        {
            let mut counts = self.counts.borrow_mut();
            counts.seen.up = counts.seen.up.saturating_add(count);
        }
        flow.last_activity.set(self.shared.clock.monotonic());
        let judge = {
            let mut state = flow.state.borrow_mut();
            state.tally.add_up(count);
            observe(&mut state, bytes)
        };
        self.mark_dirty(flow);
        if judge {
            self.judge(flow);
        }
    }

    /// The subscriber sends nothing more: a name that is not complete will not be.
    pub fn subscriber_finished(self: &Rc<Self>, flow: &Rc<Flow>) {
        let judge = {
            let mut state = flow.state.borrow_mut();
            state.identifier.take().is_some_and(|mut identifier| {
                identifier.finish();
                state.identity = identifier.identity().cloned();
                true
            })
        };
        if judge {
            self.judge(flow);
        }
    }

    /// Counts bytes that the subscriber's socket took for sending; they are reported once they are acknowledged.
    pub fn written(&self, flow: &Rc<Flow>, bytes: usize) {
        flow.last_activity.set(self.shared.clock.monotonic());
        if let Some(subscriber) = &mut flow.state.borrow_mut().subscriber {
            subscriber.add_written(bytes as u64);
        }
        self.mark_dirty(flow);
    }

    /// Says whether the gateway dialled the name itself, and lets the verdict latch.
    pub fn release(self: &Rc<Self>, flow: &Rc<Flow>, vouched: Vouched) {
        let judge = {
            let mut state = flow.state.borrow_mut();
            state.vouched = vouched;
            state.held = false;
            state.identifier.is_none()
        };
        if judge {
            self.judge(flow);
        }
    }

    /// Puts the flow on the list that the next tick reads.
    fn mark_dirty(&self, flow: &Rc<Flow>) {
        let mut state = flow.state.borrow_mut();
        if !std::mem::replace(&mut state.dirty, true) {
            self.dirty.borrow_mut().push(Rc::clone(flow));
        }
    }

    /// Decides about a flow whose identity is known, or decides again after something changed.
    fn judge(self: &Rc<Self>, flow: &Rc<Flow>) {
        let policy = self.shared.policy.load();
        let decision = {
            let state = flow.state.borrow();
            if state.held || matches!(state.ruling, Ruling::LookingUp) {
                return;
            }
            let Some(identity) = &state.identity else { return };
            let vouched = self.vouched(flow, &state, identity);
            let case = Case {
                identity,
                transport: Transport::Tcp,
                address: flow.destination().map(|to| self.shared.answers.destination(to.ip())),
                port: flow.service_port(state.protocol),
                vouched,
                dns_only: state.dns_only.as_deref(),
                at: Some(self.shared.clock.now().wall),
            };
            decide(policy.list.as_deref(), &case)
        };
        match decision {
            Decision::Final(verdict) => self.latch(flow, &policy, verdict),
            Decision::LookUp(otherwise) => self.look_up(flow, &policy, otherwise),
        }
    }

    /// What is known about the flow's name and address together.
    fn vouched(&self, flow: &Flow, state: &State, identity: &Identity) -> Vouched {
        match (state.vouched, &identity.name, flow.destination()) {
            (Vouched::NotYet | Vouched::No, Some(name), Some(destination))
                if self.shared.answers.vouches(name, destination.ip()) =>
            {
                Vouched::Yes
            }
            (known, _, _) => known,
        }
    }

    /// Asks our own resolver whether the name may be at the address; the flow's bytes stay pending, its traffic untouched.
    fn look_up(self: &Rc<Self>, flow: &Rc<Flow>, policy: &Policy, otherwise: Verdict) {
        let name = flow.state.borrow().identity.as_ref().and_then(|identity| identity.name.clone());
        let (Some(name), Some(destination)) = (name, flow.destination()) else {
            self.latch(flow, policy, otherwise);
            return;
        };
        let subscriber = flow.subscriber_key();
        let Some(answer) = self.shared.lookups.verify(&subscriber, &name, destination.ip()) else {
            flow.state.borrow_mut().vouched = Vouched::No;
            self.latch(flow, policy, otherwise);
            return;
        };
        // A flow that was judged before (a list came into force) keeps its account until the answer is here.
        let first = matches!(flow.state.borrow().ruling, Ruling::Pending);
        if first {
            flow.state.borrow_mut().ruling = Ruling::LookingUp;
        }
        let worker = Rc::clone(self);
        let flow = Rc::clone(flow);
        tokio::task::spawn_local(async move {
            let found = answer.await;
            {
                let mut state = flow.state.borrow_mut();
                state.vouched = if found { Vouched::Yes } else { Vouched::No };
                if matches!(state.ruling, Ruling::LookingUp) {
                    state.ruling = Ruling::Pending;
                }
            }
            worker.judge(&flow);
            worker.forget_if_closed(&flow);
        });
    }

    /// Fixes where the flow's bytes are counted. What was already under another account stays there.
    fn latch(&self, flow: &Rc<Flow>, policy: &Policy, verdict: Verdict) {
        let verdict = policy.limit(verdict);
        let mut state = flow.state.borrow_mut();
        let account = policy.account(&state.standing, &verdict);
        let flags = match (flow.place, account.entry.class()) {
            (Place::Steered { .. }, Class::Charged | Class::Unattributed) => {
                Flags::NONE.with(Flag::FreeInCore)
            }
            (Place::Steered { .. }, Class::Exempt) | (Place::Original(_), _) => Flags::default(),
        };
        match &state.ruling {
            Ruling::Latched { account: old, .. } if *old == account => return,
            Ruling::Latched { .. } => self.count_carried(&mut state),
            Ruling::Pending | Ruling::LookingUp => {
                let labels = FlowLabels {
                    protocol: state.protocol,
                    class: account.entry.class(),
                    reason: account.entry.reason(),
                };
                let mut counts = self.counts.borrow_mut();
                let count = counts.flows.entry(labels).or_insert(0);
                *count = count.saturating_add(1);
            }
        }
        log_verdict(flow, &state, &verdict);
        state.ruling = Ruling::Latched { account, flags };
        drop(state);
        self.mark_dirty(flow);
    }

    /// Reads the flow's meter and counts what is not reported under its present account; pending bytes stay with the flow.
    fn count_carried(&self, state: &mut State) {
        let delivered = state.read_meter();
        {
            let mut counts = self.counts.borrow_mut();
            counts.seen.down = counts.seen.down.saturating_add(delivered);
        }
        if let Ruling::Latched { account, flags } = &state.ruling {
            let (account, flags) = (account.clone(), *flags);
            let volume = state.tally.take();
            self.usage.borrow_mut().add(&account, flags, volume, self.shared.accounts_max);
        }
    }

    /// Judges every open flow again when list, subscribers or dates changed (traps T32, B24).
    fn follow_policy(self: &Rc<Self>) {
        let now = self.shared.clock.now().wall;
        let policy = self.shared.policy.load();
        let renewed = policy.generation != self.judged_by.get();
        let dated = self.next_change.get().is_some_and(|change| now >= change);
        if !renewed && !dated {
            return;
        }
        self.judged_by.set(policy.generation);
        self.next_change.set(policy.next_change_after(now));
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        for flow in flows {
            let judged = {
                let mut state = flow.state.borrow_mut();
                if renewed {
                    state.standing = state.standing.after_change(policy.subscribers.find(flow.source));
                    if state.vouched == Vouched::No && matches!(flow.place, Place::Original(_)) {
                        state.vouched = Vouched::NotYet;
                    }
                }
                matches!(state.ruling, Ruling::Latched { .. })
            };
            if judged {
                self.judge(&flow);
            }
        }
    }

    /// Everything counted since the last report.
    pub fn report(self: &Rc<Self>) -> Report {
        let mut pending = Volume::ZERO;
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let mut still_dirty = Vec::new();
        for flow in dirty {
            let mut state = flow.state.borrow_mut();
            self.count_carried(&mut state);
            let undecided = !matches!(state.ruling, Ruling::Latched { .. });
            if undecided {
                pending = super::report::saturating_sum(pending, state.pending());
            }
            let waiting = state.subscriber.as_ref().is_some_and(SubscriberSide::is_waiting);
            state.dirty = undecided || waiting;
            if state.dirty {
                drop(state);
                still_dirty.push(flow);
            }
        }
        self.dirty.borrow_mut().append(&mut still_dirty);
        let counts = std::mem::take(&mut *self.counts.borrow_mut());
        Report {
            seen: counts.seen,
            pending_after: pending,
            usage: self.usage.borrow_mut().take(),
            flows: counts.flows.into_iter().collect(),
            refusals: counts.refusals.into_iter().collect(),
            flows_open: self.open.get(),
            panics: counts.panics,
            accept_errors: counts.accept_errors,
        }
    }

    /// Judges what is still open by what is known at the moment, for nobody will wait for more: the process ends.
    pub fn settle(self: &Rc<Self>) {
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        for flow in flows {
            {
                let mut state = flow.state.borrow_mut();
                state.held = false;
                if state.vouched == Vouched::NotYet {
                    state.vouched = Vouched::No;
                }
                if matches!(state.ruling, Ruling::LookingUp) {
                    state.ruling = Ruling::Pending;
                }
            }
            self.subscriber_finished(&flow);
            self.judge_if_pending(&flow);
            self.forget_if_closed(&flow);
        }
    }

    /// The flow's sockets are closing: the last reading, and the verdict on what is known.
    fn close(self: &Rc<Self>, flow: &Rc<Flow>) {
        {
            let mut state = flow.state.borrow_mut();
            self.count_carried(&mut state);
            state.subscriber = None;
            state.held = false;
        }
        self.mark_dirty(flow);
        self.subscriber_finished(flow);
        self.judge_if_pending(flow);
        // Counted at once, so that a flow does not outlive its sockets while nobody asks for reports.
        self.count_carried(&mut flow.state.borrow_mut());
        self.open.set(self.open.get().saturating_sub(1));
        self.forget_if_closed(flow);
    }

    /// Judges a flow that ended before its verdict latched (a name known, the watch for a second one still on).
    fn judge_if_pending(self: &Rc<Self>, flow: &Rc<Flow>) {
        let pending = matches!(flow.state.borrow().ruling, Ruling::Pending);
        if pending {
            self.judge(flow);
        }
    }

    /// Drops a flow that has ended and whose bytes have their account; the list of dirty flows still reports them.
    fn forget_if_closed(&self, flow: &Rc<Flow>) {
        let ended = {
            let mut state = flow.state.borrow_mut();
            let ended = state.subscriber.is_none() && matches!(state.ruling, Ruling::Latched { .. });
            if ended {
                self.count_carried(&mut state);
            }
            ended
        };
        if ended {
            self.flows.borrow_mut().remove(&flow.id);
        }
    }
}

/// Shows bytes to the reader of names; true when there is something new to judge.
fn observe(state: &mut State, bytes: &[u8]) -> bool {
    let Some(identifier) = &mut state.identifier else { return false };
    let progress = identifier.observe(bytes);
    state.protocol = identifier.protocol().into();
    match progress {
        Progress::Undecided => false,
        Progress::Identified => {
            if state.identity.is_none() {
                state.identity = identifier.identity().cloned();
            }
            false
        }
        Progress::Settled => {
            state.identity = identifier.identity().cloned();
            state.identifier = None;
            true
        }
    }
}

/// The decision in the log, at DEBUG: it names what a subscriber visits.
fn log_verdict(flow: &Flow, state: &State, verdict: &Verdict) {
    let name = state.identity.as_ref().and_then(|identity| identity.name.as_ref());
    match &verdict.outcome {
        Outcome::Exempt { basis, service } => {
            tracing::debug!(flow = flow.id, name = ?name, basis = basis.label(), service = %service, "exempt");
        }
        Outcome::Charged(reason) => {
            tracing::debug!(flow = flow.id, name = ?name, reason = reason.label(), rule = ?verdict.rule, "charged");
        }
    }
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
}

impl Drop for OpenFlow {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut counts = self.worker.counts.borrow_mut();
            counts.panics = counts.panics.saturating_add(1);
        }
        self.worker.close(&self.flow);
        self.worker.shared.leave(&self.key);
    }
}
