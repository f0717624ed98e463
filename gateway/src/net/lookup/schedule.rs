//! Scheduled look-ups: listed hosts, and the names below them that were seen, are asked for again when their answers run
//! out, so that most flows meet an address that is vouched for already (decision 1).
//!
//! Bounded in names, and by a rate of its own beside that of look-ups on demand, which it never takes from. Names below a
//! listed one can be made up: what was merely seen has half the places and waits behind what the list names itself and what
//! flows have reached, and is not asked for again and again for ever.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;

use super::Lookups;
use crate::flow::time::Monotonic;

/// How often due names are looked for.
const TICK: Duration = Duration::from_secs(1);
/// How often new names are looked for.
const REFILL: Duration = Duration::from_secs(60);
/// Shortest time between two scheduled look-ups of a name (notes, §6).
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// Longest time: an address may leave at any time, whatever the TTL said.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Names on the schedule; what is over it is looked up on demand only.
const NAMES_MAX: usize = 65_536;

/// Of these, names that were merely seen.
const SEEN_MAX: usize = NAMES_MAX / 2;
/// Scheduled look-ups of a name that is merely seen; then its answers run out, unless somebody asks.
const SEEN_TIMES: u8 = 24;

/// What a name is to the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The list names it itself, or flows have reached it.
    Known,
    /// Somebody asked for it.
    Seen,
}

/// Names by the time they are due.
#[derive(Default)]
struct Schedule {
    /// Known ones.
    due: BTreeSet<(Monotonic, DomainName)>,
    /// Those merely seen.
    seen_due: BTreeSet<(Monotonic, DomainName)>,
    /// All names, with the look-ups that are left to one that is merely seen.
    names: HashMap<DomainName, Option<u8>>,
    /// Names that are merely seen.
    seen: usize,
}

impl Schedule {
    /// Whether there is room for one more name that is known.
    fn has_room(&self) -> bool {
        self.names.len() < NAMES_MAX
    }

    /// Puts a new name on the schedule, if there is room.
    fn add(&mut self, name: DomainName, claim: Claim, at: Monotonic) {
        let room = match claim {
            Claim::Known => self.has_room(),
            Claim::Seen => self.has_room() && self.seen < SEEN_MAX,
        };
        if !room || self.names.contains_key(&name) {
            return;
        }
        match claim {
            Claim::Known => {
                self.names.insert(name.clone(), None);
                self.due.insert((at, name));
            }
            Claim::Seen => {
                self.names.insert(name.clone(), Some(SEEN_TIMES));
                self.seen = self.seen.saturating_add(1);
                self.seen_due.insert((at, name));
            }
        }
    }

    /// Takes the next name that is due.
    fn take(&mut self, now: Monotonic) -> Option<DomainName> {
        [&mut self.due, &mut self.seen_due].into_iter().find_map(|due| {
            if due.first().is_none_or(|(at, _)| *at > now) {
                return None;
            }
            due.pop_first().map(|(_, name)| name)
        })
    }

    /// Puts a name that was taken back on the schedule.
    fn again(&mut self, name: DomainName, claim: Claim, at: Monotonic) {
        let Some(left) = self.names.get_mut(&name) else { return };
        match (claim, &mut *left) {
            (Claim::Known, None) => {
                self.due.insert((at, name));
            }
            (Claim::Known, Some(_)) => {
                *left = None;
                self.seen = self.seen.saturating_sub(1);
                self.due.insert((at, name));
            }
            (Claim::Seen, None) => {
                *left = Some(SEEN_TIMES);
                self.seen = self.seen.saturating_add(1);
                self.seen_due.insert((at, name));
            }
            (Claim::Seen, Some(left)) => {
                *left = left.saturating_sub(1);
                if *left > 0 {
                    self.seen_due.insert((at, name));
                }
            }
        }
    }

    /// Takes a name that was taken off the schedule for good.
    fn forget(&mut self, name: &DomainName) {
        if let Some(Some(_)) = self.names.remove(name) {
            self.seen = self.seen.saturating_sub(1);
        }
    }

    /// Forgets names that have had their look-ups and of which nothing is known any more.
    fn forget_ended(&mut self, has_answers: impl Fn(&DomainName) -> bool) {
        let before = self.names.len();
        self.names.retain(|name, left| *left != Some(0) || has_answers(name));
        self.seen = self.seen.saturating_sub(before.saturating_sub(self.names.len()));
    }
}

impl Lookups {
    /// Follows the schedule until the event loop ends.
    pub async fn follow_schedule(self: Arc<Self>) {
        let Some(resolvers) = self.resolvers.clone() else { return };
        let mut schedule = Schedule::default();
        let mut refilled: Option<Monotonic> = None;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // Whatever the rate, no more wait for an answer at once than are started in one tick.
        let mut asked = tokio::task::JoinSet::new();
        loop {
            tick.tick().await;
            let now = self.clock.monotonic();
            if refilled.is_none_or(|refilled| now.since(refilled) >= REFILL) {
                self.refill(&mut schedule, now);
                refilled = Some(now);
            }
            while let Some(done) = asked.try_join_next() {
                if let Ok((name, pause)) = done {
                    let claim = self.claim(&name);
                    schedule.again(name, claim, now.plus(pause));
                }
            }
            for _ in asked.len()..self.settings.scheduled_per_second_max {
                let Some(name) = schedule.take(now) else { break };
                if !self.policy.load().routes(&name) {
                    schedule.forget(&name);
                    continue;
                }
                let (lookups, resolvers) = (Arc::clone(&self), resolvers.clone());
                asked.spawn(async move {
                    let found = resolvers.addresses(&resolvers.all, &name).await;
                    lookups.count_scheduled(found.as_ref().err().copied());
                    let ttl = found.as_ref().map_or(0, |found| found.ttl);
                    if let Ok(found) = &found {
                        lookups.answers.learn_found(&name, found);
                        lookups.look_at_bindings(&name).await;
                    }
                    (name, Duration::from_secs(u64::from(ttl)).clamp(PAUSE_MIN, PAUSE_MAX))
                });
            }
        }
    }

    /// Puts listed hosts on the schedule, and names that were seen.
    fn refill(&self, schedule: &mut Schedule, now: Monotonic) {
        let policy = self.policy.load();
        let rules = policy.list.iter().flat_map(|list| list.host_rules());
        for rule in rules {
            // A list may have many more hosts than there is room for.
            if !schedule.has_room() {
                break;
            }
            if let Some(host) = rule.host().and_then(|host| DomainName::from_wire(host.as_bytes()).ok()) {
                schedule.add(host, Claim::Known, now);
            }
        }
        for name in self.answers.names(NAMES_MAX) {
            // Just answered: its turn comes when the answer may have changed.
            let claim = self.claim(&name);
            schedule.add(name, claim, now.plus(PAUSE_MIN));
        }
        schedule.forget_ended(|name| self.answers.addresses(name) > 0);
    }

    /// What a name is to the schedule.
    fn claim(&self, name: &DomainName) -> Claim {
        let reached = self.state().cache.get(name).is_some_and(|known| known.is_known());
        if reached || self.policy.load().names_itself(name) { Claim::Known } else { Claim::Seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::from_wire(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    #[test]
    fn names_come_when_they_are_due_and_never_more_than_the_limit() {
        let mut schedule = Schedule::default();
        schedule.add(name("b.kz"), Claim::Known, at(5));
        schedule.add(name("a.kz"), Claim::Known, at(9));
        schedule.add(name("b.kz"), Claim::Known, at(0));
        assert_eq!(schedule.take(at(4)), None);
        assert_eq!(schedule.take(at(9)), Some(name("b.kz")));
        schedule.again(name("b.kz"), Claim::Known, at(69));
        assert_eq!((schedule.take(at(9)), schedule.take(at(9))), (Some(name("a.kz")), None));
        for number in 0..NAMES_MAX + 5 {
            schedule.add(name(&format!("n{number}.kz")), Claim::Known, at(0));
        }
        assert_eq!(schedule.names.len(), NAMES_MAX);
    }

    #[test]
    fn f4_names_that_are_merely_seen_come_last_have_half_the_room_and_an_end() {
        let mut schedule = Schedule::default();
        for number in 0..SEEN_MAX + 1 {
            schedule.add(name(&format!("n{number}.kz")), Claim::Seen, at(0));
        }
        assert_eq!(schedule.names.len(), SEEN_MAX);
        schedule.add(name("listed.kz"), Claim::Known, at(7));
        assert_eq!(schedule.take(at(7)), Some(name("listed.kz")), "though the others were due before");
        let first = schedule.take(at(7)).unwrap();
        for _ in 1..SEEN_TIMES {
            schedule.again(first.clone(), Claim::Seen, at(0));
            assert_eq!(schedule.take(at(7)).as_ref(), Some(&first));
        }
        schedule.again(first.clone(), Claim::Seen, at(0));
        assert_ne!(schedule.take(at(7)).as_ref(), Some(&first), "that is enough");
        schedule.add(first.clone(), Claim::Seen, at(0));
        assert_ne!(schedule.take(at(7)).as_ref(), Some(&first));
        schedule.forget_ended(|_| true);
        assert!(schedule.names.contains_key(&first));
        schedule.forget_ended(|_| false);
        assert!(!schedule.names.contains_key(&first) && schedule.seen == SEEN_MAX - 1);
        schedule.add(name("used.kz"), Claim::Seen, at(0));
        assert_eq!(schedule.seen, SEEN_MAX);
        schedule.again(name("used.kz"), Claim::Known, at(1));
        assert_eq!((schedule.seen, schedule.due.len()), (SEEN_MAX - 1, 1), "a flow reached it");
    }
}
