//! Flows that end because their time is over: for a name, or without a datagram.

use std::rc::Rc;
use std::time::Duration;

use super::table::Key;
use super::{Relay, Stage};
use crate::flow::engine::Engine;
use crate::net::node::report::{ProtocolLabel, Refusal};
use crate::net::node::settings::Limits;

impl Relay {
    /// The flow's time for a name is over: steered it is refused, else it is carried and charged.
    pub(super) fn end_overdue(self: &Rc<Self>) {
        let now = self.worker.shared.clock.monotonic();
        let limit = self.worker.shared.limits.identify_deadline;
        let overdue: Vec<Key> = {
            let table = self.table.borrow();
            let is_overdue =
                |key: &Key| table.get(key).is_none_or(|entry| now.since(entry.flow().opened) >= limit);
            table.undecided().map(|(_, key)| key).take_while(is_overdue).collect()
        };
        for key in overdue {
            self.end_wait(&key);
        }
    }

    /// One undecided flow is out of time.
    pub(super) fn end_wait(self: &Rc<Self>, key: &Key) {
        let mut table = self.table.borrow_mut();
        let Some(entry) = table.get_mut(key) else { return };
        let flow = Rc::clone(entry.flow());
        match &mut entry.stage {
            Stage::Carried(carried) => {
                carried.leave_the_undecided();
                self.settle(&mut table, flow.id);
                drop(table);
                self.worker.deadline(&flow);
            }
            Stage::Waiting => {
                drop(table);
                self.worker.deadline(&flow);
                self.advance(key);
                self.give_up(key);
            }
            // The look-up has a time limit of its own.
            Stage::Reaching => {}
            Stage::Refused => {
                drop(table);
                self.remove(key);
            }
        }
    }

    /// Ends a flow that is out of time and still waits: there is no room for it. A refused one ends with it.
    pub(super) fn give_up(&self, key: &Key) {
        let (waits, refused) = {
            let mut table = self.table.borrow_mut();
            let stage = table.get_mut(key).map(|entry| &entry.stage);
            (matches!(stage, Some(Stage::Waiting)), matches!(stage, Some(Stage::Refused)))
        };
        if waits {
            self.worker.count_refusal(Refusal::NoRoom);
        }
        if waits || refused {
            self.remove(key);
        }
    }

    /// Ends flows that were idle for as long as `limit` says.
    pub(super) fn end_idle(&self, limit: impl Fn(&Limits, &Engine) -> Duration) {
        let now = self.worker.shared.clock.monotonic();
        let limits = &self.worker.shared.limits;
        let idle: Vec<Key> = self
            .table
            .borrow()
            .iter()
            .filter(|(_, entry)| {
                let flow = entry.flow();
                now.since(flow.last_activity.get()) >= limit(limits, &flow.state.borrow().engine)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in idle {
            self.remove(&key);
        }
    }
}

/// How long a flow may be idle: seconds while nobody has answered it, though not before its time for a name is over.
pub(super) fn idle_limit(limits: &Limits, flow: &Engine) -> Duration {
    let answered = match flow.claim().protocol() {
        ProtocolLabel::Quic => limits.quic_idle_timeout,
        ProtocolLabel::Udp | ProtocolLabel::Tls | ProtocolLabel::Http | ProtocolLabel::Tcp => {
            limits.udp_idle_timeout
        }
    };
    match (flow.is_unanswered(), flow.claim().identity()) {
        (false, _) => answered,
        (true, Some(_)) => answered.min(limits.unanswered_timeout),
        (true, None) => answered.min(limits.unanswered_timeout.max(limits.identify_deadline)),
    }
}
