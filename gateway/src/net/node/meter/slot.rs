//! A flow whose packets stay in the kernel: its slot counts them, and holds what is ruled of them.

use std::sync::Arc;

use allowlist::Transport;
use billing_export::Volume;

use crate::flow::engine::{Counter, Engine, Reading, Unknowable};
use crate::flow::mark::Mark;
use crate::flow::sent::{Queues, Sent};
use crate::net::kernel::layout::{Bank, Copies, Ruling};
use crate::net::kernel::slots::Slots;

/// One slot, and how far it was read.
///
/// A ruling comes first and the reading after it: bytes that pass between the two are counted in the bank that the new ruling
/// names, and are held back until the engine has settled what came before. So an account ends with the packet at which the mark
/// does.
///
/// What goes to the subscriber is counted in front of the interface's queue, which may drop it: it is told when a look at the
/// queues says that they have let it go, less what of this slot they dropped by then. So nothing that was told is dropped later,
/// and what was on its way under one account stays that one's (decision 27).
pub struct SlotMeter {
    slots: Arc<Slots>,
    number: u32,
    transport: Transport,
    /// Bytes that a process before this one has counted.
    before: Volume,
    /// What was read of the rest.
    carried: Volume,
    /// How much of what went down has left the queues: of the rest too.
    sent: Sent,
    /// Bytes down that passed without the exemption which the flow had, as far as they are not told.
    refused: u64,
    /// What was read of the charged bank.
    charged: Volume,
    /// What is ruled.
    ruling: Ruling,
    quota: u64,
    /// What the last ruling found.
    held: Option<Held>,
    /// Whether the last reading was before the present ruling, when the flow was exempt.
    was_exempt: bool,
    /// The flow's bytes have an account. Before that they stay where they are: a process that starts again finds them there, and the
    /// ledger is not told of them twice.
    is_decided: bool,
    /// Further copies are wanted, though the name is known.
    wants_copies: bool,
    /// Nothing more is read: another process reads on.
    is_left: bool,
    /// The flow is over, and nobody reads on.
    is_over: bool,
}

/// What a ruling found that has not been settled: the bank that is counted into since, and what it had before. What it has more is
/// held back.
#[derive(Clone, Copy)]
struct Held {
    bank: Bank,
    before: Volume,
    /// Bytes of the slot that were dropped before.
    dropped: u64,
}

impl SlotMeter {
    /// That of a flow that begins, or goes on from a process before this one.
    pub fn new(slots: Arc<Slots>, number: u32, transport: Transport) -> Self {
        let before = slots.told(number);
        Self {
            slots,
            number,
            transport,
            before,
            carried: Volume::ZERO,
            sent: Sent::default(),
            refused: 0,
            charged: Volume::ZERO,
            ruling: Ruling::OPEN,
            quota: 0,
            held: None,
            was_exempt: false,
            is_decided: false,
            wants_copies: false,
            is_left: false,
            is_over: false,
        }
    }

    /// TCP or UDP.
    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Copies are wanted also of what follows a known name, or no more.
    pub fn want_copies(&mut self, whether: bool) {
        self.wants_copies = whether;
    }

    /// What is known of the flow's name, for a process that goes on.
    pub fn set_claim(&self, claim: u32) {
        self.slots.set_claim(self.number, claim);
    }

    /// What is copied of the flow is copied on.
    pub fn copy_anew(&self) {
        self.slots.copy_anew(self.number);
    }

    /// Another process reads on: nothing more is read, ruled or told.
    pub fn leave(&mut self) {
        self.is_left = true;
    }

    /// The flow is over: what the queues still hold of it is never counted.
    pub fn give_up(&mut self) {
        self.is_over = true;
    }

    /// The flow's packets carry `mark` from here on.
    pub fn turn(&mut self, mark: Mark) {
        let bank = match (mark, self.ruling.bank) {
            (Mark::NONE, Bank::Exempt) => Bank::Charged,
            (Mark::NONE, bank) => bank,
            _ => Bank::Exempt,
        };
        self.rule(Ruling { bank, ..marked(self.ruling, mark) }, self.quota);
    }

    /// Has the slot hold what the engine has come to by now.
    pub fn follow(&mut self, engine: &Engine) {
        let mark = engine.mark();
        let bank = if engine.is_exempt() || mark != Mark::NONE {
            Bank::Exempt
        } else if engine.is_decided() {
            Bank::Charged
        } else {
            Bank::Pending
        };
        let copies = match (self.transport, engine.claim().is_observed(), engine.claim().identity()) {
            (Transport::Tcp, is_observed, _) if is_observed || self.wants_copies => Copies::All,
            (Transport::Udp, true, None) => Copies::All,
            // The server's answer is what an undecided verdict waits for.
            (Transport::Udp, true, Some(_)) => Copies::LongHeaders,
            (Transport::Udp, false, _) if engine.is_unanswered() => Copies::LongHeaders,
            (Transport::Tcp | Transport::Udp, _, _) => Copies::Nothing,
        };
        let left = engine.left().filter(|_| bank == Bank::Exempt);
        let quota = left.map_or(0, |left| {
            let exempt = self.slots.bytes(self.number, Bank::Exempt);
            exempt.up.saturating_add(exempt.down).saturating_add(left)
        });
        self.rule(Ruling { bank, copies, has_quota: left.is_some(), ..marked(self.ruling, mark) }, quota);
        self.held = None;
        self.is_decided = engine.is_decided();
        self.was_exempt = self.ruling.bank == Bank::Exempt;
        if !self.is_left {
            // What was read has its account.
            self.slots.tell(self.number, plus(self.before, self.carried));
        }
    }

    /// Stores a ruling where it differs.
    fn rule(&mut self, ruling: Ruling, quota: u64) {
        if self.is_left || (ruling, quota) == (self.ruling, self.quota) {
            return;
        }
        if ruling.bank != self.ruling.bank && self.held.is_none() {
            // Drops first: none of a packet of the new account is taken off the old one.
            let dropped = self.slots.dropped(self.number);
            let before = self.slots.bytes(self.number, ruling.bank);
            self.held = Some(Held { bank: ruling.bank, before, dropped });
            self.was_exempt = self.ruling.bank == Bank::Exempt;
        }
        if ruling.copies != self.ruling.copies {
            self.slots.copy_anew(self.number);
        }
        (self.ruling, self.quota) = (ruling, quota);
        self.slots.rule(self.number, ruling, quota);
    }

    /// What of the bytes that are told, `down` of them to the subscriber, passed without the exemption that the flow had.
    fn read_refused(&mut self, down: u64) -> Volume {
        let charged = self.bytes(Bank::Charged);
        let more = if self.was_exempt { minus(charged, self.charged) } else { Volume::ZERO };
        self.charged = charged;
        let all = self.refused.saturating_add(more.down);
        let told = all.min(down);
        // What is not told by the time that nothing is on its way was dropped.
        self.refused = if self.sent.moving() > 0 { all.saturating_sub(told) } else { 0 };
        Volume { up: more.up, down: told }
    }

    /// Bytes in a bank, as far as they are not held back.
    fn bytes(&self, bank: Bank) -> Volume {
        match self.held {
            Some(held) if held.bank == bank => held.before,
            Some(_) | None => self.slots.bytes(self.number, bank),
        }
    }
}

impl Counter for SlotMeter {
    fn read(&mut self, queues: Queues) -> Reading {
        let last = self.carried;
        let mut refused = Volume::ZERO;
        if !self.is_left && self.is_decided {
            let banks = Bank::ALL.map(|bank| self.bytes(bank));
            let sum = banks.into_iter().fold(Volume::ZERO, plus);
            let own = minus(sum, self.before);
            let dropped = self.slots.dropped(self.number);
            self.sent.settle_knowing(queues, dropped);
            let dropped = self.held.map_or(dropped, |held| held.dropped);
            self.sent.raise_knowing(queues, own.down.saturating_sub(dropped), dropped);
            self.carried = Volume { up: own.up.max(last.up), down: self.sent.left() };
            refused = self.read_refused(self.carried.down.saturating_sub(last.down));
        }
        Reading {
            carried: self.carried,
            unseen: minus(self.carried, last),
            refused,
            unknowable: Unknowable::default(),
            contradicts: false,
        }
    }

    fn sent(&self) -> Option<&Sent> {
        Some(&self.sent)
    }

    fn moving(&self) -> u64 {
        self.sent.moving()
    }

    fn is_waiting(&self) -> bool {
        !self.is_left && self.sent.is_waiting()
    }

    /// The slot outlives this process, and says what of it has an account.
    fn is_kept(&self) -> bool {
        !self.is_over
    }
}

/// A ruling with another mark.
fn marked(ruling: Ruling, mark: Mark) -> Ruling {
    Ruling { code_point: mark.dscp, mark: mark.fwmark, marks_up: mark.upstream, ..ruling }
}

/// The sum, at most what a counter holds.
fn plus(one: Volume, other: Volume) -> Volume {
    Volume { up: one.up.saturating_add(other.up), down: one.down.saturating_add(other.down) }
}

/// What one has more than the other.
fn minus(one: Volume, other: Volume) -> Volume {
    Volume { up: one.up.saturating_sub(other.up), down: one.down.saturating_sub(other.down) }
}

#[cfg(test)]
mod tests;
