//! Who may ask how much: a rate for each source, a share of the queries under way, and room for connections. The numbers
//! are keys of `[dns]` (`config/src/dns/query_limits.rs`). All workers share this, without a lock on a query's way. The time is an
//! argument.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::source::Source;
use crate::flow::time::Monotonic;

/// Microseconds of a second.
const SECOND_US: u64 = 1_000_000;

/// An allowance of queries for each source, as a table of a fixed size: what two sources of one place ask is counted
/// together.
pub(super) struct QueryRates {
    /// For each place the moment, in microseconds, at which its allowance is whole again.
    whole_at: Box<[AtomicU64]>,
    /// Time that one query costs.
    cost_us: u64,
    /// Time that may be owed at most.
    owed_us_max: u64,
}

impl QueryRates {
    /// Rates of `per_second` queries, `burst` at once, with `places` of them.
    pub(super) fn new(per_second: u32, burst: u32, places: usize) -> Self {
        let cost_us = SECOND_US.checked_div(u64::from(per_second)).unwrap_or(SECOND_US).max(1);
        let whole_at = (0..places.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { whole_at, cost_us, owed_us_max: cost_us.saturating_mul(u64::from(burst)) }
    }

    /// Takes one query from the allowance of `source`; when it is used up, how long until there is one.
    pub(super) fn take(&self, source: Source, now: Monotonic) -> Result<(), Duration> {
        let now_us = now.as_millis().saturating_mul(1_000);
        let Some(whole_at) = self.whole_at.get(source.place(self.whole_at.len())) else { return Ok(()) };
        let taken = whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
            let next = whole_at.max(now_us).saturating_add(self.cost_us);
            (next.saturating_sub(now_us) <= self.owed_us_max).then_some(next)
        });
        let over = |whole_at: u64| whole_at.saturating_add(self.cost_us).saturating_sub(now_us);
        let wait = |whole_at| Duration::from_micros(over(whole_at).saturating_sub(self.owed_us_max));
        taken.map(|_| ()).map_err(wait)
    }
}

/// A count that is given back when the value is dropped.
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// Takes one of `max` places; none when all are taken.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then(|| count.saturating_add(1));
        let outcome = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        outcome.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A source may hold as much as this part of what is free: whoever holds most is the first to get no more, and the more
/// take what they can get, the less each has; some room is left (a dynamic threshold, Choudhury and Hahne 1998).
const SHARE: usize = 16;
/// Places that a source may hold all the same: a browser asks for A, AAAA and HTTPS of a name at once.
const SHARE_MIN: usize = 4;
/// The last part of all places, which is for sources that have none.
const RESERVE: usize = 16;

/// How many places a source may hold when `taken` of `all` are taken.
fn share(taken: usize, all: usize) -> usize {
    let free = all.saturating_sub(taken);
    let is_reserved = free < all.checked_div(RESERVE).unwrap_or(0);
    let least = if is_reserved { 1 } else { SHARE_MIN };
    free.checked_div(SHARE).unwrap_or(0).max(least)
}

/// Queries under way, in all and by source. Two sources of one place are counted together.
pub(super) struct UnderWay {
    all: AtomicUsize,
    all_max: usize,
    source_max: u32,
    held: Box<[AtomicU32]>,
}

/// Why a query has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Its source has as many under way as it may.
    Source,
    /// All together have.
    All,
}

/// The place of one query under way, given back when the value is dropped.
pub(super) struct UnderWayPlace {
    under_way: Arc<UnderWay>,
    source: Source,
}

impl UnderWay {
    /// Room for `all_max` queries, `source_max` of one source, with `places` of these.
    pub(super) fn new(all_max: usize, source_max: u32, places: usize) -> Self {
        let held = (0..places.max(1)).map(|_| AtomicU32::new(0)).collect();
        Self { all: AtomicUsize::new(0), all_max, source_max, held }
    }

    /// Takes a place for a query of `source`.
    pub(super) fn take(self: &Arc<Self>, source: Source) -> Result<UnderWayPlace, Full> {
        let share = share(self.all.load(Ordering::Relaxed), self.all_max);
        let most = u32::try_from(share).unwrap_or(u32::MAX).min(self.source_max);
        let held = self.held_by(source).ok_or(Full::All)?;
        let more = |count: u32| (count < most).then(|| count.saturating_add(1));
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| Full::Source)?;
        let more = |count: usize| (count < self.all_max).then(|| count.saturating_add(1));
        if self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err() {
            held.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::All);
        }
        Ok(UnderWayPlace { under_way: Arc::clone(self), source })
    }

    /// What a source holds.
    fn held_by(&self, source: Source) -> Option<&AtomicU32> {
        self.held.get(source.place(self.held.len()))
    }
}

impl Drop for UnderWayPlace {
    fn drop(&mut self) {
        if let Some(held) = self.under_way.held_by(self.source) {
            held.fetch_sub(1, Ordering::Relaxed);
        }
        self.under_way.all.fetch_sub(1, Ordering::Relaxed);
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
    _place: Permit,
}

impl Connections {
    /// Takes room for a connection of `client`; none when there is none.
    pub(super) fn take(
        self: &Arc<Self>,
        client: Source,
        all_max: usize,
        client_max: usize,
    ) -> Option<ConnectionPlace> {
        let client_max = client_max.min(share(self.all.load(Ordering::Relaxed), all_max));
        let place = Permit::take(&self.all, all_max)?;
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
        let allowances = QueryRates::new(200, 300, 1 << 16);
        let [one, _] = pair();
        let taken = (0..400).filter(|_| allowances.take(one, at(1_000)).is_ok()).count();
        assert_eq!(taken, 300);
        assert_eq!(allowances.take(one, at(1_004)), Err(Duration::from_millis(1)));
        assert!(allowances.take(one, at(1_005)).is_ok(), "one query each 5 ms");
        assert_eq!(allowances.take(one, at(1_005)), Err(Duration::from_millis(5)));
        assert!(allowances.take(one.proven(), at(1_005)).is_ok(), "what is proven is counted apart");
        let later = (0..400).filter(|_| allowances.take(one, at(2_005)).is_ok()).count();
        assert_eq!(later, 200);
        let rested = (0..400).filter(|_| allowances.take(one, at(60_000)).is_ok()).count();
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
    fn f9_few_who_hold_all_the_connections_they_may_leave_some_to_others() {
        let connections = Arc::new(Connections::default());
        let sources = Sources::new(32, 56, RandomState::new());
        let mut held = Vec::new();
        for last in 1..=70 {
            let greedy = sources.of([10, 9, 0, last].into(), None);
            held.extend(std::iter::from_fn(|| connections.take(greedy, 1_000, 16)));
        }
        assert!((1_000 / RESERVE..200).contains(&(1_000 - held.len())), "{}", held.len());
        assert!(connections.take(pair()[0], 1_000, 16).is_some());
    }

    #[test]
    fn f10_a_source_has_its_share_of_what_is_under_way_and_less_when_little_is_left() {
        let under_way = Arc::new(UnderWay::new(1_000, 7, 1 << 16));
        let [one, other] = pair();
        let taken: Vec<_> = (0..7).map(|_| under_way.take(one).unwrap()).collect();
        assert_eq!(under_way.take(one).err(), Some(Full::Source), "one over");
        drop(taken);
        assert!(under_way.take(one).is_ok(), "all are given back");
        // Many sources that take what they get leave room for one more.
        let under_way = Arc::new(UnderWay::new(1_000, 1_000, 1 << 16));
        let sources = Sources::new(32, 56, RandomState::new());
        let mut held = Vec::new();
        for last in 1..=40 {
            let greedy = sources.of([10, 9, 0, last].into(), None);
            held.extend(std::iter::from_fn(|| under_way.take(greedy).ok()));
        }
        let left = 1_000 - held.len();
        assert!((1_000 / RESERVE..200).contains(&left), "{left}");
        let small: Vec<_> = (0..SHARE_MIN).map_while(|_| under_way.take(other).ok()).collect();
        assert_eq!(small.len(), SHARE_MIN, "whoever holds little has his queries asked");
    }

    #[test]
    fn f10_a_table_of_queries_under_way_at_its_limit_and_one_over() {
        let under_way = Arc::new(UnderWay::new(3, 1_000, 1 << 16));
        let [one, other] = pair();
        let first = under_way.take(one).unwrap();
        let others = [under_way.take(one).unwrap(), under_way.take(one).unwrap()];
        assert_eq!(under_way.take(other).err(), Some(Full::All));
        drop(first);
        assert!(under_way.take(other).is_ok());
        drop(others);
        assert_eq!(under_way.all.load(Ordering::Relaxed), 0);
    }
}
