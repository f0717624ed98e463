//! What is known of a name: its addresses, those of the rule above it, and what of it a snapshot keeps.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use allowlist::DomainName;

use super::{Entry, Kept, Seen, Verification};
use crate::flow::binding::shares::Rule;
use crate::flow::time::Monotonic;

impl Verification {
    /// Since when `name` has had `address`; `None` when it does not at `now`. Asked for a flow, which bears the name.
    pub(in crate::flow::binding) fn since(
        &self,
        name: &DomainName,
        address: IpAddr,
        now: Monotonic,
    ) -> Option<Monotonic> {
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
    pub(in crate::flow::binding) fn known_addresses(&self, name: &DomainName, max: usize) -> Vec<IpAddr> {
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
    pub(in crate::flow::binding) fn addresses(&self, name: &DomainName) -> usize {
        let entry = self.names.get(name.as_str());
        let rule = self.rule_above(name, entry);
        let own = entry.map_or(0, |entry| entry.seen.len());
        own.saturating_add(rule.map_or(0, Rule::commons_len))
    }

    /// Everything that expires.
    pub(in crate::flow::binding) fn kept(&self) -> impl Iterator<Item = Kept<'_>> {
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
    pub(in crate::flow::binding) fn counting(&self, now: Monotonic) -> impl Iterator<Item = IpAddr> {
        let all = self.names.values().flat_map(|entry| &entry.seen);
        let common = self.shares.rules.values().flat_map(Rule::commons);
        let common = common.filter(move |(_, expires)| now <= *expires).map(|(address, _)| address);
        all.filter(move |seen| seen.counts(now)).map(|seen| seen.address).chain(common)
    }

    /// Names held, in no order.
    pub(in crate::flow::binding) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Names with an entry of their own, and names that a flow bore.
    pub(in crate::flow::binding) fn names_in_use(&self) -> impl Iterator<Item = &str> {
        let in_use = |entry: &Entry| entry.below.is_none() || entry.is_used.load(Ordering::Relaxed);
        self.names.iter().filter(move |(_, entry)| in_use(entry)).map(|(name, _)| &**name)
    }
}
