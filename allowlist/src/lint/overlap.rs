//! Rules against one another and against the denies: repeats, contradictions, what makes nothing of what.

use std::collections::HashMap;

use super::{Code, Findings, both_forms, rules};
use crate::document::{Deny, Document, EntryTarget, RuleEntry, Service};
use crate::rule::{Ports, Scope, Window};

/// Earlier rules of one host that a rule is compared with: keeps the cost linear when a host stands in very many rules.
const COMPARED_MAX: usize = 32;

/// A rule with the service it belongs to.
type Listed<'d> = (&'d Service, &'d RuleEntry);

/// Checks rules against rules, and rules against denies.
pub(super) fn check(document: &Document, findings: &mut Findings<'_>) {
    check_repeats(document, findings);
    check_shadowed(document, findings);
    check_denies(document, findings);
}

/// Repeats: the same target again, in the same service or in another.
fn check_repeats(document: &Document, findings: &mut Findings<'_>) {
    let mut by_target: HashMap<String, Vec<Listed<'_>>> = HashMap::new();
    for (service, rule) in rules(document) {
        let (key, shown) = match rule.target() {
            EntryTarget::Host { host, scope, .. } => (format!("{} {host}", scope.label()), both_forms(host)),
            EntryTarget::Prefix(prefix) => (prefix.to_string(), prefix.to_string()),
        };
        let earlier = by_target.entry(key).or_default();
        let clash = earlier.iter().find(|(_, other)| {
            ports_overlap(other.ports(), rule.ports()) && windows_overlap(other.window(), rule.window())
        });
        if let Some((other_service, other)) = clash {
            let line = other.place().line;
            let (code, reason, remedy) = if other_service.id() != service.id() {
                let reason = format!(
                    "{shown} stands in service \"{}\" and, at line {line}, in \"{}\"; the first one is billed",
                    service.id(),
                    other_service.id()
                );
                (Code::TwoServices, reason, "leave it in the service it belongs to")
            } else if other.window() == rule.window() {
                (Code::Duplicate, format!("{shown} stands at line {line} already"), "remove one of the two")
            } else {
                let reason = format!("the dates of {shown} overlap those at line {line}");
                (Code::OverlappingDates, reason, "let one rule end where the next begins")
            };
            findings.add(rule.place(), code, || (reason, remedy));
        }
        if earlier.len() < COMPARED_MAX {
            earlier.push((service, rule));
        }
    }
}

/// Rules that a broader one of the same service makes superfluous.
fn check_shadowed(document: &Document, findings: &mut Findings<'_>) {
    for service in document.services() {
        let mut subtrees: HashMap<&str, Vec<&RuleEntry>> = HashMap::new();
        for rule in service.rules() {
            if let EntryTarget::Host { host, scope: Scope::Subtree, .. } = rule.target() {
                let broad = subtrees.entry(host.as_str()).or_default();
                if broad.len() < COMPARED_MAX {
                    broad.push(rule);
                }
            }
        }
        for rule in service.rules() {
            let EntryTarget::Host { host, scope, .. } = rule.target() else { continue };
            let broader = ancestors(host.as_str())
                .filter(|ancestor| *ancestor != host.as_str() || *scope != Scope::Subtree)
                .filter_map(|ancestor| subtrees.get(ancestor))
                .flatten()
                .find(|broad| {
                    ports_cover(broad.ports(), rule.ports()) && covers(broad.window(), rule.window())
                });
            if let Some(broad) = broader {
                let reason = format!(
                    "the subtree rule at line {} covers {} already",
                    broad.place().line,
                    both_forms(host)
                );
                let remedy = "remove this rule, unless it says more than the other";
                findings.add(rule.place(), Code::Shadowed, || (reason, remedy));
            }
        }
    }
}

/// Denies that swallow a whole rule, and denies that take nothing away.
fn check_denies(document: &Document, findings: &mut Findings<'_>) {
    let mut denies: HashMap<&str, &Deny> = HashMap::new();
    for deny in document.denies() {
        if let Some(first) = denies.get(deny.host().as_str()) {
            let line = first.place().line;
            let reason = format!("the deny of {} stands at line {line} already", both_forms(deny.host()));
            findings.add(deny.place(), Code::Duplicate, || (reason, "remove one of the two"));
            // The broader of the two decides.
            if deny.scope() == Scope::Exact {
                continue;
            }
        }
        denies.insert(deny.host().as_str(), deny);
    }
    // Hosts of rules, and every name above one, so that a deny above a rule is seen to touch it.
    let mut rule_scopes: HashMap<&str, Vec<Scope>> = HashMap::new();
    let mut above_rules: HashMap<&str, ()> = HashMap::new();
    for (_, rule) in rules(document) {
        let EntryTarget::Host { host, scope, .. } = rule.target() else { continue };
        let scopes = rule_scopes.entry(host.as_str()).or_default();
        if !scopes.contains(scope) {
            scopes.push(*scope);
        }
        above_rules.extend(ancestors(host.as_str()).map(|ancestor| (ancestor, ())));
        let swallowing = ancestors(host.as_str()).filter_map(|ancestor| denies.get(ancestor)).find(|deny| {
            match deny.scope() {
                Scope::Subtree => true,
                Scope::Exact | Scope::OneLabel => deny.host() == host && *scope == Scope::Exact,
            }
        });
        if let Some(deny) = swallowing {
            let reason = format!(
                "the deny of {} at line {} takes away all of the {} rule for {}",
                both_forms(deny.host()),
                deny.place().line,
                scope.label(),
                both_forms(host)
            );
            findings.add(rule.place(), Code::DeniedRule, || (reason, "remove the rule, or narrow the deny"));
        }
    }
    for deny in document.denies() {
        let touched_from_above = ancestors(deny.host().as_str()).enumerate().any(|(labels, ancestor)| {
            let scopes = rule_scopes.get(ancestor);
            scopes.is_some_and(|scopes| scopes.iter().any(|scope| scope.reaches(labels)))
        });
        let touches_below = deny.scope() == Scope::Subtree && above_rules.contains_key(deny.host().as_str());
        if !touched_from_above && !touches_below {
            let reason = format!("no rule reaches {}: the deny takes nothing away", both_forms(deny.host()));
            findings
                .add(deny.place(), Code::IdleDeny, || (reason, "remove it, or look for a slip of the pen"));
        }
    }
}

/// The name and each name above it, from the name up.
pub(super) fn ancestors(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |name| name.split_once('.').map(|(_, above)| above))
}

/// The (protocol, ports) pairs of a rule as plain ranges.
fn ranges(ports: &Ports) -> Vec<(crate::Transport, u16, u16)> {
    use crate::Transport::{Tcp, Udp};
    match ports {
        Ports::Web => vec![(Tcp, 80, 80), (Tcp, 443, 443), (Udp, 443, 443)],
        Ports::Stated { transport, ranges } => {
            ranges.iter().map(|range| (*transport, range.first(), range.last())).collect()
        }
    }
}

/// Whether two rules speak of a common port.
fn ports_overlap(one: &Ports, other: &Ports) -> bool {
    let other = ranges(other);
    ranges(one).iter().any(|(transport, first, last)| {
        other.iter().any(|(other_transport, other_first, other_last)| {
            transport == other_transport && first <= other_last && other_first <= last
        })
    })
}

/// Whether every port of the narrow one is in a range of the broad one.
fn ports_cover(broad: &Ports, narrow: &Ports) -> bool {
    let broad = ranges(broad);
    ranges(narrow).iter().all(|(transport, first, last)| {
        broad.iter().any(|(broad_transport, broad_first, broad_last)| {
            transport == broad_transport && broad_first <= first && last <= broad_last
        })
    })
}

/// Whether two windows have an instant in common.
fn windows_overlap(one: Window, other: Window) -> bool {
    let begins_before_end = |begin: Window, end: Window| match (begin.from, end.to) {
        (Some(from), Some(to)) => from < to,
        (None, _) | (_, None) => true,
    };
    begins_before_end(one, other) && begins_before_end(other, one)
}

/// Whether the broad window has every instant of the narrow one.
fn covers(broad: Window, narrow: Window) -> bool {
    let from = broad.from.is_none_or(|broad| narrow.from.is_some_and(|narrow| broad <= narrow));
    let to = broad.to.is_none_or(|broad| narrow.to.is_some_and(|narrow| narrow <= broad));
    from && to
}
