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

mod entries;
mod read;
mod room;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allowlist::DomainName;

use self::room::is_heavy;
use super::addresses::{Addresses, Ech, push_ech};
use super::learner::{Bringer, Listing};
use super::shares::{Below, Shares};
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
}
