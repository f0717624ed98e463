//! May this listed name be at that address? Asked of our resolvers when a flow meets an address nobody has vouched for
//! (DESIGN decision 1; traps V1–V6).
//!
//! One inquiry at a time for each name, however many flows wait for it. It begins as one ordinary look-up; if an address
//! is still wanted, service bindings are asked for, and then every resolver by itself, again and again as long as a round
//! brings addresses that were not known, or answers are but a part of what is known and the address is still wanted: a
//! site that rotates its answers is learnt as a whole with the first flows. The budget of all look-ups bounds each
//! question, and leaves room for first look-ups; a budget of its own bounds each subscriber.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Lookups, NAME_PAUSE, Purpose, State, landed};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;

/// Questions of one inquiry beyond the first look-up and the service bindings.
const QUESTIONS_MAX: usize = 64;
/// An address is denied only after it should have been seen this often, if it were one of those that the site picks from:
/// a pick that is independent each time then hides it from 1 inquiry in 20,000 (e^-10). With 8 of 50 addresses in each
/// answer it takes 63 answers.
const SIGHTINGS_EXPECTED: usize = 10;
/// Addresses that flows wait for in one inquiry; for more the answer is no.
const WANTED_MAX: usize = 256;
/// Targets of service bindings whose addresses are asked for.
const TARGETS_ASKED_MAX: usize = 2;
/// Pairs of name and address remembered as not vouched for; over it they are asked about again, within the budget.
const DENIED_PAIRS_MAX: usize = 65_536;
/// Subscribers whose inquiries are counted at a time; others may start none until the minute is over.
const SUBSCRIBERS_MAX: usize = 65_536;
/// For how long a subscriber's inquiries are counted.
const PERSONAL_PERIOD: Duration = Duration::from_secs(60);

/// An inquiry under way.
pub(super) struct Inquiry {
    /// Changes with each round; closed at the end.
    rounds: watch::Receiver<usize>,
    /// Addresses that flows wait for.
    wanted: HashSet<IpAddr>,
}

/// Pairs that were asked about in vain.
#[derive(Default)]
pub(super) struct Denied(HashMap<(DomainName, IpAddr), Monotonic>);

impl Denied {
    /// Whether the pair was denied within `ttl`.
    fn has(&self, pair: &(DomainName, IpAddr), now: Monotonic, ttl: Duration) -> bool {
        self.0.get(pair).is_some_and(|denied| now.since(*denied) < ttl)
    }

    /// Remembers that a look-up did not vouch for the pair: another flow to the same address need not ask again at once,
    /// one to another address of a rotating site must.
    fn add(&mut self, pair: (DomainName, IpAddr), now: Monotonic, ttl: Duration) {
        if self.0.len() >= DENIED_PAIRS_MAX {
            self.0.retain(|_, denied| now.since(*denied) < ttl);
        }
        if self.0.len() < DENIED_PAIRS_MAX {
            self.0.insert(pair, now);
        }
    }
}

/// Inquiries that subscribers started in the present minute.
#[derive(Default)]
pub(super) struct Personal {
    began: Monotonic,
    used: HashMap<SubscriberKey, u32>,
}

impl Personal {
    /// Takes one of the subscriber's, if any is left of `per_minute_max`.
    fn take(&mut self, subscriber: &SubscriberKey, now: Monotonic, per_minute_max: u32) -> bool {
        if now.since(self.began) >= PERSONAL_PERIOD {
            self.began = now;
            self.used.clear();
        }
        let room = self.used.len() < SUBSCRIBERS_MAX;
        match self.used.get_mut(subscriber) {
            Some(used) if *used < per_minute_max => *used = used.saturating_add(1),
            Some(_) => return false,
            None if room && per_minute_max > 0 => {
                self.used.insert(subscriber.clone(), 1);
            }
            None => return false,
        }
        true
    }
}

impl Lookups {
    /// Asks for `subscriber` whether `name` may be at `address`. None: it is known that a look-up does not help just now,
    /// or none may be started. Otherwise the answer in its time, at most twice `total_timeout` away.
    pub fn verify(
        self: &Arc<Self>,
        subscriber: &SubscriberKey,
        name: &DomainName,
        address: IpAddr,
    ) -> Option<impl Future<Output = bool> + 'static> {
        let address = self.answers.destination(address);
        let now = self.clock.monotonic();
        let mut rounds = self.join(&mut self.state(), subscriber, name, address, now)?;
        let (lookups, name) = (Arc::clone(self), name.clone());
        Some(async move {
            loop {
                if lookups.answers.vouches(&name, address) {
                    return true;
                }
                if rounds.changed().await.is_err() {
                    return lookups.answers.vouches(&name, address);
                }
            }
        })
    }

    /// Joins the inquiry under way for `name`, or starts one.
    fn join(
        self: &Arc<Self>,
        state: &mut State,
        subscriber: &SubscriberKey,
        name: &DomainName,
        address: IpAddr,
        now: Monotonic,
    ) -> Option<watch::Receiver<usize>> {
        if state.denied.has(&(name.clone(), address), now, self.settings.negative_ttl) {
            return None;
        }
        if let Some(inquiry) = state.inquiries.get_mut(name) {
            let room = inquiry.wanted.len() < WANTED_MAX || inquiry.wanted.contains(&address);
            inquiry.wanted.extend(room.then_some(address));
            return room.then(|| inquiry.rounds.clone());
        }
        // Flows to many addresses under one name must not use up the budget of all names; a name whose last inquiry
        // brought something is worth asking for again.
        let asked_just_now = state
            .cache
            .get(name)
            .is_some_and(|known| now.since(known.asked) < NAME_PAUSE && !known.worth_asking);
        if asked_just_now && !state.flights.contains_key(name) {
            return None;
        }
        if !state.personal.take(subscriber, now, self.settings.per_subscriber_minute_max) {
            state.counts.refused = state.counts.refused.saturating_add(1);
            return None;
        }
        let flight = self.ask(state, name, now).ok()?;
        let (sender, rounds) = watch::channel(0);
        let inquiry = Inquiry { rounds: rounds.clone(), wanted: HashSet::from([address]) };
        state.inquiries.insert(name.clone(), inquiry);
        let (lookups, name) = (Arc::clone(self), name.clone());
        self.runtime.spawn(async move {
            // Waiting for it is what counts: the answer is learnt where it lands.
            let _ = landed(flight).await;
            sender.send_replace(1);
            let begun = lookups.answers.addresses(&name);
            let mut found_out = true;
            if !lookups.is_answered(&name) {
                let limit = lookups.settings.total_timeout;
                let inquired = tokio::time::timeout(limit, lookups.inquire(&name, &sender)).await;
                // Resolvers that do not answer in time are left alone as long as those that deny.
                found_out = inquired.unwrap_or(true);
            }
            let more = lookups.answers.addresses(&name) > begun;
            lookups.conclude(&name, more, found_out);
        });
        Some(rounds)
    }

    /// The rounds after the first look-up. False: the budget ended them, what is still wanted was not found out.
    async fn inquire(self: &Arc<Self>, name: &DomainName, rounds: &watch::Sender<usize>) -> bool {
        self.look_at_bindings(name).await;
        rounds.send_modify(|round| *round = round.saturating_add(1));
        if self.is_answered(name) {
            return true;
        }
        let Some(resolvers) = &self.resolvers else { return true };
        // Addresses in the fullest answer, and the answers so far.
        let (mut longest, mut answers) = (0_usize, 0_usize);
        for _ in 0..QUESTIONS_MAX.div_ceil(resolvers.each.len().max(1)) {
            let before = self.answers.addresses(name);
            let mut asked = JoinSet::new();
            for resolver in resolvers.each.clone() {
                if !self.take_budget(Purpose::FurtherQuestion) {
                    return false;
                }
                let (resolvers, name) = (resolvers.clone(), name.clone());
                asked.spawn(async move { resolvers.addresses(&resolver, &name).await });
            }
            while let Some(answer) = asked.join_next().await {
                if let Ok(Ok(found)) = answer {
                    self.answers.learn_found(name, &found);
                    longest = longest.max(found.addresses.len());
                    answers = answers.saturating_add(1);
                    rounds.send_modify(|round| *round = round.saturating_add(1));
                }
            }
            let known = self.answers.addresses(name);
            let may_be_one_more = longest > 0
                && known > longest
                && answers.saturating_mul(longest) < known.saturating_mul(SIGHTINGS_EXPECTED);
            if known == before && (!may_be_one_more || self.is_answered(name)) {
                break;
            }
        }
        true
    }

    /// Learns what the service bindings of `name` hint at, and the addresses of the names they lead to.
    pub(super) async fn look_at_bindings(&self, name: &DomainName) {
        let Some(resolvers) = &self.resolvers else { return };
        let asked = resolvers.bindings(&resolvers.all, name);
        let Ok(Ok(found)) = tokio::time::timeout(self.settings.try_timeout, asked).await else { return };
        self.answers.learn_found(name, &found);
        let hosts = found.targets.iter().filter_map(|target| DomainName::from_wire(&target.host()?).ok());
        for target in hosts.take(TARGETS_ASKED_MAX) {
            if !self.take_budget(Purpose::FurtherQuestion) {
                return;
            }
            if let Ok(found) = resolvers.addresses(&resolvers.all, &target).await {
                self.answers.learn_found(&target, &found);
            }
        }
    }

    /// Whether every address that flows wait for is vouched for.
    fn is_answered(&self, name: &DomainName) -> bool {
        let state = self.state();
        let wanted = state.inquiries.get(name).map(|inquiry| &inquiry.wanted);
        wanted.is_none_or(|wanted| wanted.iter().all(|address| self.answers.vouches(name, *address)))
    }

    /// Ends the inquiry: what is still wanted is denied, if it was `found_out`. `more`: further questions brought further
    /// addresses.
    fn conclude(&self, name: &DomainName, more: bool, found_out: bool) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(inquiry) = state.inquiries.remove(name) else { return };
        let mut answered = true;
        for address in inquiry.wanted {
            if !self.answers.vouches(name, address) {
                answered = false;
                if found_out {
                    state.denied.add((name.clone(), address), now, self.settings.negative_ttl);
                }
            }
        }
        if let Some(known) = state.cache.get_mut(name) {
            known.worth_asking = answered || more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Budget;
    use super::*;

    #[test]
    fn v5_further_questions_leave_a_quarter_of_the_budget_to_first_ones() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let mut budget = Budget::default();
        let mut take =
            |purpose, second, times| (0..times).filter(|_| budget.take(purpose, at(second), 8)).count();
        assert_eq!(take(Purpose::FurtherQuestion, 10, 9), 6);
        assert_eq!(take(Purpose::FirstQuestion, 10, 9), 2);
        assert_eq!(take(Purpose::FirstQuestion, 11, 9), 8);
        assert_eq!(take(Purpose::FurtherQuestion, 11, 9), 0);
    }

    #[test]
    fn v5_a_subscriber_may_start_so_many_inquiries_in_a_minute() {
        let at = |seconds| Monotonic::new(Duration::from_secs(seconds));
        let who = |last| SubscriberKey::stranger(IpAddr::from([10, 0, 0, last]));
        let mut personal = Personal::default();
        for _ in 0..20 {
            assert!(personal.take(&who(1), at(10), 20));
        }
        assert!(!personal.take(&who(1), at(59), 20));
        assert!(personal.take(&who(2), at(59), 20));
        assert!(personal.take(&who(1), at(60), 20));
        assert!(!personal.take(&who(3), at(60), 0));
    }
}
