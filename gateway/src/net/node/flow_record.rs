//! One open flow as a worker carries it: its sockets, and the engine that decides about it ([`crate::flow::engine`]).
//!
//! A flow belongs to one worker and is touched by that thread only.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Weak;
use std::task::{Context, Poll, Waker};

use allowlist::{DomainName, Transport};
use billing_export::Volume;

use super::meter::Remainder;
pub use super::meter::SubscriberSide;
pub use crate::flow::engine::Destination;
use crate::flow::engine::{Counter, Engine, ProtocolLabel};
use crate::flow::identify::Identity;
use crate::flow::room::Recent;
use crate::flow::sent::Queues;
use crate::flow::time::Monotonic;
use crate::net::lookup::Asker;
use crate::net::tcp::stream::TcpStream;

/// One flow.
pub struct Flow {
    /// Its key in the worker's table, and its number in the log: no other flow of the process has it.
    pub id: u64,
    /// The subscriber's address.
    pub source: IpAddr,
    /// His port, where the flow has one: behind a translator it says who he is.
    pub port: Option<NonZeroU16>,
    /// When it began here.
    pub opened: Monotonic,
    /// When it began in the kernel, in Unix seconds, where that counts its bytes and knows.
    pub began: Cell<Option<NonZeroU32>>,
    /// When a byte last moved.
    pub last_activity: Cell<Monotonic>,
    /// How many moved lately.
    pub recent: Cell<Recent>,
    /// TCP only: segments from the subscriber when half of the time was over that it may be idle; 0 before that.
    pub segments_seen: Cell<u32>,
    /// Whether it has one of the process's places: UDP flows wait for theirs.
    pub has_place: Cell<bool>,
    /// Whether it waits in the worker's list of flows to read at the next tick.
    pub is_dirty: Cell<bool>,
    /// Asks the flow's task to end it.
    pub cut: Cut,
    /// Everything that changes with the bytes.
    pub state: RefCell<State>,
}

/// Whether a flow is to end before its sides do; its task waits for that beside its sockets.
#[derive(Default)]
pub struct Cut {
    is_asked: Cell<bool>,
    is_for_room: Cell<bool>,
    waits: Cell<Option<Waker>>,
}

impl Cut {
    /// Asks the flow's task to end, at once or when it next waits.
    pub fn ask(&self) {
        self.is_asked.set(true);
        if let Some(task) = self.waits.take() {
            task.wake();
        }
    }

    /// The same, without a wait for what is on its way: others need what the flow holds.
    pub fn ask_for_room(&self) {
        self.is_for_room.set(true);
        self.ask();
    }

    /// Whether the flow is to end.
    pub fn is_asked(&self) -> bool {
        self.is_asked.get()
    }

    /// Whether it is to end because others need what it holds.
    pub fn is_for_room(&self) -> bool {
        self.is_for_room.get()
    }

    /// Ready once it was asked; else the task is woken when it is.
    pub fn poll_asked(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_asked.get() {
            return Poll::Ready(());
        }
        let known = self.waits.take().filter(|task| task.will_wake(context.waker()));
        self.waits.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }
}

/// What changes while a flow is open.
pub struct State {
    /// What is decided of it and why, and what it has carried.
    pub engine: Engine,
    /// The subscriber's socket and its meter; none when closed.
    pub subscriber: Option<SubscriberSide>,
    /// What it sent last, when its sockets are closed and the queues of interfaces have not let it go yet.
    pub remainder: Option<Box<Remainder>>,
    /// TCP only: the origin's socket while bytes are carried.
    pub origin: Weak<TcpStream>,
}

impl State {
    /// The sockets close: what they sent last is settled when the queues have let it go.
    pub fn close(&mut self, queues: Queues) {
        self.remainder = self.subscriber.take().and_then(|side| side.end(queues)).map(Box::new);
    }
}

/// What counts a flow's bytes: its sockets, or what they sent last; none when all of it is settled.
pub(in crate::net) fn counter_of<'a>(
    subscriber: &'a mut Option<SubscriberSide>,
    remainder: &'a mut Option<Box<Remainder>>,
) -> Option<&'a mut dyn Counter> {
    match (subscriber, remainder) {
        (Some(subscriber), _) => Some(subscriber.counter_mut()),
        (None, Some(remainder)) => Some(&mut **remainder),
        (None, None) => None,
    }
}

impl Flow {
    /// The subscriber's port.
    pub fn port(&self) -> Option<u16> {
        self.port.map(NonZeroU16::get)
    }

    /// Who a look-up for the flow counts for.
    pub fn asker(&self) -> Asker {
        let engine = &self.state.borrow().engine;
        Asker::new(engine.subscriber(), engine.start().transport)
    }

    /// TCP or UDP.
    pub fn transport(&self) -> Transport {
        self.state.borrow().engine.start().transport
    }

    /// Whether it began beyond what its subscriber may have.
    pub fn is_over_limit(&self) -> bool {
        self.state.borrow().engine.start().is_over_limit
    }

    /// Notes that `bytes` moved.
    pub fn note_moved(&self, bytes: u64, now: Monotonic) {
        self.last_activity.set(now);
        self.recent.set(self.recent.get().plus(bytes, now));
    }

    /// The port that rules are judged by.
    pub fn service_port(&self) -> u16 {
        self.state.borrow().engine.service_port()
    }

    /// What the first bytes looked like.
    pub fn protocol(&self) -> ProtocolLabel {
        self.state.borrow().engine.claim().protocol()
    }

    /// What it is called, as far as that is known.
    pub fn identity(&self) -> Option<Identity> {
        self.state.borrow().engine.claim().identity().cloned()
    }

    /// The name it goes by.
    pub fn name(&self) -> Option<DomainName> {
        self.state.borrow().engine.claim().identity().and_then(|identity| identity.name.clone())
    }

    /// Whether the name is known, or known not to be readable.
    pub fn is_identified(&self) -> bool {
        self.state.borrow().engine.claim().identity().is_some()
    }

    /// Whether what the client sent contradicts the flow's name, or it never had one.
    pub fn is_contradicted(&self) -> bool {
        let state = self.state.borrow();
        state.engine.claim().identity().is_some_and(|identity| identity.gave_up.is_some())
    }

    /// Whether the flow has ended and all its bytes have their account.
    pub fn is_settled(&self) -> bool {
        let state = self.state.borrow();
        state.subscriber.is_none()
            && state.remainder.is_none()
            && state.engine.is_decided()
            && state.engine.pending() == Volume::ZERO
    }

    /// Whether the subscriber's next bytes may still say something about the name.
    pub fn is_observed(&self) -> bool {
        self.state.borrow().engine.claim().is_observed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record may take of the 2.1 kB that an idle flow costs; the rest is its task and its table entry.
    const FLOW_BYTES_MAX: usize = 536;

    #[test]
    fn a_flows_record_stays_within_its_part_of_an_idle_flows_memory() {
        let bytes = size_of::<Flow>();
        assert!(bytes <= FLOW_BYTES_MAX, "{bytes} bytes");
    }
}
