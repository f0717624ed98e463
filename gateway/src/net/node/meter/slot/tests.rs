//! Tests of `slot`.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};

use super::*;
use crate::net::kernel::layout::SLOT_BYTES;

/// The slot of the tests, of a few.
const NUMBER: u32 = 2;
/// Where its ruling stands (`gateway/bpf/layout.h`).
const RULING_AT: u64 = 56;
const MARK: Mark = Mark { dscp: 46, fwmark: 7, upstream: true };

/// The kernel's side: the same memory, without a kernel. The slots, and what was dropped of each.
struct Programs(OwnedFd, OwnedFd);

impl Programs {
    /// The arrays that both sides share.
    fn with_slots() -> (Self, Arc<Slots>) {
        let array = |bytes: u64| {
            let memory = memfd_create("slots", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&memory, bytes).unwrap();
            memory
        };
        let (slots, told, dropped) = (array(4 * SLOT_BYTES as u64), array(4 * 16), array(4 * 8));
        let shared = Slots::map(&slots, &told, &dropped, 4).unwrap();
        (Self(slots, dropped), Arc::new(shared))
    }

    fn at(place: u64) -> u64 {
        u64::from(NUMBER) * SLOT_BYTES as u64 + place
    }

    /// Packets of so many bytes pass, counted in a bank.
    fn pass(&self, bank: Bank, up: u64, down: u64) {
        for (way, bytes) in [up, down].into_iter().enumerate() {
            let at = Self::at(u64::from(bank.number()) * 16 + way as u64 * 8);
            add(&self.0, at, bytes);
        }
    }

    /// A queue drops so many bytes of what has passed.
    fn drop(&self, bytes: u64) {
        add(&self.1, u64::from(NUMBER) * 8, bytes);
    }

    /// Bank, code point, flags and mark, as a program reads them.
    fn ruling(&self) -> (u8, u8, u8, u32) {
        let mut word = [0; 8];
        pread(&self.0, &mut word, Self::at(RULING_AT)).unwrap();
        let [bank, code_point, how, _, mark @ ..] = word;
        (bank, code_point, how, u32::from_ne_bytes(mark))
    }
}

/// Adds to a shared count.
fn add(memory: &OwnedFd, at: u64, more: u64) {
    let mut count = [0; 8];
    pread(memory, &mut count, at).unwrap();
    pwrite(memory, &(u64::from_ne_bytes(count) + more).to_ne_bytes(), at).unwrap();
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

/// Queues that ran empty at this look.
fn look(looks: u64) -> Queues {
    Queues { looks, emptied: looks, dropped: 0 }
}

/// What readings before and after a look say: all so far, what is new, and what of that was refused.
fn read(meter: &mut SlotMeter) -> (Volume, Volume, Volume) {
    static LOOKS: AtomicU64 = AtomicU64::new(1);
    let one = meter.read(look(LOOKS.fetch_add(1, Ordering::Relaxed)));
    let two = meter.read(look(LOOKS.fetch_add(1, Ordering::Relaxed)));
    (two.carried, plus(one.unseen, two.unseen), plus(one.refused, two.refused))
}

/// What one reading has come to by now.
fn down(meter: &mut SlotMeter, queues: Queues) -> (u64, u64, bool) {
    let reading = meter.read(queues);
    (reading.carried.down, meter.moving(), meter.is_waiting())
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

#[test]
fn k28_what_is_dropped_is_never_told_whether_it_is_known_before_the_reading_or_after() {
    let (programs, slots) = Programs::with_slots();
    let mut meter = exempt(&slots);
    programs.pass(Bank::Exempt, 7, 1_000);
    programs.drop(300);
    assert_eq!(down(&mut meter, look(1)), (0, 700, true), "a queue may still have it");
    assert_eq!(down(&mut meter, look(2)), (700, 0, false));
    // Counted, read, and dropped in the queue after that.
    programs.pass(Bank::Exempt, 0, 1_000);
    assert_eq!(down(&mut meter, look(2)), (700, 1_000, true));
    programs.drop(400);
    let full = Queues { looks: 3, emptied: 2, dropped: 0 };
    assert_eq!(down(&mut meter, full), (700, 600, true), "no look has found the queues empty since");
    assert_eq!(down(&mut meter, look(4)), (1_300, 0, false));
    // Of what came behind the look: it is taken off what is told first, and told with the rest.
    programs.pass(Bank::Exempt, 0, 500);
    assert_eq!(down(&mut meter, look(4)), (1_300, 500, true));
    programs.pass(Bank::Exempt, 0, 500);
    programs.drop(200);
    assert_eq!(down(&mut meter, look(5)), (1_600, 500, true));
    assert_eq!(down(&mut meter, look(6)), (2_100, 0, false));
    assert_eq!(read(&mut meter), (bytes(7, 2_100), Volume::ZERO, Volume::ZERO));
}

#[test]
fn k28_what_is_dropped_behind_a_ruling_is_the_account_s_whose_packet_it_was() {
    let (programs, slots) = Programs::with_slots();
    let mut meter = exempt(&slots);
    programs.pass(Bank::Exempt, 0, 1_000);
    programs.drop(100);
    meter.turn(Mark::NONE);
    // Of the new account, in the moment before the old one is read.
    programs.pass(Bank::Charged, 0, 400);
    programs.drop(50);
    assert_eq!(down(&mut meter, look(1)), (0, 900, true));
    let way = meter.sent().unwrap().on_its_way();
    assert_eq!(way.upto(), 900);
    settle(&mut meter);
    assert_eq!(down(&mut meter, look(1)), (0, 1_250, true));
    // What was dropped since may be the exempt account's: it bears it, and the sum is what passed.
    assert_eq!(down(&mut meter, look(2)), (850, 400, true));
    assert_eq!(way.end(meter.sent().unwrap(), false), (850, false));
    assert_eq!(down(&mut meter, look(3)), (1_250, 0, false));
    assert_eq!(way.end(meter.sent().unwrap(), false), (850, true));
    // A charged one that ends keeps what it had.
    assert_eq!(way.end(meter.sent().unwrap(), true), (900, true));
}

#[test]
fn k28_a_next_process_counts_neither_what_was_dropped_nor_what_was_told() {
    let (programs, slots) = Programs::with_slots();
    let mut meter = exempt(&slots);
    programs.pass(Bank::Exempt, 3, 1_000);
    programs.drop(100);
    assert_eq!(read(&mut meter).0, bytes(3, 900));
    programs.pass(Bank::Exempt, 0, 600);
    assert_eq!(down(&mut meter, look(1_000)), (900, 600, true));
    // As `follow` says it; what is on its way stays in the slot.
    slots.tell(NUMBER, plus(meter.before, meter.carried));
    programs.drop(200);
    let mut next = exempt(&slots);
    assert_eq!(read(&mut next).0, bytes(0, 400));
    assert!(meter.is_kept() && meter.is_waiting());
    meter.leave();
    assert!(!meter.is_waiting());
    slots.clear(NUMBER);
    assert_eq!((slots.dropped(NUMBER), slots.told(NUMBER)), (0, Volume::ZERO), "the next flow inherits none");
}

#[test]
fn k28_what_was_refused_is_told_with_the_bytes_it_was_of() {
    let (programs, slots) = Programs::with_slots();
    let mut meter = exempt(&slots);
    programs.pass(Bank::Exempt, 0, 1_000);
    programs.pass(Bank::Charged, 5, 500);
    let refused = |meter: &mut SlotMeter, looks| meter.read(look(looks)).refused;
    assert_eq!(refused(&mut meter, 1), bytes(5, 0));
    programs.drop(1_200);
    assert_eq!(refused(&mut meter, 2), bytes(0, 300), "no more than was told");
    programs.pass(Bank::Exempt, 0, 800);
    assert_eq!((refused(&mut meter, 2), refused(&mut meter, 3)), (Volume::ZERO, Volume::ZERO));
}
