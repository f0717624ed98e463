//! The ministry's list: which names and addresses are carried without charge.
//!
//! The crate has four parts. [`DomainName`] is the only host-name type of the project, with one constructor for names
//! seen on the wire and one for entries of a list. [`Document`] is the list document as its officers write it:
//! [`Document::parse`] reports every problem at once with its line and column, and [`Document::to_canonical`] writes the
//! one form that is signed. [`Matcher`] is a document compiled for look-ups: deny wins, then the most specific rule that
//! is in force and whose protocol and port fit; a look-up allocates nothing. [`lint`](mod@lint) reads a document as a
//! careful officer would and says what would exempt strangers, nobody, or the wrong site.
//!
//! Everything here is pure: text and a time go in, values and reasons come out. Only the command (`main.rs`, `cli/`)
//! touches files, the clock and the terminal.

pub mod document;
pub mod lint;
pub mod matcher;
pub mod name;
pub mod rule;

mod canonical;
mod parse;
mod problem;
mod routes;
mod succession;
mod suffix;
mod table;

pub use document::Document;
/// The instants of this crate's interface.
pub use jiff::Timestamp;
pub use matcher::{Coverage, HostMatch, Matcher, Rule, RuleLabel, Validity};
pub use name::{DomainName, NameError};
pub use parse::{LIST_BYTES_MAX, LIST_ENTRIES_MAX, Limits};
pub use problem::Problem;
pub use routes::{FORMER_LISTS_MAX, Routes};
pub use rule::Transport;
pub use succession::{Chain, Edition, SuccessionError, sha256};
pub use suffix::{registrable_domain, registry_domain};

/// The memorandum of April 2020 as a list document: the nine named resources and the further platforms a rule can carry.
pub const KZ_EDUCATION_2020: &str = include_str!("../lists/kz-education-2020.toml");
