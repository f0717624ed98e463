//! The time of a capture: it follows the stamps of packets, but order decides where stamps run back.

use std::time::Duration;

use crate::flow::time::Monotonic;

/// Packets are written in the order of their stamps but for this much, as several queues of one card deliver them.
const REORDER_MAX: Duration = Duration::from_secs(1);

/// The time of packets: never stands still between two of them, never runs back.
#[derive(Default)]
pub(super) struct PacketClock {
    now: Duration,
    /// The first stamp.
    first: Option<Duration>,
    /// The highest stamp.
    last: Duration,
    /// A stamp was clearly lower than one before it.
    pub(super) stepped_back: bool,
}

impl PacketClock {
    /// A packet with this stamp comes next.
    pub(super) fn tick(&mut self, stamp: Option<Duration>) {
        self.now = self.now.saturating_add(Duration::from_nanos(1));
        let Some(stamp) = stamp else { return };
        let first = *self.first.get_or_insert(stamp);
        self.stepped_back |= stamp.saturating_add(REORDER_MAX) < self.last;
        self.last = self.last.max(stamp);
        if !self.stepped_back {
            self.now = self.now.max(stamp.saturating_sub(first));
        }
    }

    /// The time of the packet at hand.
    pub(super) const fn now(&self) -> Monotonic {
        Monotonic::new(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_with_stamps_that_run_forward_and_order_never_gets_lost() {
        let mut clock = PacketClock::default();
        let mut tick = |seconds: Option<u64>| {
            clock.tick(seconds.map(Duration::from_secs));
            (clock.now(), clock.stepped_back)
        };
        let (start, _) = tick(Some(1_000));
        let (same, _) = tick(Some(1_000));
        assert!(same > start && same.since(start) < Duration::from_millis(1));
        let (later, _) = tick(Some(1_100));
        assert_eq!(later.since(start), Duration::from_secs(100) - Duration::from_nanos(1));
        let (absent, _) = tick(None);
        assert!(absent > later && absent.since(later) < Duration::from_millis(1));
        let (reordered, stepped) = tick(Some(1_099));
        assert!(reordered > absent && !stepped);
        let (back, stepped) = tick(Some(1_000));
        assert!(back > reordered && stepped);
        let (after, stepped) = tick(Some(9_000));
        assert!(after.since(back) < Duration::from_millis(1) && stepped, "not believed any more");
    }
}
