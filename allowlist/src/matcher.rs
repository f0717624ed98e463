//! The list compiled for look-ups (decision 12): a hash walk over labels for names, and over prefix
//! lengths for addresses.
//!
//! A look-up strips one label after another from the full name and probes the hash table with what is left, skipping
//! lengths no entry has; the first hit is the most specific. It allocates nothing and takes no lock; a matcher
//! never changes, a new list is a new matcher. Hashing is SipHash with random keys, so that nobody can choose names that
//! collide. A rule takes eight bytes beside its name: what many rules have in common (scope, ports, dates) is held once.

mod answer;
mod build;
mod tables;
mod view;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use self::tables::{Held, HostTable, PrefixTable, Terms};
use crate::document::Document;
use crate::name::DomainName;
use crate::routes::Scopes;
use crate::rule::Transport;
use crate::table::{Step, place};

pub use answer::{Coverage, HostMatch, Validity};
pub use view::{Rule, RuleLabel};

/// A compiled list.
///
/// ```
/// use allowlist::{Document, DomainName, HostMatch, Matcher, Transport};
///
/// let list = r#"
///     format = 1
///     list_id = "kz-edu"
///     serial = 7
///     issued = 2020-04-01T00:00:00Z
///     effective_from = 2020-04-06T00:00:00Z
///     expires = 2021-06-01T00:00:00Z
///
///     [[service]]
///     id = "study"
///     name = "Study"
///     owner = "Example school"
///     reference = "Order 1"
///
///     [[service.rule]]
///     host = "study.example"
///     scope = "subtree"
///     reason = "lessons"
///     evidence = "seen"
/// "#;
/// let matcher = Matcher::new(&Document::parse(list).expect("a list without problems"));
/// let ask = |name: &str, port| {
///     let name = DomainName::from_wire(name.as_bytes()).expect("a host name");
///     matches!(matcher.host(&name, Transport::Tcp, port, None), HostMatch::Listed(_))
/// };
/// assert!(ask("www.study.example", 443));
/// // Another name with the same ending is none below it, and another port is none of the rule's.
/// assert!(!ask("not-study.example", 443));
/// assert!(!ask("www.study.example", 25));
/// ```
#[derive(Debug)]
pub struct Matcher {
    list_id: Arc<str>,
    serial: u64,
    issued: Timestamp,
    effective_from: Timestamp,
    expires: Timestamp,
    /// Service ids in the order written; behind them the word under which denies are reported.
    services: Box<[Arc<str>]>,
    /// Every instant at which an answer may change, rising, without repeats.
    changes: Box<[Timestamp]>,
    /// What rules say besides their targets, each once.
    terms: Box<[Terms]>,
    hosts: HostTable,
    prefixes: PrefixTable,
}

impl Matcher {
    /// Compiles a document. Cost and memory are linear in the number of entries: about 60 MB for a million hosts.
    #[must_use]
    pub fn new(document: &Document) -> Matcher {
        build::matcher(document)
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
        self.services.split_last().map_or(&[], |(_, services)| services)
    }

    /// Host rules, in no particular order.
    pub fn host_rules(&self) -> impl Iterator<Item = Rule<'_>> {
        self.hosts.names.names().flat_map(move |(name, _)| {
            let rules = self.hosts.entries_of(name).iter().filter(|held| held.service != self.hosts.deny);
            rules.filter_map(move |held| self.host_rule(*held, name))
        })
    }

    /// Prefixes of address rules, whatever their dates, protocols and ports, in no particular order.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.prefixes.by_prefix.keys().copied()
    }

    /// Hosts of rules and denies, each with how far any of them reaches.
    pub(crate) fn host_scopes(&self) -> impl Iterator<Item = (&str, Scopes)> {
        self.hosts.names.names().map(|(name, host)| (host, self.scopes_of(name)))
    }

    /// How far the rules and denies of a host reach.
    pub(crate) fn scopes_at(&self, host: &str) -> Scopes {
        self.hosts.names.find(host).map(|name| self.scopes_of(name)).unwrap_or_default()
    }

    /// How far the rules and denies of a host reach.
    fn scopes_of(&self, name: u32) -> Scopes {
        let all = self.hosts.entries_of(name).iter();
        all.filter_map(|held| self.terms.get(place(held.terms)))
            .fold(Scopes::default(), |scopes, terms| scopes.with(terms.scope))
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
        let fits = |terms: &Terms| terms.window.contains(at) && terms.ports.fit(transport, port);
        let (mut listed, mut most_specific) = (None, None);
        for Step { name: host, bytes, labels_below } in self.hosts.names.walk(name) {
            // Nothing from here up can take away what is listed.
            if listed.is_some() && bytes < self.hosts.deny_bytes_min {
                break;
            }
            if let Some(deny) = self.denying(host, labels_below) {
                return HostMatch::Denied(deny);
            }
            if listed.is_none() {
                for (held, terms) in self.reaching(host, labels_below) {
                    most_specific = most_specific.or(Some((held, host, terms)));
                    if fits(terms) {
                        listed = Some((held, host));
                        break;
                    }
                }
            }
        }
        let rule = |held, host| self.host_rule(held, host);
        match (listed, most_specific) {
            (Some((held, host)), _) => rule(held, host).map_or(HostMatch::NotListed, HostMatch::Listed),
            (None, None) => HostMatch::NotListed,
            (None, Some((held, host, terms))) if !terms.window.contains(at) => {
                rule(held, host).map_or(HostMatch::NotListed, HostMatch::NotInForce)
            }
            (None, Some((held, host, _))) => rule(held, host).map_or(HostMatch::NotListed, HostMatch::Port),
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
    ) -> Option<Rule<'_>> {
        self.prefixes.matching(address.to_canonical()).find_map(|(prefix, held)| {
            let terms = self.terms.get(place(held.terms))?;
            if !terms.window.contains(at) || !terms.ports.fit(transport, port) {
                return None;
            }
            let service = self.services.get(place(held.service))?;
            Some(Rule::of_prefix(service, terms, prefix))
        })
    }

    /// Whether any rule or deny speaks of the name, whatever its dates and ports.
    #[must_use]
    pub fn covers(&self, name: &DomainName) -> bool {
        self.hosts.names.walk(name).any(|Step { name: host, labels_below, .. }| {
            self.denying(host, labels_below).is_some() || self.reaching(host, labels_below).next().is_some()
        })
    }

    /// By which entry the list speaks of the name, whatever its dates and ports: a deny, else the most specific rule.
    #[must_use]
    pub fn coverage(&self, name: &DomainName) -> Option<Coverage> {
        let mut found = None;
        for Step { name: host, bytes, labels_below } in self.hosts.names.walk(name) {
            if found.is_some() && bytes < self.hosts.deny_bytes_min {
                break;
            }
            if self.denying(host, labels_below).is_some() {
                return Some(Coverage::Denied { host_bytes: bytes });
            }
            if found.is_none() && self.reaching(host, labels_below).next().is_some() {
                found = Some(Coverage::by(bytes, labels_below));
            }
        }
        found
    }

    /// The most specific deny that speaks of the name.
    #[must_use]
    pub fn denied(&self, name: &DomainName) -> Option<Rule<'_>> {
        self.hosts
            .names
            .walk(name)
            .find_map(|Step { name: host, labels_below, .. }| self.denying(host, labels_below))
    }

    /// The rules of a host that reach a name this many labels below it.
    fn reaching(&self, host: u32, labels_below: usize) -> impl Iterator<Item = (Held, &Terms)> {
        let rules = self.hosts.entries_of(host).iter().filter(|held| held.service != self.hosts.deny);
        rules
            .filter_map(|held| Some((*held, self.terms.get(place(held.terms))?)))
            .filter(move |(_, terms)| terms.scope.reaches(labels_below))
    }

    /// The deny of a host that reaches a name this many labels below it.
    fn denying(&self, host: u32, labels_below: usize) -> Option<Rule<'_>> {
        let mut denies =
            self.hosts.entries_of(host).iter().take_while(|held| held.service == self.hosts.deny);
        let reaches = |held: &&Held| {
            self.terms.get(place(held.terms)).is_some_and(|terms| terms.scope.reaches(labels_below))
        };
        self.host_rule(*denies.find(reaches)?, host)
    }

    /// A rule or deny of a host.
    fn host_rule(&self, held: Held, host: u32) -> Option<Rule<'_>> {
        let (service, terms) = (self.services.get(place(held.service))?, self.terms.get(place(held.terms))?);
        Some(Rule::of_host(service, terms, self.hosts.names.texts(host)?))
    }
}
