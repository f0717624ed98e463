//! How many flows one worker's relays leave undecided between them: the worker's even share of what the process may.
//!
//! Each worker keeps to its own share, so that the process keeps to its cap without a word between workers, and a flood
//! that falls to one of them takes no flow's place on another. Over the share the oldest goes, whichever relay has it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::Relay;

/// The undecided flows of one worker.
pub struct Undecided {
    /// The most there may be.
    max: usize,
    count: Cell<usize>,
    relays: RefCell<Vec<Weak<Relay>>>,
}

impl Undecided {
    /// None yet, `max` at most.
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max, count: Cell::new(0), relays: RefCell::default() })
    }

    /// Takes in a relay of the worker.
    pub(super) fn join(&self, relay: &Rc<Relay>) {
        self.relays.borrow_mut().push(Rc::downgrade(relay));
    }

    /// One more.
    pub(super) fn begin(&self) {
        self.count.set(self.count.get().saturating_add(1));
    }

    /// One less.
    pub(super) fn settle(&self) {
        self.count.set(self.count.get().saturating_sub(1));
    }

    /// The relay with the oldest flow of all, when there are too many.
    pub(super) fn surplus(&self) -> Option<Rc<Relay>> {
        if self.count.get() <= self.max {
            return None;
        }
        let relays = self.relays.borrow();
        let with_age = relays.iter().filter_map(Weak::upgrade).filter_map(|relay| {
            let (number, _) = relay.table.borrow().oldest_undecided()?;
            Some((number, relay))
        });
        // Numbers of flows rise over all relays of a worker.
        with_age.min_by_key(|(number, _)| *number).map(|(_, relay)| relay)
    }
}
