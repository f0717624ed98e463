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
mod tests;
