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
pub struct SlotMeter {
    slots: Arc<Slots>,
    number: u32,
    transport: Transport,
    /// Bytes that a process before this one has counted.
    before: Volume,
    /// What was read of the rest.
    carried: Volume,
    /// What was read of the charged bank.
    charged: Volume,
    /// What is ruled.
    ruling: Ruling,
    quota: u64,
    /// A bank that has been counted into since the last ruling, and what it had before; what it has more is held back.
    held: Option<(Bank, Volume)>,
    /// Whether the last reading was before the present ruling, when the flow was exempt.
    was_exempt: bool,
    /// The flow's bytes have an account. Before that they stay where they are: a process that starts again finds them there, and the
    /// ledger is not told of them twice.
    is_decided: bool,
    /// Further copies are wanted, though the name is known.
    wants_copies: bool,
    /// Nothing more is read: another process reads on.
    is_left: bool,
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
            charged: Volume::ZERO,
            ruling: Ruling::OPEN,
            quota: 0,
            held: None,
            was_exempt: false,
            is_decided: false,
            wants_copies: false,
            is_left: false,
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
            self.held = Some((ruling.bank, self.slots.bytes(self.number, ruling.bank)));
            self.was_exempt = self.ruling.bank == Bank::Exempt;
        }
        if ruling.copies != self.ruling.copies {
            self.slots.copy_anew(self.number);
        }
        (self.ruling, self.quota) = (ruling, quota);
        self.slots.rule(self.number, ruling, quota);
    }

    /// Bytes in a bank, as far as they are not held back.
    fn bytes(&self, bank: Bank) -> Volume {
        match self.held {
            Some((held, before)) if held == bank => before,
            Some(_) | None => self.slots.bytes(self.number, bank),
        }
    }
}

impl Counter for SlotMeter {
    fn read(&mut self, _queues: Queues) -> Reading {
        let last = self.carried;
        let mut refused = Volume::ZERO;
        if !self.is_left && self.is_decided {
            let banks = Bank::ALL.map(|bank| self.bytes(bank));
            let sum = banks.into_iter().fold(Volume::ZERO, plus);
            let own = minus(sum, self.before);
            self.carried = Volume { up: own.up.max(last.up), down: own.down.max(last.down) };
            let charged = self.bytes(Bank::Charged);
            if self.was_exempt {
                refused = minus(charged, self.charged);
            }
            self.charged = charged;
        }
        Reading {
            carried: self.carried,
            unseen: minus(self.carried, last),
            refused,
            unknowable: Unknowable::default(),
            contradicts: false,
        }
    }

    /// None: packets are counted as they pass.
    fn sent(&self) -> Option<&Sent> {
        None
    }

    fn moving(&self) -> u64 {
        0
    }

    fn is_waiting(&self) -> bool {
        false
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
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::io::{pread, pwrite};

    use super::*;
    use crate::net::kernel::layout::SLOT_BYTES;

    /// The slot of the tests, of a few.
    const NUMBER: u32 = 2;
    /// Where its ruling stands (`gateway/bpf/layout.h`).
    const RULING_AT: u64 = 56;
    const MARK: Mark = Mark { dscp: 46, fwmark: 7, upstream: true };

    /// The kernel's side: the same memory, without a kernel.
    struct Programs(OwnedFd);

    impl Programs {
        /// The arrays that both sides share.
        fn with_slots() -> (Self, Arc<Slots>) {
            let array = |bytes: u64| {
                let memory = memfd_create("slots", MemfdFlags::CLOEXEC).unwrap();
                ftruncate(&memory, bytes).unwrap();
                memory
            };
            let (slots, told) = (array(4 * SLOT_BYTES as u64), array(4 * 16));
            let shared = Slots::map(&slots, &told, 4).unwrap();
            (Self(slots), Arc::new(shared))
        }

        fn at(place: u64) -> u64 {
            u64::from(NUMBER) * SLOT_BYTES as u64 + place
        }

        /// Packets of so many bytes pass, counted in a bank.
        fn pass(&self, bank: Bank, up: u64, down: u64) {
            for (way, bytes) in [up, down].into_iter().enumerate() {
                let at = Self::at(u64::from(bank.number()) * 16 + way as u64 * 8);
                let mut count = [0; 8];
                pread(&self.0, &mut count, at).unwrap();
                pwrite(&self.0, &(u64::from_ne_bytes(count) + bytes).to_ne_bytes(), at).unwrap();
            }
        }

        /// Bank, code point, flags and mark, as a program reads them.
        fn ruling(&self) -> (u8, u8, u8, u32) {
            let mut word = [0; 8];
            pread(&self.0, &mut word, Self::at(RULING_AT)).unwrap();
            let [bank, code_point, how, _, mark @ ..] = word;
            (bank, code_point, how, u32::from_ne_bytes(mark))
        }
    }

    const fn bytes(up: u64, down: u64) -> Volume {
        Volume { up, down }
    }

    /// A flow that is exempt.
    fn exempt(slots: &Arc<Slots>) -> SlotMeter {
        let mut meter = SlotMeter::new(Arc::clone(slots), NUMBER, Transport::Tcp);
        meter.is_decided = true;
        meter.turn(MARK);
        settle(&mut meter);
        meter
    }

    /// The engine has settled what a ruling changed.
    fn settle(meter: &mut SlotMeter) {
        meter.held = None;
        meter.was_exempt = meter.ruling.bank == Bank::Exempt;
    }

    /// What a reading says: all so far, what is new, and what of that was refused.
    fn read(meter: &mut SlotMeter) -> (Volume, Volume, Volume) {
        let reading = meter.read(Queues::default());
        (reading.carried, reading.unseen, reading.refused)
    }

    #[test]
    fn k4_a_ruling_is_there_at_once_as_a_program_reads_it() {
        let (programs, slots) = Programs::with_slots();
        let mut meter = exempt(&slots);
        assert_eq!(programs.ruling(), (1, 46, 4, 7));
        meter.turn(Mark::NONE);
        assert_eq!(programs.ruling(), (2, 0, 0, 0));
        meter.turn(MARK);
        assert_eq!(programs.ruling(), (1, 46, 4, 7));
        meter.leave();
        meter.turn(Mark::NONE);
        assert_eq!(programs.ruling(), (1, 46, 4, 7), "another process rules");
    }

    #[test]
    fn k3_what_passes_between_a_ruling_and_the_reading_is_the_next_accounts() {
        let (programs, slots) = Programs::with_slots();
        let mut meter = exempt(&slots);
        programs.pass(Bank::Pending, 5, 6);
        programs.pass(Bank::Exempt, 10, 100);
        meter.turn(Mark::NONE);
        programs.pass(Bank::Charged, 3, 30);
        // One that had read the ruling before it was changed.
        programs.pass(Bank::Exempt, 0, 1);
        assert_eq!(read(&mut meter), (bytes(15, 107), bytes(15, 107), Volume::ZERO));
        settle(&mut meter);
        assert_eq!(read(&mut meter), (bytes(18, 137), bytes(3, 30), Volume::ZERO));
        // And back.
        meter.turn(MARK);
        programs.pass(Bank::Exempt, 0, 9);
        assert_eq!(read(&mut meter), (bytes(18, 137), Volume::ZERO, Volume::ZERO));
        settle(&mut meter);
        assert_eq!(read(&mut meter), (bytes(18, 146), bytes(0, 9), Volume::ZERO));
    }

    #[test]
    fn k6_t31_what_the_kernel_took_the_exemption_from_is_told() {
        let (programs, slots) = Programs::with_slots();
        let mut meter = exempt(&slots);
        programs.pass(Bank::Exempt, 1, 1_000);
        programs.pass(Bank::Charged, 2, 500);
        assert_eq!(read(&mut meter), (bytes(3, 1_500), bytes(3, 1_500), bytes(2, 500)));
        programs.pass(Bank::Charged, 0, 70);
        // It is charged from here on: what passed before that was refused, and what follows is not.
        meter.turn(Mark::NONE);
        programs.pass(Bank::Charged, 0, 8);
        assert_eq!(read(&mut meter), (bytes(3, 1_570), bytes(0, 70), bytes(0, 70)));
        settle(&mut meter);
        assert_eq!(read(&mut meter), (bytes(3, 1_578), bytes(0, 8), Volume::ZERO));
    }

    #[test]
    fn k5_without_a_verdict_nothing_is_read_and_what_was_told_before_is_not_counted_again() {
        let (programs, slots) = Programs::with_slots();
        programs.pass(Bank::Pending, 40, 60);
        slots.tell(NUMBER, bytes(30, 0));
        let mut meter = SlotMeter::new(Arc::clone(&slots), NUMBER, Transport::Udp);
        assert_eq!(read(&mut meter), (Volume::ZERO, Volume::ZERO, Volume::ZERO));
        meter.is_decided = true;
        assert_eq!(read(&mut meter), (bytes(10, 60), bytes(10, 60), Volume::ZERO));
        programs.pass(Bank::Charged, 1, 1);
        meter.leave();
        assert_eq!(read(&mut meter), (bytes(10, 60), Volume::ZERO, Volume::ZERO), "another process reads on");
    }
}
