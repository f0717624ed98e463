//! One rule of a service, as its officers write it.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Moment, Place};
use crate::name::DomainName;
use crate::rule::{Evidence, Ports, Scope, Window};

/// One rule of a service, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleEntry {
    pub(crate) target: EntryTarget,
    pub(crate) ports: Ports,
    pub(crate) dates: Option<Box<Dates>>,
    pub(crate) reason: Option<Arc<str>>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) place: Place,
}

/// The dates of a rule that has any; apart, for few rules do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dates {
    pub(crate) from: Option<Moment>,
    pub(crate) to: Option<Moment>,
}

/// What a rule speaks of, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryTarget {
    /// A host and what stands below it.
    Host {
        /// The host.
        host: DomainName,
        /// How far the rule reaches.
        scope: Scope,
        /// Whether DNS evidence alone may exempt it.
        dns_only: bool,
    },
    /// An address prefix, host bits zero.
    Prefix(IpNet),
}

impl RuleEntry {
    /// What the rule speaks of.
    #[must_use]
    pub fn target(&self) -> &EntryTarget {
        &self.target
    }

    /// Protocol and ports.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// First instant in force, if bounded.
    #[must_use]
    pub fn from(&self) -> Option<Moment> {
        self.dates.as_ref().and_then(|dates| dates.from)
    }

    /// First instant no longer in force, if bounded.
    #[must_use]
    pub fn to(&self) -> Option<Moment> {
        self.dates.as_ref().and_then(|dates| dates.to)
    }

    /// The rule's dates.
    #[must_use]
    pub fn window(&self) -> Window {
        Window { from: self.from().map(Moment::instant), to: self.to().map(Moment::instant) }
    }

    /// Why the rule is there.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Where the knowledge comes from.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.evidence
    }

    /// Free remark.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Where the rule stands in the text.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}
