//! What moved: bytes seen at the subscribers' sockets, their accounts, and the report of both.

use std::rc::Rc;
use std::time::Duration;

use billing_export::{Account, Entry, Flag, Flags, Reason, Session, Volume};

use super::Worker;
use super::verdict::{flags, unanswered_account};
use crate::flow::engine::{Allowed, Counter as _, News, Ruling, Unknowable};
use crate::net::datagram::port::Sent;
use crate::net::flow_record::{Flow, State};
use crate::net::report::{Report, saturating_sum};

/// How long what an ended flow sent last waits to be settled: far longer than looks are apart.
const REMAINDER_TIME_MAX: Duration = Duration::from_secs(60);

/// What becomes of bytes that have no verdict when a report is made.
#[derive(Clone, Copy)]
enum Pending {
    /// They stay with their flow.
    Stays,
    /// They are reported as nobody's, as after an end without warning (never exempt, never twice).
    Orphaned,
}

/// Where bytes go that are nobody's: without a verdict when the ledger that would have held them is closed, and those of UDP
/// that nobody answered (the source address is free to forge).
pub(super) fn nobodys() -> Account {
    let entry = Entry::Unattributed(Reason::Undecided);
    Account { session: Session::none(), list: None, entry }
}

impl Worker {
    /// Takes bytes of a TCP stream that the subscriber sent: counts them and shows them to the reader of names.
    pub fn received(self: &Rc<Self>, flow: &Rc<Flow>, bytes: &[u8]) {
        self.count_read(flow, bytes.len());
        let news = flow.state.borrow_mut().engine.claim.observe(bytes);
        self.mark_dirty(flow);
        match news {
            News::Verdict => self.judge(flow),
            News::Name => self.foresee(flow),
            News::None => {}
        }
        self.spend(flow, bytes.len() as u64);
    }

    /// Takes bytes of a TCP stream that the subscriber sent and nobody looks at: counts them.
    pub fn received_unread(self: &Rc<Self>, flow: &Rc<Flow>, bytes: usize) {
        self.count_read(flow, bytes);
        self.count_spliced(bytes);
        self.mark_dirty(flow);
        self.spend(flow, bytes as u64);
    }

    /// Holds what has just moved against what the flow may have exempt. Near a limit it is counted at once, and when nothing
    /// is left the flow is charged from here on: within one buffer of it, and what is on its way (trap T31).
    fn spend(self: &Rc<Self>, flow: &Rc<Flow>, moved: u64) {
        let spent = {
            let mut state = flow.state.borrow_mut();
            let State { engine, subscriber: Some(subscriber), .. } = &mut *state else { return };
            let Some(allowed) = &mut engine.allowed else { return };
            if !allowed.share.moved(subscriber.guess(moved)) {
                return;
            }
            self.count_carried(&mut state);
            state.engine.allowed.as_ref().is_some_and(|allowed| !allowed.share.has_room())
        };
        if spent {
            self.cap(flow);
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
        let mut counts = self.counts.borrow_mut();
        counts.spliced_bytes = counts.spliced_bytes.saturating_add(bytes as u64);
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
            let news = flow.state.borrow_mut().engine.claim.observe(datagram);
            match news {
                News::Verdict => self.judge(flow),
                News::Name | News::None => {}
            }
            if let Some(subscriber) = &mut flow.state.borrow_mut().subscriber {
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

    /// Reads the flow's meter and counts what is not reported under its present account, and what is over a limit as charged;
    /// pending bytes stay with the flow.
    pub(super) fn count_carried(&self, state: &mut State) {
        let reading = state.read_meter(self.shared.egress.queues());
        if let Some(reading) = &reading {
            let mut counts = self.counts.borrow_mut();
            counts.seen = saturating_sum(counts.seen, reading.unseen);
            if reading.contradicts {
                counts.meter_mismatches = counts.meter_mismatches.saturating_add(1);
            }
        }
        if let Ruling::Latched { account, flags } = &state.engine.ruling {
            let (account, flags) = (account.clone(), *flags);
            let unknowable = reading.map_or_else(Unknowable::default, |reading| reading.unknowable);
            let is_lower = unknowable.exceeds(state.engine.unknowable);
            let remark = if is_lower { Flags::from(Flag::LowerBound) } else { Flags::NONE };
            state.engine.unknowable = state.engine.unknowable.most(unknowable);
            let mut volume = state.engine.tally.take();
            volume.down = volume.down.saturating_sub(self.count_owed(state, volume.down, remark));
            let owed = state.engine.owed.last().map_or(0, |owed| owed.way.upto());
            if let Some(allowed) = &mut state.engine.allowed {
                let uncounted = state.subscriber.as_ref().map_or(0, |side| side.counter().moving_after(owed));
                volume = self.count_allowed(allowed, &account, volume, uncounted);
            }
            if state.engine.at_shared_address {
                let mut counts = self.counts.borrow_mut();
                let bytes = volume.up.saturating_add(volume.down);
                counts.shared_exempt_bytes = counts.shared_exempt_bytes.saturating_add(bytes);
            }
            self.count(&account, flags, volume, remark);
        }
        if state.remainder.as_ref().is_some_and(|remainder| !remainder.is_waiting()) {
            state.remainder = None;
        }
    }

    /// Counts bytes of an account, with a `remark` on it: also on bytes that were counted before.
    pub(super) fn count(&self, account: &Account, flags: Flags, volume: Volume, remark: Flags) {
        let mut usage = self.usage.borrow_mut();
        if volume != Volume::ZERO {
            usage.add(account, flags.union(remark), volume, self.shared.accounts_max);
        } else if !remark.is_empty() {
            usage.remark(account, remark, self.shared.accounts_max);
        }
    }

    /// Counts what of `volume` may be exempt, which is returned; the rest goes where bytes over the limit go.
    pub(super) fn count_allowed(
        &self,
        allowed: &mut Allowed,
        account: &Account,
        volume: Volume,
        uncounted: u64,
    ) -> Volume {
        let exempt = allowed.share.take(volume, uncounted);
        if volume == Volume::ZERO {
            return volume;
        }
        self.shared.policy.load().allowances.note_changed(&allowed.share);
        if exempt != volume {
            // Never negative: only a part of it is exempt.
            let over = Volume {
                up: volume.up.saturating_sub(exempt.up),
                down: volume.down.saturating_sub(exempt.down),
            };
            self.usage.borrow_mut().add(&allowed.over, allowed.over_flags, over, self.shared.accounts_max);
            self.note_capped(account);
        }
        exempt
    }

    /// Notes that an exempt account reached a cap.
    pub(super) fn note_capped(&self, account: &Account) {
        let mut counts = self.counts.borrow_mut();
        if counts.capped.len() < self.shared.accounts_max {
            counts.capped.insert(account.clone());
        }
    }

    /// Settles what ended flows sent last, also while nobody asks for reports, and forgets those that are settled. What no
    /// look at the queues has settled for long is given up.
    pub(super) fn settle_ended(&self) {
        let now = self.shared.clock.monotonic();
        self.dirty.borrow_mut().retain(|flow| {
            {
                let mut state = flow.state.borrow_mut();
                if state.remainder.is_some() {
                    self.count_carried(&mut state);
                    if now.since(flow.last_activity.get()) > REMAINDER_TIME_MAX {
                        self.give_up_moving(&state);
                        state.remainder = None;
                    }
                }
            }
            !flow.is_settled()
        });
    }

    /// What was sent and nothing says of whether it left is not counted: the flow's record says so.
    fn give_up_moving(&self, state: &State) {
        let is_open = state.sent().is_some_and(|sent| sent.moving() > 0);
        if let (true, Ruling::Latched { account, flags }) = (is_open, &state.engine.ruling) {
            self.count(account, *flags, Volume::ZERO, Flag::LowerBound.into());
        }
    }

    /// The last report: what is sent by now is looked after once more. It may wait for the system; nobody else does.
    pub fn last_report(self: &Rc<Self>) -> Report {
        let dirty = self.dirty.borrow().clone();
        dirty.iter().for_each(|flow| self.count_carried(&mut flow.state.borrow_mut()));
        self.shared.egress.look();
        dirty.iter().for_each(|flow| {
            let mut state = flow.state.borrow_mut();
            self.count_carried(&mut state);
            self.give_up_moving(&state);
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
        let policy = self.shared.policy.load();
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let (mut still_dirty, mut spent) = (Vec::new(), Vec::new());
        for flow in dirty {
            let mut state = flow.state.borrow_mut();
            self.count_carried(&mut state);
            let mut undecided = !matches!(state.engine.ruling, Ruling::Latched { .. });
            match (undecided, rule) {
                (true, Pending::Stays) if state.engine.unanswered && now.since(flow.opened) >= unanswered => {
                    // Nothing is pending of it until more comes.
                    undecided = false;
                    let account = unanswered_account(&policy, &state.engine.standing);
                    let (flags, volume) = (flags(&state.engine.start, &account), state.engine.tally.take());
                    self.usage.borrow_mut().add(&account, flags, volume, self.shared.accounts_max);
                }
                (true, Pending::Stays) => pending = saturating_sum(pending, state.engine.pending()),
                (true, Pending::Orphaned) => {
                    let volume = state.engine.tally.take();
                    let flags = Flags::NONE.with(Flag::Recovered);
                    self.usage.borrow_mut().add(&nobodys(), flags, volume, self.shared.accounts_max);
                }
                (false, _) => {}
            }
            let waiting = state.subscriber.as_ref().is_some_and(|side| side.counter().is_waiting());
            let is_dirty = undecided || waiting || state.remainder.is_some();
            flow.is_dirty.set(is_dirty);
            if state.engine.allowed.as_ref().is_some_and(|allowed| !allowed.share.has_room()) {
                spent.push(Rc::clone(&flow));
            }
            if is_dirty {
                drop(state);
                still_dirty.push(flow);
            }
        }
        self.dirty.borrow_mut().append(&mut still_dirty);
        for flow in spent {
            self.cap(&flow);
        }
        let counts = std::mem::take(&mut *self.counts.borrow_mut());
        Report {
            seen: counts.seen,
            stream_payload: counts.stream_payload,
            meter_mismatches: counts.meter_mismatches,
            pending_after: pending,
            usage: self.usage.borrow_mut().take(),
            flows: counts.flows.into_iter().collect(),
            refusals: counts.refusals.into_iter().collect(),
            dropped: counts.dropped.into_iter().collect(),
            evicted: counts.evicted,
            flows_open: self.open.get(),
            udp_flows_open: self.udp_open.get(),
            panics: counts.panics,
            accept_errors: counts.accept_errors,
            mark_errors: counts.mark_errors,
            spliced_bytes: counts.spliced_bytes,
            shared_exempt_bytes: counts.shared_exempt_bytes,
            capped: counts.capped.into_iter().collect(),
            ports_used_up: counts.ports_used_up,
            ports_changed: counts.ports_changed,
        }
    }
}
