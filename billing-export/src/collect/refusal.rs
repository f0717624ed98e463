//! Why a file is not taken. Pure.

use std::fmt;

/// Why a file is not taken, in the words of the metric `zrgw_collect_refused_total{reason}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not the name of a usage file.
    Name,
    /// The manifest cannot be read, or contradicts its name or itself.
    Manifest,
    /// The manifest's data file is not there.
    DataMissing,
    /// More rows or bytes than a file may have.
    TooLarge,
    /// The data file's hash is not the manifest's.
    Sha256,
    /// Other columns than those of the manifest's format.
    Columns,
    /// A row that cannot be read, or does not follow the one before.
    Row,
    /// Not as many rows as the manifest says.
    Count,
    /// The rows do not add up to what the manifest says.
    Sum,
    /// Another content under an identity that the ledger has.
    Identity,
    /// Not in the chain of manifests that the ledger has of this node.
    Chain,
    /// A total would be below 0.
    BelowZero,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Reason; 12] = [
        Reason::Name,
        Reason::Manifest,
        Reason::DataMissing,
        Reason::TooLarge,
        Reason::Sha256,
        Reason::Columns,
        Reason::Row,
        Reason::Count,
        Reason::Sum,
        Reason::Identity,
        Reason::Chain,
        Reason::BelowZero,
    ];

    /// The word of metrics and of the table `refusal`.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Name => "name",
            Reason::Manifest => "manifest",
            Reason::DataMissing => "data_missing",
            Reason::TooLarge => "too_large",
            Reason::Sha256 => "sha256",
            Reason::Columns => "columns",
            Reason::Row => "row",
            Reason::Count => "count",
            Reason::Sum => "sum",
            Reason::Identity => "identity",
            Reason::Chain => "chain",
            Reason::BelowZero => "below_zero",
        }
    }

    /// Whether other files that are yet to come can make the file acceptable.
    pub fn may_pass(self) -> bool {
        match self {
            Reason::Identity | Reason::Chain | Reason::BelowZero => true,
            Reason::Name
            | Reason::Manifest
            | Reason::DataMissing
            | Reason::TooLarge
            | Reason::Sha256
            | Reason::Columns
            | Reason::Row
            | Reason::Count
            | Reason::Sum => false,
        }
    }
}

/// A file that is not taken: nothing of it is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule it breaks.
    pub reason: Reason,
    /// What was found, what was wanted, and what to do; without subscribers.
    pub text: String,
}

impl Refusal {
    /// The refusal for a reason.
    pub(super) fn new(reason: Reason, text: impl Into<String>) -> Refusal {
        Refusal { reason, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.text)
    }
}
