//! A document compiled into a matcher, without more memory under way than the matcher takes.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Held, HostTable, Matcher, PrefixTable, Terms};
use crate::document::{Document, EntryTarget};
use crate::rule::{DENY_SERVICE, Ports, Scope, Window};
use crate::table::{NameTableBuilder, place};

/// Compiles a document.
pub(super) fn matcher(document: &Document) -> Matcher {
    let ids = document.services().iter().map(|service| Arc::from(service.id()));
    let mut matcher = Matcher {
        list_id: document.list_id().into(),
        serial: document.serial(),
        issued: document.issued().instant(),
        effective_from: document.effective_from().instant(),
        expires: document.expires().instant(),
        services: ids.chain([Arc::from(DENY_SERVICE)]).collect(),
        changes: Box::default(),
        terms: Box::default(),
        hosts: HostTable::default(),
        prefixes: PrefixTable::default(),
    };
    // The reader bounds texts and entries far below what has no number; a list that had more would exempt nothing.
    if let Some(parts) = parts(document) {
        (matcher.hosts, matcher.prefixes, matcher.terms) = parts;
    }
    let dates = matcher.terms.iter().flat_map(|terms| terms.window.from.into_iter().chain(terms.window.to));
    let mut changes: Vec<_> = dates.chain([matcher.effective_from, matcher.expires]).collect();
    changes.sort_unstable();
    changes.dedup();
    matcher.changes = changes.into();
    matcher
}

/// Terms, each once.
#[derive(Default)]
struct TermsTable {
    numbers: HashMap<Terms, u32>,
    /// The terms of the entry before: nearly always those of the next.
    last: Option<(Terms, u32)>,
}

impl TermsTable {
    /// The number of terms, new or known.
    fn intern(&mut self, terms: Terms) -> Option<u32> {
        if let Some((last, number)) = &self.last
            && *last == terms
        {
            return Some(*number);
        }
        let next = u32::try_from(self.numbers.len()).ok()?;
        let number = *self.numbers.entry(terms.clone()).or_insert(next);
        self.last = Some((terms, number));
        Some(number)
    }

    /// The terms in the order of their numbers.
    fn finish(self) -> Box<[Terms]> {
        let mut terms: Vec<(u32, Terms)> =
            self.numbers.into_iter().map(|(terms, number)| (number, terms)).collect();
        terms.sort_unstable_by_key(|(number, _)| *number);
        terms.into_iter().map(|(_, terms)| terms).collect()
    }
}

/// The tables; none when there is no number for something.
fn parts(document: &Document) -> Option<(HostTable, PrefixTable, Box<[Terms]>)> {
    let mut terms = TermsTable::default();
    let mut names = NameTableBuilder::with_capacity(document.entry_count());
    let mut hosts: Vec<(u32, Held)> = Vec::with_capacity(document.entry_count());
    let mut prefixes: Vec<(IpNet, Held)> = Vec::new();
    for (service, number) in document.services().iter().zip(0_u32..) {
        for entry in service.rules() {
            let (scope, dns_only) = match entry.target() {
                EntryTarget::Host { scope, dns_only, .. } => (*scope, *dns_only),
                EntryTarget::Prefix(_) => (Scope::Exact, false),
            };
            let (ports, window) = (entry.ports().clone(), entry.window());
            let terms = terms.intern(Terms { scope, ports, window, dns_only })?;
            let held = Held { service: number, terms };
            match entry.target() {
                EntryTarget::Host { host, .. } => hosts.push((names.intern(host.as_str())?, held)),
                EntryTarget::Prefix(prefix) => prefixes.push((*prefix, held)),
            }
        }
    }
    let deny = u32::try_from(document.services().len()).ok()?;
    let mut deny_bytes_min = usize::MAX;
    for entry in document.denies() {
        let (scope, ports, window) = (entry.scope(), Ports::Web, Window::default());
        let terms = terms.intern(Terms { scope, ports, window, dns_only: false })?;
        deny_bytes_min = deny_bytes_min.min(entry.host().as_str().len());
        hosts.push((names.intern(entry.host().as_str())?, Held { service: deny, terms }));
    }
    let count = names.len();
    let terms = terms.finish();
    let names = names.finish();
    // Denies first, then the most specific rule.
    let order = |held: &Held| (held.service != deny, terms.get(place(held.terms)).map(|terms| terms.scope));
    let Grouped { firsts, rules } = by_host(&hosts, count, order)?;
    Some((HostTable { names, firsts, rules, deny, deny_bytes_min }, prefix_table(prefixes)?, terms))
}

/// What is said of each host, in the order of their numbers.
struct Grouped {
    /// Where the entries of each host begin, and where those of the last one end.
    firsts: Box<[u32]>,
    /// The entries.
    rules: Box<[Held]>,
}

/// Denies and rules grouped by host: where those of each begin, and they themselves in this order, then as written.
fn by_host<K: Ord>(hosts: &[(u32, Held)], count: usize, order: impl Fn(&Held) -> K) -> Option<Grouped> {
    let mut firsts = vec![0_u32; count.checked_add(1)?];
    for (name, _) in hosts {
        let next = firsts.get_mut(place(*name).checked_add(1)?)?;
        *next = next.checked_add(1)?;
    }
    let mut sum = 0_u32;
    for first in &mut firsts {
        sum = sum.checked_add(*first)?;
        *first = sum;
    }
    let mut next = firsts.clone();
    let mut rules = vec![Held { service: 0, terms: 0 }; hosts.len()];
    for (name, held) in hosts {
        let at = next.get_mut(place(*name))?;
        *rules.get_mut(place(*at))? = *held;
        *at = at.checked_add(1)?;
    }
    for pair in firsts.windows(2) {
        let [from, to] = pair else { continue };
        let of_host = rules.get_mut(place(*from)..place(*to))?;
        if of_host.len() > 1 {
            of_host.sort_by_key(&order);
        }
    }
    Some(Grouped { firsts: firsts.into(), rules: rules.into() })
}

/// Rules grouped by prefix, as written.
fn prefix_table(mut prefixes: Vec<(IpNet, Held)>) -> Option<PrefixTable> {
    // A stable sort: rules of one prefix stay as written.
    prefixes.sort_by_key(|(prefix, _)| *prefix);
    let groups = || prefixes.chunk_by(|(one, _), (other, _)| one == other);
    let mut by_prefix = HashMap::with_capacity(groups().count());
    let (mut lengths_v4, mut lengths_v6) = (Vec::new(), Vec::new());
    let mut from = 0_u32;
    for group in groups() {
        let (prefix, _) = group.first()?;
        let to = from.checked_add(u32::try_from(group.len()).ok()?)?;
        by_prefix.insert(*prefix, (from, to));
        from = to;
        let lengths = match prefix {
            IpNet::V4(_) => &mut lengths_v4,
            IpNet::V6(_) => &mut lengths_v6,
        };
        let length = prefix.prefix_len();
        if let Err(place) = lengths.binary_search_by(|other: &u8| length.cmp(other)) {
            lengths.insert(place, length);
        }
    }
    let rules = prefixes.iter().map(|(_, held)| *held).collect();
    Some(PrefixTable { by_prefix, rules, lengths_v4: lengths_v4.into(), lengths_v6: lengths_v6.into() })
}
