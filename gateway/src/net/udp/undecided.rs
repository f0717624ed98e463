//! How many flows one worker's relays leave undecided between them: the worker's even share of what the process may.
//!
//! Each worker keeps to its own share, so that the process keeps to its cap without a word between workers, and a flood
//! that falls to one of them takes no flow's place on another. Over the share the oldest goes, whichever relay has it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::held::Waiting;
use super::table::{Key, Table};
use super::{Entry, Relay, Stage};
use crate::net::node::event::Event;
use crate::net::node::report::DropCause;
use crate::net::node::settings::Mode;
use crate::net::sys::batch::Train;

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

impl Relay {
    /// Keeps datagrams until they can go on.
    pub(super) fn hold(&self, key: &Key, entry: &mut Entry, train: &Train<'_>) {
        let reader_bytes = entry.flow().state.borrow().engine.claim().reader_bytes();
        let most = self.worker.shared.limits.held_datagrams_max;
        let mut lost = entry.held.trim(reader_bytes);
        for datagram in train.datagrams() {
            if self.negotiate(key, entry, datagram) {
                continue;
            }
            let (octet, in_fragments) = (train.octet, train.in_fragments);
            let waiting = Waiting { bytes: datagram.into(), octet, in_fragments };
            if !entry.held.push(waiting, most, reader_bytes) {
                lost = lost.saturating_add(1);
            }
        }
        if lost > 0 {
            self.worker.count_dropped(DropCause::Held, lost);
        }
    }

    /// Gives up the oldest undecided flow of this table.
    pub(super) fn evict(self: &Rc<Self>) {
        let mut table = self.table.borrow_mut();
        let Some((number, key)) = table.oldest_undecided() else { return };
        self.settle(&mut table, number);
        let Some(entry) = table.get_mut(&key) else { return };
        let refused = matches!(entry.stage, Stage::Refused);
        if let Stage::Carried(carried) = &mut entry.stage {
            // Its bytes go on; only the wait for a name is over.
            carried.leave_the_undecided();
            self.worker.subscriber_finished(entry.flow());
            drop(table);
        } else if refused || matches!(self.mode, Mode::Steered { .. }) {
            let entry = table.remove(&key);
            drop(table);
            drop(entry);
        } else {
            // Where it goes is known: only its name is given up.
            let flow = Rc::clone(entry.flow());
            drop(table);
            self.worker.subscriber_finished(&flow);
            self.advance(&key);
            self.give_up(&key);
        }
        if !refused {
            self.worker.count_event(Event::Evicted);
        }
    }

    /// Takes a flow off the list of undecided ones.
    pub(super) fn settle(&self, table: &mut Table<Entry>, number: u64) {
        if table.settle(number) {
            self.undecided.settle();
        }
    }
}
