//! The simplest thing that could judge a name: every rule in turn, labels compared one by one.

use allowlist::document::EntryTarget;
use allowlist::rule::{Scope, Window};
use allowlist::{Document, DomainName, HostMatch, Timestamp, Transport};

/// What a list says of a name: the kind of answer, and the label of the rule.
pub fn said(found: HostMatch<'_>) -> (&'static str, String) {
    match found {
        HostMatch::NotListed => ("not_listed", String::new()),
        HostMatch::Denied(rule) => ("denied", rule.label().to_string()),
        HostMatch::NotInForce(rule) => ("not_in_force", rule.label().to_string()),
        HostMatch::Port(rule) => ("port", rule.label().to_string()),
        HostMatch::Listed(rule) => ("listed", rule.label().to_string()),
    }
}

/// Whether a rule on `host` with this scope speaks of `name`.
fn speaks_of(host: &str, scope: Scope, name: &str) -> bool {
    let host: Vec<&str> = host.split('.').rev().collect();
    let name: Vec<&str> = name.split('.').rev().collect();
    if name.len() < host.len() || name[..host.len()] != host[..] {
        return false;
    }
    let below = name.len() - host.len();
    match scope {
        Scope::Exact => below == 0,
        Scope::OneLabel => below == 1,
        Scope::Subtree => true,
    }
}

/// Whether a window has the instant.
fn in_force(window: Window, at: Option<Timestamp>) -> bool {
    match at {
        None => true,
        Some(at) => window.from.is_none_or(|from| at >= from) && window.to.is_none_or(|to| at < to),
    }
}

/// Judges a name by trying every rule of the document.
pub fn judge(
    document: &Document,
    name: &DomainName,
    transport: Transport,
    port: u16,
    at: Option<Timestamp>,
) -> (&'static str, String) {
    let name = name.as_str();
    let denies = document.denies().iter().filter(|deny| speaks_of(deny.host().as_str(), deny.scope(), name));
    if let Some(deny) = denies.max_by_key(|deny| deny.host().as_str().len()) {
        return ("denied", format!("deny/{}", deny.host()));
    }
    let mut candidates = Vec::new();
    for service in document.services() {
        for rule in service.rules() {
            if let EntryTarget::Host { host, scope, .. } = rule.target()
                && speaks_of(host.as_str(), *scope, name)
            {
                let rank = match scope {
                    Scope::Exact => 0,
                    Scope::OneLabel => 1,
                    Scope::Subtree => 2,
                };
                let labels = host.as_str().split('.').count();
                candidates.push((usize::MAX - labels, rank, rule, format!("{}/{host}", service.id())));
            }
        }
    }
    // A stable sort: rules of one host and scope stay as written.
    candidates.sort_by_key(|(labels, rank, _, _)| (*labels, *rank));
    let fitting = candidates
        .iter()
        .find(|(_, _, rule, _)| in_force(rule.window(), at) && rule.ports().fit(transport, port));
    match (fitting, candidates.first()) {
        (Some((_, _, _, label)), _) => ("listed", label.clone()),
        (None, None) => ("not_listed", String::new()),
        (None, Some((_, _, rule, label))) if !in_force(rule.window(), at) => ("not_in_force", label.clone()),
        (None, Some((_, _, _, label))) => ("port", label.clone()),
    }
}
