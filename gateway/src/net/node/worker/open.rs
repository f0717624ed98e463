//! Flows that begin and end: a flow takes a place of its subscriber and gives it back when its task is over.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::{Rc, Weak};

use allowlist::Transport;
use billing_export::Reason;

use super::Worker;
use crate::flow::engine::{Claim, Engine, Observation, Start};
use crate::flow::session::{Introduction, Standing, SubscriberKey, network};
use crate::flow::time::Monotonic;
use crate::net::node::event::Event;
use crate::net::node::flow_record::{Cut, Destination, Flow, State, SubscriberSide};
use crate::net::node::shared::Entrance;

/// From one flow's number to the next of the same worker; the least digits are the worker's, so that no two workers have one.
const IDS_STEP: u64 = 1_024;

impl Worker {
    /// Begins a flow. What is over its subscriber's limit is not read and is charged, but carried all the same
    /// (decision 28).
    pub fn open_flow(
        self: &Rc<Self>,
        source: SocketAddr,
        place: Destination,
        subscriber: SubscriberSide,
    ) -> OpenFlow {
        self.open((source.ip(), Some(source.port())), place, subscriber, (Introduction::Nothing, None))
    }

    /// The same, where whoever hands the flow over may have said whose it is.
    pub fn open_introduced(
        self: &Rc<Self>,
        source: SocketAddr,
        place: Destination,
        subscriber: SubscriberSide,
        introduction: Introduction,
    ) -> OpenFlow {
        self.open((source.ip(), Some(source.port())), place, subscriber, (introduction, None))
    }

    /// The same; with a reason it is not read.
    pub(super) fn open(
        self: &Rc<Self>,
        (source, port): (IpAddr, Option<u16>),
        place: Destination,
        mut subscriber: SubscriberSide,
        (introduction, unread): (Introduction, Option<Reason>),
    ) -> OpenFlow {
        let source = source.to_canonical();
        subscriber.begin(self.shared.egress.queues());
        let standing = Standing::introduced(introduction, || self.holding_now(source, port));
        let (v4, v6) = self.shared.limits.unknown_prefix;
        let network = network(source, v4, v6);
        let key = standing.key(network);
        let transport = subscriber.transport();
        let opened = self.shared.clock.monotonic();
        // What we have not shaken hands for may be in anybody's name.
        let is_watched = subscriber.slot_mut().is_some();
        let waits_for_answer = transport == Transport::Udp || (is_watched && unread.is_none());
        let is_over_limit = self.enter(&key, waits_for_answer);
        if is_over_limit {
            self.shared.overload.over_limit.begin(opened);
        }
        let id = self.next_id.replace(self.next_id.get().wrapping_add(IDS_STEP));
        log_opened(id, source, &place, transport);
        let unread = unread.or_else(|| self.begins_unread(&place, is_over_limit).then_some(Reason::Overload));
        let dns_only = match place {
            Destination::Steered { .. } => None,
            Destination::Original(destination) => {
                self.shared.lookups.answers().dns_only(&key, destination.ip())
            }
        };
        let claim = self.claim(transport, unread);
        let start = Start { network, place, transport, waits_for_answer, is_over_limit, dns_only };
        let engine = Engine::new(start, standing, claim);
        let flow = Rc::new(record(id, (source, port), opened, engine, subscriber));
        self.add(&flow, is_watched);
        if unread.is_some() {
            self.observe(&flow, Observation::Unread);
        }
        if is_over_limit {
            self.give_way_if_short(&flow);
        }
        OpenFlow { worker: Rc::clone(self), flow, key }
    }

    /// Whether a flow begins unread, for it is over its subscriber's limit or memory is short.
    fn begins_unread(&self, place: &Destination, is_over_limit: bool) -> bool {
        let is_held = matches!(place, Destination::Steered { .. });
        // Steered flows wait for their name: they do not begin while memory is too short to read it.
        !is_held && (is_over_limit || self.shared.overload.is_unread())
    }

    /// What is known of the name of a flow that begins.
    fn claim(&self, transport: Transport, unread: Option<Reason>) -> Claim {
        let limits = &self.shared.limits;
        let claim = match transport {
            Transport::Tcp => Claim::of_stream(&limits.identify),
            Transport::Udp => Claim::of_datagrams(&limits.quic),
        };
        match unread {
            Some(reason) => claim.unread(reason),
            None => claim,
        }
    }

    /// Puts a flow that begins among the open ones.
    fn add(&self, flow: &Rc<Flow>, is_watched: bool) {
        self.flows.borrow_mut().insert(Rc::clone(flow));
        self.open.set(self.open.get().saturating_add(1));
        match flow.transport() {
            // Whoever watches it knows when its handshake is through.
            Transport::Tcp if is_watched => {}
            Transport::Tcp => self.undecided.borrow_mut().push_back(Rc::downgrade(flow)),
            // Their table keeps them in order and within its cap.
            Transport::Udp => self.udp_open.set(self.udp_open.get().saturating_add(1)),
        }
    }

    /// A flow over its subscriber's limit would be the first to go where flows are ended for room: no other subscriber's place is
    /// for it.
    fn give_way_if_short(&self, flow: &Flow) {
        let is_short = || self.shared.overload.surplus(self.shared.flows_in_use()) > 0;
        if flow.transport() == Transport::Tcp && is_short() {
            flow.cut.ask_for_room();
            self.shared.overload.count_shed(1);
        }
    }

    /// Takes one of the subscriber's places; whether it is over his limit. Where UDP that nobody answers has all that it may,
    /// his oldest such flow gives way: whoever forges his address must not keep him out. Where they all are other workers',
    /// this one has one more, and the next gives way to it.
    fn enter(&self, key: &SubscriberKey, waits_for_answer: bool) -> bool {
        let entrance = match self.shared.enter(key, waits_for_answer) {
            Entrance::Crowded => {
                if self.unanswered.give_up_of(key) {
                    self.shared.overload.count_given_up();
                }
                self.shared.enter_crowded(key, waits_for_answer)
            }
            entrance @ (Entrance::Taken | Entrance::OverLimit) => entrance,
        };
        match entrance {
            Entrance::OverLimit => true,
            Entrance::Taken | Entrance::Crowded => false,
        }
    }

    /// A UDP flow was answered, or has ended.
    pub(super) fn settle_unanswered(&self, flow: &Flow, subscriber: &SubscriberKey) {
        if self.unanswered.settle(subscriber, flow.id) {
            self.shared.overload.give_back_reclaimable();
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

/// The record of a flow that begins.
fn record(
    id: u64,
    (source, port): (IpAddr, Option<u16>),
    opened: Monotonic,
    engine: Engine,
    subscriber: SubscriberSide,
) -> Flow {
    let transport = subscriber.transport();
    Flow {
        id,
        source,
        port: port.and_then(NonZeroU16::new),
        opened,
        began: Cell::default(),
        last_activity: Cell::new(opened),
        recent: Cell::default(),
        segments_seen: Cell::new(0),
        has_place: Cell::new(transport == Transport::Tcp),
        is_dirty: Cell::default(),
        cut: Cut::default(),
        state: RefCell::new(State {
            engine,
            subscriber: Some(subscriber),
            remainder: None,
            origin: Weak::new(),
        }),
    }
}

/// A flow's first line in the log, at DEBUG: every other that speaks of it has its number alone.
fn log_opened(id: u64, client: IpAddr, place: &Destination, transport: Transport) {
    let destination = match place {
        Destination::Steered { .. } => None,
        Destination::Original(destination) => Some(tracing::field::display(destination)),
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
