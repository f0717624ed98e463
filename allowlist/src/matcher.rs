//! The list compiled for look-ups (DESIGN decision 12): a hash walk over labels for names, and over prefix
//! lengths for addresses.
//!
//! A look-up strips one label after another from the full name and probes the hash table with what is left, skipping
//! lengths no entry has; the first table hit is the most specific. It allocates nothing and takes no lock; a matcher
//! never changes, a new list is a new matcher. Hashing is SipHash with random keys, so that nobody can choose names that
//! collide.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::document::{Document, EntryTarget};
use crate::name::DomainName;
use crate::rule::{DENY_SERVICE, Ports, Rule, Scope, Target, Transport, Window};

/// A compiled list.
#[derive(Debug)]
pub struct Matcher {
    list_id: Arc<str>,
    serial: u64,
    effective_from: Timestamp,
    expires: Timestamp,
    /// Service ids in the order written.
    services: Box<[Arc<str>]>,
    /// Every instant at which an answer may change, rising, without repeats.
    changes: Box<[Timestamp]>,
    hosts: HostTable,
    denies: HostTable,
    prefixes: PrefixTable,
}

/// Whether a list is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before `effective_from`.
    NotYetInForce,
    /// From `effective_from` up to, not including, `expires`.
    InForce,
    /// From `expires` on.
    Expired,
}

/// What a list says of a name.
#[derive(Clone, Copy, Debug)]
pub enum HostMatch<'m> {
    /// No rule speaks of it.
    NotListed,
    /// A deny speaks of it: charged, whatever the rules say.
    Denied(&'m Arc<Rule>),
    /// The most specific rule is not in force, and no other fits.
    NotInForce(&'m Arc<Rule>),
    /// The most specific rule is for another protocol or port, and no other fits.
    Port(&'m Arc<Rule>),
    /// The most specific rule that is in force and fits.
    Listed(&'m Arc<Rule>),
}

impl Matcher {
    /// Compiles a document. Cost and memory are linear in the number of entries.
    #[must_use]
    pub fn new(document: &Document) -> Matcher {
        let mut matcher = Matcher {
            list_id: document.list_id().into(),
            serial: document.serial(),
            effective_from: document.effective_from().instant(),
            expires: document.expires().instant(),
            services: document.services().iter().map(|service| service.id().into()).collect(),
            changes: Box::default(),
            hosts: HostTable::default(),
            denies: HostTable::default(),
            prefixes: PrefixTable::default(),
        };
        let mut changes = vec![matcher.effective_from, matcher.expires];
        for (service, id) in document.services().iter().zip(&matcher.services) {
            for entry in service.rules() {
                let window = entry.window();
                changes.extend(window.from.into_iter().chain(window.to));
                let (target, dns_only) = match entry.target() {
                    EntryTarget::Host { host, scope, dns_only } => {
                        (Target::Host { host: host.clone(), scope: *scope }, *dns_only)
                    }
                    EntryTarget::Prefix(prefix) => (Target::Prefix(*prefix), false),
                };
                let rule = Arc::new(Rule::new(id, target, entry.ports().clone(), window, dns_only));
                match entry.target() {
                    EntryTarget::Host { host, .. } => matcher.hosts.insert(host, rule),
                    EntryTarget::Prefix(prefix) => matcher.prefixes.insert(*prefix, rule),
                }
            }
        }
        let deny: Arc<str> = DENY_SERVICE.into();
        for entry in document.denies() {
            let target = Target::Host { host: entry.host().clone(), scope: entry.scope() };
            let rule = Arc::new(Rule::new(&deny, target, Ports::Web, Window::default(), false));
            matcher.denies.insert(entry.host(), rule);
        }
        changes.sort_unstable();
        changes.dedup();
        matcher.changes = changes.into();
        matcher.hosts.finish();
        matcher.denies.finish();
        matcher
    }

    /// Name of the list.
    #[must_use]
    pub fn list_id(&self) -> &Arc<str> {
        &self.list_id
    }

    /// Serial number of the list.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// First instant in force.
    #[must_use]
    pub fn effective_from(&self) -> Timestamp {
        self.effective_from
    }

    /// First instant no longer in force.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Service ids in the order written.
    #[must_use]
    pub fn services(&self) -> &[Arc<str>] {
        &self.services
    }

    /// Host rules, in no particular order.
    pub fn host_rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.hosts.rules()
    }

    /// Whether the list is in force at that instant. The other methods do not ask.
    #[must_use]
    pub fn validity(&self, at: Timestamp) -> Validity {
        if at < self.effective_from {
            Validity::NotYetInForce
        } else if at < self.expires {
            Validity::InForce
        } else {
            Validity::Expired
        }
    }

    /// The earliest instant after `at` at which any answer may change: a rule's dates, or the list's own.
    #[must_use]
    pub fn next_change_after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.changes.partition_point(|change| *change <= at);
        self.changes.get(next).copied()
    }

    /// What the list says of a name, for a flow of this protocol to this port.
    ///
    /// With `at` none, the dates of rules are not looked at. Any matching deny wins. Otherwise the first rule, from the
    /// most specific host and scope on and then as written, that is in force and fits; if none does, the most specific
    /// one says why.
    #[must_use]
    pub fn host(
        &self,
        name: &DomainName,
        transport: Transport,
        port: u16,
        at: Option<Timestamp>,
    ) -> HostMatch<'_> {
        if let Some(deny) = self.denied(name) {
            return HostMatch::Denied(deny);
        }
        let mut first = None;
        for rule in self.hosts.matching(name) {
            if rule.window().contains(at) && rule.ports().fit(transport, port) {
                return HostMatch::Listed(rule);
            }
            first.get_or_insert(rule);
        }
        match first {
            None => HostMatch::NotListed,
            Some(rule) if !rule.window().contains(at) => HostMatch::NotInForce(rule),
            Some(rule) => HostMatch::Port(rule),
        }
    }

    /// The address rule of the longest prefix that is in force and fits protocol and port.
    ///
    /// With `at` none, dates are not looked at. IPv4-mapped IPv6 addresses (RFC 4291 §2.5.5.2) count as IPv4.
    #[must_use]
    pub fn address(
        &self,
        address: IpAddr,
        transport: Transport,
        port: u16,
        at: Option<Timestamp>,
    ) -> Option<&Arc<Rule>> {
        let fits = |rule: &&Arc<Rule>| rule.window().contains(at) && rule.ports().fit(transport, port);
        self.prefixes.matching(address.to_canonical()).find(fits)
    }

    /// Whether any rule or deny speaks of the name, whatever its dates and ports.
    #[must_use]
    pub fn covers(&self, name: &DomainName) -> bool {
        self.denied(name).is_some() || self.hosts.matching(name).next().is_some()
    }

    /// The most specific deny that speaks of the name.
    #[must_use]
    pub fn denied(&self, name: &DomainName) -> Option<&Arc<Rule>> {
        self.denies.matching(name).next()
    }
}

/// Host rules by host.
#[derive(Debug, Default)]
struct HostTable {
    /// Rules of each host: most specific scope first, then as written.
    by_host: HashMap<Box<str>, Vec<Arc<Rule>>>,
    /// Length in bytes of the shortest and the longest host; lengths outside are not probed.
    lengths: Option<(usize, usize)>,
}

impl HostTable {
    /// Adds a rule under its host.
    fn insert(&mut self, host: &DomainName, rule: Arc<Rule>) {
        let length = host.as_str().len();
        let (min, max) = self.lengths.unwrap_or((length, length));
        self.lengths = Some((min.min(length), max.max(length)));
        // Almost every host has one rule: an exact capacity keeps a million entries small.
        self.by_host.entry(host.as_str().into()).or_insert_with(|| Vec::with_capacity(1)).push(rule);
    }

    /// Puts each host's rules in order of specificity; to be called once, after the last insert.
    fn finish(&mut self) {
        for rules in self.by_host.values_mut().filter(|rules| rules.len() > 1) {
            rules.sort_by_key(|rule| scope_of(rule));
        }
    }

    /// Rules that speak of the name, the most specific first.
    fn matching<'m>(&'m self, name: &DomainName) -> impl Iterator<Item = &'m Arc<Rule>> {
        let (min, max) = self.lengths.unwrap_or((usize::MAX, 0));
        Suffixes { rest: Some(name.as_str()), labels_below: 0 }
            .filter(move |(suffix, _)| (min..=max).contains(&suffix.len()))
            .filter_map(|(suffix, labels_below)| Some((self.by_host.get(suffix)?, labels_below)))
            .flat_map(|(rules, labels_below)| {
                rules.iter().filter(move |rule| scope_of(rule).reaches(labels_below))
            })
    }

    /// All rules.
    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.by_host.values().flatten()
    }
}

/// Address rules by prefix.
#[derive(Debug, Default)]
struct PrefixTable {
    /// Rules of each prefix, as written.
    by_prefix: HashMap<IpNet, Vec<Arc<Rule>>>,
    /// Lengths of the IPv4 prefixes, the longest first; only these are probed.
    lengths_v4: Vec<u8>,
    /// Lengths of the IPv6 prefixes, the longest first.
    lengths_v6: Vec<u8>,
}

impl PrefixTable {
    /// Adds a rule under its prefix, whose host bits are zero.
    fn insert(&mut self, prefix: IpNet, rule: Arc<Rule>) {
        let lengths = match prefix {
            IpNet::V4(_) => &mut self.lengths_v4,
            IpNet::V6(_) => &mut self.lengths_v6,
        };
        let length = prefix.prefix_len();
        if let Err(place) = lengths.binary_search_by(|other| length.cmp(other)) {
            lengths.insert(place, length);
        }
        self.by_prefix.entry(prefix).or_default().push(rule);
    }

    /// Rules whose prefix has the address, the longest prefix first.
    fn matching(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Rule>> {
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths_v4,
            IpAddr::V6(_) => &self.lengths_v6,
        };
        lengths
            .iter()
            .filter_map(move |length| IpNet::new(address, *length).ok())
            .filter_map(|prefix| self.by_prefix.get(&prefix.trunc()))
            .flatten()
    }
}

/// The scope of a host rule; address rules never stand in a host table.
fn scope_of(rule: &Rule) -> Scope {
    match rule.target() {
        Target::Host { scope, .. } => *scope,
        Target::Prefix(_) => Scope::Exact,
    }
}

/// A name, then what is left after each stripped label, with the number of labels stripped.
struct Suffixes<'n> {
    rest: Option<&'n str>,
    labels_below: usize,
}

impl<'n> Iterator for Suffixes<'n> {
    type Item = (&'n str, usize);

    fn next(&mut self) -> Option<(&'n str, usize)> {
        let suffix = self.rest?;
        let item = (suffix, self.labels_below);
        self.rest = suffix.split_once('.').map(|(_, rest)| rest);
        self.labels_below = self.labels_below.saturating_add(1);
        Some(item)
    }
}
