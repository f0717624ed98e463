//! Signs of life of the workers' event loops: one for the kernel's rules ([`crate::net::edge`]) and for the service manager.
//!
//! Written by each worker's house-keeping and read by the control thread. A worker that stands still says nothing, whatever
//! its export or disk does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::flow::time::Monotonic;

/// How often a worker gives one.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Shorter silence than this is no silence: a loaded machine lets a thread wait.
const SILENCE_MIN: Duration = Duration::from_millis(300);

/// When each worker's event loop last ran, in milliseconds of the monotonic clock.
pub struct Beats(Box<[AtomicU64]>);

impl Beats {
    /// Those of so many workers, none of which has run.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// Worker number `index` runs.
    pub fn give(&self, index: usize, now: Monotonic) {
        if let Some(beat) = self.0.get(index) {
            beat.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Whether every worker has run within `limit`.
    pub fn all_within(&self, limit: Duration, now: Monotonic) -> bool {
        let limit = limit.max(SILENCE_MIN).as_millis();
        let silence = |beat: &AtomicU64| now.as_millis().saturating_sub(beat.load(Ordering::Relaxed));
        self.0.iter().all(|beat| u128::from(silence(beat)) <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t41_one_worker_that_stands_still_is_enough() {
        let at = |ms| Monotonic::new(Duration::from_millis(ms));
        let second = Duration::from_secs(1);
        let beats = Beats::new(2);
        beats.give(0, at(5_000));
        assert!(!beats.all_within(second, at(5_000)), "the other has not run at all");
        beats.give(1, at(5_500));
        assert!(beats.all_within(second, at(6_000)));
        assert!(!beats.all_within(second, at(6_001)));
        beats.give(0, at(6_001));
        assert!(beats.all_within(second, at(6_001)));
        // Nobody's, and a limit that no thread keeps.
        beats.give(2, at(9_000));
        assert!(beats.all_within(Duration::ZERO, at(5_800)));
        assert!(!beats.all_within(Duration::ZERO, at(5_801)));
    }
}
