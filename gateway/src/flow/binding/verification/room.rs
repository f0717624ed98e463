//! Who gives way when the trusted answers are full: the share of whoever brought most.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    DISPLACED_AT_ONCE_MAX, Entry, LOOKS_MAX, PAIRS_FOR_EACH_DISPLACED, SEARCH_PAUSE, SEEN_AGAIN_MAX,
    SWEEP_PAUSE, Verification, host_of,
};
use crate::flow::binding::AnswerLimits;
use crate::flow::binding::learner::{Bringer, Listing};
use crate::flow::binding::shares::{Share, Shares};
use crate::flow::time::Monotonic;

impl Verification {
    /// Makes room for one more pair of `name`.
    pub(super) fn make_room(
        &mut self,
        name: &str,
        (listing, bringer): (Listing, Bringer),
        now: Monotonic,
    ) -> bool {
        let entry = self.names.get(name);
        if entry.is_some_and(|entry| entry.seen.len() >= self.limits.addresses_per_name_max) {
            return self.drop_oldest(name);
        }
        // What is there already is on the account of whoever brought it first.
        let (rule, bringer) = match (entry, listing) {
            (Some(entry), _) => match &entry.below {
                Some(below) => (Some(Arc::clone(&below.rule)), below.bringer),
                None => (None, bringer),
            },
            (None, Listing::Below { host_bytes } | Listing::Denied { host_bytes }) => {
                (Some(host_of(name, host_bytes).into()), bringer)
            }
            (None, Listing::Own | Listing::Unlisted) => (None, bringer),
        };
        if let Some(rule) = &rule
            && !self.make_room_in_shares(name, rule, bringer, now)
        {
            return false;
        }
        if self.shares.pairs < self.limits.pairs_max {
            return true;
        }
        if self.swept.is_none_or(|swept| now.since(swept) >= SWEEP_PAUSE) {
            self.sweep(now);
        }
        self.shares.pairs < self.limits.pairs_max || self.displace_from_fullest(name, now)
    }

    /// The same in the shares of the rule and of the subscriber.
    pub(super) fn make_room_in_shares(
        &mut self,
        name: &str,
        rule: &str,
        bringer: Bringer,
        now: Monotonic,
    ) -> bool {
        if let Bringer::Subscriber(hash) = bringer {
            let of = |shares: &Shares| shares.subscribers.get(&hash).map_or(0, |share| share.pairs);
            while of(&self.shares) >= self.limits.pairs_per_subscriber_max {
                self.pressure.subscriber = Some(now);
                if !self.displace(Whose::Subscriber(hash), name, now) {
                    return false;
                }
            }
        }
        let of = |shares: &Shares| shares.rules.get(rule).map_or(0, |rule| rule.share.pairs);
        while of(&self.shares) >= self.limits.pairs_per_rule_max {
            self.pressure.rule = Some(now);
            if !self.displace(Whose::Rule(rule), name, now) {
                return false;
            }
        }
        true
    }

    /// Displaces names of the rule that has most pairs; whether there is room.
    pub(super) fn displace_from_fullest(&mut self, keep: &str, now: Monotonic) -> bool {
        self.pressure.all = Some(now);
        if self.stuck.is_some_and(|stuck| now.since(stuck) < SEARCH_PAUSE) {
            return false;
        }
        let fullest = self.shares.rules.iter().max_by_key(|(_, rule)| rule.share.pairs);
        let fullest = fullest.map(|(host, _)| Arc::clone(host));
        let displaced = fullest.map_or(0, |host| {
            let turns = self.limits.pairs_max.checked_div(PAIRS_FOR_EACH_DISPLACED).unwrap_or(0);
            let turns = 0..turns.clamp(1, DISPLACED_AT_ONCE_MAX);
            turns.take_while(|_| self.displace(Whose::Rule(&host), keep, now)).count()
        });
        self.stuck = (displaced == 0).then_some(now);
        displaced > 0
    }

    /// Displaces the first name in an order that may go; false when none was found.
    pub(super) fn displace(&mut self, whose: Whose<'_>, keep: &str, now: Monotonic) -> bool {
        let stuck = self.order(whose).and_then(|share| share.stuck);
        if stuck.is_some_and(|stuck| now.since(stuck) < SEARCH_PAUSE) {
            return false;
        }
        let mut seen_again = Vec::new();
        let mut victim = None;
        for _ in 0..LOOKS_MAX {
            let Some(place) = self.order(whose).and_then(Share::pop) else { break };
            let Some(below) = self.names.get_mut(&place.0).and_then(|entry| {
                let is_used = entry.is_used.load(Ordering::Relaxed);
                entry.below.as_mut().filter(|below| below.ticket == place.1).map(|below| (is_used, below))
            }) else {
                continue;
            };
            let (is_used, below) = below;
            let stays =
                &*place.0 == keep || (is_used && !is_heavy(below.bringer, &self.shares, &self.limits));
            if stays {
                self.order(whose).into_iter().for_each(|share| share.put_aside(place.clone()));
            } else if std::mem::take(&mut below.is_seen_again) && seen_again.len() < SEEN_AGAIN_MAX {
                seen_again.push(place);
            } else {
                victim = Some(place.0);
                break;
            }
        }
        let victim = victim.or_else(|| seen_again.first().map(|(name, _)| Arc::clone(name)));
        if let Some(share) = self.order(whose) {
            seen_again.into_iter().for_each(|place| share.put_back(place));
            if victim.is_none() && share.is_through() {
                share.begin_again();
                share.stuck = Some(now);
            }
        }
        victim.is_some_and(|name| {
            self.remove(&name);
            true
        })
    }

    /// An order of names.
    pub(super) fn order(&mut self, whose: Whose<'_>) -> Option<&mut Share> {
        match whose {
            Whose::Rule(host) => self.shares.rules.get_mut(host).map(|rule| &mut rule.share),
            Whose::Subscriber(hash) => self.shares.subscribers.get_mut(&hash),
        }
    }
}

/// Whether a name with this ticket is still there.
pub(super) fn is_live(names: &HashMap<Arc<str>, Entry>, name: &str, ticket: u64) -> bool {
    let below = names.get(name).and_then(|entry| entry.below.as_ref());
    below.is_some_and(|below| below.ticket == ticket)
}

/// Whether somebody holds so much that all of it may be made up: more than half of a share, or nobody knows who.
pub(super) fn is_heavy(bringer: Bringer, shares: &Shares, limits: &AnswerLimits) -> bool {
    match bringer {
        Bringer::Gateway => false,
        Bringer::Stranger => true,
        Bringer::Subscriber(hash) => {
            let held = shares.subscribers.get(&hash).map_or(0, |share| share.pairs);
            held.saturating_mul(2) > limits.pairs_per_subscriber_max
        }
    }
}

/// Whose oldest name makes room.
#[derive(Clone, Copy)]
pub(super) enum Whose<'a> {
    /// That of the rule with this host.
    Rule(&'a str),
    /// This subscriber's.
    Subscriber(u64),
}
