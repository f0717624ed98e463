//! The decision: is this flow exempt, and why (decisions 1, 9, 10; notes on the verdict function).
//!
//! The daemon, `classify` and `explain` all call [`decide`]; there is no second copy of these rules.

use std::net::IpAddr;
use std::sync::Arc;

use allowlist::lint::is_ech_cover_name;
use allowlist::{HostMatch, Matcher, Rule, Transport, Validity};
use billing_export::{ListVersion, Reason};
use jiff::Timestamp;

use super::binding::{DnsOnly, DnsOnlyStanding};
use super::identify::Identity;
use super::verdict::{Basis, Outcome, Verdict};

/// What is known about the name's right to the destination address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// The gateway resolved the name and dialled the answer itself.
    Steered,
    /// The address is among the trusted answers for the name.
    Yes,
    /// A trusted look-up did not give this address.
    No,
    /// Nothing is known yet; a look-up may tell.
    NotYet,
}

/// One flow as far as the decision is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The claim read from the client's bytes.
    pub identity: &'a Identity,
    /// TCP or UDP.
    pub transport: Transport,
    /// Destination, when known; address rules need it. IPv4 where it stands behind a NAT64.
    pub address: Option<IpAddr>,
    /// Destination port the subscriber dialled.
    pub port: u16,
    /// Whether the address may carry the name.
    pub vouched: Vouched,
    /// What the subscriber's own look-ups said of the destination when the flow began.
    pub dns_only: Option<&'a DnsOnly>,
    /// The instant that dates are compared with; `None` takes every date as met.
    pub at: Option<Timestamp>,
}

/// The verdict, or the verdict that stands unless a look-up vouches for the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing more to ask.
    Final(Verdict),
    /// A listed name at an unknown address: ask, then decide again; this verdict if the answer is no.
    LookUp(Verdict),
}

impl Decision {
    /// The verdict when no look-up is made, or it did not help.
    pub fn into_verdict(self) -> Verdict {
        match self {
            Self::Final(verdict) | Self::LookUp(verdict) => verdict,
        }
    }
}

/// Decides one case. A pure function: the same list and case give the same verdict on any machine.
///
/// Order: a denied name; a name that was contradicted or that another may read differently; an address rule; a flow
/// without a name; a cover name of Encrypted Client
/// Hello; the name's best rule with its dates, protocol and ports; last, whether the address may carry the name.
pub fn decide(list: Option<&Matcher>, case: &Case<'_>) -> Decision {
    let Some(list) = list else {
        let reason = case.identity.gave_up.unwrap_or(Reason::NoList);
        return Decision::Final(Verdict { outcome: Outcome::Charged(reason), rule: None, list: None });
    };
    let judge = Judge { list, case };
    judge.decide()
}

/// The list and the case, side by side.
struct Judge<'a> {
    list: &'a Matcher,
    case: &'a Case<'a>,
}

impl Judge<'_> {
    /// See [`decide`].
    fn decide(&self) -> Decision {
        let case = self.case;
        let name = case.identity.name.as_ref();
        if let Some(rule) = name.and_then(|name| self.list.denied(name)) {
            return self.charged(Reason::Denied, Some(rule));
        }
        if let (Some(name), Some(reason)) = (name, case.identity.gave_up) {
            // Named, then contradicted: the name is a claim that no address can vouch for any more.
            return self.charged(reason, rule_of(self.host(name)));
        }
        let by_address =
            case.address.and_then(|address| self.list.address(address, case.transport, case.port, case.at));
        if let Some(reason) = case.identity.gave_up.filter(|reason| readable_otherwise(*reason)) {
            return self.charged(reason, by_address);
        }
        if let Some(rule) = by_address {
            return self.in_force(rule, || self.exempt(Basis::AddressRule, rule));
        }
        let Some(name) = name else {
            let reason = case.identity.gave_up.unwrap_or(Reason::NoName);
            return match case.dns_only {
                Some(evidence) if reason == Reason::NoName => self.by_dns(evidence),
                Some(_) | None => self.charged(reason, None),
            };
        };
        if is_ech_cover_name(name) {
            return self.charged(Reason::HiddenName, None);
        }
        match self.host(name) {
            HostMatch::NotListed => self.charged(Reason::NotListed, None),
            HostMatch::Denied(rule) => self.charged(Reason::Denied, Some(rule)),
            HostMatch::NotInForce(rule) => {
                self.in_force(rule, || self.charged(Reason::RuleNotInForce, Some(rule)))
            }
            HostMatch::Port(rule) => self.in_force(rule, || self.charged(Reason::Port, Some(rule))),
            HostMatch::Listed(rule) => self.in_force(rule, || self.by_name(rule)),
        }
    }

    /// What the list says of the name.
    fn host(&self, name: &allowlist::DomainName) -> HostMatch<'_> {
        self.list.host(name, self.case.transport, self.case.port, self.case.at)
    }

    /// `then`, unless the list as a whole is not in force at the case's time.
    fn in_force(&self, rule: Rule<'_>, then: impl FnOnce() -> Decision) -> Decision {
        match self.case.at.map(|at| self.list.validity(at)) {
            None | Some(Validity::InForce) => then(),
            Some(Validity::NotYetInForce) => self.charged(Reason::RuleNotInForce, Some(rule)),
            Some(Validity::Expired) => self.charged(Reason::ListExpired, Some(rule)),
        }
    }

    /// The name's rule fits; the address decides.
    fn by_name(&self, rule: Rule<'_>) -> Decision {
        match self.case.vouched {
            Vouched::Steered => self.exempt(Basis::Steered, rule),
            Vouched::Yes => self.exempt(Basis::NameAndAddress, rule),
            Vouched::No => self.charged(Reason::AddressMismatch, Some(rule)),
            Vouched::NotYet => {
                Decision::LookUp(self.charged(Reason::AddressMismatch, Some(rule)).into_verdict())
            }
        }
    }

    /// A flow that was read to the end of its hello or head and has no name: the subscriber's own look-ups decide.
    ///
    /// Only for such a flow: whatever else is unread may still hold a name, which would override the evidence (a silent
    /// client, an unknown protocol, a flow that was evicted), or hides one among strangers, which the address then serves
    /// by its own word (a cover name). Every name that the subscriber asked for at that address must be opted in.
    fn by_dns(&self, evidence: &DnsOnly) -> Decision {
        let mut first = None;
        for name in &evidence.names {
            let rule = match self.host(name) {
                HostMatch::NotListed => return self.charged(Reason::NoName, None),
                HostMatch::Denied(rule) => return self.charged(Reason::Denied, Some(rule)),
                HostMatch::NotInForce(rule) => {
                    return self.in_force(rule, || self.charged(Reason::RuleNotInForce, Some(rule)));
                }
                HostMatch::Port(rule) => return self.charged(Reason::Port, Some(rule)),
                HostMatch::Listed(rule) if !rule.dns_only() => {
                    return self.in_force(rule, || self.charged(Reason::DnsOnlyOff, Some(rule)));
                }
                HostMatch::Listed(rule) => rule,
            };
            first = first.or(Some(rule));
        }
        let Some(rule) = first else { return self.charged(Reason::NoName, None) };
        self.in_force(rule, || match evidence.standing {
            DnsOnlyStanding::Fresh => self.exempt(Basis::DnsOnly, rule),
            DnsOnlyStanding::Shared => self.charged(Reason::DnsShared, Some(rule)),
            DnsOnlyStanding::Expired => self.charged(Reason::DnsExpired, Some(rule)),
        })
    }

    /// An exempt verdict by `rule`.
    fn exempt(&self, basis: Basis, rule: Rule<'_>) -> Decision {
        let outcome = Outcome::Exempt { basis, service: Arc::clone(rule.service()) };
        Decision::Final(self.verdict(outcome, Some(rule)))
    }

    /// A charged verdict.
    fn charged(&self, reason: Reason, rule: Option<Rule<'_>>) -> Decision {
        Decision::Final(self.verdict(Outcome::Charged(reason), rule))
    }

    /// The verdict with the list's identity.
    fn verdict(&self, outcome: Outcome, rule: Option<Rule<'_>>) -> Verdict {
        Verdict {
            outcome,
            rule: rule.map(|rule| rule.label()),
            list: Some(ListVersion { id: Arc::clone(self.list.list_id()), serial: self.list.serial() }),
        }
    }
}

/// Whether another reader may find a name, even a denied one, where we found none or did not look: no rule exempts such a
/// flow, an address rule neither (decision 7).
fn readable_otherwise(reason: Reason) -> bool {
    matches!(reason, Reason::Ambiguous | Reason::Malformed | Reason::Oversize | Reason::Overload)
}

/// The rule a match rests on, if any.
fn rule_of(found: HostMatch<'_>) -> Option<Rule<'_>> {
    match found {
        HostMatch::NotListed => None,
        HostMatch::Denied(rule)
        | HostMatch::NotInForce(rule)
        | HostMatch::Port(rule)
        | HostMatch::Listed(rule) => Some(rule),
    }
}

#[cfg(test)]
mod tests {
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
            (
                judge(Ok("listed.kz"), OTHER, 443, Vouched::Steered, NOW),
                ("exempt", "steered", listed.clone()),
            ),
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
            (
                judge(Ok("cloudflare-ech.com"), OTHER, 443, Vouched::Yes, NOW),
                ("charged", "hidden_name", None),
            ),
            (judge(Ok("a.ads.listed.kz"), MEDIA, 443, Vouched::Yes, NOW), ("charged", "denied", denied)),
            (
                judge(Ok("other.example"), MEDIA, 443, Vouched::No, NOW),
                ("exempt", "address_rule", media.clone()),
            ),
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
                assert_eq!(
                    (verdict.reason().map(Reason::label), rule.as_deref()),
                    (Some(wanted.0), wanted.1)
                );
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
}
