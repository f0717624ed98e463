//! May this listed name be at that address? Asked of our resolvers when a flow meets an address nobody has vouched for
//! (decision 1; traps V1–V6).
//!
//! One inquiry at a time for each name, however many flows wait for it. It begins as one ordinary look-up; if an address
//! is still wanted, service bindings are asked for, and then every resolver by itself, again and again as long as answers
//! bring addresses that were not known, or are but a part of what is known and the address is still wanted: a site that
//! rotates its answers is learnt as a whole with the first flows. A resolver that fails, or gives the same addresses over
//! and over, is not asked further. The budget of all look-ups bounds questions for addresses, and leaves room for those
//! that begin an inquiry; a budget of its own bounds each subscriber.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;
use hickory_resolver::TokioResolver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ask::Resolvers;
use super::flight::{is_under_way, landed};
use super::{Asker, LookupError, Lookups, NAME_PAUSE, State};
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::wire::dns::Found;

/// Questions of one inquiry beyond the first look-up and the service bindings.
const QUESTIONS_MAX: usize = 64;
/// How often an address should have been seen, if it were one of those that the site picks from, before questions end in
/// vain: a pick that is independent each time then hides it from 1 inquiry in 20,000 (e^-10). With 8 of 50 addresses in
/// each answer it takes 63 answers.
const SIGHTINGS_EXPECTED: usize = 10;
/// Answers in a row with the same addresses after which a resolver is not asked further: it has one at hand, and gives it
/// until its time is over.
const REPEATS_MAX: usize = 4;
/// For how long a pair is denied that was not found out, because the budget of a second was used up.
const CUT_OFF_PAUSE: Duration = Duration::from_secs(2);
/// Shortest time between two searches for denials that are over.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// Addresses that flows wait for in one inquiry; for more the answer is no.
const WANTED_MAX: usize = 256;
/// Of these, addresses that one subscriber's flows bring: made-up ones must not leave others without an answer.
const WANTED_PER_SUBSCRIBER_MAX: usize = 64;
/// Of these, addresses that flows bring whose source may be forged.
const WANTED_UNPROVEN_MAX: usize = 128;
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
    /// Changes with each answer; closed at the end.
    rounds: watch::Receiver<usize>,
    /// Addresses that flows wait for.
    wanted: HashSet<IpAddr>,
    /// How many of them each subscriber's flows brought.
    brought: HashMap<Asker, usize>,
    /// How many of them flows brought whose source may be forged.
    unproven: usize,
}

impl Inquiry {
    /// One in which nothing is wanted yet.
    fn new(rounds: watch::Receiver<usize>) -> Self {
        Self { rounds, wanted: HashSet::new(), brought: HashMap::new(), unproven: 0 }
    }

    /// Whether `address` is asked about in this inquiry, for a flow of `asker`.
    fn want(&mut self, asker: &Asker, address: IpAddr) -> bool {
        if self.wanted.contains(&address) {
            return true;
        }
        let brought = self.brought.get(asker).copied().unwrap_or(0);
        let has_room = self.wanted.len() < WANTED_MAX
            && brought < WANTED_PER_SUBSCRIBER_MAX
            && (asker.proven || self.unproven < WANTED_UNPROVEN_MAX);
        if has_room {
            self.wanted.insert(address);
            self.brought.insert(asker.clone(), brought.saturating_add(1));
            self.unproven = self.unproven.saturating_add(usize::from(!asker.proven));
        }
        has_room
    }
}

/// A resolver that is asked again and again in an inquiry.
struct Asked {
    resolver: TokioResolver,
    /// The addresses of its last answer, and how often they came in a row.
    last: Vec<IpAddr>,
    times: usize,
}

impl Asked {
    /// One that has not answered yet.
    fn first(resolver: TokioResolver) -> Self {
        Self { resolver, last: Vec::new(), times: 0 }
    }

    /// Notes its answer; true when it says the same over and over.
    fn repeats(&mut self, found: Found) -> bool {
        let mut addresses = found.addresses;
        addresses.sort_unstable();
        self.times = if addresses == self.last { self.times.saturating_add(1) } else { 1 };
        self.last = addresses;
        self.times >= REPEATS_MAX
    }
}

/// Pairs that were asked about in vain, and until when they are left alone.
#[derive(Default)]
pub(super) struct Denied {
    until: HashMap<(DomainName, IpAddr), Monotonic>,
    swept: Monotonic,
}

impl Denied {
    /// Whether the pair is denied.
    fn has(&self, pair: &(DomainName, IpAddr), now: Monotonic) -> bool {
        self.until.get(pair).is_some_and(|until| now < *until)
    }

    /// Remembers that a look-up did not vouch for the pair: another flow to the same address need not ask again at once,
    /// one to another address of a rotating site must.
    fn add(&mut self, pair: (DomainName, IpAddr), now: Monotonic, pause: Duration) {
        if self.until.len() >= DENIED_PAIRS_MAX && now.since(self.swept) >= SWEEP_PAUSE {
            self.swept = now;
            self.until.retain(|_, until| now < *until);
        }
        if self.until.len() < DENIED_PAIRS_MAX {
            self.until.insert(pair, now.plus(pause));
        }
    }
}

/// Inquiries that subscribers started in the present minute: those of flows whose source is proven apart, so that nobody's
/// are used up in his name.
#[derive(Default)]
pub(super) struct Personal {
    began: Monotonic,
    proven: Counts,
    unproven: Counts,
}

/// Inquiries by who started them.
#[derive(Default)]
struct Counts {
    by_subscriber: HashMap<SubscriberKey, u32>,
    /// Of all for whom the table has no room: together they have as many as it has places, for most of them are made up.
    others: u32,
}

impl Counts {
    /// Takes one of the subscriber's, if any is left.
    fn take(&mut self, subscriber: &SubscriberKey, most: u32) -> bool {
        let room = self.by_subscriber.len() < SUBSCRIBERS_MAX;
        match self.by_subscriber.get_mut(subscriber) {
            Some(used) if *used < most => *used = used.saturating_add(1),
            Some(_) => return false,
            None if most == 0 => return false,
            None if room => {
                self.by_subscriber.insert(subscriber.clone(), 1);
            }
            None if self.others as usize >= SUBSCRIBERS_MAX => return false,
            None => self.others = self.others.saturating_add(1),
        }
        true
    }

    /// Gives one back; who has none left leaves his place.
    fn give_back(&mut self, subscriber: &SubscriberKey) {
        match self.by_subscriber.get_mut(subscriber) {
            Some(used) if *used > 1 => *used = used.saturating_sub(1),
            Some(_) => {
                self.by_subscriber.remove(subscriber);
            }
            None => self.others = self.others.saturating_sub(1),
        }
    }
}

impl Personal {
    /// The counts that one of these belongs to.
    const fn used(&mut self, proven: bool) -> &mut Counts {
        if proven { &mut self.proven } else { &mut self.unproven }
    }

    /// Takes one of the subscriber's, if any is left of `per_minute_max`.
    fn take(&mut self, asker: &Asker, now: Monotonic, per_minute_max: u32) -> bool {
        if now.since(self.began) >= PERSONAL_PERIOD {
            *self = Self { began: now, ..Self::default() };
        }
        self.used(asker.proven).take(&asker.subscriber, per_minute_max)
    }

    /// Gives one back that came to nothing.
    fn give_back(&mut self, asker: &Asker) {
        self.used(asker.proven).give_back(&asker.subscriber);
    }
}

impl Lookups {
    /// Asks for `asker` whether `name` may be at `address`. None: it is known that a look-up does not help just now,
    /// or none may be started. Otherwise the answer in its time, at most three times `total_timeout` away.
    pub fn verify(
        self: &Arc<Self>,
        asker: &Asker,
        name: &DomainName,
        address: IpAddr,
    ) -> Option<impl Future<Output = bool> + 'static> {
        let address = self.answers.destination(address);
        let now = self.clock.monotonic();
        let mut rounds = self.join(&mut self.state(), asker, name, address, now)?;
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
        asker: &Asker,
        name: &DomainName,
        address: IpAddr,
        now: Monotonic,
    ) -> Option<watch::Receiver<usize>> {
        if state.denied.has(&(name.clone(), address), now) {
            return None;
        }
        let under_way = state.inquiries.get_mut(name).filter(|inquiry| is_under_way(&inquiry.rounds));
        if let Some(inquiry) = under_way {
            return inquiry.want(asker, address).then(|| inquiry.rounds.clone());
        }
        // Flows to many addresses under one name must not use up the budget of all names; a name whose last inquiry
        // brought something is worth asking for again.
        let asked_just_now = state
            .cache
            .get(name)
            .is_some_and(|known| now.since(known.asked) < NAME_PAUSE && !known.worth_asking);
        if asked_just_now && !state.flights.has(name) {
            return None;
        }
        if !state.personal.take(asker, now, self.settings.per_subscriber_minute_max) {
            state.counts.refused = state.counts.refused.saturating_add(1);
            return None;
        }
        let Ok(flight) = self.ask(state, asker, name, now) else {
            state.personal.give_back(asker);
            return None;
        };
        let (sender, rounds) = watch::channel(0);
        let mut inquiry = Inquiry::new(rounds.clone());
        inquiry.want(asker, address);
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

    /// The questions after the first look-up. False: the budget ended them, what is still wanted was not found out.
    async fn inquire(self: &Arc<Self>, name: &DomainName, rounds: &watch::Sender<usize>) -> bool {
        self.look_at_bindings(name).await;
        rounds.send_modify(|round| *round = round.saturating_add(1));
        if self.is_answered(name) {
            return true;
        }
        let Some(resolvers) = &self.resolvers else { return true };
        let mut left = QUESTIONS_MAX;
        let mut asked = JoinSet::new();
        for resolver in resolvers.each.clone() {
            if !self.ask_further(&mut asked, &mut left, resolvers, Asked::first(resolver), name) {
                return false;
            }
        }
        // Addresses in the fullest answer, the answers so far, and those in a row that brought nothing.
        let (mut longest, mut answers, mut quiet) = (0_usize, 0_usize, 0_usize);
        while let Some(answer) = asked.join_next().await {
            // Who fails is not asked again, and keeps nobody from being asked.
            let Ok((mut resolver, Ok(found))) = answer else { continue };
            let before = self.answers.addresses(name);
            self.answers.learn_found(name, &found);
            let known = self.answers.addresses(name);
            rounds.send_modify(|round| *round = round.saturating_add(1));
            longest = longest.max(found.addresses.len());
            answers = answers.saturating_add(1);
            quiet = if known == before { quiet.saturating_add(1) } else { 0 };
            let may_be_one_more = longest > 0
                && known > longest
                && answers.saturating_mul(longest) < known.saturating_mul(SIGHTINGS_EXPECTED);
            if quiet > asked.len() && (!may_be_one_more || self.is_answered(name)) {
                break;
            }
            if left == 0 || resolver.repeats(found) {
                continue;
            }
            if !self.ask_further(&mut asked, &mut left, resolvers, resolver, name) {
                return false;
            }
        }
        true
    }

    /// Asks one resolver once more, as long as there are questions `left`; false when the budget has none.
    fn ask_further(
        &self,
        asked: &mut JoinSet<(Asked, Result<Found, LookupError>)>,
        left: &mut usize,
        resolvers: &Resolvers,
        resolver: Asked,
        name: &DomainName,
    ) -> bool {
        if !self.take_further() {
            return false;
        }
        *left = left.saturating_sub(1);
        let (resolvers, name) = (resolvers.clone(), name.clone());
        asked.spawn(async move {
            let found = resolvers.addresses(&resolver.resolver, &name).await;
            (resolver, found)
        });
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
            if !self.take_further() {
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

    /// Ends the inquiry: what is still wanted is denied, for a moment only if it was not `found_out`. `more`: further
    /// questions brought further addresses.
    fn conclude(&self, name: &DomainName, more: bool, found_out: bool) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(inquiry) = state.inquiries.remove(name) else { return };
        let pause = self.settings.negative_ttl;
        let pause = if found_out { pause } else { pause.min(CUT_OFF_PAUSE) };
        let mut answered = true;
        for address in inquiry.wanted {
            if !self.answers.vouches(name, address) {
                answered = false;
                state.denied.add((name.clone(), address), now, pause);
            }
        }
        state.cache.set_worth_asking(name, answered || more);
    }
}

#[cfg(test)]
mod tests;
