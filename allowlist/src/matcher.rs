//! The list compiled for look-ups (DESIGN decision 12): a hash walk over labels for names, and over prefix
//! lengths for addresses.
//!
//! A look-up strips one label after another from the full name and probes the hash table with what is left, skipping
//! lengths no entry has; the first hit is the most specific. It allocates nothing and takes no lock; a matcher
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
    issued: Timestamp,
    effective_from: Timestamp,
    expires: Timestamp,
    /// Service ids in the order written.
    services: Box<[Arc<str>]>,
    /// Every instant at which an answer may change, rising, without repeats.
    changes: Box<[Timestamp]>,
    hosts: HostTable,
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

/// By which of its entries a list speaks of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// By one whose host it is.
    Own,
    /// By one that reaches names below its host, which is the last so many bytes of the name.
    Below {
        /// Bytes of that host.
        host_bytes: usize,
    },
    /// By a deny.
    Denied {
        /// Bytes of its host.
        host_bytes: usize,
    },
}

impl Matcher {
    /// Compiles a document. Cost and memory are linear in the number of entries.
    #[must_use]
    pub fn new(document: &Document) -> Matcher {
        let mut matcher = Matcher {
            list_id: document.list_id().into(),
            serial: document.serial(),
            issued: document.issued().instant(),
            effective_from: document.effective_from().instant(),
            expires: document.expires().instant(),
            services: document.services().iter().map(|service| service.id().into()).collect(),
            changes: Box::default(),
            hosts: HostTable::default(),
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
            matcher.hosts.deny(entry.host(), rule);
        }
        changes.sort_unstable();
        changes.dedup();
        matcher.changes = changes.into();
        matcher.hosts.finish();
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

    /// When the edition was made.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
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

    /// Prefixes of address rules, whatever their dates, protocols and ports, in no particular order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.prefixes.by_prefix.keys().copied()
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
        let fits = |rule: &Rule| rule.window().contains(at) && rule.ports().fit(transport, port);
        let (mut listed, mut most_specific) = (None, None);
        for Step { node, suffix_bytes, labels_below } in self.hosts.walk(name) {
            // Nothing from here up can take away what is listed.
            if listed.is_some() && suffix_bytes < self.hosts.deny_bytes_min {
                break;
            }
            if let Some(deny) = node.denying(labels_below) {
                return HostMatch::Denied(deny);
            }
            if listed.is_none() {
                for rule in node.reaching(labels_below) {
                    most_specific = most_specific.or(Some(rule));
                    if fits(rule) {
                        listed = Some(rule);
                        break;
                    }
                }
            }
        }
        match (listed, most_specific) {
            (Some(rule), _) => HostMatch::Listed(rule),
            (None, None) => HostMatch::NotListed,
            (None, Some(rule)) if !rule.window().contains(at) => HostMatch::NotInForce(rule),
            (None, Some(rule)) => HostMatch::Port(rule),
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
        self.hosts.walk(name).any(|Step { node, labels_below, .. }| {
            node.denying(labels_below).is_some() || node.reaching(labels_below).next().is_some()
        })
    }

    /// By which entry the list speaks of the name, whatever its dates and ports: a deny, else the most specific rule.
    #[must_use]
    pub fn coverage(&self, name: &DomainName) -> Option<Coverage> {
        let mut found = None;
        for Step { node, suffix_bytes, labels_below } in self.hosts.walk(name) {
            if found.is_some() && suffix_bytes < self.hosts.deny_bytes_min {
                break;
            }
            if node.denying(labels_below).is_some() {
                return Some(Coverage::Denied { host_bytes: suffix_bytes });
            }
            if found.is_none() && node.reaching(labels_below).next().is_some() {
                let below = Coverage::Below { host_bytes: suffix_bytes };
                found = Some(if labels_below == 0 { Coverage::Own } else { below });
            }
        }
        found
    }

    /// The most specific deny that speaks of the name.
    #[must_use]
    pub fn denied(&self, name: &DomainName) -> Option<&Arc<Rule>> {
        self.hosts.walk(name).find_map(|Step { node, labels_below, .. }| node.denying(labels_below))
    }
}

/// Rules and denies by host. One table for both: a name's suffixes are hashed once.
#[derive(Debug)]
struct HostTable {
    /// What is said of each host.
    by_host: HashMap<Box<str>, Node>,
    /// Bit n: some host has n bytes. Other lengths are not probed; names have at most 253 bytes.
    lengths: [u64; 4],
    /// Length of the shortest host of a deny.
    deny_bytes_min: usize,
}

/// What is said of one host.
#[derive(Debug, Default)]
struct Node {
    /// Rules: most specific scope first, then as written.
    rules: Vec<Arc<Rule>>,
    /// The farther reaching deny.
    deny: Option<Arc<Rule>>,
}

/// One host that stands above a name, or is it.
struct Step<'m> {
    /// What is said of the host.
    node: &'m Node,
    /// Bytes of the host.
    suffix_bytes: usize,
    /// Labels by which the name stands below it.
    labels_below: usize,
}

impl Node {
    /// Rules that reach a name this many labels below the host.
    fn reaching(&self, labels_below: usize) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().filter(move |rule| scope_of(rule).reaches(labels_below))
    }

    /// The deny, if it reaches a name this many labels below the host.
    fn denying(&self, labels_below: usize) -> Option<&Arc<Rule>> {
        self.deny.as_ref().filter(|deny| scope_of(deny).reaches(labels_below))
    }
}

impl Default for HostTable {
    fn default() -> HostTable {
        HostTable { by_host: HashMap::new(), lengths: [0; 4], deny_bytes_min: usize::MAX }
    }
}

impl HostTable {
    /// Adds a rule under its host.
    fn insert(&mut self, host: &DomainName, rule: Arc<Rule>) {
        let rules = &mut self.node(host).rules;
        // Almost every host has one rule: an exact capacity keeps a million entries small.
        rules.reserve_exact(usize::from(rules.is_empty()));
        rules.push(rule);
    }

    /// Adds a deny under its host.
    fn deny(&mut self, host: &DomainName, deny: Arc<Rule>) {
        self.deny_bytes_min = self.deny_bytes_min.min(host.as_str().len());
        let known = &mut self.node(host).deny;
        if known.as_ref().is_none_or(|known| scope_of(known) < scope_of(&deny)) {
            *known = Some(deny);
        }
    }

    /// What is said of a host, to be added to.
    fn node(&mut self, host: &DomainName) -> &mut Node {
        let (word, bit) = length_bit(host.as_str().len());
        if let Some(lengths) = self.lengths.get_mut(word) {
            *lengths |= bit;
        }
        self.by_host.entry(host.as_str().into()).or_default()
    }

    /// Puts each host's rules in order of specificity; to be called once, after the last insert.
    fn finish(&mut self) {
        for node in self.by_host.values_mut().filter(|node| node.rules.len() > 1) {
            node.rules.sort_by_key(|rule| scope_of(rule));
        }
    }

    /// Every listed host that is the name or stands above it, from the name up.
    fn walk<'m>(&'m self, name: &DomainName) -> impl Iterator<Item = Step<'m>> {
        let suffixes = std::iter::successors(Some((name.as_str(), 0_usize)), |(suffix, labels_below)| {
            let (_, above) = suffix.split_once('.')?;
            Some((above, labels_below.saturating_add(1)))
        });
        suffixes
            .filter(|(suffix, _)| {
                let (word, bit) = length_bit(suffix.len());
                self.lengths.get(word).is_some_and(|lengths| lengths & bit != 0)
            })
            .filter_map(|(suffix, labels_below)| {
                let node = self.by_host.get(suffix)?;
                Some(Step { node, suffix_bytes: suffix.len(), labels_below })
            })
    }

    /// All rules.
    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.by_host.values().flat_map(|node| &node.rules)
    }
}

/// Where a length has its bit.
const fn length_bit(bytes: usize) -> (usize, u64) {
    (bytes / 64, 1 << (bytes % 64))
}

/// The scope of a host rule; address rules never stand in a host table.
fn scope_of(rule: &Rule) -> Scope {
    match rule.target() {
        Target::Host { scope, .. } => *scope,
        Target::Prefix(_) => Scope::Exact,
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
