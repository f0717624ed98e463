//! A flow's way to its origin: name resolved, upstream socket connected, datagrams passed both ways.

mod down;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use self::down::down;
use super::connection_ids::Pulse;
use super::held::Waiting;
use super::port::{Length, Manner, Port, Sent};
use super::table::{Ends, Key};
use super::unanswered::GivesUp;
use super::{Continuation, Relay, Stage};
use crate::flow::decide::Vouched;
use crate::flow::mark::Mark;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::lookup::{LookupError, Whereabouts};
use crate::net::node::event::Event;
use crate::net::node::flow_record::Flow;
use crate::net::node::report::{DropCause, ProtocolLabel, Refusal};
use crate::net::node::settings::Mode;
use crate::net::node::worker::Worker;
use crate::net::sys::batch::Train;
use crate::net::sys::socket;
use crate::net::upstream::dial::{ADDRESSES_MAX, is_about_ports};
use crate::net::upstream::own_ends::DatagramEnd;
use crate::wire::quic::{ConnectionId, is_addressed_to};

/// Addresses of one name that are tried; the rest would only lengthen a failure.
const ADDRESSES_TRIED_MAX: usize = 4;
/// What a datagram that validates a path has at least (RFC 9000 §8.2.1).
const PATH_BYTES_MIN: usize = 1_200;
/// How long no upstream socket is tried after descriptors ran out.
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// Ids that a server may use on one flow and that are learnt: a Retry's, the handshake's, and room for repeats.
const IDS_PER_FLOW_MAX: usize = 4;

/// The upstream side of a flow.
pub(super) struct Carried {
    up: Rc<Upstream>,
    /// The task that passes on what the origin sends.
    task: AbortHandle,
    /// Room for the socket.
    _room: OwnedSemaphorePermit,
    /// Room among those without a name, while it has none.
    undecided: Option<OwnedSemaphorePermit>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What both directions of a carried flow know.
pub(super) struct Upstream {
    /// Connected to the origin.
    pub(super) port: Port,
    /// Where it leaves from, by which it is known if it comes back; none where that is the subscriber's address.
    _own_end: Option<DatagramEnd>,
    /// The origin's address.
    pub(super) target: SocketAddr,
    /// Whose flow it is, for the ids of its server.
    subscriber: SubscriberKey,
    /// Where the subscriber's datagrams are going.
    destination: SocketAddr,
    /// When it last moved, and whether the subscriber has answered the server.
    pulse: Pulse,
    /// The server's ids learnt on it.
    ids: RefCell<Vec<ConnectionId>>,
    /// The connection that goes on here, while its name holds, if it had one.
    continues: RefCell<Option<Continuation>>,
    /// While nothing shows that the server knows the connection: the longest datagram that it was sent.
    blind: Cell<Option<usize>>,
    /// When its sender was last told that a datagram is too long.
    pub(super) told: Cell<Option<Monotonic>>,
}

impl Upstream {
    /// Whether what the server sent shows that it takes part. One that does not know a connection may say so, with less than it
    /// was sent (RFC 9000 §10.3.3); one that does sends at least 1,200 bytes where a client migrated (§8.2.1).
    fn is_answer(&self, train: &Train<'_>) -> bool {
        let Some(longest) = self.blind.get() else { return true };
        let answers = train.longest() >= longest.min(PATH_BYTES_MIN);
        if answers {
            self.blind.set(None);
        }
        answers
    }
}

impl Carried {
    /// Sends the subscriber's datagrams to the origin.
    pub(super) fn send(
        &self,
        worker: &Rc<Worker>,
        flow: &Rc<Flow>,
        manner: Manner,
        train: &Train<'_>,
    ) -> Sent {
        let up = &self.up;
        // Before they go: what they show may be asked for as soon as the server has them.
        self.keep_known(worker, flow);
        if !up.ids.borrow().is_empty() {
            up.pulse.note_moved(flow.last_activity.get());
            if flow.is_contradicted() {
                // The name does not hold: nothing may be continued under it.
                worker.shared.connection_ids.forget(&up.subscriber, up.destination, &up.pulse);
                up.ids.borrow_mut().clear();
            } else if !up.pulse.is_proven() {
                self.note_proof(worker, flow, train);
            }
        }
        let length = if train.in_fragments { Length::Cut } else { manner.length };
        let towards_origin = Manner { mark: manner.mark.towards_origin(), length, ..manner };
        let sent = up.port.send(up.target, None, towards_origin, train);
        if let Some(cause) = sent.cause {
            worker.count_dropped(cause, sent.lost);
        }
        if let Some(longest) = up.blind.get() {
            up.blind.set(Some(longest.max(train.longest())));
        }
        sent
    }

    /// Where a connection goes on here, the ids by which it was known stay so while it moves; not behind another name.
    fn keep_known(&self, worker: &Rc<Worker>, flow: &Rc<Flow>) {
        let up = &self.up;
        let mut continues = up.continues.borrow_mut();
        let Some(known) = &*continues else { return };
        if !known.is_blind && flow.is_contradicted() {
            worker.shared.connection_ids.forget(&up.subscriber, up.destination, &known.pulse);
            *continues = None;
        } else if up.blind.get().is_none() {
            known.pulse.note_moved(flow.last_activity.get());
        }
    }

    /// Notes that the flow has come to something, once the subscriber uses an id that the server chose.
    fn note_proof(&self, worker: &Rc<Worker>, flow: &Rc<Flow>, train: &Train<'_>) {
        let ids = self.up.ids.borrow();
        let answers = |datagram| ids.iter().any(|id| is_addressed_to(datagram, id));
        if !train.datagrams().any(answers) {
            return;
        }
        self.up.pulse.prove();
        let engine = &flow.state.borrow().engine;
        if let Some(name) = engine.claim().identity().and_then(|identity| identity.name.as_ref()) {
            worker.shared.lookups.note_use(name, &self.up.subscriber);
        }
    }

    /// The way to the origin.
    pub(super) fn up(&self) -> &Upstream {
        &self.up
    }

    /// Gives back the room among flows without a name; whether it had been taken.
    pub(super) fn leave_the_undecided(&mut self) -> bool {
        self.undecided.take().is_some()
    }
}

impl Relay {
    /// Takes a waiting flow as far as is possible.
    pub(super) fn advance(self: &Rc<Self>, key: &Key) {
        let (identified, continues, flow) = {
            let mut table = self.table.borrow_mut();
            let Some(entry) = table.get_mut(key) else { return };
            match &entry.stage {
                Stage::Waiting => {}
                Stage::Reaching | Stage::Carried(_) | Stage::Refused => return,
            }
            (entry.is_identified(), entry.continues.clone(), Rc::clone(entry.flow()))
        };
        match (&self.mode, key.ends) {
            (_, Ends::Proxied { destination, .. } | Ends::Transparent { destination }) => {
                match self.worker.shared.dial.target(destination) {
                    // Judged by where it was going, whoever vouches for that.
                    Some(target) => self.carry(key, &[target], identified, |_| Vouched::No),
                    None => self.refuse(key, Refusal::Destination),
                }
            }
            (Mode::Steered { .. }, Ends::Steered { .. }) if identified => {
                self.reach(key, &flow, continues);
            }
            (_, Ends::Steered { .. }) => {}
        }
    }

    /// Finds out where a steered flow goes.
    fn reach(self: &Rc<Self>, key: &Key, flow: &Rc<Flow>, continues: Option<Continuation>) {
        let name = flow.name();
        let is_routed = |name: &DomainName| self.worker.shared.policy.load().routes(name);
        let name = match (name, continues) {
            (Some(name), None) if is_routed(&name) => name,
            // Without a name it goes where the subscriber's connection goes, and is charged.
            (name, Some(Continuation { target, vouched, .. })) if name.as_ref().is_none_or(is_routed) => {
                self.carry(key, &[target], true, |_| vouched);
                return;
            }
            (Some(_) | None, _) => return self.refuse(key, Refusal::NotRouted),
        };
        if let Some(entry) = self.table.borrow_mut().get_mut(key) {
            entry.stage = Stage::Reaching;
        }
        let (relay, key, flow) = (Rc::clone(self), *key, Rc::clone(flow));
        tokio::task::spawn_local(async move {
            let answer = relay.worker.shared.lookups.resolve(&name, || flow.asker()).await;
            relay.reached(&key, &flow, &name, answer);
        });
    }

    /// The look-up of a steered flow's name has ended.
    fn reached(
        self: &Rc<Self>,
        key: &Key,
        flow: &Rc<Flow>,
        name: &DomainName,
        answer: Result<Whereabouts, LookupError>,
    ) {
        {
            let mut table = self.table.borrow_mut();
            // It may have been given up for a newer one, and another flow may stand there.
            let Some(entry) = table.get_mut(key).filter(|entry| Rc::ptr_eq(entry.flow(), flow)) else {
                return;
            };
            match &entry.stage {
                Stage::Reaching => entry.stage = Stage::Waiting,
                Stage::Waiting | Stage::Carried(_) | Stage::Refused => return,
            }
        }
        let port = flow.service_port();
        let places = match answer {
            Ok(places) => places,
            Err(error) => {
                tracing::debug!(flow = flow.id, name = %name, %error, "listed name not resolved");
                return self.refuse(key, Refusal::Destination);
            }
        };
        let mut targets: Vec<SocketAddr> = places
            .addresses()
            .iter()
            .filter_map(|address| self.worker.shared.dial.target(SocketAddr::new(*address, port)))
            .take(ADDRESSES_MAX)
            .collect();
        // A datagram says nothing of whether it arrived: what TCP found of these addresses serves.
        self.worker.failures.borrow_mut().sort(&mut targets, self.worker.shared.clock.monotonic());
        targets.truncate(ADDRESSES_TRIED_MAX);
        if targets.is_empty() {
            self.refuse(key, Refusal::Destination);
        } else {
            self.carry(key, &targets, true, |address| places.vouched(address));
        }
    }

    /// Gives a waiting flow its upstream socket and sends what it held; it goes on waiting while there is no room. `vouched`
    /// says of the target that takes it whether a steered flow's name may be there.
    fn carry(
        self: &Rc<Self>,
        key: &Key,
        targets: &[SocketAddr],
        identified: bool,
        vouched: impl FnOnce(IpAddr) -> Vouched,
    ) {
        let shared = &self.worker.shared;
        if shared.clock.monotonic() < self.dial_again.get() {
            return;
        }
        let undecided = if identified {
            None
        } else {
            let Ok(permit) = Arc::clone(&shared.undecided_permits).try_acquire_owned() else { return };
            Some(permit)
        };
        let free = shared.flow_permits.available_permits();
        let unanswered = &self.worker.unanswered;
        if unanswered.is_full(shared.overload.is_reserved(free)) && unanswered.give_up_one() {
            shared.overload.count_given_up();
        }
        let Ok(room) = Arc::clone(&shared.flow_permits).try_acquire_owned() else { return };
        let (port, target) = match connect_first(&self.worker, targets, self.source(key)) {
            Ok(connected) => connected,
            Err(error) if is_about_descriptors(&error) => {
                self.worker.count_event(Event::AcceptError);
                self.dial_again.set(shared.clock.monotonic().plus(DIAL_PAUSE));
                return;
            }
            Err(_) => return self.refuse(key, Refusal::Connect),
        };
        let own = if self.source(key).is_none() { port.local_addr().ok() } else { None };
        let own_end = own.map(|local| shared.own_ends.note_datagrams(local));
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.get_mut(key) else { return };
        let flow = Rc::clone(entry.flow());
        flow.has_place.set(true);
        unanswered.carry(entry.open.subscriber(), flow.id, self, *key);
        shared.overload.take_reclaimable();
        let up = Rc::new(Upstream {
            port,
            _own_end: own_end,
            target,
            subscriber: entry.open.subscriber().clone(),
            destination: self.destination(key),
            pulse: Pulse::default(),
            ids: RefCell::default(),
            blind: Cell::new(entry.continues.as_ref().is_some_and(|flow| flow.is_blind).then_some(0)),
            continues: RefCell::new(entry.continues.take()),
            told: Cell::default(),
        });
        let down = down(Rc::clone(self), *key, Rc::clone(&flow), Rc::clone(&up));
        let task = tokio::task::spawn_local(down).abort_handle();
        let carried = Carried { up, task, _room: room, undecided };
        let held = entry.held.take();
        let mut refused = false;
        for Waiting { bytes, octet, in_fragments } in &held {
            let (peer, octet, in_fragments) = (key.peer, *octet, *in_fragments);
            let train = Train { peer, local: None, octet, in_fragments, bytes, stride: bytes.len() };
            let sent = carried.send(&self.worker, &flow, self.manner(&flow), &train);
            if sent.cause == Some(DropCause::TooLong) {
                self.too_long(key, &flow, &carried.up);
            }
            refused |= sent.refused;
        }
        entry.stage = Stage::Carried(carried);
        if identified {
            self.settle(&mut table, flow.id);
        }
        drop(table);
        match self.mode {
            Mode::Steered { .. } => {
                self.worker.release(&flow, vouched(target.ip()), Some(target.ip()));
            }
            Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => {}
        }
        if refused {
            self.remove(key);
        }
    }

    /// How the flow's datagrams go. Behind a balancer nothing is marked: its own packets go to the subscriber.
    pub(super) fn manner(&self, flow: &Flow) -> Manner {
        let engine = &flow.state.borrow().engine;
        let mark = match self.mode {
            Mode::Steered { .. } | Mode::Transparent { .. } => engine.mark(),
            Mode::ProxyProtocol { .. } => Mark::NONE,
        };
        let length = match (engine.claim().protocol(), engine.claim().identity()) {
            // A balancer's datagrams are not the subscriber's: nobody is there to be told.
            _ if matches!(self.mode, Mode::ProxyProtocol { .. }) => Length::Cut,
            (ProtocolLabel::Udp, Some(_)) => Length::Cut,
            // It may yet be QUIC.
            (ProtocolLabel::Udp, None)
            | (ProtocolLabel::Quic | ProtocolLabel::Tls | ProtocolLabel::Http | ProtocolLabel::Tcp, _) => {
                Length::Whole
            }
        };
        Manner { mark, length, apart: self.worker.shared.egress.is_dropping() }
    }

    /// Whose address an upstream socket has, and its mark: transparent flows keep the subscriber's.
    fn source(&self, key: &Key) -> Option<(SocketAddr, u32)> {
        match self.mode {
            Mode::Transparent { upstream_mark, .. } => Some((key.peer, upstream_mark)),
            Mode::Steered { .. } | Mode::ProxyProtocol { .. } => None,
        }
    }
}

/// A socket connected to the first target that takes one; of a subscriber whose port another socket of this machine has alone,
/// from any of his address's.
fn connect_first(
    worker: &Worker,
    targets: &[SocketAddr],
    source: Option<(SocketAddr, u32)>,
) -> io::Result<(Port, SocketAddr)> {
    let mut outcome = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets {
        let connected = match source {
            Some((source, mark)) => match socket::connect_datagrams_from(*target, source, mark) {
                Err(error) if is_about_ports(&error) => {
                    worker.count_event(Event::PortChanged);
                    socket::connect_datagrams_from(*target, SocketAddr::new(source.ip(), 0), mark)
                }
                outcome => outcome,
            },
            None => socket::connect_datagrams(*target),
        };
        match connected.and_then(Port::new) {
            Ok(port) => return Ok((port, *target)),
            Err(error) if is_about_descriptors(&error) => return Err(error),
            Err(error) => outcome = error,
        }
    }
    Err(outcome)
}

/// Whether the system is out of something that comes back: descriptors, memory, local ports.
fn is_about_descriptors(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN)
    )
}

impl GivesUp for Relay {
    fn give_up(&self, key: &Key) -> bool {
        self.remove(key)
    }
}
