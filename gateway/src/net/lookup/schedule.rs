//! Scheduled look-ups: listed hosts, and the names below them that were seen, are asked for again when their answers run
//! out, so that most flows meet an address that is vouched for already (DESIGN decision 1).
//!
//! Bounded in names, and by a rate of its own beside that of look-ups on demand, which it never takes from.

use std::collections::{BTreeSet, HashSet};
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

/// Names by the time they are due.
#[derive(Default)]
struct Schedule {
    due: BTreeSet<(Monotonic, DomainName)>,
    known: HashSet<DomainName>,
}

impl Schedule {
    /// Puts a new name on the schedule, if there is room.
    fn add(&mut self, name: DomainName, at: Monotonic) {
        if self.known.len() < NAMES_MAX && self.known.insert(name.clone()) {
            self.due.insert((at, name));
        }
    }

    /// Takes the next name that is due.
    fn take(&mut self, now: Monotonic) -> Option<DomainName> {
        if self.due.first().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        self.due.pop_first().map(|(_, name)| name)
    }

    /// Puts a name that was taken back on the schedule.
    fn again(&mut self, name: DomainName, at: Monotonic) {
        self.due.insert((at, name));
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
                    schedule.again(name, now.plus(pause));
                }
            }
            for _ in asked.len()..self.settings.scheduled_per_second_max {
                let Some(name) = schedule.take(now) else { break };
                if !self.policy.load().routes(&name) {
                    schedule.known.remove(&name);
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
            if let allowlist::Target::Host { host, .. } = rule.target() {
                schedule.add(host.clone(), now);
            }
        }
        for name in self.answers.names(NAMES_MAX) {
            // Just answered: its turn comes when the answer may have changed.
            schedule.add(name, now.plus(PAUSE_MIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_when_they_are_due_and_never_more_than_the_limit() {
        let name = |text: &str| DomainName::from_wire(text.as_bytes()).unwrap();
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut schedule = Schedule::default();
        schedule.add(name("b.kz"), at(5));
        schedule.add(name("a.kz"), at(9));
        schedule.add(name("b.kz"), at(0));
        assert_eq!(schedule.take(at(4)), None);
        assert_eq!(schedule.take(at(9)), Some(name("b.kz")));
        schedule.again(name("b.kz"), at(69));
        assert_eq!((schedule.take(at(9)), schedule.take(at(9))), (Some(name("a.kz")), None));
        for number in 0..NAMES_MAX + 5 {
            schedule.add(name(&format!("n{number}.kz")), at(0));
        }
        assert_eq!(schedule.known.len(), NAMES_MAX);
    }
}
