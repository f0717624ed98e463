//! One worker's DNS plane: each query is admitted, then answered by us, or passed on and its answer passed back.
//!
//! Nothing here waits: queries stand in a table until a reply, or the passing of time, brings them on. An answer is learnt
//! before it is sent on (decision 11): a flow that follows it at once is never ahead of what it is judged by.

mod ask;
mod expire;
mod give;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

pub(super) use self::give::restore;
use super::Plane;
use super::count::Event;
use super::lane::{Lanes, REPLIES_PER_CALL_MAX};
use super::pending::Table;
use super::random::Random;
use super::unsent::Unsent;
use crate::flow::time::Monotonic;
use crate::net::node::shared::Shared;

/// Longest message read.
pub(super) const BUFFER_BYTES: usize = 65_536;
/// How often deadlines are looked at while queries are under way.
const TICK: Duration = Duration::from_millis(20);

/// What became of a query at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has, or will have, an answer.
    Answered,
    /// It is dropped without a word.
    Dropped,
}

/// One worker's DNS plane.
pub(super) struct Relay {
    pub(super) shared: Arc<Shared>,
    pub(super) plane: Arc<Plane>,
    pub(super) table: RefCell<Table>,
    pub(super) lanes: RefCell<Vec<Lanes>>,
    pub(super) random: RefCell<Random>,
    /// Where replies are received, [`BUFFER_BYTES`] for each of a call.
    pub(super) buffer: RefCell<Box<[u8]>>,
    /// Where a query is written as it is sent.
    pub(super) query: RefCell<Vec<u8>>,
    /// What waits to be sent together.
    pub(super) unsent: RefCell<Unsent>,
    /// Wakes the task that sends it.
    pub(super) has_unsent: Notify,
}

impl Relay {
    /// A worker's part of the plane.
    pub(super) fn new(shared: Arc<Shared>, plane: Arc<Plane>) -> Rc<Self> {
        let ports = plane.settings.upstream_sockets;
        let servers = plane.settings.servers.iter().enumerate();
        let lanes = servers.map(|(number, server)| Lanes::new(server.clone(), number, ports)).collect();
        Rc::new(Self {
            shared,
            plane,
            table: RefCell::default(),
            lanes: RefCell::new(lanes),
            random: RefCell::new(Random::new()),
            buffer: RefCell::new(vec![0; BUFFER_BYTES.saturating_mul(REPLIES_PER_CALL_MAX)].into()),
            query: RefCell::default(),
            unsent: RefCell::default(),
            has_unsent: Notify::new(),
        })
    }

    /// Counts an event.
    pub(super) fn count(&self, event: Event) {
        self.plane.counts.count(event);
    }

    /// The time.
    pub(super) fn now(&self) -> Monotonic {
        self.shared.clock.monotonic()
    }

    /// Looks at deadlines until the worker ends.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if !self.table.borrow().is_empty() {
                self.expire();
            }
            let now = self.now();
            self.probe(now);
            self.lanes.borrow_mut().iter_mut().for_each(|lanes| lanes.sweep(now));
        }
    }
}
