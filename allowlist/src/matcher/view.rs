//! A rule as a look-up hands it out, and its label for reports.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::Terms;
use crate::rule::{Ports, Scope, Window};
use crate::table::{Texts, place};

/// A rule of a compiled list. Copied freely; it borrows from the matcher.
#[derive(Clone, Copy)]
pub struct Rule<'m> {
    service: &'m Arc<str>,
    terms: &'m Terms,
    target: Target<'m>,
}

/// What a rule speaks of.
#[derive(Clone, Copy)]
enum Target<'m> {
    /// The host from one place of the texts to another.
    Host(&'m Texts, u32, u32),
    Prefix(IpNet),
}

impl<'m> Rule<'m> {
    /// A rule or deny of a host.
    pub(super) fn of_host(
        service: &'m Arc<str>,
        terms: &'m Terms,
        (texts, from, to): (&'m Texts, u32, u32),
    ) -> Rule<'m> {
        Rule { service, terms, target: Target::Host(texts, from, to) }
    }

    /// A rule of a prefix.
    pub(super) fn of_prefix(service: &'m Arc<str>, terms: &'m Terms, prefix: IpNet) -> Rule<'m> {
        Rule { service, terms, target: Target::Prefix(prefix) }
    }

    /// The service id, or `deny`.
    #[must_use]
    pub fn service(&self) -> &'m Arc<str> {
        self.service
    }

    /// `service-id/host-or-prefix`, or `deny/host`. It outlives the matcher, and costs no allocation.
    #[must_use]
    pub fn label(&self) -> RuleLabel {
        let target = match self.target {
            Target::Host(texts, from, to) => LabelTarget::Host(Arc::clone(texts), from, to),
            Target::Prefix(prefix) => LabelTarget::Prefix(prefix),
        };
        RuleLabel { service: Arc::clone(self.service), target }
    }

    /// The host it starts from, in ASCII; none of an address rule.
    #[must_use]
    pub fn host(&self) -> Option<&'m str> {
        match self.target {
            Target::Host(texts, from, to) => texts.get(place(from)..place(to)),
            Target::Prefix(_) => None,
        }
    }

    /// How far it reaches from its host; exact for an address rule.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.terms.scope
    }

    /// Whether DNS evidence alone may exempt a flow under this rule (decision 10).
    #[must_use]
    pub fn dns_only(&self) -> bool {
        self.terms.dns_only
    }

    /// When the rule is in force.
    #[must_use]
    pub fn window(&self) -> Window {
        self.terms.window
    }

    /// The protocol and ports the rule is for.
    #[must_use]
    pub fn ports(&self) -> &'m Ports {
        &self.terms.ports
    }
}

impl fmt::Debug for Rule<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rule").field("label", &self.label()).field("terms", self.terms).finish()
    }
}

/// The label of a rule in reports: `service-id/host-or-prefix`, or `deny/host`; hosts in ASCII. Holds the names of its list.
#[derive(Clone)]
pub struct RuleLabel {
    service: Arc<str>,
    target: LabelTarget,
}

/// What the rule speaks of.
#[derive(Clone)]
enum LabelTarget {
    Host(Texts, u32, u32),
    Prefix(IpNet),
}

impl RuleLabel {
    /// The host; none of an address rule.
    fn host(&self) -> Option<&str> {
        match &self.target {
            LabelTarget::Host(texts, from, to) => texts.get(place(*from)..place(*to)),
            LabelTarget::Prefix(_) => None,
        }
    }

    /// The prefix; none of a host rule.
    fn prefix(&self) -> Option<IpNet> {
        match &self.target {
            LabelTarget::Host(..) => None,
            LabelTarget::Prefix(prefix) => Some(*prefix),
        }
    }
}

impl fmt::Display for RuleLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix() {
            Some(prefix) => write!(formatter, "{}/{prefix}", self.service),
            None => write!(formatter, "{}/{}", self.service, self.host().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for RuleLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

/// Two labels are equal when they read the same, whichever list they are of.
impl PartialEq for RuleLabel {
    fn eq(&self, other: &RuleLabel) -> bool {
        (&self.service, self.host(), self.prefix()) == (&other.service, other.host(), other.prefix())
    }
}

impl Eq for RuleLabel {}
