//! The matcher against a naive judge and against aho-corasick.

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use allowlist::document::EntryTarget;
use allowlist::rule::Scope;
use allowlist::{Coverage, Document, Matcher, Transport};

use super::{name, time};
use crate::naive::{judge, said};
use crate::random::{Random, list};

/// The twin: patterns over reversed names, ended so that a match can only stop at a label's edge.
struct Twin {
    /// Exact and subtree rules: pattern number to label.
    hosts: (AhoCorasick, Vec<(String, usize)>),
    /// Parents of one-label rules.
    parents: (AhoCorasick, Vec<(String, usize)>),
    /// Denies.
    denies: (AhoCorasick, Vec<(String, usize)>),
}

impl Twin {
    fn new(document: &Document) -> Twin {
        let build = |patterns: &[(String, String, usize)]| {
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .start_kind(StartKind::Anchored)
                .build(patterns.iter().map(|(pattern, _, _)| pattern))
                .expect("few patterns fit");
            (automaton, patterns.iter().map(|(_, label, length)| (label.clone(), *length)).collect())
        };
        let pattern = |host: &str, scope: Scope| match scope {
            Scope::Subtree => format!("{}.", reversed(host)),
            Scope::Exact | Scope::OneLabel => format!("{}.\0", reversed(host)),
        };
        let (mut hosts, mut parents) = (Vec::new(), Vec::new());
        for service in document.services() {
            for rule in service.rules() {
                let EntryTarget::Host { host, scope, .. } = rule.target() else { continue };
                let row =
                    (pattern(host.as_str(), *scope), format!("{}/{host}", service.id()), host.as_str().len());
                // The automaton keeps the first of equal patterns, as the list does.
                match scope {
                    Scope::OneLabel => parents.push(row),
                    Scope::Exact | Scope::Subtree => hosts.push(row),
                }
            }
        }
        let denies: Vec<_> = document
            .denies()
            .iter()
            .map(|deny| {
                let host = deny.host().as_str();
                (pattern(host, deny.scope()), format!("deny/{host}"), host.len())
            })
            .collect();
        Twin { hosts: build(&hosts), parents: build(&parents), denies: build(&denies) }
    }

    fn judge(&self, name: &str) -> (&'static str, String) {
        let find = |(automaton, rows): &(AhoCorasick, Vec<(String, usize)>), name: &str| {
            let haystack = format!("{}.\0", reversed(name));
            let found = automaton.find(Input::new(&haystack).anchored(Anchored::Yes))?;
            Some(rows[found.pattern().as_usize()].clone())
        };
        if let Some((label, _)) = find(&self.denies, name) {
            return ("denied", label);
        }
        let host = find(&self.hosts, name);
        let parent = name.split_once('.').and_then(|(_, parent)| find(&self.parents, parent));
        match (host, parent) {
            (None, None) => ("not_listed", String::new()),
            // The longer host is the more specific; on the same host a one-label rule is more so than a subtree.
            (Some((label, length)), Some((_, parent_length))) if length > parent_length => ("listed", label),
            (_, Some((label, _))) | (Some((label, _)), None) => ("listed", label),
        }
    }
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

#[test]
fn m1_hash_walk_equals_aho_corasick_and_the_naive_judge_on_200_000_names() {
    let seed = 0x2020_0406;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let document =
            Document::parse(&list(&mut random, 24, false)).expect("generated lists are well formed");
        let (matcher, twin) = (Matcher::new(&document), Twin::new(&document));
        for _ in 0..500 {
            let wanted = name(&random.name());
            let hash = said(matcher.host(&wanted, Transport::Tcp, 443, None));
            assert_eq!(
                hash,
                judge(&document, &wanted, Transport::Tcp, 443, None),
                "{wanted} in {document:?}"
            );
            assert_eq!(hash, twin.judge(wanted.as_str()), "{wanted} in {document:?}");
            *counts.entry(hash.0).or_insert(0_u32) += 1;
        }
    }
    println!("{counts:?}");
    for kind in ["listed", "denied", "not_listed"] {
        assert!(counts.get(kind).is_some_and(|count| *count > 5_000), "{kind} is hardly reached: {counts:?}");
    }
}

#[test]
fn m1_hash_walk_equals_the_naive_judge_with_dates_and_ports() {
    let seed = 0x2020_0407;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let document =
            Document::parse(&list(&mut random, 24, true)).expect("generated lists are well formed");
        let matcher = Matcher::new(&document);
        for _ in 0..250 {
            let wanted = name(&random.name());
            let transport = random.one_of(&[Transport::Tcp, Transport::Udp]);
            let port = random.one_of(&[80, 443, 3478, 8801, 8803]);
            let at = random.one_of(&[None, Some("2020-05-31T23:59:59Z"), Some("2020-06-01T00:00:00Z")]);
            let at = at.map(time);
            let hash = said(matcher.host(&wanted, transport, port, at));
            assert_eq!(
                hash,
                judge(&document, &wanted, transport, port, at),
                "{wanted} {transport} {port} {at:?}"
            );
            let covered = ["denied", "listed", "port", "not_in_force"].contains(&hash.0);
            assert_eq!(matcher.covers(&wanted), covered, "{wanted}");
            let coverage = matcher.coverage(&wanted);
            assert_eq!(coverage.is_some(), covered, "{wanted}");
            assert_eq!(matches!(coverage, Some(Coverage::Denied { .. })), hash.0 == "denied", "{wanted}");
            if let Some(Coverage::Below { host_bytes } | Coverage::Denied { host_bytes }) = coverage {
                let (front, host) = wanted.as_str().split_at(wanted.as_str().len() - host_bytes);
                assert!(front.is_empty() || front.ends_with('.'), "{wanted}");
                assert_eq!(front.is_empty(), host == wanted.as_str());
                assert!(!front.is_empty() || hash.0 == "denied", "{wanted}: an entry of its own");
            }
            *counts.entry(hash.0).or_insert(0_u32) += 1;
        }
    }
    println!("{counts:?}");
    assert_eq!(counts.len(), 5, "some answer is never given: {counts:?}");
}
