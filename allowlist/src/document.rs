//! The list document: what its officers write, as values. Read by `parse`, written by `canonical`.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use toml::value::Datetime;

use crate::name::DomainName;
use crate::parse::{self, Limits};
use crate::problem::Problem;
use crate::rule::{Evidence, Ports, Scope, Window};

/// The only document format there is.
pub const FORMAT: u64 = 1;

/// A list document. Two documents are equal when their content is, wherever their lines stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(crate) list_id: String,
    pub(crate) serial: u64,
    pub(crate) issued: Moment,
    pub(crate) effective_from: Moment,
    pub(crate) expires: Moment,
    pub(crate) previous_sha256: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) services: Vec<Service>,
    pub(crate) denies: Vec<Deny>,
    pub(crate) not_separable: Vec<NotSeparable>,
    pub(crate) place: Place,
}

impl Document {
    /// Reads a list document with the default [`Limits`].
    ///
    /// # Errors
    /// Every problem at once, sorted by place.
    pub fn parse(text: &str) -> Result<Document, Vec<Problem>> {
        parse::document(text, &Limits::default())
    }

    /// Reads a list document with the given limits.
    ///
    /// # Errors
    /// Every problem at once, sorted by place.
    pub fn parse_within(text: &str, limits: &Limits) -> Result<Document, Vec<Problem>> {
        parse::document(text, limits)
    }

    /// Name of the list, `[a-z0-9-]{1,40}`.
    #[must_use]
    pub fn list_id(&self) -> &str {
        &self.list_id
    }

    /// Serial number; rises with each edition.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// When the edition was made.
    #[must_use]
    pub fn issued(&self) -> Moment {
        self.issued
    }

    /// First instant in force.
    #[must_use]
    pub fn effective_from(&self) -> Moment {
        self.effective_from
    }

    /// First instant no longer in force.
    #[must_use]
    pub fn expires(&self) -> Moment {
        self.expires
    }

    /// SHA-256 of the edition before, 64 lower-case hexadecimal digits; absent in the first.
    #[must_use]
    pub fn previous_sha256(&self) -> Option<&str> {
        self.previous_sha256.as_deref()
    }

    /// Free remark.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The platforms, in the order written.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The names taken away again, in the order written.
    #[must_use]
    pub fn denies(&self) -> &[Deny] {
        &self.denies
    }

    /// What is stated as impossible to tell apart, in the order written.
    #[must_use]
    pub fn not_separable(&self) -> &[NotSeparable] {
        &self.not_separable
    }

    /// Number of rules and denies.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        self.services.iter().fold(self.denies.len(), |sum, service| sum.saturating_add(service.rules.len()))
    }
}

/// One platform: one line on the bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) place: Place,
}

impl Service {
    /// Service id, `[a-z0-9-]{1,40}`, unique in the document.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name people know it by.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Who runs it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Where the obligation is written down.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Free remark.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Its rules, in the order written.
    #[must_use]
    pub fn rules(&self) -> &[RuleEntry] {
        &self.rules
    }

    /// Where the service stands in the text.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}

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

/// A host whose traffic is charged whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    pub(crate) host: DomainName,
    pub(crate) scope: Scope,
    pub(crate) reason: Option<String>,
    pub(crate) place: Place,
}

impl Deny {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &DomainName {
        &self.host
    }

    /// How far the deny reaches: exact or subtree.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Why the name is taken away.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Where the deny stands in the text.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}

/// Something that was asked for and cannot be told from the rest of the Internet: stated, never matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSeparable {
    pub(crate) name: String,
    pub(crate) reason: Option<String>,
    pub(crate) place: Place,
}

impl NotSeparable {
    /// What was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it cannot be told apart.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Where the entry stands in the text.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }
}

/// An instant together with the offset it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    instant: Timestamp,
    written: Datetime,
}

impl Moment {
    /// What stands for one that could not be read, in a document that is never given out.
    pub(crate) const UNKNOWN: Moment =
        Moment { instant: Timestamp::UNIX_EPOCH, written: Datetime { date: None, time: None, offset: None } };

    /// Takes a TOML date-time; none when it has no offset or names no instant.
    pub(crate) fn from_toml(mut written: Datetime) -> Option<Moment> {
        written.offset?;
        // TOML 1.1 lets the seconds go; RFC 3339, which everybody else reads, does not.
        if let Some(time) = written.time.as_mut() {
            time.second.get_or_insert(0);
        }
        let instant = written.to_string().parse().ok()?;
        Some(Moment { instant, written })
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        self.instant
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(formatter)
    }
}

/// Where an entry stands in its text. Places compare equal, so that documents compare by content.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

impl PartialEq for Place {
    fn eq(&self, _other: &Place) -> bool {
        true
    }
}

impl Eq for Place {}
