//! Once a second: every slot that somebody has. What moved is counted, what is over ends, and its slot is given back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::Transport;
use billing_export::Volume;

use super::{Stage, Tap, Taps};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::kernel::layout::{COPIED_MAX, Gate, Key, Seen, address_key};
use crate::net::node::report::ProtocolLabel;
use crate::net::node::worker::Worker;

/// How long nothing has passed of a connection that both sides have ended before its key is taken away: what is sent again still
/// finds its slot.
const FINISHED_QUIET: Duration = Duration::from_secs(2);
/// The same of one that was reset, perhaps by somebody else: data that follows takes the reset back.
const RESET_QUIET: Duration = Duration::from_secs(60);
/// How long nothing has passed of a flow whose key leads elsewhere before its slot is freed: far longer than a processor holds on to
/// what it has looked up.
const UNREACHABLE_QUIET: Duration = Duration::from_secs(1);
/// How long the slot of a flow that is over waits for queues that hold its last packets. What they hold longer is not counted, and
/// the record says so.
const UNSETTLED_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether the key of a quiet flow still leads to its slot.
const KEY_LOOK: Duration = Duration::from_secs(60);

impl Taps {
    /// All slots.
    pub(super) fn sweep_slots(&mut self) {
        let (mut given_back, mut taken): (HashMap<IpAddr, u32>, u64) = (HashMap::new(), 0);
        for number in self.kernel.slots.numbers() {
            let seen = self.kernel.slots.seen(number);
            if !seen.is_taken() {
                continue;
            }
            taken = taken.saturating_add(1);
            if let Some(address) = self.sweep_one(number, seen) {
                let count = given_back.entry(address).or_insert(0);
                *count = count.saturating_add(1);
            }
        }
        self.kernel.figures.set_taken(taken);
        for (address, more) in given_back {
            let before = self.closed.remove(&address);
            if let Some(closed) = self.kernel.give_back(address_key(address), before, more) {
                self.closed.insert(address, closed);
            }
        }
    }

    /// One slot that somebody has; whose it was, when it is given back.
    fn sweep_one(&mut self, number: u32, seen: Seen) -> Option<IpAddr> {
        if !seen.is_live() {
            // Two processors began the same flow, and this is the slot of the slower one: nothing was counted in it.
            self.drop_tap(number);
            self.kernel.free(number);
            return None;
        }
        let carried = self.kernel.slots.carried(number);
        let copied = self.kernel.slots.copied(number);
        let now = self.worker.shared.clock.monotonic();
        let tap = self.begin(number)?;
        let moved = sum(carried).saturating_sub(sum(tap.carried));
        tap.carried = carried;
        if moved > 0 {
            tap.open.worker().passed(tap.open.flow(), moved);
        }
        tap.renew_copies(copied);
        let quiet = now.since(tap.open.flow().last_activity.get());
        match tap.stage {
            Stage::Open => {
                if let Some(leads) = self.is_over(number, seen, quiet, now) {
                    if leads {
                        self.kernel.forget(number);
                    }
                    self.set_unreachable(number, now);
                }
                None
            }
            Stage::Unreachable(since) if quiet.min(now.since(since)) >= UNREACHABLE_QUIET => {
                let address = tap.key.subscriber();
                // What its last packets came to is known when the queues have let them go.
                let is_settled = tap.open.worker().read_last(tap.open.flow());
                if !is_settled && now.since(since) < UNSETTLED_MAX {
                    return None;
                }
                self.drop_tap(number);
                self.kernel.free(number);
                Some(address)
            }
            Stage::Unreachable(_) => None,
        }
    }

    /// Whether the flow of a slot is over, of which nothing has passed for so long; then whether its key leads there.
    fn is_over(&mut self, number: u32, seen: Seen, quiet: Duration, now: Monotonic) -> Option<bool> {
        let tap = usize::try_from(number).ok().and_then(|at| self.taps.get_mut(at)?.as_deref_mut())?;
        if seen.is_replaced() {
            return Some(false);
        }
        let plan = &self.kernel.plan;
        let limit = match &tap.key {
            Key::Flow { transport: Transport::Tcp, .. } if seen.is_finished() => FINISHED_QUIET,
            Key::Flow { transport: Transport::Tcp, .. } if !seen.is_established() => plan.udp_idle_timeout,
            Key::Flow { transport: Transport::Tcp, .. } if seen.is_reset() => RESET_QUIET,
            Key::Flow { transport: Transport::Tcp, .. } => plan.idle_timeout,
            Key::Flow { transport: Transport::Udp, .. }
                if tap.open.flow().protocol() == ProtocolLabel::Quic =>
            {
                plan.quic_idle_timeout
            }
            Key::Flow { .. } | Key::Rest { .. } => plan.udp_idle_timeout,
        };
        // The next holder of an address has a slot of his own for the rest of what he does.
        if quiet >= limit || (matches!(tap.key, Key::Rest { .. }) && has_changed_hands(&self.worker, tap)) {
            return Some(true);
        }
        let is_looked_at = quiet >= KEY_LOOK && now.since(tap.key_seen) >= KEY_LOOK;
        if is_looked_at {
            tap.key_seen = now;
        }
        (is_looked_at && !self.kernel.leads_to(number)).then_some(false)
    }

    /// No packet finds the slot any more.
    fn set_unreachable(&mut self, number: u32, now: Monotonic) {
        let tap = usize::try_from(number).ok().and_then(|at| self.taps.get_mut(at)?.as_deref_mut());
        if let Some(tap) = tap {
            tap.stage = Stage::Unreachable(now);
        }
    }

    /// Ends the flow of a slot.
    fn drop_tap(&mut self, number: u32) {
        let tap = usize::try_from(number).ok().and_then(|at| self.taps.get_mut(at)?.take());
        if let Some(tap) = tap {
            self.worker.conclude(tap.open.flow());
            self.worker.give_up_moving(tap.open.flow());
        }
    }

    /// Counts what passed without a slot.
    pub(super) fn count_overflow(&mut self) {
        let gate = self.kernel.gate();
        let [told_up, told_down] = self.kernel.control.told();
        let [up, down] = gate.overflow;
        let dropped = self.kernel.dropped();
        self.kernel.figures.set_dropped(dropped);
        // What was told before it was dropped is taken off what comes next.
        let down = down.saturating_sub(dropped.slotless).max(told_down);
        let volume = Volume { up: up.saturating_sub(told_up), down: down.saturating_sub(told_down) };
        // Before it is saved: what a crash takes is lost, and never counted twice.
        self.kernel.control.tell([up, down]);
        if volume != Volume::ZERO {
            self.worker.count_slotless(volume);
        }
        self.note_lost(gate);
        self.gate = gate;
    }

    /// Tells of copies and slots that there was no room for.
    fn note_lost(&self, gate: Gate) {
        let pieces = gate.ring_full.saturating_sub(self.gate.ring_full);
        let packets = gate.no_slot.saturating_sub(self.gate.no_slot);
        self.worker.note_kernel_losses(pieces, packets);
    }
}

impl Tap {
    /// Has long headers of a QUIC flow be copied on, within what is copied in a second. One that sends more of them is not read
    /// to its end, and may say another name.
    fn renew_copies(&mut self, copied: u32) {
        if !matches!(self.key, Key::Flow { transport: Transport::Udp, .. }) || copied < COPIED_MAX / 2 {
            return;
        }
        let (worker, flow) = (self.open.worker(), self.open.flow());
        if copied >= COPIED_MAX && flow.is_observed() {
            worker.contradict(flow, billing_export::Reason::Overload);
        } else {
            worker.copy_anew(flow);
        }
    }
}

/// Whether the address of a flow has passed to somebody else.
fn has_changed_hands(worker: &Worker, tap: &Tap) -> bool {
    let holding = worker.shared.sessions.find_at(tap.key.subscriber(), tap.key.subscriber_port());
    match (tap.open.subscriber(), holding) {
        (SubscriberKey::Session(session), Some(holding)) => *session != holding.session,
        (SubscriberKey::Session(_), None) | (SubscriberKey::Address(_), Some(_)) => true,
        (SubscriberKey::Address(_), None) => false,
    }
}

/// Both directions.
const fn sum(volume: Volume) -> u64 {
    volume.up.saturating_add(volume.down)
}
