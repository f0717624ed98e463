//! When memory or room for flows runs short: shorter timers first, then no reading of names, then whole ways past us.
//!
//! Memory is the process's resident set and what the sockets of its flows hold in the kernel, against `limits.memory_max`,
//! looked at four times a second. At 85 % timers are
//! shortened; at 92 % new flows are carried without being read and charged as `overload`, and steered ones, which cannot
//! be carried without a name, wait in the backlog; at 95 % whoever can lead flows past this process does so. A level is
//! left when the share has fallen well below where it began, so that it does not flutter. At 90 % of the room for flows
//! some are ended (see `flow::room`).

mod level;
mod memory;
mod over_limit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

pub use self::level::Level;
use self::level::{BRISK, SLACK};
use self::memory::{group_limit, resident};
use self::over_limit::OverLimit;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Timers are this part of what they are otherwise.
const SHORTENED: u32 = 4;
/// Tenths of the room for flows above which idle ones are ended.
const SHED_TENTHS: usize = 9;
/// Hundredths of the room that are to be open after that.
const SHED_TO_HUNDREDTHS: usize = 88;
/// What the sockets of one subscriber's flows may hold is at most one in so many of all memory, and as much is left to the
/// sockets of all whatever else runs short.
const QUEUE_SHARE: u64 = 8;
/// UDP flows that nobody has answered take none of the last one in so many places.
const RESERVE_SHARE: usize = 10;

/// How things stand; written by one task, read by all workers.
#[derive(Debug)]
pub struct Overload {
    level: AtomicU8,
    /// Memory that the process may take, in bytes; none: nobody says.
    memory_max: Option<u64>,
    /// Room for flows.
    flows_max: usize,
    /// Flows ended for room.
    shed: AtomicU64,
    /// Places of UDP flows that nobody has answered: they come free when others want them.
    reclaimable: AtomicUsize,
    /// Such flows that gave way to newer ones.
    given_up: AtomicU64,
    /// Memory that the sockets of all flows held at the last look, in bytes.
    queued: AtomicU64,
    /// What of it is to come free, for memory runs short.
    queue_surplus: AtomicU64,
    /// Flows ended because their receivers took nothing.
    stalled: AtomicU64,
    /// Flows beyond what their subscribers may have.
    pub over_limit: OverLimit,
}

impl Overload {
    /// There is enough of everything. Without `memory_max` the limit of the control group counts.
    pub fn new(memory_max: Option<u64>, flows_max: usize) -> Arc<Self> {
        let memory_max = memory_max.or_else(group_limit);
        Arc::new(Self {
            level: AtomicU8::new(0),
            memory_max,
            flows_max,
            shed: AtomicU64::new(0),
            reclaimable: AtomicUsize::new(0),
            given_up: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            queue_surplus: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            over_limit: OverLimit::default(),
        })
    }

    /// The level.
    pub fn level(&self) -> Level {
        let number = self.level.load(Ordering::Relaxed);
        Level::ALL.into_iter().find(|level| level.number() == number).unwrap_or_default()
    }

    /// Whether names of new flows are not read.
    pub fn is_unread(&self) -> bool {
        self.level() >= Level::Unread
    }

    /// A timer as it counts at this level.
    pub fn shorten(&self, time: Duration) -> Duration {
        match self.level() {
            Level::Normal => time,
            Level::Brisk | Level::Unread | Level::Past => time.checked_div(SHORTENED).unwrap_or(time),
        }
    }

    /// Room for flows.
    pub fn flows_max(&self) -> usize {
        self.flows_max
    }

    /// Flows ended for room.
    pub fn shed_total(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Counts flows ended for room.
    pub fn count_shed(&self, flows: u64) {
        self.shed.fetch_add(flows, Ordering::Relaxed);
    }

    /// A UDP flow that nobody has answered has taken a place.
    pub fn take_reclaimable(&self) {
        self.reclaimable.fetch_add(1, Ordering::Relaxed);
    }

    /// It has given it back, or was answered.
    pub fn give_back_reclaimable(&self) {
        self.reclaimable.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a UDP flow that nobody had answered and that gave way to a newer one.
    pub fn count_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// UDP flows that nobody had answered and that gave way to newer ones.
    pub fn given_up_total(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    /// A worker's flows hold `after` in their sockets, where they held `before`.
    pub fn change_queued(&self, before: u64, after: u64) {
        self.queued.fetch_add(after, Ordering::Relaxed);
        self.queued.fetch_sub(before, Ordering::Relaxed);
    }

    /// Memory that the sockets of all flows held at the last look, in bytes.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// What the sockets of one subscriber's flows may hold, where the configuration says `most`.
    pub fn queue_share(&self, most: u64) -> u64 {
        self.memory_max.map_or(most, |all| most.min(all / QUEUE_SHARE))
    }

    /// What is to come free of what all sockets hold, in bytes.
    pub fn queue_surplus(&self) -> u64 {
        self.queue_surplus.load(Ordering::Relaxed)
    }

    /// Counts flows that were ended because their receivers took nothing.
    pub fn count_stalled(&self, flows: u64) {
        self.stalled.fetch_add(flows, Ordering::Relaxed);
    }

    /// Flows that were ended because their receivers took nothing.
    pub fn stalled_total(&self) -> u64 {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Notes that the process holds so much besides its sockets, of so much that it may; what it uses in all.
    fn use_memory(&self, resident: u64, memory_max: u64) -> u64 {
        let queued = self.queued();
        let used = resident.saturating_add(queued);
        let level = self.level().next(used.saturating_mul(1_000) / memory_max.max(1));
        self.level.store(level.number(), Ordering::Relaxed);
        let surplus = if level == Level::Normal {
            0
        } else {
            // As far as the level below the first; but what sockets hold is not taken where something else is the cause.
            let wanted = memory_max.saturating_mul(BRISK.saturating_sub(SLACK)) / 1_000;
            used.saturating_sub(wanted).min(queued.saturating_sub(memory_max / QUEUE_SHARE))
        };
        self.queue_surplus.store(surplus, Ordering::Relaxed);
        used
    }

    /// Room for flows that are answered, when so many places are `free`: whatever nobody answers gives way to them.
    pub fn room(&self, free: usize) -> usize {
        free.saturating_add(self.reclaimable.load(Ordering::Relaxed))
    }

    /// Whether the places that are `free` are for flows that are answered.
    pub fn is_reserved(&self, free: usize) -> bool {
        free <= self.flows_max / RESERVE_SHARE
    }

    /// How many flows all workers are to end between them, when so many are `open`.
    pub fn surplus(&self, open: usize) -> usize {
        if open.saturating_mul(10) < self.flows_max.saturating_mul(SHED_TENTHS) {
            return 0;
        }
        open.saturating_sub(self.flows_max.saturating_mul(SHED_TO_HUNDREDTHS) / 100)
    }

    /// How many of its `own` flows a worker is to end, when all have so many `open`.
    pub fn to_shed(&self, open: usize, own: usize) -> usize {
        self.surplus(open).saturating_mul(own).div_ceil(open.max(1)).min(own)
    }

    /// Looks at memory until the event loop ends.
    pub async fn watch(self: Arc<Self>) {
        let Some(memory_max) = self.memory_max.filter(|limit| *limit > 0) else { return };
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(used) = resident() else { continue };
            let before = self.level();
            let used = self.use_memory(used, memory_max);
            let level = self.level();
            if level > before {
                tracing::warn!(?level, ?before, used, memory_max, "memory runs short (limits.memory_max)");
            } else if level < before {
                tracing::info!(?level, ?before, used, memory_max, "memory is there again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_idle_flows_are_ended_above_nine_tenths_of_the_room_and_not_below() {
        let overload = Overload::new(Some(1), 1_000);
        assert_eq!(overload.to_shed(899, 899), 0);
        assert_eq!(overload.to_shed(900, 900), 20);
        // Each worker ends its share.
        assert_eq!(overload.to_shed(1_000, 500), 60);
        assert_eq!(overload.to_shed(1_000, 0), 0);
        assert_eq!(Overload::new(Some(1), 1).to_shed(1, 1), 1);
    }

    #[test]
    fn f5_what_nobody_answers_is_room_for_others_and_leaves_the_last_tenth() {
        let overload = Overload::new(Some(1), 1_000);
        assert_eq!(overload.room(40), 40);
        (0..500).for_each(|_| overload.take_reclaimable());
        overload.give_back_reclaimable();
        assert_eq!(overload.room(40), 539);
        assert!(overload.is_reserved(100) && !overload.is_reserved(101));
        assert!(Overload::new(Some(1), 9).is_reserved(0) && !Overload::new(Some(1), 9).is_reserved(1));
    }

    #[test]
    fn s_timers_are_shortened_when_memory_runs_short() {
        let overload = Overload::new(Some(1), 1);
        let time = Duration::from_secs(8);
        assert_eq!(overload.shorten(time), time);
        overload.level.store(1, Ordering::Relaxed);
        assert!(overload.shorten(time) < time && !overload.is_unread());
        overload.level.store(2, Ordering::Relaxed);
        assert!(overload.is_unread());
    }

    #[test]
    fn f14_what_sockets_hold_is_memory_and_comes_free_as_far_as_it_is_the_cause() {
        let overload = Overload::new(Some(1_000), 1);
        assert_eq!(overload.use_memory(300, 1_000), 300);
        overload.change_queued(0, 549);
        assert_eq!((overload.use_memory(300, 1_000), overload.level()), (849, Level::Normal));
        overload.change_queued(549, 550);
        assert_eq!((overload.use_memory(300, 1_000), overload.level()), (850, Level::Brisk));
        assert_eq!(overload.queue_surplus(), 50, "to the end of the level");
        // Down to what is left to sockets in any case, and nothing where they hold no more.
        overload.use_memory(2_000, 1_000);
        assert_eq!(overload.queue_surplus(), 550 - 125);
        overload.change_queued(550, 125);
        overload.use_memory(2_000, 1_000);
        assert_eq!((overload.queue_surplus(), overload.level()), (0, Level::Past));
        assert_eq!((overload.queue_share(200), overload.queue_share(100)), (125, 100));
    }
}
