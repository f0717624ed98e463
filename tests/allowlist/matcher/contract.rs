//! The words of the matcher's contract one by one.

use std::net::IpAddr;

use allowlist::{Document, Matcher, Transport, Validity};

use super::{name, time};
use crate::naive::said;
use crate::random::HEAD;

/// A list of the given tables after the usual head.
fn matcher(tables: &str) -> Matcher {
    Matcher::new(&Document::parse(&format!("{HEAD}{tables}")).expect("the list of a test is well formed"))
}

/// What is said of a name on TCP 443, dates not looked at.
fn on_https(matcher: &Matcher, text: &str) -> (&'static str, String) {
    said(matcher.host(&name(text), Transport::Tcp, 443, None))
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
