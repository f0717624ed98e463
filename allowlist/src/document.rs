//! The list document: what its officers write, as values. Read by `parse`, written by `canonical`.

mod moment;
mod place;
mod rule;

use crate::name::DomainName;
use crate::parse::{self, Limits};
use crate::problem::Problem;
use crate::rule::Scope;

pub use moment::Moment;
pub use place::Place;
pub(crate) use rule::Dates;
pub use rule::{EntryTarget, RuleEntry};

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
