//! May this listed name be at that address? Asked of our resolvers when a flow meets an address nobody has vouched for
//! (decision 1; traps V1–V6).
//!
//! One inquiry at a time for each name, however many flows wait for it. It begins as one ordinary look-up; if an address
//! is still wanted, service bindings are asked for, and then every resolver by itself, again and again as long as answers
//! bring addresses that were not known, or are but a part of what is known and the address is still wanted: a site that
//! rotates its answers is learnt as a whole with the first flows. A resolver that fails, or gives the same addresses over
//! and over, is not asked further. The budget of all look-ups bounds questions for addresses, and leaves room for those
//! that begin an inquiry; a budget of its own bounds each subscriber.

mod denied;
mod inquiry;
mod personal;
mod questions;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use allowlist::DomainName;
use tokio::sync::watch;

pub(super) use self::denied::Denied;
pub(super) use self::inquiry::Inquiry;
pub(super) use self::personal::Personal;
use super::flight::{is_under_way, landed};
use super::{Asker, Lookups, NAME_PAUSE, State};
use crate::flow::time::Monotonic;

/// For how long a pair is denied that was not found out, because the budget of a second was used up.
const CUT_OFF_PAUSE: Duration = Duration::from_secs(2);

impl Lookups {
    /// Asks for `asker` whether `name` may be at `address`. None: it is known that a look-up does not help just now,
    /// or none may be started. Otherwise the answer in its time, at most three times `total_timeout` away; at once where
    /// an answer has come since the flow was decided.
    pub fn verify(
        self: &Arc<Self>,
        asker: &Asker,
        name: &DomainName,
        address: IpAddr,
    ) -> Option<impl Future<Output = bool> + 'static> {
        let address = self.answers.destination(address);
        let now = self.clock.monotonic();
        let rounds = {
            let mut state = self.state();
            // Between the flow's decision and here the answer may have come that it lacked: the pause after a look-up would
            // charge the flow for good, or the name would be asked for again. Under the lock, for an answer is learnt before
            // it lands.
            let is_known = self.answers.vouches(name, address);
            if is_known { None } else { Some(self.join(&mut state, asker, name, address, now)?) }
        };
        let (lookups, name) = (Arc::clone(self), name.clone());
        Some(async move {
            let Some(mut rounds) = rounds else { return true };
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
