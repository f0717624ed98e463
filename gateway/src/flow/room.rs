//! Which flows make room when there is hardly any: who holds most loses first, then what is of least use.
//!
//! A subscriber holds as many places as he has flows in the whole process; each worker sees its own of them. The choice is
//! as if places were taken one by one, each from whoever holds most at that moment, until enough are free: whoever holds
//! less than that is not touched, whatever his flows do. Flows of UDP that nobody has answered go before all others.

use std::cmp::Reverse;
use std::time::Duration;

use super::time::Monotonic;

/// A flow this young loses its place only where its subscriber holds more than an even share.
pub const SETTLED_AGE_MIN: Duration = Duration::from_secs(5);
/// A UDP flow this young may yet be answered: three round trips by way of a satellite.
pub const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Bytes moved lately below which a flow is of no use: a byte now and then is no traffic.
pub const USEFUL_BYTES_MIN: u64 = 1_024;
/// Bytes moved this long ago count half, those of twice as long ago a quarter.
const HALF_LIFE: Duration = Duration::from_secs(8);

/// Bytes that a flow moved lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Their number, at most what fits.
    bytes: u32,
    /// The half-life, from the start of the clock, in which that was so.
    half_life: u32,
}

impl Recent {
    /// With `bytes` that move at `now`.
    #[must_use]
    pub fn plus(self, bytes: u64, now: Monotonic) -> Self {
        let moved = u32::try_from(bytes.saturating_add(self.at(now))).unwrap_or(u32::MAX);
        Self { bytes: moved, half_life: half_lives(now) }
    }

    /// As it counts at `now`.
    pub fn at(self, now: Monotonic) -> u64 {
        let past = half_lives(now).saturating_sub(self.half_life);
        u64::from(self.bytes.checked_shr(past).unwrap_or(0))
    }
}

/// Half-lives since the start of the clock.
fn half_lives(now: Monotonic) -> u32 {
    let past = now.as_millis().checked_div(u64::try_from(HALF_LIFE.as_millis()).unwrap_or(u64::MAX));
    past.and_then(|past| u32::try_from(past).ok()).unwrap_or(u32::MAX)
}

/// A flow of a worker that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is: an index into [`Room::holdings`].
    pub holder: usize,
    /// Whether the other end is known to be there: always of TCP.
    pub answered: bool,
    /// Time since it began.
    pub age: Duration,
    /// Time since a byte moved.
    pub idle: Duration,
    /// Bytes moved lately.
    pub recent: u64,
}

/// How things stand in the whole process, and what is asked of the worker.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// Answered flows of each holder.
    pub holdings: &'a [usize],
    /// Places there are.
    pub places: usize,
    /// Flows that all workers are to end between them.
    pub surplus: usize,
    /// Those of them that are this worker's part.
    pub wanted: usize,
}

/// The flows among `candidates` that make room, by their indices, in the order in which they go; at most `room.wanted`.
pub fn choose(candidates: &[Candidate], room: &Room<'_>) -> Vec<usize> {
    let mut chosen = unanswered(candidates);
    chosen.truncate(room.wanted);
    let missing = room.wanted.saturating_sub(chosen.len());
    if missing > 0 {
        let surplus = room.surplus.saturating_mul(missing).div_ceil(room.wanted);
        let mut answered = answered(candidates, room, surplus);
        answered.truncate(missing);
        chosen.append(&mut answered);
    }
    chosen
}

/// Flows without an answer that had time for one: of whoever has most of them first, the oldest first.
fn unanswered(candidates: &[Candidate]) -> Vec<usize> {
    let mut ranked: Vec<_> = indexed(candidates, |one| !one.answered && one.age >= ANSWER_TIME).collect();
    ranked.sort_by_key(|(_, one)| (one.holder, one.age));
    let mut placed: Vec<_> = ranked
        .chunk_by(|(_, one), (_, next)| one.holder == next.holder)
        // The youngest stands at 1: it would be the holder's last.
        .flat_map(|own| own.iter().zip(1_usize..))
        .map(|((index, one), place)| (Reverse(place), Reverse(one.age), *index))
        .collect();
    placed.sort_unstable();
    placed.into_iter().map(|(_, _, index)| index).collect()
}

/// Answered flows of whoever holds most, what is of least use first.
fn answered(candidates: &[Candidate], room: &Room<'_>, surplus: usize) -> Vec<usize> {
    let level = level(room.holdings.iter().map(|held| *held as u64), surplus as u64);
    let holders = room.holdings.iter().filter(|count| **count > 0).count();
    let even = room.places.checked_div(holders).unwrap_or(room.places).max(1);
    let mut ranked: Vec<_> = indexed(candidates, |one| one.answered).collect();
    // Of a holder the most useful first: it would be the last to go.
    ranked.sort_by_key(|(_, one)| (one.holder, Reverse(order(one))));
    let mut placed = Vec::new();
    for own in ranked.chunk_by(|(_, one), (_, next)| one.holder == next.holder) {
        let here = own.len();
        let Some(held) = own.first().and_then(|(_, one)| room.holdings.get(one.holder)).copied() else {
            continue;
        };
        // Flows that ended since the holdings were counted, or began.
        let held = held.max(here);
        for ((index, one), number) in own.iter().zip(1_usize..) {
            // The places of the whole process, as if the other workers had theirs evenly between.
            let place = held.saturating_mul(number).div_ceil(here);
            if place as u64 > level && may_go(one, held, even) {
                placed.push((Reverse(place), order(one), *index));
            }
        }
    }
    placed.sort_unstable();
    placed.into_iter().map(|(_, _, index)| index).collect()
}

/// The order in which the flows of one holder go: settled ones first, then what moved least, then what has been idle longest.
fn order(one: &Candidate) -> (bool, u32, Reverse<Duration>) {
    let use_class = if one.recent < USEFUL_BYTES_MIN { 0 } else { one.recent.checked_ilog2().unwrap_or(0) };
    (one.age < SETTLED_AGE_MIN, use_class, Reverse(one.idle))
}

/// Whether a flow may go at all. Above an even share any may; at half of it and below only what does nothing.
fn may_go(one: &Candidate, held: usize, even: usize) -> bool {
    if held > even {
        return true;
    }
    let settled = one.age >= SETTLED_AGE_MIN;
    if held > (even / 2).max(1) {
        return settled;
    }
    settled && one.idle >= SETTLED_AGE_MIN && one.recent < USEFUL_BYTES_MIN
}

/// What everybody may keep when `surplus` is taken one by one from whoever holds most.
pub(super) fn level(holdings: impl Iterator<Item = u64> + Clone, surplus: u64) -> u64 {
    let taken =
        |level: u64| holdings.clone().fold(0_u64, |sum, held| sum.saturating_add(held.saturating_sub(level)));
    // The greatest level at which enough is taken; none is enough when all together is not.
    let (mut enough, mut too_little) = (0_u64, holdings.clone().max().unwrap_or(0));
    while too_little.saturating_sub(enough) > 1 {
        let middle = enough.saturating_add(too_little.saturating_sub(enough) / 2);
        if taken(middle) >= surplus {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    enough
}

/// The candidates that `fit`, with their indices.
fn indexed(
    candidates: &[Candidate],
    fit: impl Fn(&Candidate) -> bool,
) -> impl Iterator<Item = (usize, &Candidate)> {
    candidates.iter().enumerate().filter(move |(_, one)| fit(one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// An answered flow that began long ago.
    fn flow(holder: usize, idle: u64, recent: u64) -> Candidate {
        Candidate { holder, answered: true, age: seconds(1_000), idle: seconds(idle), recent }
    }

    /// What each of `holders` has of the answered flows.
    fn holdings(candidates: &[Candidate], holders: usize) -> Vec<usize> {
        let of = |holder| candidates.iter().filter(|one| one.answered && one.holder == holder).count();
        (0..holders).map(of).collect()
    }

    /// The choice of a worker that has all flows.
    fn alone(candidates: &[Candidate], holders: usize, places: usize, surplus: usize) -> Vec<usize> {
        let holdings = holdings(candidates, holders);
        choose(candidates, &Room { holdings: &holdings, places, surplus, wanted: surplus })
    }

    #[test]
    fn f5_hoarders_who_drip_lose_and_an_idle_flow_of_a_small_holder_stays() {
        // Five hold 19 each and let a byte drip every three seconds; a sixth has two flows that are idle.
        let mut flows: Vec<_> = (0..95).map(|number| flow(number % 5, 2, 3)).collect();
        flows.extend([flow(5, 60, 0), flow(5, 600, 0)]);
        let chosen = alone(&flows, 6, 100, 9);
        assert_eq!(chosen.len(), 9);
        assert!(chosen.iter().all(|index| flows[*index].holder < 5), "{chosen:?}");
        // As evenly as it goes: two of each, and one of the last.
        for holder in 0..5 {
            let lost = chosen.iter().filter(|index| flows[**index].holder == holder).count();
            assert!((1..=2).contains(&lost), "{holder}: {lost}");
        }
    }

    #[test]
    fn f5_of_one_holder_what_moves_least_goes_first_then_what_is_idle_longest() {
        let flows = [flow(0, 1, 500_000), flow(0, 50, 0), flow(0, 3, 900), flow(0, 1, 2_000), flow(0, 7, 10)];
        assert_eq!(alone(&flows, 1, 4, 4), [1, 4, 2, 3]);
    }

    #[test]
    fn f5_without_an_answer_goes_before_all_others_once_there_was_time_for_one() {
        let silent = |holder, age| Candidate {
            answered: false,
            age: Duration::from_millis(age),
            ..flow(holder, 0, 100_000)
        };
        let flows = [flow(0, 900, 0), silent(1, 5_000), silent(2, 2_000), silent(2, 3_000), silent(3, 1_999)];
        let room = |surplus| Room { holdings: &[1, 0, 0, 0], places: 5, surplus, wanted: surplus };
        // Of whoever has most of them first; the one that is too young stays.
        assert_eq!(choose(&flows, &room(3)), [3, 1, 2]);
        assert_eq!(choose(&flows, &room(5)), [3, 1, 2, 0]);
    }

    #[test]
    fn f5_busy_and_young_flows_of_small_holders_are_never_taken() {
        let young = Candidate { age: SETTLED_AGE_MIN - Duration::from_millis(1), ..flow(0, 4, 0) };
        assert!(alone(&[young, flow(1, 5, USEFUL_BYTES_MIN)], 2, 2, 2).is_empty());
        assert!(alone(&[flow(0, 4, 0)], 1, 1, 1).is_empty(), "a byte moved within the time");
        let settled = Candidate { age: SETTLED_AGE_MIN, ..flow(0, 5, USEFUL_BYTES_MIN - 1) };
        assert_eq!(alone(&[settled], 1, 1, 1), [0]);
        // Whoever holds more than an even share keeps none of it by reconnecting or by being busy.
        let flows = [young, young, young, flow(0, 0, 1 << 20), flow(1, 0, 1 << 20)];
        assert_eq!(alone(&flows, 2, 5, 1).len(), 1);
    }

    #[test]
    fn f5_a_worker_that_has_only_small_holders_flows_takes_none_for_the_hoards_of_another() {
        let flows = [flow(1, 900, 0), flow(2, 900, 0)];
        let room = Room { holdings: &[98, 1, 1], places: 100, surplus: 12, wanted: 1 };
        assert!(choose(&flows, &room).is_empty());
        // The other ends its part of them.
        let hoard: Vec<_> = (0..98).map(|_| flow(0, 1, 5)).collect();
        assert_eq!(choose(&hoard, &Room { wanted: 12, ..room }).len(), 12);
    }

    #[test]
    fn bytes_of_long_ago_are_forgotten_by_halves() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut drip = Recent::default();
        for second in 0..1_000 {
            drip = drip.plus(u64::from(second % 3 == 0), at(second));
        }
        assert!(drip.at(at(1_000)) < 10, "{drip:?}");
        let once = Recent::default().plus(80_000, at(0));
        assert_eq!((once.at(at(7)), once.at(at(8)), once.at(at(24))), (80_000, 40_000, 10_000));
        assert_eq!(once.at(at(8 * 40)), 0);
        assert_eq!(once.plus(u64::MAX, at(1)).at(at(1)), u64::from(u32::MAX));
        assert_eq!(once.plus(1, at(8)).at(at(8)), 40_001);
    }

    /// Flows of up to 8 holders, in any state.
    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0_usize..8, any::<bool>(), 0_u64..40_000, 0_u64..40_000, 0_u64..5_000).prop_map(
            |(holder, answered, age, idle, recent)| Candidate {
                holder: holder * holder % 8,
                answered,
                age: Duration::from_millis(age),
                idle: Duration::from_millis(idle.min(age)),
                recent,
            },
        );
        prop::collection::vec(one, 0..120)
    }

    proptest! {
        #[test]
        fn f5_whoever_loses_an_answered_flow_keeps_as_much_as_anybody(flows in candidates(), surplus in 0_usize..60) {
            let held = holdings(&flows, 8);
            let chosen = alone(&flows, 8, flows.len().max(1), surplus);
            prop_assert!(chosen.len() <= surplus);
            let mut once = chosen.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), chosen.len(), "one flow twice");
            let lost = |holder: usize| {
                chosen.iter().filter(|index| flows[**index].answered && flows[**index].holder == holder).count()
            };
            for loser in (0..8).filter(|holder| lost(*holder) > 0) {
                let left = held[loser] - lost(loser);
                // Another may hold more only where nothing of his may go: young or busy flows within his share.
                let more = (0..8).filter(|other| held[*other] - lost(*other) > left + 1);
                for other in more {
                    let even = flows.len().max(1) / held.iter().filter(|count| **count > 0).count();
                    prop_assert!(held[other] <= even.max(1), "{} of {} and {} of {}", lost(loser), held[loser], lost(other), held[other]);
                }
            }
            // Nobody answered goes first.
            let waiting = flows.iter().filter(|one| !one.answered && one.age >= ANSWER_TIME).count();
            let answered_lost = (0..8).map(lost).sum::<usize>();
            prop_assert!(answered_lost == 0 || chosen.len() - answered_lost == waiting);
        }

        #[test]
        fn f5_as_many_go_as_are_asked_for_where_one_holds_nearly_all(mine in 30_usize..100, others in 1_usize..5, surplus in 1_usize..15) {
            let mut flows: Vec<_> = (0..mine).map(|number| flow(0, 1, number as u64 * 100)).collect();
            flows.extend((1..=others).map(|holder| flow(holder, 900, 0)));
            let chosen = alone(&flows, others + 1, flows.len(), surplus);
            prop_assert_eq!(chosen.len(), surplus);
            prop_assert!(chosen.iter().all(|index| flows[*index].holder == 0));
        }

        #[test]
        fn f5_the_level_takes_enough_and_no_more(held in prop::collection::vec(0_u64..50, 0..20), surplus in 0_u64..200) {
            let taken = |level: u64| held.iter().map(|held| held.saturating_sub(level)).sum::<u64>();
            let level = level(held.iter().copied(), surplus);
            prop_assert!(taken(level) >= surplus.min(taken(0)));
            prop_assert!(level == held.iter().copied().max().unwrap_or(0).saturating_sub(1) || taken(level + 1) < surplus || surplus > taken(0));
        }
    }
}
