//! Tests of `decide`.

use allowlist::Document;

use super::*;
use crate::flow::identify::SeenIn;

/// A list with a host, a deny below it, and an address rule for media.
const LIST: &str = r#"format = 1
list_id = "test"
serial = 4
issued = 2026-01-01T00:00:00Z
effective_from = 2026-01-02T00:00:00Z
expires = 2026-06-01T00:00:00Z

[[service]]
id = "school"
name = "School"
owner = "School"
reference = "test"

[[service.rule]]
host = "listed.kz"
scope = "subtree"
reason = "test"
evidence = "seen"

[[service.rule]]
host = "winter.kz"
to = 2026-02-01T00:00:00Z
reason = "test"
evidence = "seen"

[[service.rule]]
prefix = "203.0.113.0/24"
protocol = "tcp"
ports = ["443", "8801-8802"]
reason = "media"
evidence = "seen"

[[deny]]
host = "ads.listed.kz"
reason = "advertising"
"#;

/// The verdict on a name, or a reason for none, at an address and port.
fn judge(
    name: Result<&str, Reason>,
    address: &str,
    port: u16,
    vouched: Vouched,
    at: &str,
) -> (&'static str, &'static str, Option<String>) {
    let list = Matcher::new(&Document::parse(LIST).unwrap());
    let identity = match name {
        Ok(name) => Identity {
            name: Some(allowlist::DomainName::from_wire(name.as_bytes()).unwrap()),
            seen_in: Some(SeenIn::TlsSni),
            gave_up: None,
            ech: None,
        },
        Err(reason) => Identity::nameless(reason),
    };
    let case = Case {
        identity: &identity,
        transport: Transport::Tcp,
        address: Some(address.parse().unwrap()),
        port,
        vouched,
        dns_only: None,
        at: Some(at.parse().unwrap()),
    };
    let verdict = decide(Some(&list), &case).into_verdict();
    let why = verdict.basis().map(Basis::label).or(verdict.reason().map(Reason::label)).unwrap();
    (verdict.class_label(), why, verdict.rule.as_ref().map(ToString::to_string))
}

const NOW: &str = "2026-03-01T00:00:00Z";
const OTHER: &str = "198.51.100.9";
const MEDIA: &str = "203.0.113.9";

#[test]
fn every_check_must_pass_and_each_failure_has_its_reason() {
    let listed = Some("school/listed.kz".to_owned());
    let media = Some("school/203.0.113.0/24".to_owned());
    let denied = Some("deny/ads.listed.kz".to_owned());
    let winter = Some("school/winter.kz".to_owned());
    let cases = [
        (
            judge(Ok("www.listed.kz"), OTHER, 443, Vouched::Yes, NOW),
            ("exempt", "name_and_address", listed.clone()),
        ),
        (judge(Ok("listed.kz"), OTHER, 443, Vouched::Steered, NOW), ("exempt", "steered", listed.clone())),
        (
            judge(Ok("listed.kz"), OTHER, 443, Vouched::No, NOW),
            ("charged", "address_mismatch", listed.clone()),
        ),
        (judge(Ok("listed.kz"), OTHER, 444, Vouched::Yes, NOW), ("charged", "port", listed.clone())),
        (
            judge(Ok("listed.kz"), OTHER, 443, Vouched::Yes, "2026-01-01T12:00:00Z"),
            ("charged", "rule_not_in_force", listed.clone()),
        ),
        (
            judge(Ok("listed.kz"), OTHER, 443, Vouched::Yes, "2026-06-01T00:00:00Z"),
            ("charged", "list_expired", listed),
        ),
        (
            judge(Ok("listed.kz"), OTHER, 444, Vouched::Yes, "2026-06-01T00:00:00Z"),
            ("charged", "list_expired", Some("school/listed.kz".to_owned())),
        ),
        (
            judge(Ok("winter.kz"), OTHER, 443, Vouched::Yes, "2026-01-31T23:59:59Z"),
            ("exempt", "name_and_address", winter.clone()),
        ),
        (
            judge(Ok("winter.kz"), OTHER, 443, Vouched::Yes, NOW),
            ("charged", "rule_not_in_force", winter.clone()),
        ),
        (
            judge(Ok("winter.kz"), OTHER, 443, Vouched::Yes, "2026-06-01T00:00:00Z"),
            ("charged", "list_expired", winter),
        ),
        (judge(Ok("xlisted.kz"), OTHER, 443, Vouched::Yes, NOW), ("charged", "not_listed", None)),
        (judge(Ok("cloudflare-ech.com"), OTHER, 443, Vouched::Yes, NOW), ("charged", "hidden_name", None)),
        (judge(Ok("a.ads.listed.kz"), MEDIA, 443, Vouched::Yes, NOW), ("charged", "denied", denied)),
        (judge(Ok("other.example"), MEDIA, 443, Vouched::No, NOW), ("exempt", "address_rule", media.clone())),
        (
            judge(Err(Reason::NoName), MEDIA, 8_801, Vouched::No, NOW),
            ("exempt", "address_rule", media.clone()),
        ),
        (judge(Err(Reason::NoName), MEDIA, 8_803, Vouched::No, NOW), ("charged", "no_name", None)),
        (
            judge(Err(Reason::NoName), MEDIA, 443, Vouched::No, "2026-06-01T00:00:00Z"),
            ("charged", "list_expired", media),
        ),
    ];
    for (found, wanted) in cases {
        assert_eq!(found, wanted);
    }
}

#[test]
fn t6_what_another_may_read_differently_is_charged_at_a_listed_address_too() {
    for reason in [Reason::Ambiguous, Reason::Malformed, Reason::Oversize, Reason::Overload] {
        let (class, why, rule) = judge(Err(reason), MEDIA, 443, Vouched::Yes, NOW);
        assert_eq!((class, why), ("charged", reason.label()));
        assert_eq!(rule.as_deref(), Some("school/203.0.113.0/24"));
    }
}

#[test]
fn t16_a_name_that_was_contradicted_is_charged_by_its_own_rule_whatever_the_address() {
    let list = Matcher::new(&Document::parse(LIST).unwrap());
    for (name, wanted) in [
        ("listed.kz", ("ambiguous", Some("school/listed.kz"))),
        ("other.example", ("ambiguous", None)),
        ("ads.listed.kz", ("denied", Some("deny/ads.listed.kz"))),
    ] {
        let identity = Identity {
            name: Some(allowlist::DomainName::from_wire(name.as_bytes()).unwrap()),
            seen_in: Some(SeenIn::TlsSni),
            gave_up: Some(Reason::Ambiguous),
            ech: None,
        };
        for vouched in [Vouched::Yes, Vouched::Steered] {
            let case = Case {
                identity: &identity,
                transport: Transport::Tcp,
                address: Some(MEDIA.parse().unwrap()),
                port: 443,
                vouched,
                dns_only: None,
                at: Some(NOW.parse().unwrap()),
            };
            let Decision::Final(verdict) = decide(Some(&list), &case) else { panic!("{name}: asks") };
            let rule = verdict.rule.as_ref().map(ToString::to_string);
            assert_eq!((verdict.reason().map(Reason::label), rule.as_deref()), (Some(wanted.0), wanted.1));
            let version = ListVersion { id: "test".into(), serial: 4 };
            assert_eq!(verdict.list, Some(version), "{name}");
        }
    }
}

/// The verdict on a flow without a name, for that reason, by what the subscriber had asked.
fn by_dns(reason: Reason, names: &[&str], standing: DnsOnlyStanding, at: &str) -> &'static str {
    let rule = |host: &str, more: &str| {
        format!(
            "[[service.rule]]\nhost = \"{host}\"\n{more}reason = \"test\"\nevidence = \"seen\"\ndns_only = true\n\n"
        )
    };
    let media = rule("media.kz", "")
        + &rule("frost.kz", "to = 2026-02-01T00:00:00Z\n")
        + &rule("ported.kz", "protocol = \"tcp\"\nports = [\"8443\"]\n")
        + "[[deny]]";
    let list = Matcher::new(&Document::parse(&LIST.replace("[[deny]]", &media)).unwrap());
    let identity = Identity { name: None, seen_in: None, gave_up: Some(reason), ech: None };
    let name = |text: &&str| allowlist::DomainName::from_wire(text.as_bytes()).unwrap();
    let evidence = DnsOnly { names: names.iter().map(name).collect(), standing };
    let case = Case {
        identity: &identity,
        transport: Transport::Tcp,
        address: Some(OTHER.parse().unwrap()),
        port: 443,
        vouched: Vouched::NotYet,
        dns_only: Some(&evidence),
        at: Some(at.parse().unwrap()),
    };
    let verdict = decide(Some(&list), &case).into_verdict();
    verdict.basis().map(Basis::label).or(verdict.reason().map(Reason::label)).unwrap()
}

#[test]
fn t8_dns_evidence_counts_for_a_flow_without_a_name_and_for_no_other() {
    use DnsOnlyStanding::{Expired, Fresh, Shared};
    let media = ["media.kz"];
    assert_eq!(by_dns(Reason::NoName, &media, Fresh, NOW), "dns_only");
    assert_eq!(by_dns(Reason::NoName, &media, Shared, NOW), "dns_shared");
    assert_eq!(by_dns(Reason::NoName, &media, Expired, NOW), "dns_expired");
    assert_eq!(by_dns(Reason::NoName, &media, Fresh, "2026-06-01T00:00:00Z"), "list_expired");
    assert_eq!(by_dns(Reason::NoName, &["listed.kz"], Fresh, NOW), "dns_only_off");
    assert_eq!(by_dns(Reason::NoName, &["other.kz"], Fresh, NOW), "no_name");
    assert_eq!(by_dns(Reason::NoName, &["ads.listed.kz"], Fresh, NOW), "denied");
    // Each of the names he asked for may be the one meant.
    assert_eq!(by_dns(Reason::NoName, &["media.kz", "listed.kz"], Fresh, NOW), "dns_only_off");
    assert_eq!(by_dns(Reason::NoName, &["media.kz", "ads.listed.kz"], Fresh, NOW), "denied");
    assert_eq!(by_dns(Reason::NoName, &["media.kz", "other.kz"], Fresh, NOW), "no_name");
    assert_eq!(by_dns(Reason::NoName, &["media.kz", "frost.kz"], Fresh, NOW), "rule_not_in_force");
    assert_eq!(by_dns(Reason::NoName, &["media.kz", "ported.kz"], Fresh, NOW), "port");
    let expired = "2026-06-01T00:00:00Z";
    for name in ["listed.kz", "frost.kz"] {
        assert_eq!(by_dns(Reason::NoName, &[name], Fresh, expired), "list_expired", "{name}");
    }
    for reason in [
        Reason::Ambiguous,
        Reason::Malformed,
        Reason::Oversize,
        Reason::Timeout,
        Reason::Undecided,
        Reason::NotRecognised,
    ] {
        assert_eq!(by_dns(reason, &media, Fresh, NOW), reason.label());
    }
}

#[test]
fn t23_an_unknown_address_asks_and_no_list_says_so() {
    let list = Matcher::new(&Document::parse(LIST).unwrap());
    let identity = Identity {
        name: Some(allowlist::DomainName::from_wire(b"listed.kz").unwrap()),
        seen_in: Some(SeenIn::TlsSni),
        gave_up: None,
        ech: None,
    };
    let case = Case {
        identity: &identity,
        transport: Transport::Tcp,
        address: None,
        port: 443,
        vouched: Vouched::NotYet,
        dns_only: None,
        at: None,
    };
    assert!(matches!(decide(Some(&list), &case), Decision::LookUp(_)));
    assert_eq!(decide(None, &case).into_verdict().reason(), Some(Reason::NoList));
    let unread = Identity::nameless(Reason::Timeout);
    let unread = Case { identity: &unread, ..case };
    assert_eq!(decide(None, &unread).into_verdict().reason(), Some(Reason::Timeout));
}
