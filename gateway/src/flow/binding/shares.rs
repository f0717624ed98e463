//! Who holds how much of the trusted answers: each rule for names below its host, and each subscriber who had such names
//! looked up (trap F2).
//!
//! Below a rule names can be made up without end, and a zone with a wildcard answers them all. So each rule and each
//! subscriber has a share of the pairs, and keeps the order in which names came, for when it must make room. An address
//! with which many names below a rule were answered is kept once for the rule: it is where the site answers whatever is
//! asked. That gives no address a right it had not: every name below the rule is the site's, and each of them had it.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::{Addresses, Ech};
use super::learner::Bringer;
use crate::flow::time::Monotonic;

/// Places of an order that may be of names long gone, beside as many as there are names.
const STALE_PLACES_MAX: usize = 64;

/// How a name below a rule is kept.
pub(super) struct Below {
    /// Host of the rule.
    pub(super) rule: Arc<str>,
    /// On whose account.
    pub(super) bringer: Bringer,
    /// A deny speaks of it: its addresses are its own alone.
    pub(super) is_denied: bool,
    /// Its place in the orders; no other name ever has the same.
    pub(super) ticket: u64,
    /// It was seen again since it was last looked at for making room.
    pub(super) is_seen_again: bool,
}

/// Names in the order in which they came, and how many pairs they have.
#[derive(Default)]
pub(super) struct Share {
    pub(super) pairs: usize,
    names: usize,
    /// Names to look at for making room, first to last.
    order: VecDeque<(Arc<str>, u64)>,
    /// Names that were looked at and stayed: they are looked at again when no other is left.
    stayed: VecDeque<(Arc<str>, u64)>,
    /// When all of them stayed.
    pub(super) stuck: Option<Monotonic>,
}

impl Share {
    /// Puts a name at the end; `is_live` tells names that are still there.
    fn push(&mut self, name: &Arc<str>, ticket: u64, is_live: impl Fn(&str, u64) -> bool) {
        let places = self.order.len().saturating_add(self.stayed.len());
        if places > self.names.saturating_mul(2).saturating_add(STALE_PLACES_MAX) {
            self.order.retain(|(name, ticket)| is_live(name, *ticket));
            self.stayed.retain(|(name, ticket)| is_live(name, *ticket));
        }
        self.names = self.names.saturating_add(1);
        self.order.push_back((Arc::clone(name), ticket));
    }

    /// Takes the first in the order.
    pub(super) fn pop(&mut self) -> Option<(Arc<str>, u64)> {
        self.order.pop_front()
    }

    /// Puts what was taken to the end.
    pub(super) fn put_back(&mut self, place: (Arc<str>, u64)) {
        self.order.push_back(place);
    }

    /// Puts what was taken aside.
    pub(super) fn put_aside(&mut self, place: (Arc<str>, u64)) {
        self.stayed.push_back(place);
    }

    /// Whether none is left to look at.
    pub(super) fn is_through(&self) -> bool {
        self.order.is_empty()
    }

    /// Begins again with those that stayed.
    pub(super) fn begin_again(&mut self) {
        self.order.append(&mut self.stayed);
    }
}

/// A rule for names below its host.
#[derive(Default)]
pub(super) struct Rule {
    pub(super) share: Share,
    /// How many names below it have an address.
    names_at: HashMap<IpAddr, u32>,
    /// Since when and until when an address is kept for all of them.
    commons: HashMap<IpAddr, (Monotonic, Monotonic)>,
}

impl Rule {
    /// Since when and until when an address is kept for all names.
    pub(super) fn common(&self, address: IpAddr) -> Option<(Monotonic, Monotonic)> {
        self.commons.get(&address).copied()
    }

    /// Addresses kept for all names, and until when.
    pub(super) fn commons(&self) -> impl Iterator<Item = (IpAddr, Monotonic)> {
        self.commons.iter().map(|(address, (_, expires))| (*address, *expires))
    }

    /// How many there are.
    pub(super) fn commons_len(&self) -> usize {
        self.commons.len()
    }

    /// Whether it has the address, for one name or for all.
    fn has(&self, address: IpAddr) -> bool {
        self.names_at.contains_key(&address) || self.commons.contains_key(&address)
    }

    /// Whether nothing is known of it.
    fn is_unknown(&self) -> bool {
        self.share.names == 0 && self.commons.is_empty()
    }
}

/// What is held, and by whom.
pub(super) struct Shares {
    pub(super) rules: HashMap<Arc<str>, Rule>,
    pub(super) subscribers: HashMap<u64, Share>,
    pub(super) addresses: Addresses,
    /// Pairs of a name, or of a rule as a whole, and an address.
    pub(super) pairs: usize,
    /// Addresses kept for a rule as a whole.
    pub(super) commons: usize,
    tickets: u64,
}

impl Shares {
    /// Nothing held.
    pub(super) fn new(addresses: Addresses) -> Self {
        let (rules, subscribers) = (HashMap::new(), HashMap::new());
        Self { rules, subscribers, addresses, pairs: 0, commons: 0, tickets: 0 }
    }

    /// Enters a name below the rule with this host; `is_live` tells names that are still there.
    pub(super) fn enter(
        &mut self,
        name: &Arc<str>,
        host: &str,
        (bringer, is_denied): (Bringer, bool),
        is_live: impl Fn(&str, u64) -> bool,
    ) -> Below {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = self.tickets;
        let rule = match self.rules.get_key_value(host) {
            Some((rule, _)) => Arc::clone(rule),
            None => host.into(),
        };
        self.rules.entry(Arc::clone(&rule)).or_default().share.push(name, ticket, &is_live);
        match bringer {
            Bringer::Subscriber(hash) => {
                self.subscribers.entry(hash).or_default().push(name, ticket, is_live);
            }
            Bringer::Stranger | Bringer::Gateway => {}
        }
        Below { rule, bringer, is_denied, ticket, is_seen_again: false }
    }

    /// A name that was entered is gone, and with it its pairs.
    pub(super) fn leave(&mut self, below: &Below) {
        if let Some(rule) = self.rules.get_mut(&below.rule) {
            rule.share.names = rule.share.names.saturating_sub(1);
            if rule.is_unknown() {
                self.rules.remove(&below.rule);
            }
        }
        if let Bringer::Subscriber(hash) = below.bringer
            && let Some(share) = self.subscribers.get_mut(&hash)
        {
            share.names = share.names.saturating_sub(1);
            if share.names == 0 {
                self.subscribers.remove(&hash);
            }
        }
    }

    /// Adds a pair of a name; of one with an entry of its own `below` is none.
    pub(super) fn pair(&mut self, below: Option<&Below>, address: IpAddr, published: &[Ech]) {
        self.pairs = self.pairs.saturating_add(1);
        self.addresses.hold(address, published);
        let Some(below) = below else { return self.addresses.enter(address) };
        if let Some(rule) = self.rules.get_mut(&below.rule) {
            rule.share.pairs = rule.share.pairs.saturating_add(1);
            if !below.is_denied {
                if !rule.has(address) {
                    self.addresses.enter(address);
                }
                let names = rule.names_at.entry(address).or_default();
                *names = names.saturating_add(1);
            }
        }
        if let Bringer::Subscriber(hash) = below.bringer {
            let share = self.subscribers.entry(hash).or_default();
            share.pairs = share.pairs.saturating_add(1);
        }
    }

    /// Takes a pair of a name away.
    pub(super) fn unpair(&mut self, below: Option<&Below>, address: IpAddr) {
        self.pairs = self.pairs.saturating_sub(1);
        match below {
            None => self.addresses.leave(address),
            Some(below) => {
                if let Some(rule) = self.rules.get_mut(&below.rule) {
                    rule.share.pairs = rule.share.pairs.saturating_sub(1);
                    if !below.is_denied && forget_name(rule, address) {
                        self.addresses.leave(address);
                    }
                }
                if let Bringer::Subscriber(hash) = below.bringer
                    && let Some(share) = self.subscribers.get_mut(&hash)
                {
                    share.pairs = share.pairs.saturating_sub(1);
                }
            }
        }
        self.addresses.release(address);
    }

    /// Names below the rule with this host that have the address.
    pub(super) fn names_at(&self, host: &str, address: IpAddr) -> usize {
        let names = self.rules.get(host).and_then(|rule| rule.names_at.get(&address));
        names.and_then(|names| usize::try_from(*names).ok()).unwrap_or(0)
    }

    /// Keeps an address for all names below the rule with this host.
    pub(super) fn keep_common(&mut self, host: &str, address: IpAddr, since: Monotonic, expires: Monotonic) {
        if self.refresh_common(host, address, expires) {
            return;
        }
        let rule = match self.rules.get_mut(host) {
            Some(rule) => rule,
            None => self.rules.entry(host.into()).or_default(),
        };
        let is_new = !rule.has(address);
        rule.commons.insert(address, (since, expires));
        rule.share.pairs = rule.share.pairs.saturating_add(1);
        (self.pairs, self.commons) = (self.pairs.saturating_add(1), self.commons.saturating_add(1));
        self.addresses.hold(address, &[]);
        if is_new {
            self.addresses.enter(address);
        }
    }

    /// Notes that an address kept for all names of a rule was seen again; whether it is kept.
    pub(super) fn refresh_common(&mut self, host: &str, address: IpAddr, expires: Monotonic) -> bool {
        if self.commons == 0 {
            return false;
        }
        let common = self.rules.get_mut(host).and_then(|rule| rule.commons.get_mut(&address));
        let Some((_, until)) = common else { return false };
        *until = expires.max(*until);
        true
    }

    /// Drops addresses of rules past their time.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        if self.commons == 0 {
            return;
        }
        let (pairs, commons, addresses) = (&mut self.pairs, &mut self.commons, &mut self.addresses);
        self.rules.retain(|_, rule| {
            let (share, names_at) = (&mut rule.share, &rule.names_at);
            rule.commons.retain(|address, (_, expires)| {
                if now <= *expires {
                    return true;
                }
                for count in [&mut *pairs, &mut *commons, &mut share.pairs] {
                    *count = count.saturating_sub(1);
                }
                if !names_at.contains_key(address) {
                    addresses.leave(*address);
                }
                addresses.release(*address);
                false
            });
            !rule.is_unknown()
        });
    }

    /// The nearest rule above `name` of which anything is known.
    pub(super) fn above(&self, name: &str) -> Option<&Rule> {
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(rule) = self.rules.get(above) {
                return Some(rule);
            }
            rest = above;
        }
        None
    }
}

/// One name fewer of a rule has the address; whether the rule has it no more.
fn forget_name(rule: &mut Rule, address: IpAddr) -> bool {
    let Some(names) = rule.names_at.get_mut(&address) else { return false };
    *names = names.saturating_sub(1);
    if *names > 0 {
        return false;
    }
    rule.names_at.remove(&address);
    !rule.commons.contains_key(&address)
}
