//! The upstream side of a flow: its socket towards the origin, and what both directions know of it.
//!
//! A flow gets it when it is known where it goes (`reach`) and there is room for a socket (`connect`). What the origin sends comes
//! back by a task of its own (`down`).

mod connect;
mod down;
mod reach;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use super::connection_ids::Pulse;
use super::port::{Length, Manner, Port, Sent};
use super::table::Key;
use super::unanswered::GivesUp;
use super::{Continuation, Relay};
use crate::flow::mark::Mark;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::node::flow_record::Flow;
use crate::net::node::report::ProtocolLabel;
use crate::net::node::settings::Mode;
use crate::net::node::worker::Worker;
use crate::net::sys::batch::Train;
use crate::net::upstream::own_ends::DatagramEnd;
use crate::wire::quic::{ConnectionId, is_addressed_to};

/// What a datagram that validates a path has at least (RFC 9000 §8.2.1).
const PATH_BYTES_MIN: usize = 1_200;

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

impl GivesUp for Relay {
    fn give_up(&self, key: &Key) -> bool {
        self.remove(key)
    }
}
