//! What moved: bytes seen at the subscribers' sockets, their accounts, and the report of both.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use billing_export::Volume;

use super::Worker;
use crate::flow::engine::Observation;
use crate::net::node::event::Event;
use crate::net::node::flow_record::{Flow, State};
use crate::net::node::report::{Report, saturating_sum};
use crate::net::udp::port::Sent;

/// How long what an ended flow sent last waits to be settled: far longer than looks are apart.
const REMAINDER_TIME_MAX: Duration = Duration::from_secs(60);

/// Looks at the queues before the last report: one for what waits for a look already, and one for what begins to wait behind that.
const LAST_LOOKS: u32 = 2;

/// What becomes of bytes that have no verdict when a report is made.
#[derive(Clone, Copy)]
enum Pending {
    /// They stay with their flow.
    Stays,
    /// They are reported as nobody's, as after an end without warning (never exempt, never twice).
    Orphaned,
}

impl Worker {
    /// Takes bytes of a TCP stream that the subscriber sent: counts them and shows them to the reader of names.
    pub fn received(self: &Rc<Self>, flow: &Rc<Flow>, bytes: &[u8]) {
        self.count_read(flow, bytes.len());
        self.observe(flow, Observation::Bytes(bytes));
        self.mark_dirty(flow);
        self.spend(flow, bytes.len() as u64);
    }

    /// Takes bytes of a TCP stream that the subscriber sent and nobody looks at: counts them.
    pub fn received_unread(self: &Rc<Self>, flow: &Rc<Flow>, bytes: usize) {
        self.count_read(flow, bytes);
        self.count_spliced(bytes);
        self.mark_dirty(flow);
        self.spend(flow, bytes as u64);
    }

    /// Holds payload that has just moved against what the flow may have exempt, where that is limited.
    fn spend(self: &Rc<Self>, flow: &Rc<Flow>, moved: u64) {
        let mut state = flow.state.borrow_mut();
        let State { engine, subscriber: Some(subscriber), .. } = &*state else { return };
        if engine.is_limited() {
            let moved = subscriber.guess(moved);
            self.tell(flow, &mut state, Observation::Moved(moved));
        }
    }

    /// Counts bytes read from the subscriber's TCP socket.
    fn count_read(&self, flow: &Rc<Flow>, bytes: usize) {
        let bytes = bytes as u64;
        flow.note_moved(bytes, self.shared.clock.monotonic());
        let seen = match &mut flow.state.borrow_mut().subscriber {
            Some(subscriber) => subscriber.add_read(bytes),
            None => 0,
        };
        let mut counts = self.counts.borrow_mut();
        counts.seen.up = counts.seen.up.saturating_add(seen);
        counts.stream_payload.up = counts.stream_payload.up.saturating_add(bytes);
    }

    /// Counts bytes that moved inside the kernel.
    pub fn count_spliced(&self, bytes: usize) {
        self.counts.borrow_mut().events.add(Event::SplicedBytes, bytes as u64);
    }

    /// Takes datagrams the subscriber sent. Each is read before it is counted: one that contradicts the name counts under
    /// the new verdict.
    pub fn received_datagrams<'d>(
        self: &Rc<Self>,
        flow: &Rc<Flow>,
        datagrams: impl Iterator<Item = &'d [u8]>,
    ) {
        let now = self.shared.clock.monotonic();
        let mut seen = 0_u64;
        for datagram in datagrams {
            let mut state = flow.state.borrow_mut();
            self.tell(flow, &mut state, Observation::Bytes(datagram));
            if let Some(subscriber) = &mut state.subscriber {
                seen = seen.saturating_add(subscriber.add_received_datagram(datagram.len()));
            }
        }
        flow.note_moved(seen, now);
        {
            let mut counts = self.counts.borrow_mut();
            counts.seen.up = counts.seen.up.saturating_add(seen);
        }
        self.mark_dirty(flow);
        self.spend(flow, seen);
    }

    /// Counts datagrams that the listener's socket took for the subscriber; they are reported once they have left.
    pub fn sent_datagrams(self: &Rc<Self>, flow: &Rc<Flow>, sent: &Sent) {
        flow.note_moved(sent.bytes, self.shared.clock.monotonic());
        let moved = match &mut flow.state.borrow_mut().subscriber {
            Some(subscriber) => subscriber.add_sent_datagrams(sent.datagrams, sent.bytes, sent.largest),
            None => 0,
        };
        self.mark_dirty(flow);
        self.spend(flow, moved);
    }

    /// Counts bytes that the subscriber's socket took for sending; they are reported once they have passed.
    pub fn written(self: &Rc<Self>, flow: &Rc<Flow>, bytes: usize) {
        flow.note_moved(bytes as u64, self.shared.clock.monotonic());
        if let Some(subscriber) = &mut flow.state.borrow_mut().subscriber {
            subscriber.add_written(bytes as u64);
        }
        {
            let mut counts = self.counts.borrow_mut();
            counts.stream_payload.down = counts.stream_payload.down.saturating_add(bytes as u64);
        }
        self.mark_dirty(flow);
        self.spend(flow, bytes as u64);
    }

    /// Whether the subscriber has acknowledged everything.
    pub fn is_delivered(&self, flow: &Rc<Flow>) -> bool {
        let queues = self.shared.egress.queues();
        flow.state.borrow_mut().subscriber.as_mut().is_none_or(|side| side.is_delivered(queues))
    }

    /// Puts the flow on the list that the next tick reads.
    pub(super) fn mark_dirty(&self, flow: &Rc<Flow>) {
        if !flow.is_dirty.replace(true) {
            self.dirty.borrow_mut().push(Rc::clone(flow));
        }
    }

    /// Settles what ended flows sent last, also while nobody asks for reports, and forgets those that are settled. What no
    /// look at the queues has settled for long is given up.
    pub(super) fn settle_ended(self: &Rc<Self>) {
        let now = self.shared.clock.monotonic();
        Taken::from(&self.dirty).flows.retain(|flow| {
            let mut state = flow.state.borrow_mut();
            if state.remainder.is_some() {
                self.tell(flow, &mut state, Observation::Tick);
                if now.since(flow.last_activity.get()) > REMAINDER_TIME_MAX {
                    self.tell(flow, &mut state, Observation::Unwatched);
                    state.remainder = None;
                }
            }
            drop(state);
            !flow.is_settled()
        });
    }

    /// The last report: what is sent by now is looked after. It may wait for the system; nobody else does.
    pub fn last_report(self: &Rc<Self>) -> Report {
        let dirty = self.dirty.borrow().clone();
        for _ in 0..LAST_LOOKS {
            dirty.iter().for_each(|flow| self.observe(flow, Observation::Tick));
            self.shared.egress.look();
        }
        dirty.iter().for_each(|flow| {
            self.observe(flow, Observation::Tick);
            self.observe(flow, Observation::Unwatched);
        });
        self.report()
    }

    /// Everything counted since the last report.
    pub fn report(self: &Rc<Self>) -> Report {
        self.report_with(Pending::Stays)
    }

    /// The same for a ledger that changes hands: what has no verdict becomes nobody's, and the flows go on without it.
    pub fn report_settled(self: &Rc<Self>) -> Report {
        self.report_with(Pending::Orphaned)
    }

    /// Everything counted since the last report.
    fn report_with(self: &Rc<Self>, rule: Pending) -> Report {
        let mut pending = Volume::ZERO;
        // What nobody has answered for as long as this is told as nobody's as it comes: nothing is pending for ever.
        let (now, unanswered) = (self.shared.clock.monotonic(), self.shared.limits.unanswered_timeout);
        let mut spent = Vec::new();
        Taken::from(&self.dirty).flows.retain(|flow| {
            let mut state = flow.state.borrow_mut();
            self.tell(flow, &mut state, Observation::Tick);
            let mut is_pending = !state.engine.is_decided();
            match (is_pending, rule) {
                (true, Pending::Stays)
                    if state.engine.is_unanswered() && now.since(flow.opened) >= unanswered =>
                {
                    // Nothing is pending of it until more comes.
                    is_pending = false;
                    self.tell(flow, &mut state, Observation::Overdue);
                }
                (true, Pending::Stays) => pending = saturating_sum(pending, state.engine.pending()),
                (true, Pending::Orphaned) => self.tell(flow, &mut state, Observation::Orphaned),
                (false, _) => {}
            }
            let is_waiting = state.subscriber.as_ref().is_some_and(|side| side.counter().is_waiting());
            let is_dirty = is_pending || is_waiting || state.remainder.is_some();
            flow.is_dirty.set(is_dirty);
            if state.engine.is_spent() {
                spent.push(Rc::clone(flow));
            }
            is_dirty
        });
        spent.iter().for_each(|flow| self.observe(flow, Observation::Spent));
        let counts = std::mem::take(&mut *self.counts.borrow_mut());
        Report {
            seen: counts.seen,
            stream_payload: counts.stream_payload,
            pending_after: pending,
            usage: self.usage.borrow_mut().take(),
            flows: counts.flows.into_iter().collect(),
            refusals: counts.refusals.into_iter().collect(),
            dropped: counts.dropped.into_iter().collect(),
            flows_open: self.open.get(),
            udp_flows_open: self.udp_open.get(),
            events: counts.events,
            capped: counts.capped.into_iter().collect(),
        }
    }
}

/// The list of flows to be read, out of its place. It goes back there with what is left, also where reading one fails.
struct Taken<'w> {
    flows: Vec<Rc<Flow>>,
    place: &'w RefCell<Vec<Rc<Flow>>>,
}

impl<'w> From<&'w RefCell<Vec<Rc<Flow>>>> for Taken<'w> {
    fn from(place: &'w RefCell<Vec<Rc<Flow>>>) -> Self {
        Self { flows: std::mem::take(&mut *place.borrow_mut()), place }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.place.borrow_mut().append(&mut self.flows);
    }
}
