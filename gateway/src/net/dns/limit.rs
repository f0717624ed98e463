//! Who may ask how much: an allowance for each source, and room for connections. Shared by all workers, without a lock on
//! the way of a query. The time is an argument.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::source::Source;
use crate::flow::time::Monotonic;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// An allowance of queries for each source, as a table of a fixed size: what two sources of one place ask is counted
/// together.
pub(super) struct Allowances {
    /// For each place the moment, in microseconds, at which its allowance is whole again.
    whole_at: Box<[AtomicU64]>,
    /// Time that one query costs.
    cost_us: u64,
    /// Time that may be owed at most.
    owed_us_max: u64,
}

impl Allowances {
    /// Allowances of `per_second` queries, `burst` at once, with `places` of them.
    pub(super) fn new(per_second: u32, burst: u32, places: usize) -> Self {
        let cost_us = SECOND_US.checked_div(u64::from(per_second)).unwrap_or(SECOND_US).max(1);
        let whole_at = (0..places.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { whole_at, cost_us, owed_us_max: cost_us.saturating_mul(u64::from(burst)) }
    }

    /// Takes one query from the allowance of `source`; false when it is used up.
    pub(super) fn take(&self, source: Source, now: Monotonic) -> bool {
        let now_us = now.as_millis().saturating_mul(1_000);
        let Some(whole_at) = self.whole_at.get(source.place(self.whole_at.len())) else { return false };
        let taken = whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
            let next = whole_at.max(now_us).saturating_add(self.cost_us);
            (next.saturating_sub(now_us) <= self.owed_us_max).then_some(next)
        });
        taken.is_ok()
    }
}

/// A count that is given back when the value is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes one of `max` places; none when all are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then(|| count.saturating_add(1));
        let outcome = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        outcome.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Open connections, in all and by client.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<Source, usize>>,
    all: Arc<AtomicUsize>,
}

/// Room of one connection.
pub(super) struct ConnectionPlace {
    connections: Arc<Connections>,
    client: Source,
    _place: Place,
}

impl Connections {
    /// Takes room for a connection of `client`; none when there is none.
    pub(super) fn take(
        self: &Arc<Self>,
        client: Source,
        all_max: usize,
        client_max: usize,
    ) -> Option<ConnectionPlace> {
        let place = Place::take(&self.all, all_max)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_insert(0);
        if *count >= client_max {
            return None;
        }
        *count = count.saturating_add(1);
        Some(ConnectionPlace { connections: Arc::clone(self), client, _place: place })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

/// How a server stands, as all workers see it.
#[derive(Default)]
pub(super) struct Health {
    /// Time-outs since the last answer.
    timeouts: AtomicU64,
    /// Until when it is passed over, in milliseconds; 0: it is not.
    down_until: AtomicU64,
}

/// Time-outs after which a server is passed over.
const TIMEOUTS_MAX: u64 = 3;
/// How long it is passed over before it is tried again.
const DOWN_PAUSE: Duration = Duration::from_secs(5);

impl Health {
    /// It answered.
    pub(super) fn answered(&self) {
        if self.timeouts.load(Ordering::Relaxed) != 0 || self.down_until.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
            self.down_until.store(0, Ordering::Relaxed);
        }
    }

    /// It did not answer in time.
    pub(super) fn timed_out(&self, now: Monotonic) {
        if self.timeouts.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= TIMEOUTS_MAX {
            self.unreachable(now);
        }
    }

    /// It cannot be reached.
    pub(super) fn unreachable(&self, now: Monotonic) {
        self.down_until.store(now.plus(DOWN_PAUSE).as_millis().max(1), Ordering::Relaxed);
    }

    /// Whether it is passed over. When its pause is over one query tries it; others pass it over until that one is answered.
    pub(super) fn is_down(&self, now: Monotonic) -> bool {
        let until = self.down_until.load(Ordering::Relaxed);
        if until == 0 || until > now.as_millis() {
            return until != 0;
        }
        let next = now.plus(DOWN_PAUSE).as_millis();
        self.down_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
    }

    /// Whether it has not answered since it was last found down.
    pub(super) fn was_down(&self) -> bool {
        self.down_until.load(Ordering::Relaxed) != 0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::net::dns::source::Sources;

    /// Two sources.
    fn pair() -> [Source; 2] {
        let sources = Sources::new(32, 56, RandomState::new());
        ["10.7.0.1", "10.7.0.2"].map(|text| sources.of(text.parse().unwrap(), None))
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(ms))
    }

    #[test]
    fn a_source_has_its_burst_then_its_rate() {
        let allowances = Allowances::new(200, 300, 1 << 16);
        let [one, _] = pair();
        let taken = (0..400).filter(|_| allowances.take(one, at(1_000))).count();
        assert_eq!(taken, 300);
        assert!(!allowances.take(one, at(1_004)));
        assert!(allowances.take(one, at(1_005)), "one query each 5 ms");
        assert!(!allowances.take(one, at(1_005)));
        let later = (0..400).filter(|_| allowances.take(one, at(2_005))).count();
        assert_eq!(later, 200);
        let rested = (0..400).filter(|_| allowances.take(one, at(60_000))).count();
        assert_eq!(rested, 300, "never more than the burst");
    }

    #[test]
    fn connections_at_their_limits_and_one_over() {
        let connections = Arc::new(Connections::default());
        let [a, b] = pair();
        let first = connections.take(a, 3, 2);
        let second = connections.take(a, 3, 2);
        assert!(first.is_some() && second.is_some() && connections.take(a, 3, 2).is_none());
        let third = connections.take(b, 3, 2);
        assert!(third.is_some() && connections.take(b, 3, 2).is_none());
        drop(first);
        assert!(connections.take(b, 3, 2).is_some());
        drop((second, third));
        assert!(connections.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_silent_server_is_passed_over_and_tried_again_by_one_query() {
        let health = Health::default();
        health.timed_out(at(0));
        health.timed_out(at(1));
        assert!(!health.is_down(at(2)));
        health.timed_out(at(2));
        assert!(health.is_down(at(3)) && health.was_down());
        assert!(health.is_down(at(5_001)));
        assert!(!health.is_down(at(5_002)), "one tries it");
        assert!(health.is_down(at(5_002)), "the others do not");
        health.answered();
        assert!(!health.is_down(at(5_003)) && !health.was_down());
    }
}
