//! Listed name ↔ addresses, for everybody: where a name was answered with.
//!
//! The set is additive: an address stays for the whole retention after it was last seen, so that rotating answers
//! converge. It is bounded, and who makes up names does not crowd out others (trap F2):
//!
//! - A name with an entry of its own is never displaced; nobody can make up another.
//! - Of names below a rule each rule and each subscriber holds a share. Whoever has used up his own displaces his own
//!   oldest; a rule that has used up its share, and the fullest rule when all is full, the oldest of the rule. One that
//!   was seen again since goes to the end, one that a flow bore stays, as long as its subscriber holds no more than
//!   half his share.
//! - An address with which many names below a rule were answered is kept once, for all of them (`shares`).
//!
//! What that leaves: with *n* shares of a subscriber in one of a rule, n subscribers who make up names below one rule displace
//! names of others there that were asked for and never visited. For whoever asked himself his own answer counts all the
//! same ([`super::TrustedAnswers::vouches_for`]); for others the name is looked up when they visit it. With twice as many,
//! each of whom visits what he makes up, such look-ups for new names below that rule find no room. Other rules go on, until
//! as many rules as there are shares in the whole are filled so.

mod room;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allowlist::DomainName;

use self::room::{is_heavy, is_live};
use super::addresses::{Addresses, Ech, push_ech};
use super::learner::{Bringer, Listing};
use super::shares::{Below, Rule, Shares};
use super::{AnswerLimits, Learnt};
use crate::flow::time::Monotonic;

/// A full set is searched for expired pairs at most so often: the search looks at every pair.
const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Names that are looked at to find one to displace; each that stays is looked at once in a round.
const LOOKS_MAX: usize = 1_024;
/// Names seen again among them: with so many the first of them goes all the same.
const SEEN_AGAIN_MAX: usize = 32;
/// Names displaced at once when all is full, and of how many pairs that is one: the fullest rule is found by looking at all.
const DISPLACED_AT_ONCE_MAX: usize = 64;
const PAIRS_FOR_EACH_DISPLACED: usize = 1_024;
/// After a round in which all names stayed.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// Name → addresses.
pub(super) struct Verification {
    limits: AnswerLimits,
    names: HashMap<Arc<str>, Entry>,
    pub(super) shares: Shares,
    pub(super) pressure: Pressure,
    /// When expired pairs were last dropped.
    swept: Option<Monotonic>,
    /// When the fullest rule had nothing to displace.
    stuck: Option<Monotonic>,
}

/// When room was last made, or could not be, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    /// The whole set was full.
    pub(super) all: Option<Monotonic>,
    /// The share of a rule.
    pub(super) rule: Option<Monotonic>,
    /// The share of a subscriber.
    pub(super) subscriber: Option<Monotonic>,
    /// Names displaced.
    pub(super) displaced: u64,
}

/// What is known of a name.
struct Entry {
    seen: Vec<Seen>,
    ech: Vec<Ech>,
    /// None: it has an entry of its own.
    below: Option<Box<Below>>,
    /// A flow bore it to one of its addresses.
    is_used: AtomicBool,
}

/// One address of a name.
struct Seen {
    address: IpAddr,
    /// When it was first seen.
    since: Monotonic,
    /// Last moment at which it counts; `None`: pinned by the configuration, never expires.
    expires: Option<Monotonic>,
}

/// A name, or all names below a rule, as a snapshot has them.
pub(super) struct Kept<'a> {
    /// The name, or the rule's host.
    pub(super) name: &'a str,
    /// All names below it are meant.
    pub(super) is_rule: bool,
    /// A flow bore it.
    pub(super) is_used: bool,
    /// Addresses that expire, and when.
    pub(super) seen: Vec<(IpAddr, Monotonic)>,
}

impl Seen {
    /// Whether the address still counts at `now`.
    fn counts(&self, now: Monotonic) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

/// The rule's host, of a name below it.
fn host_of(name: &str, host_bytes: usize) -> &str {
    name.get(name.len().saturating_sub(host_bytes)..).unwrap_or(name)
}

impl Verification {
    /// An empty set.
    pub(super) fn new(limits: AnswerLimits) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            shares: Shares::new(Addresses::new(limits.names_per_address_max)),
            pressure: Pressure::default(),
            swept: None,
            stuck: None,
        }
    }

    /// How long an address counts.
    pub(super) const fn retention(&self) -> Duration {
        self.limits.retention
    }

    /// Puts in an answer of the configuration, which never expires and is never displaced.
    pub(super) fn pin(&mut self, name: &DomainName, address: IpAddr) {
        self.own(name.as_str());
        let seen = self.names.get_mut(name.as_str()).map(|entry| &mut entry.seen);
        match seen.and_then(|seen| seen.iter_mut().find(|seen| seen.address == address)) {
            Some(known) => known.expires = None,
            None => self.add(
                name.as_str(),
                (Listing::Own, Bringer::Gateway),
                Seen { address, since: Monotonic::default(), expires: None },
            ),
        }
    }

    /// Learns that `name`, which is listed so, has `address` until `expires`, as somebody had looked up.
    pub(super) fn learn(
        &mut self,
        name: &DomainName,
        (listing, bringer): (Listing, Bringer),
        address: IpAddr,
        expires: Monotonic,
        now: Monotonic,
    ) -> Learnt {
        let name = name.as_str();
        if listing == Listing::Own {
            self.own(name);
        }
        let common = match listing {
            Listing::Below { host_bytes } => Some(host_of(name, host_bytes)),
            Listing::Unlisted | Listing::Own | Listing::Denied { .. } => None,
        };
        let mut is_heavy_s = false;
        let mut is_known = common.is_some_and(|host| self.shares.refresh_common(host, address, expires));
        if let Some(entry) = self.names.get_mut(name) {
            if let Some(known) = entry.seen.iter_mut().find(|seen| seen.address == address) {
                known.expires = known.expires.map(|known| known.max(expires));
                is_known = true;
            }
            if let Some(below) = &mut entry.below {
                below.is_seen_again |= is_known;
                is_heavy_s = below.bringer != bringer && is_heavy(below.bringer, &self.shares, &self.limits);
            }
        }
        if is_heavy_s {
            self.hand_over(name, bringer);
        }
        if is_known {
            return Learnt::Refreshed;
        }
        if !self.make_room(name, (listing, bringer), now) {
            return Learnt::Full;
        }
        match common {
            Some(host)
                if self.shares.names_at(host, address).saturating_add(1)
                    >= self.limits.wildcard_names_min =>
            {
                self.shares.keep_common(host, address, now, expires);
            }
            Some(_) | None => {
                self.add(name, (listing, bringer), Seen { address, since: now, expires: Some(expires) });
            }
        }
        Learnt::New
    }

    /// Keeps an address for all names below the rule with this host, as a snapshot has it; whether there was room.
    pub(super) fn restore_common(
        &mut self,
        host: &str,
        address: IpAddr,
        expires: Monotonic,
        now: Monotonic,
    ) -> bool {
        if self.shares.pairs >= self.limits.pairs_max {
            return false;
        }
        self.shares.keep_common(host, address, now, expires);
        true
    }

    /// A name that was seen below a rule has an entry of its own.
    fn own(&mut self, name: &str) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let Some(below) = entry.below.take() else { return };
        for seen in &entry.seen {
            self.shares.unpair(Some(&below), seen.address);
            self.shares.pair(None, seen.address, &entry.ech);
        }
        self.shares.leave(&below);
    }

    /// Puts a name that came on the account of whoever holds too much on that of a subscriber who holds little, and asked for
    /// it too: it does not go with the names that are made up.
    fn hand_over(&mut self, name: &str, bringer: Bringer) {
        match bringer {
            Bringer::Subscriber(_) if !is_heavy(bringer, &self.shares, &self.limits) => {}
            Bringer::Subscriber(_) | Bringer::Stranger | Bringer::Gateway => return,
        }
        let Some((key, mut entry)) = self.names.remove_entry(name) else { return };
        if let Some(below) = entry.below.take() {
            entry.seen.iter().for_each(|seen| self.shares.unpair(Some(&below), seen.address));
            self.shares.leave(&below);
            let names = &self.names;
            let is_live = |name: &str, ticket| is_live(names, name, ticket);
            let below = self.shares.enter(&key, &below.rule, (bringer, below.is_denied), is_live);
            for seen in &entry.seen {
                self.shares.pair(Some(&below), seen.address, &entry.ech);
            }
            entry.below = Some(Box::new(below));
        }
        self.names.insert(key, entry);
    }

    /// Adds a pair that is not there.
    fn add(&mut self, name: &str, (listing, bringer): (Listing, Bringer), seen: Seen) {
        if !self.names.contains_key(name) {
            let key: Arc<str> = name.into();
            let below = match listing {
                Listing::Unlisted | Listing::Own => None,
                Listing::Below { host_bytes } => Some((host_bytes, false)),
                Listing::Denied { host_bytes } => Some((host_bytes, true)),
            };
            let names = &self.names;
            let is_live = |name: &str, ticket| is_live(names, name, ticket);
            let below = below.map(|(host_bytes, is_denied)| {
                let host = host_of(name, host_bytes);
                Box::new(self.shares.enter(&key, host, (bringer, is_denied), is_live))
            });
            let is_used = AtomicBool::new(false);
            self.names.insert(key, Entry { seen: Vec::new(), ech: Vec::new(), below, is_used });
        }
        if let Some(entry) = self.names.get_mut(name) {
            self.shares.pair(entry.below.as_deref(), seen.address, &entry.ech);
            entry.seen.push(seen);
        }
    }

    /// Displaces a name.
    fn remove(&mut self, name: &str) {
        let Some(entry) = self.names.remove(name) else { return };
        self.pressure.displaced = self.pressure.displaced.saturating_add(1);
        for seen in &entry.seen {
            self.shares.unpair(entry.below.as_deref(), seen.address);
        }
        if let Some(below) = &entry.below {
            self.shares.leave(below);
        }
    }

    /// Drops the address of `name` that was seen longest ago; `false` when all are pinned.
    fn drop_oldest(&mut self, name: &str) -> bool {
        let Some(entry) = self.names.get_mut(name) else { return false };
        let places = entry.seen.iter().enumerate();
        let oldest = places.filter_map(|(place, seen)| Some((seen.expires?, place))).min();
        let Some((_, place)) = oldest else { return false };
        let dropped = entry.seen.swap_remove(place);
        self.shares.unpair(entry.below.as_deref(), dropped.address);
        true
    }

    /// Since when `name` has had `address`; `None` when it does not at `now`. Asked for a flow, which bears the name.
    pub(super) fn since(&self, name: &DomainName, address: IpAddr, now: Monotonic) -> Option<Monotonic> {
        let entry = self.names.get(name.as_str());
        let seen = entry.and_then(|entry| entry.seen.iter().find(|seen| seen.address == address));
        if let (Some(entry), Some(seen)) = (entry, seen.filter(|seen| seen.counts(now))) {
            if !entry.is_used.load(Ordering::Relaxed) {
                entry.is_used.store(true, Ordering::Relaxed);
            }
            return Some(seen.since);
        }
        let (since, expires) = self.rule_above(name, entry)?.common(address)?;
        (now <= expires).then_some(since)
    }

    /// At most `max` addresses of `name`, the one that counts longest first, and last those of all names below its rule.
    pub(super) fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
        let entry = self.names.get(name.as_str());
        let rule = self.rule_above(name, entry);
        let mut seen: Vec<&Seen> = entry.into_iter().flat_map(|entry| &entry.seen).collect();
        // Pinned ones count for ever.
        seen.sort_by_key(|seen| std::cmp::Reverse((seen.expires.is_none(), seen.expires)));
        let common = rule.into_iter().flat_map(Rule::commons).map(|(address, _)| address);
        seen.into_iter().map(|seen| seen.address).chain(common).take(max).collect()
    }

    /// The nearest rule for names below its host whose common addresses `name` may have, of which `entry` is known.
    fn rule_above(&self, name: &DomainName, entry: Option<&Entry>) -> Option<&Rule> {
        let may_be_any = self.shares.commons > 0 && entry.is_none_or(|entry| entry.below.is_some());
        if may_be_any { self.shares.above(name.as_str()) } else { None }
    }

    /// How many addresses `name` has, those of all names below a rule included.
    pub(super) fn addresses(&self, name: &DomainName) -> usize {
        let entry = self.names.get(name.as_str());
        let rule = self.rule_above(name, entry);
        let own = entry.map_or(0, |entry| entry.seen.len());
        own.saturating_add(rule.map_or(0, Rule::commons_len))
    }

    /// Remembers configurations that a listed name publishes, for it and for all addresses it has.
    pub(super) fn publish(&mut self, name: &DomainName, configs: &[Ech]) {
        let Some(entry) = self.names.get_mut(name.as_str()) else { return };
        configs.iter().for_each(|config| push_ech(&mut entry.ech, *config));
        for seen in &entry.seen {
            self.shares.addresses.publish(seen.address, configs);
        }
    }

    /// Drops every pair past its retention.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        let shares = &mut self.shares;
        self.names.retain(|_, entry| {
            let below = entry.below.as_deref();
            entry.seen.retain(|seen| {
                let counts = seen.counts(now);
                if !counts {
                    shares.unpair(below, seen.address);
                }
                counts
            });
            if let (true, Some(below)) = (entry.seen.is_empty(), below) {
                shares.leave(below);
            }
            !entry.seen.is_empty()
        });
        shares.sweep(now);
        self.swept = Some(now);
    }

    /// Marks a name as one that a flow bore.
    pub(super) fn mark_used(&mut self, name: &DomainName) {
        if let Some(entry) = self.names.get(name.as_str()) {
            entry.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// Everything that expires.
    pub(super) fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
        let names = self.names.iter().map(|(name, entry)| Kept {
            name,
            is_rule: false,
            is_used: entry.is_used.load(Ordering::Relaxed),
            seen: entry.seen.iter().filter_map(|seen| Some((seen.address, seen.expires?))).collect(),
        });
        let rules = self.shares.rules.iter().filter(|(_, rule)| rule.commons_len() > 0);
        names.chain(rules.map(|(host, rule)| Kept {
            name: host,
            is_rule: true,
            is_used: false,
            seen: rule.commons().collect(),
        }))
    }

    /// Addresses that count at `now`, in no order; one of several names as often.
    pub(super) fn counting(&self, now: Monotonic) -> impl Iterator<Item = IpAddr> {
        let all = self.names.values().flat_map(|entry| &entry.seen);
        let common = self.shares.rules.values().flat_map(Rule::commons);
        let common = common.filter(move |(_, expires)| now <= *expires).map(|(address, _)| address);
        all.filter(move |seen| seen.counts(now)).map(|seen| seen.address).chain(common)
    }

    /// Names held, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Names with an entry of their own, and names that a flow bore.
    pub(super) fn names_in_use(&self) -> impl Iterator<Item = &str> {
        let in_use = |entry: &Entry| entry.below.is_none() || entry.is_used.load(Ordering::Relaxed);
        self.names.iter().filter(move |(_, entry)| in_use(entry)).map(|(name, _)| &**name)
    }
}
