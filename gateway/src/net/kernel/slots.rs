//! The arrays that the kernel and this process share: readings are loads, rulings are stores.
#![allow(unsafe_code, reason = "the kernel's arrays are mapped into this process; each block has its proof")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use billing_export::Volume;

use super::layout::{Bank, KEY_BYTES, RawKey, Ruling, SLOT_BYTES, Seen};

/// A slot as the kernel and this process share it. Both write with atomic stores and additions, each its own fields.
#[repr(C, align(64))]
struct Slot {
    /// By bank and direction; the kernel's.
    bytes: [[AtomicU64; 2]; 3],
    /// The kernel's.
    flags: AtomicU32,
    /// Ours, changed while nobody has the slot.
    generation: AtomicU32,
    /// Ours.
    ruling: AtomicU64,
    /// The kernel's, written before the flag that says that somebody has the slot.
    key: [AtomicU8; KEY_BYTES],
    client_isn: AtomicU32,
    server: AtomicU32,
    copied: AtomicU32,
    /// Ours.
    claim: AtomicU32,
    /// The kernel's until there is a ruling, then ours.
    quota: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES, "as in gateway/bpf/layout.h");

/// Bytes up and down that have an account; ours alone.
#[repr(C)]
struct Told([AtomicU64; 2]);

/// Bytes down that were counted and then dropped; the kernel's.
#[repr(C)]
struct Dropped(AtomicU64);

/// What the programs are told of this process.
#[repr(C)]
struct ControlWords {
    beat: AtomicU64,
    patience: AtomicU64,
    own_marks: AtomicU64,
    sleeping: AtomicU32,
    share: AtomicU32,
    told: [AtomicU64; 2],
}

/// What a mapped array may be made of.
///
/// # Safety
/// All values of its bytes must be good, and it must be made of atomics alone: others write to it.
// SAFETY: what has to hold is said above; whoever implements it says that it does.
unsafe trait SharedWords {}

// SAFETY: atomics of integers, in a layout without padding that is read.
unsafe impl SharedWords for Slot {}
// SAFETY: the same.
unsafe impl SharedWords for Told {}
// SAFETY: the same.
unsafe impl SharedWords for Dropped {}
// SAFETY: the same.
unsafe impl SharedWords for ControlWords {}

/// An array map of the kernel, mapped into this process.
struct Mapped<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: the mapping is shared memory of which only atomics are made; it moves and is shared as an array of them would be.
unsafe impl<T: SharedWords> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: SharedWords> Sync for Mapped<T> {}

impl<T: SharedWords> Mapped<T> {
    /// Maps the array that `map` is, of `count` values.
    fn new(map: &impl AsFd, count: u32) -> io::Result<Self> {
        let count = usize::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
        let bytes = count.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::InvalidInput)?;
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place that the system chooses; no memory of ours is touched. The kernel refuses one that
        // is longer than the array.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, shared, map.as_fd().as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(at.cast::<T>()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { first, count })
    }

    /// One value.
    fn get(&self, number: u32) -> Option<&T> {
        let number = usize::try_from(number).ok().filter(|number| *number < self.count)?;
        // SAFETY: the mapping has `count` values of this size, begins at a page and so at a multiple of their alignment, lives
        // as long as `self`, and is made of atomics, for which all values are good.
        Some(unsafe { self.first.add(number).as_ref() })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = self.count.saturating_mul(size_of::<T>());
        // SAFETY: the mapping is ours, of this length, and nothing borrowed from it outlives `self`.
        let _ = unsafe { libc::munmap(self.first.as_ptr().cast(), bytes) };
    }
}

/// All slots, what of each has an account, and what was dropped.
pub struct Slots {
    slots: Mapped<Slot>,
    told: Mapped<Told>,
    dropped: Mapped<Dropped>,
    count: u32,
}

impl Slots {
    /// Maps the arrays, of `count` values each.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(slots: &impl AsFd, told: &impl AsFd, dropped: &impl AsFd, count: u32) -> io::Result<Self> {
        let slots = Mapped::new(slots, count)?;
        Ok(Self { slots, told: Mapped::new(told, count)?, dropped: Mapped::new(dropped, count)?, count })
    }

    /// The numbers of all slots.
    pub const fn numbers(&self) -> std::ops::Range<u32> {
        0..self.count
    }

    /// What was seen of the flow that has a slot.
    pub fn seen(&self, number: u32) -> Seen {
        self.slots.get(number).map_or_else(Seen::default, |slot| Seen(slot.flags.load(Ordering::Acquire)))
    }

    /// The generation of the flow that has a slot.
    pub fn generation(&self, number: u32) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.generation.load(Ordering::Relaxed))
    }

    /// The key of the flow that has a slot.
    pub fn key(&self, number: u32) -> RawKey {
        let mut bytes = [0; KEY_BYTES];
        if let Some(slot) = self.slots.get(number) {
            for (byte, shared) in bytes.iter_mut().zip(&slot.key) {
                *byte = shared.load(Ordering::Relaxed);
            }
        }
        RawKey(bytes)
    }

    /// The number in the subscriber's SYN.
    pub fn client_isn(&self, number: u32) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.client_isn.load(Ordering::Relaxed))
    }

    /// Of an established connection: the next number that its server expects.
    pub fn acknowledged(&self, number: u32) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.server.load(Ordering::Relaxed))
    }

    /// When the flow that has a slot began, by CLOCK_MONOTONIC_COARSE; none once there is a ruling.
    pub fn opened(&self, number: u32) -> Option<Duration> {
        let slot = self.slots.get(number)?;
        let is_open = slot.ruling.load(Ordering::Relaxed) == Ruling::OPEN.word();
        is_open.then(|| Duration::from_nanos(slot.quota.load(Ordering::Relaxed)))
    }

    /// Bytes in one bank.
    pub fn bytes(&self, number: u32, bank: Bank) -> Volume {
        let slot = self.slots.get(number);
        let pair = slot.and_then(|slot| slot.bytes.get(usize::from(bank.number())));
        pair.map_or(Volume::ZERO, |[up, down]| Volume {
            up: up.load(Ordering::Relaxed),
            down: down.load(Ordering::Relaxed),
        })
    }

    /// Bytes in all banks.
    pub fn carried(&self, number: u32) -> Volume {
        Bank::ALL.into_iter().fold(Volume::ZERO, |sum, bank| {
            let bytes = self.bytes(number, bank);
            Volume { up: sum.up.saturating_add(bytes.up), down: sum.down.saturating_add(bytes.down) }
        })
    }

    /// Bytes to the subscriber that are among those of the banks, and that a queue dropped since. To be read after the banks: then
    /// nothing that they have, and that was dropped by then, is missed.
    pub fn dropped(&self, number: u32) -> u64 {
        fence(Ordering::SeqCst);
        self.dropped.get(number).map_or(0, |Dropped(bytes)| bytes.load(Ordering::Relaxed))
    }

    /// Rules what becomes of the flow's packets; `quota` is how many bytes of both directions its exempt bank may have.
    pub fn rule(&self, number: u32, ruling: Ruling, quota: u64) {
        let Some(slot) = self.slots.get(number) else { return };
        slot.quota.store(quota, Ordering::Relaxed);
        // After the quota: who sees the ruling sees what belongs to it.
        slot.ruling.store(ruling.word(), Ordering::Release);
        // No reading of a bank that comes after it is taken before it.
        fence(Ordering::SeqCst);
    }

    /// Bytes that were copied since copying began anew.
    pub fn copied(&self, number: u32) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.copied.load(Ordering::Relaxed))
    }

    /// Further bytes are copied, for a ruling that asks for others.
    pub fn copy_anew(&self, number: u32) {
        if let Some(slot) = self.slots.get(number) {
            slot.copied.store(0, Ordering::Relaxed);
        }
    }

    /// What is known of the flow's name, as a process before has put it.
    pub fn claim(&self, number: u32) -> u32 {
        self.slots.get(number).map_or(0, |slot| slot.claim.load(Ordering::Relaxed))
    }

    /// Puts what is known of the flow's name.
    pub fn set_claim(&self, number: u32, claim: u32) {
        if let Some(slot) = self.slots.get(number) {
            slot.claim.store(claim, Ordering::Relaxed);
        }
    }

    /// Bytes of the flow that have an account.
    pub fn told(&self, number: u32) -> Volume {
        self.told.get(number).map_or(Volume::ZERO, |Told([up, down])| Volume {
            up: up.load(Ordering::Relaxed),
            down: down.load(Ordering::Relaxed),
        })
    }

    /// So many bytes of the flow have an account. Said before they are saved: what a crash takes is lost, and never counted twice.
    pub fn tell(&self, number: u32, volume: Volume) {
        if let Some(Told([up, down])) = self.told.get(number) {
            up.store(volume.up, Ordering::Relaxed);
            down.store(volume.down, Ordering::Relaxed);
        }
    }

    /// Empties a slot whose key leads nowhere, so that another flow may have it.
    pub fn clear(&self, number: u32) {
        let Some(slot) = self.slots.get(number) else { return };
        slot.bytes.iter().flatten().for_each(|bytes| bytes.store(0, Ordering::Relaxed));
        for field in [&slot.client_isn, &slot.server, &slot.copied, &slot.claim] {
            field.store(0, Ordering::Relaxed);
        }
        slot.quota.store(0, Ordering::Relaxed);
        slot.ruling.store(Ruling::OPEN.word(), Ordering::Relaxed);
        slot.generation.fetch_add(1, Ordering::Relaxed);
        self.tell(number, Volume::ZERO);
        if let Some(Dropped(bytes)) = self.dropped.get(number) {
            bytes.store(0, Ordering::Relaxed);
        }
        // Last: nobody has it from here on.
        slot.flags.store(0, Ordering::Release);
    }
}

/// What the programs are told of this process.
pub struct Control(Mapped<ControlWords>);

impl Control {
    /// Maps the array that `map` is.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(map: &impl AsFd) -> io::Result<Self> {
        Mapped::new(map, 1).map(Self)
    }

    /// The process looks, at this time of CLOCK_MONOTONIC_COARSE.
    pub fn beat(&self, now: Duration) {
        if let Some(words) = self.0.get(0) {
            words.beat.store(nanoseconds(now), Ordering::Relaxed);
        }
    }

    /// How long packets bear marks when it does not, the code points that nobody else may set, a bit each, and how many slots one
    /// subscriber's address may have.
    pub fn set(&self, patience: Duration, own_marks: u64, share: u32) {
        if let Some(words) = self.0.get(0) {
            words.patience.store(nanoseconds(patience), Ordering::Relaxed);
            words.own_marks.store(own_marks, Ordering::Relaxed);
            words.share.store(share, Ordering::Relaxed);
        }
    }

    /// Bytes without a slot, up and down, that have an account.
    pub fn told(&self) -> [u64; 2] {
        self.0.get(0).map_or([0; 2], |words| words.told.each_ref().map(|told| told.load(Ordering::Relaxed)))
    }

    /// So many of them have one.
    pub fn tell(&self, [up, down]: [u64; 2]) {
        if let Some(ControlWords { told: [told_up, told_down], .. }) = self.0.get(0) {
            told_up.store(up, Ordering::Relaxed);
            told_down.store(down, Ordering::Relaxed);
        }
    }

    /// Whether the process wants to be woken by the next piece.
    pub fn sleep(&self, whether: bool) {
        if let Some(words) = self.0.get(0) {
            words.sleeping.store(u32::from(whether), Ordering::SeqCst);
        }
    }
}

/// A time in nanoseconds, at most what the counter holds.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
