//! The UDP flows of one worker that nobody has answered: their own room, and each subscriber's share of it.
//!
//! A source address is free to forge, and so many flows of anybody's. Until its server answers, a flow stands among
//! these: of the process's places they take at most half, each worker an even part of it, and never the last tenth; of one
//! subscriber's, a share apart from his answered flows. Where it is full, the oldest of whoever has most gives way, if that is
//! more than a page opens; else the oldest of all: among a thousand forged sources with one flow each, whoever opens a page has
//! most, and his flows are the newest.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::holders::Holders;
use super::table::Key;
use crate::flow::session::SubscriberKey;

/// Who carries the flows.
pub trait GivesUp {
    /// Ends a flow; its last counts are taken, and it settles itself. False where there is none of this key.
    fn give_up(&self, key: &Key) -> bool;
}

/// Where a flow is found.
type FlowHandle = (Weak<dyn GivesUp>, Key);

/// The UDP flows of one worker that nobody has answered.
pub struct Unanswered {
    /// The most that may hold an upstream socket.
    carried_max: usize,
    /// All of them.
    all: RefCell<Holders<SubscriberKey, FlowHandle>>,
    /// Those that hold an upstream socket.
    carried: RefCell<Holders<SubscriberKey, FlowHandle>>,
}

impl Unanswered {
    /// None yet; `carried_max` at most may hold an upstream socket.
    pub fn new(carried_max: usize) -> Self {
        Self { carried_max, all: RefCell::default(), carried: RefCell::default() }
    }

    /// One more, by its number among the worker's flows.
    pub(super) fn begin(
        &self,
        subscriber: &SubscriberKey,
        number: u64,
        relay: &Rc<impl GivesUp + 'static>,
        key: Key,
    ) {
        self.all.borrow_mut().insert(subscriber, number, place(relay, key));
    }

    /// This one holds an upstream socket.
    pub(super) fn carry(
        &self,
        subscriber: &SubscriberKey,
        number: u64,
        relay: &Rc<impl GivesUp + 'static>,
        key: Key,
    ) {
        self.carried.borrow_mut().insert(subscriber, number, place(relay, key));
    }

    /// One was answered, or has ended; whether it held an upstream socket.
    pub fn settle(&self, subscriber: &SubscriberKey, number: u64) -> bool {
        self.all.borrow_mut().remove(subscriber, number);
        self.carried.borrow_mut().remove(subscriber, number)
    }

    /// Whether all their places are taken, or those that are free are for answered flows.
    pub(super) fn is_full(&self, others_short: bool) -> bool {
        let carried = self.carried.borrow().len();
        carried >= self.carried_max || (others_short && carried > 0)
    }

    /// Gives up the oldest flow of this subscriber for another of his; false when this worker has none of his.
    pub fn give_up_of(&self, subscriber: &SubscriberKey) -> bool {
        let place = self.all.borrow().oldest_of(subscriber).cloned();
        give_up(place)
    }

    /// Gives up a flow with an upstream socket: the oldest of whoever hoards them, else the oldest of all.
    pub(super) fn give_up_one(&self) -> bool {
        let place = self.carried.borrow().dispensable().cloned();
        give_up(place)
    }
}

/// Ends the flow there; its last counts are taken, and it settles itself.
fn give_up(place: Option<FlowHandle>) -> bool {
    let Some((relay, key)) = place else { return false };
    relay.upgrade().is_some_and(|relay| relay.give_up(&key))
}

/// Where a relay has the flow of this key.
fn place(relay: &Rc<impl GivesUp + 'static>, key: Key) -> FlowHandle {
    let relay = Rc::downgrade(relay);
    (relay, key)
}
