//! Which of a name's addresses is tried when: a race as RFC 8305 describes it, and what is remembered of earlier ones.
//!
//! Addresses are tried in the order they are known in, the IP versions in turn (§4); one that failed or was beaten lately goes
//! behind all others. While one says nothing the next begins a quarter of a second later (§5), when one fails at once. The
//! first that answers wins.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::time::Monotonic;

/// How much later the next attempt begins (RFC 8305 §8, Connection Attempt Delay).
pub const STAGGER: Duration = Duration::from_millis(250);
/// Attempts that are under way at once.
pub const UNDER_WAY_MAX: usize = 4;
/// Addresses of one name that are tried; the rest would only lengthen a failure.
pub const TRIED_MAX: usize = 8;

/// One race as it goes: numbers of addresses in their order.
#[derive(Clone, Copy, Debug)]
pub struct Race {
    /// Addresses there are.
    count: usize,
    /// The next one.
    next: usize,
    /// Attempts under way.
    under_way: usize,
    /// When the next one begins, while others are under way.
    next_at: Monotonic,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try the address of this number.
    Begin(usize),
    /// Wait for those that are under way; at most until then, where there is another.
    Wait(Option<Monotonic>),
    /// All have failed.
    Lost,
}

impl Race {
    /// A race between so many addresses.
    pub const fn new(count: usize, now: Monotonic) -> Self {
        Self { count, next: 0, under_way: 0, next_at: now }
    }

    /// What is to be done at `now`; a number that is told counts as begun.
    pub fn step(&mut self, now: Monotonic) -> Step {
        let may_begin = self.next < self.count && self.under_way < UNDER_WAY_MAX;
        if may_begin && (self.under_way == 0 || now >= self.next_at) {
            let number = self.next;
            self.next = self.next.saturating_add(1);
            self.under_way = self.under_way.saturating_add(1);
            self.next_at = now.plus(STAGGER);
            return Step::Begin(number);
        }
        match (may_begin, self.under_way) {
            (true, _) => Step::Wait(Some(self.next_at)),
            (false, 0) => Step::Lost,
            (false, _) => Step::Wait(None),
        }
    }

    /// One of those under way has failed: the next one need not wait.
    pub fn failed(&mut self, now: Monotonic) {
        self.under_way = self.under_way.saturating_sub(1);
        self.next_at = now;
    }
}

/// Addresses that failed or were beaten lately.
#[derive(Debug)]
pub struct Failures {
    /// When each did last.
    last: HashMap<SocketAddr, Monotonic>,
    /// The same in the order of time; an address may stand here more than once, and counts by its last time.
    order: VecDeque<(Monotonic, SocketAddr)>,
    /// For how long it is remembered.
    time: Duration,
    /// How many are.
    max: usize,
}

impl Failures {
    /// None yet.
    pub fn new(time: Duration, max: usize) -> Self {
        Self { last: HashMap::new(), order: VecDeque::new(), time, max }
    }

    /// This one failed at `now`; the oldest make room.
    pub fn failed(&mut self, address: SocketAddr, now: Monotonic) {
        self.last.insert(address, now);
        self.order.push_back((now, address));
        self.expire(now);
        while self.last.len() > self.max || self.order.len() > self.max.saturating_mul(2) {
            self.forget_oldest();
        }
    }

    /// This one was reached.
    pub fn reached(&mut self, address: SocketAddr) {
        if !self.last.is_empty() {
            self.last.remove(&address);
        }
    }

    /// The order in which `addresses` are tried.
    pub fn sort(&mut self, addresses: &mut Vec<SocketAddr>, now: Monotonic) {
        take_turns(addresses);
        self.expire(now);
        if !self.last.is_empty() {
            // Stable: of those that did not fail the order stays, of those that did the first comes first.
            addresses.sort_by_key(|address| self.last.get(address).copied());
        }
    }

    /// Forgets what is over.
    fn expire(&mut self, now: Monotonic) {
        while self.order.front().is_some_and(|(at, _)| now.since(*at) >= self.time) {
            self.forget_oldest();
        }
    }

    /// Forgets the oldest, unless it has failed again since.
    fn forget_oldest(&mut self) {
        let Some((at, address)) = self.order.pop_front() else { return };
        if self.last.get(&address) == Some(&at) {
            self.last.remove(&address);
        }
    }
}

/// Has the IP versions take turns, the first one's first; within each the order stays.
fn take_turns(addresses: &mut Vec<SocketAddr>) {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv4) else { return };
    if addresses.iter().all(|address| address.is_ipv4() == first) {
        return;
    }
    let (one, other): (Vec<_>, Vec<_>) = addresses.drain(..).partition(|address| address.is_ipv4() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return;
        }
        addresses.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(ms))
    }

    /// An address: of IPv6 where the number is odd.
    fn address(number: u8) -> SocketAddr {
        let text = if number.is_multiple_of(2) {
            format!("11.0.0.{number}:443")
        } else {
            format!("[2a0e::{number}]:443")
        };
        text.parse().unwrap()
    }

    fn sorted(failures: &mut Failures, numbers: &[u8], now: u64) -> Vec<SocketAddr> {
        let mut addresses = numbers.iter().map(|number| address(*number)).collect();
        failures.sort(&mut addresses, at(now));
        addresses
    }

    fn of(numbers: &[u8]) -> Vec<SocketAddr> {
        numbers.iter().map(|number| address(*number)).collect()
    }

    #[test]
    fn f32_silence_costs_a_quarter_of_a_second_and_a_failure_nothing() {
        let mut race = Race::new(3, at(0));
        assert_eq!(race.step(at(0)), Step::Begin(0));
        assert_eq!(race.step(at(0)), Step::Wait(Some(at(250))));
        assert_eq!(race.step(at(249)), Step::Wait(Some(at(250))));
        assert_eq!(race.step(at(250)), Step::Begin(1));
        race.failed(at(260));
        assert_eq!(race.step(at(260)), Step::Begin(2));
        assert_eq!(race.step(at(9_999)), Step::Wait(None));
        race.failed(at(10_000));
        race.failed(at(10_000));
        assert_eq!(race.step(at(10_000)), Step::Lost);
    }

    #[test]
    fn f32_no_more_are_under_way_than_may_be() {
        let mut race = Race::new(TRIED_MAX, at(0));
        for number in 0..UNDER_WAY_MAX {
            assert_eq!(race.step(at(number as u64 * 250)), Step::Begin(number), "at the limit");
        }
        assert_eq!(race.step(at(60_000)), Step::Wait(None), "one over");
        race.failed(at(60_000));
        assert_eq!(race.step(at(60_000)), Step::Begin(UNDER_WAY_MAX));
        assert_eq!(Race::new(0, at(0)).step(at(0)), Step::Lost);
    }

    #[test]
    fn f32_the_versions_take_turns_and_what_failed_goes_last() {
        let mut failures = Failures::new(Duration::from_secs(300), 10);
        assert_eq!(sorted(&mut failures, &[1, 3, 5, 2], 0), of(&[1, 2, 3, 5]));
        assert_eq!(sorted(&mut failures, &[2, 4, 1, 3, 5], 0), of(&[2, 1, 4, 3, 5]));
        assert_eq!(sorted(&mut failures, &[2, 4], 0), of(&[2, 4]));
        failures.failed(address(2), at(10));
        failures.failed(address(1), at(20));
        assert_eq!(sorted(&mut failures, &[1, 3, 2, 4], 20), of(&[3, 4, 2, 1]));
        failures.reached(address(2));
        assert_eq!(sorted(&mut failures, &[1, 3, 2, 4], 20), of(&[2, 3, 4, 1]));
        // Minutes later all is forgotten.
        assert_eq!(sorted(&mut failures, &[1, 3, 2, 4], 300_019), of(&[2, 3, 4, 1]));
        assert_eq!(sorted(&mut failures, &[1, 3, 2, 4], 300_020), of(&[1, 2, 3, 4]));
    }

    #[test]
    fn f32_the_oldest_failures_make_room() {
        let mut failures = Failures::new(Duration::from_secs(300), 2);
        for (now, number) in (0..).zip([2, 4, 6]) {
            failures.failed(address(number), at(now));
        }
        assert_eq!(failures.last.len(), 2);
        assert_eq!(sorted(&mut failures, &[4, 2, 6, 8], 3), of(&[2, 8, 4, 6]));
        // The same one over and over takes no room from others for long, and no memory.
        (0..1_000).for_each(|now| failures.failed(address(8), at(10 + now)));
        assert!(failures.last.len() <= 2 && failures.order.len() <= 4);
        assert_eq!(sorted(&mut failures, &[8, 2], 1_010), of(&[2, 8]));
    }

    proptest! {
        #[test]
        fn f32_every_address_is_tried_once_and_a_race_ends(outcomes in prop::collection::vec(0_u64..3_000, 0..12)) {
            // Attempt number n fails so many milliseconds after it began.
            let mut race = Race::new(outcomes.len(), at(0));
            let (mut now, mut begun, mut under_way) = (0_u64, 0_usize, Vec::<u64>::new());
            for _ in 0..1_000 {
                match race.step(at(now)) {
                    Step::Begin(number) => {
                        prop_assert_eq!(number, begun);
                        under_way.push(now + outcomes[number]);
                        begun += 1;
                        prop_assert!(under_way.len() <= UNDER_WAY_MAX);
                    }
                    Step::Wait(until) => {
                        let fails = under_way.iter().copied().min().unwrap();
                        let next = until.map_or(u64::MAX, Monotonic::as_millis);
                        now = now.max(fails.min(next));
                        if fails <= next {
                            let index = under_way.iter().position(|at| *at == fails).unwrap();
                            under_way.swap_remove(index);
                            race.failed(at(now));
                        }
                    }
                    Step::Lost => {
                        prop_assert_eq!((begun, under_way.len()), (outcomes.len(), 0));
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "it does not end");
        }
    }
}
