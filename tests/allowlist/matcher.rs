//! The matcher against a naive judge and against aho-corasick, and the words of its contract one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "support/naive.rs"]
mod naive;
#[path = "support/random.rs"]
mod random;

use std::net::IpAddr;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use allowlist::document::EntryTarget;
use allowlist::rule::Scope;
use allowlist::{Coverage, Document, DomainName, Matcher, Transport, Validity};
use jiff::Timestamp;
use naive::{judge, said};
use random::{HEAD, Random, list};

/// A list of the given tables after the usual head.
fn matcher(tables: &str) -> Matcher {
    Matcher::new(&Document::parse(&format!("{HEAD}{tables}")).expect("the list of a test is well formed"))
}

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).expect("the name of a test is a name")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("the time of a test is a time")
}

/// What is said of a name on TCP 443, dates not looked at.
fn on_https(matcher: &Matcher, text: &str) -> (&'static str, String) {
    said(matcher.host(&name(text), Transport::Tcp, 443, None))
}

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

#[test]
fn m2_t6_neighbours_of_listed_names_are_not_listed() {
    let matcher = matcher(
        "[[service]]\nid = \"daryn\"\n[[service.rule]]\nhost = \"daryn.online\"\nscope = \"subtree\"\n\
         [[service]]\nid = \"edu\"\n[[service.rule]]\nhost = \"listed.edu\"\nscope = \"subtree\"\n",
    );
    let misses = [
        "xdaryn.online",
        "daryn.online.evil.com",
        "daryn-online.kz",
        "notlisted.edu",
        "listed.edu.evil.com",
        "online",
    ];
    for miss in misses {
        assert_eq!(on_https(&matcher, miss).0, "not_listed", "{miss}");
        assert!(!matcher.covers(&name(miss)), "{miss}");
    }
    for hit in ["daryn.online", "DARYN.Online.", "www.daryn.online", "a.b.c.daryn.online", "WWW.Listed.EDU"] {
        assert_eq!(on_https(&matcher, hit).0, "listed", "{hit}");
    }
}

#[test]
fn scopes_reach_as_far_as_they_say() {
    let matcher = matcher(
        "[[service]]\nid = \"e\"\n[[service.rule]]\nhost = \"exact.kz\"\n\
         [[service]]\nid = \"o\"\n[[service.rule]]\nhost = \"one.kz\"\nscope = \"one-label\"\n\
         [[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"sub.kz\"\nscope = \"subtree\"\n",
    );
    for (host, kind) in [
        ("exact.kz", "listed"),
        ("www.exact.kz", "not_listed"),
        ("one.kz", "not_listed"),
        ("www.one.kz", "listed"),
        ("a.www.one.kz", "not_listed"),
        ("sub.kz", "listed"),
        ("a.b.sub.kz", "listed"),
    ] {
        assert_eq!(on_https(&matcher, host).0, kind, "{host}");
    }
}

#[test]
fn deny_wins_over_every_rule_and_at_every_height() {
    let matcher = matcher(
        "[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"kz\"\nscope = \"subtree\"\n\
         [[service.rule]]\nhost = \"play.ads.a.kz\"\n\
         [[deny]]\nhost = \"ads.a.kz\"\n[[deny]]\nhost = \"b.kz\"\nscope = \"exact\"\n\
         [[deny]]\nhost = \"elsewhere.org\"\n",
    );
    for (host, kind, label) in [
        ("ads.a.kz", "denied", "deny/ads.a.kz"),
        ("play.ads.a.kz", "denied", "deny/ads.a.kz"),
        ("a.kz", "listed", "s/kz"),
        ("b.kz", "denied", "deny/b.kz"),
        ("www.b.kz", "listed", "s/kz"),
        ("x.elsewhere.org", "denied", "deny/elsewhere.org"),
    ] {
        assert_eq!(on_https(&matcher, host), (kind, label.to_owned()), "{host}");
    }
    let rule = matcher.denied(&name("ads.a.kz")).expect("denied");
    assert_eq!((&**rule.service(), rule.dns_only()), ("deny", false));
}

#[test]
fn ports_decide_after_the_name_and_a_broader_rule_may_fit() {
    let matcher = matcher(
        "[[service]]\nid = \"web\"\n[[service.rule]]\nhost = \"a.kz\"\nscope = \"subtree\"\n\
         [[service.rule]]\nhost = \"media.a.kz\"\nprotocol = \"udp\"\nports = [\"8801-8810\", \"3478\"]\n\
         [[service]]\nid = \"alone\"\n[[service.rule]]\nhost = \"b.kz\"\n",
    );
    let ask = |host: &str, transport, port| said(matcher.host(&name(host), transport, port, None));
    for (transport, port, kind) in [
        (Transport::Tcp, 80, "listed"),
        (Transport::Tcp, 443, "listed"),
        (Transport::Udp, 443, "listed"),
        (Transport::Udp, 80, "port"),
        (Transport::Tcp, 8443, "port"),
        (Transport::Tcp, 0, "port"),
    ] {
        assert_eq!(ask("b.kz", transport, port), (kind, "alone/b.kz".to_owned()), "{transport} {port}");
    }
    for (port, label) in
        [(8801, "web/media.a.kz"), (8810, "web/media.a.kz"), (3478, "web/media.a.kz"), (443, "web/a.kz")]
    {
        assert_eq!(ask("media.a.kz", Transport::Udp, port), ("listed", label.to_owned()), "{port}");
    }
    for port in [8800, 8811] {
        assert_eq!(ask("media.a.kz", Transport::Udp, port), ("port", "web/media.a.kz".to_owned()), "{port}");
    }
}

#[test]
fn dates_begin_with_from_and_end_before_to() {
    let matcher = matcher(
        "[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"a.kz\"\nfrom = 2020-04-06T00:00:00+06:00\n\
         to = 2020-05-01T00:00:00Z\n[[service.rule]]\nhost = \"a.kz\"\nfrom = 2020-06-01T00:00:00Z\n",
    );
    let ask = |at: &str| said(matcher.host(&name("a.kz"), Transport::Tcp, 443, Some(time(at)))).0;
    for (at, kind) in [
        ("2020-04-05T17:59:59.999999999Z", "not_in_force"),
        ("2020-04-05T18:00:00Z", "listed"),
        ("2020-04-30T23:59:59Z", "listed"),
        ("2020-05-01T00:00:00Z", "not_in_force"),
        ("2020-06-01T00:00:00Z", "listed"),
        ("2029-01-01T00:00:00Z", "listed"),
    ] {
        assert_eq!(ask(at), kind, "{at}");
    }
    assert_eq!(on_https(&matcher, "a.kz").0, "listed", "without an instant, dates are not looked at");
}

#[test]
fn the_next_change_is_the_earliest_date_still_to_come() {
    let matcher = matcher(
        "[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"a.kz\"\nfrom = 2020-04-06T00:00:00Z\n\
         to = 2020-05-01T00:00:00Z\n[[service.rule]]\nhost = \"b.kz\"\nto = 2020-05-01T00:00:00Z\n",
    );
    let mut at = time("2019-06-01T00:00:00Z");
    let mut changes = Vec::new();
    while let Some(next) = matcher.next_change_after(at) {
        changes.push(next.to_string());
        at = next;
    }
    assert_eq!(
        changes,
        ["2020-01-01T00:00:00Z", "2020-04-06T00:00:00Z", "2020-05-01T00:00:00Z", "2021-01-01T00:00:00Z"]
    );
}

#[test]
fn a_list_is_in_force_from_its_first_instant_until_before_its_last() {
    let matcher = matcher("");
    for (at, validity) in [
        ("2019-12-31T23:59:59Z", Validity::NotYetInForce),
        ("2020-01-01T00:00:00Z", Validity::InForce),
        ("2020-12-31T23:59:59Z", Validity::InForce),
        ("2021-01-01T00:00:00Z", Validity::Expired),
    ] {
        assert_eq!(matcher.validity(time(at)), validity, "{at}");
    }
    assert_eq!((&**matcher.list_id(), matcher.serial()), ("test", 1));
    assert_eq!(matcher.effective_from(), time("2020-01-01T00:00:00Z"));
    assert_eq!(matcher.expires(), time("2021-01-01T00:00:00Z"));
}

#[test]
fn address_rules_take_the_longest_prefix_that_fits() {
    let matcher = matcher(
        "[[service]]\nid = \"wide\"\n[[service.rule]]\nprefix = \"203.0.113.0/24\"\nprotocol = \"udp\"\n\
         ports = [\"8801-8810\"]\n[[service.rule]]\nprefix = \"2001:db8::/32\"\nprotocol = \"tcp\"\nports = [\"443\"]\n\
         [[service]]\nid = \"narrow\"\n[[service.rule]]\nprefix = \"203.0.113.64/26\"\nprotocol = \"udp\"\n\
         ports = [\"8801\"]\nto = 2020-06-01T00:00:00Z\n",
    );
    let may = Some(time("2020-05-01T00:00:00Z"));
    let july = Some(time("2020-07-01T00:00:00Z"));
    let ask = |address: &str, transport, port, at| {
        let address: IpAddr = address.parse().expect("an address");
        matcher.address(address, transport, port, at).map(|rule| rule.label().to_string())
    };
    for (address, transport, port, at, label) in [
        ("203.0.113.65", Transport::Udp, 8801, may, Some("narrow/203.0.113.64/26")),
        ("203.0.113.65", Transport::Udp, 8801, None, Some("narrow/203.0.113.64/26")),
        ("203.0.113.65", Transport::Udp, 8801, july, Some("wide/203.0.113.0/24")),
        ("203.0.113.65", Transport::Udp, 8802, may, Some("wide/203.0.113.0/24")),
        ("203.0.113.1", Transport::Udp, 8801, may, Some("wide/203.0.113.0/24")),
        ("::ffff:203.0.113.1", Transport::Udp, 8801, may, Some("wide/203.0.113.0/24")),
        ("203.0.113.1", Transport::Tcp, 8801, may, None),
        ("203.0.113.1", Transport::Udp, 443, may, None),
        ("203.0.114.1", Transport::Udp, 8801, may, None),
        ("2001:db8:ffff::1", Transport::Tcp, 443, may, Some("wide/2001:db8::/32")),
        ("2001:db9::1", Transport::Tcp, 443, may, None),
        ("::203.0.113.1", Transport::Udp, 8801, may, None),
    ] {
        assert_eq!(ask(address, transport, port, at).as_deref(), label, "{address} {transport} {port}");
    }
}

#[test]
fn rules_carry_service_label_and_dns_word() {
    let matcher = matcher(
        "[[service]]\nid = \"qaz\"\n[[service.rule]]\nhost = \"білім.қаз\"\nscope = \"subtree\"\ndns_only = true\n",
    );
    let rule = matcher.host_rules().next().expect("one rule");
    assert_eq!(rule.label().to_string(), "qaz/xn--90aud6hb.xn--80ao21a");
    assert_eq!(rule.host(), Some("xn--90aud6hb.xn--80ao21a"));
    assert_eq!((&**rule.service(), rule.dns_only()), ("qaz", true));
    assert_eq!(on_https(&matcher, "www.xn--90aud6hb.xn--80ao21a").0, "listed");
    assert_eq!(matcher.services().len(), 1);
}
