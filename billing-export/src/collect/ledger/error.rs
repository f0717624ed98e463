//! What can go wrong with the ledger, and what follows from it.

use std::error::Error as _;

use postgres::error::SqlState;

use super::super::refusal::Refusal;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(in crate::collect) enum Fault {
    /// The file is not taken.
    #[error("{0}")]
    Refused(Refusal),
    /// The ledger is not what the configuration says.
    #[error("{0}")]
    Config(String),
    /// The ledger's own word.
    #[error("{}", told(.0))]
    Sql(#[from] postgres::Error),
    /// The ledger stays in the way of others.
    #[error("the ledger: {0}")]
    Away(String),
    /// A file or folder.
    #[error(transparent)]
    File(#[from] crate::error::ExportError),
}

impl Fault {
    /// Whether the same again, from the beginning, may succeed at once: others were in the way.
    pub(super) fn may_be_tried_again(&self) -> bool {
        let Fault::Sql(error) = self else { return false };
        // A row without a partition breaks a check that has no name, in whichever language the server says so.
        let lacks_partition = error
            .as_db_error()
            .is_some_and(|db| *db.code() == SqlState::CHECK_VIOLATION && db.constraint().is_none());
        let code = error.code();
        let crossed = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::EXCLUSION_VIOLATION,
            SqlState::UNIQUE_VIOLATION,
        ];
        lacks_partition || code.is_some_and(|code| crossed.contains(code))
    }

    /// Whether the ledger took offence at a value: data exception (`22…`) or program limit (`54…`, as of an index).
    pub(super) fn is_about_a_value(&self) -> Option<String> {
        let Fault::Sql(error) = self else { return None };
        let db = error
            .as_db_error()
            .filter(|db| ["22", "54"].iter().any(|class| db.code().code().starts_with(class)))?;
        // The line that PostgreSQL quotes beside it would name a subscriber.
        Some(format!("{} (SQLSTATE {})", db.message(), db.code().code()))
    }
}

/// An error of the ledger in one line, without the values of rows.
fn told(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("the ledger: {} (SQLSTATE {})", db.message(), db.code().code()),
        None => match error.source() {
            Some(cause) => format!("the ledger: {error}: {cause}"),
            None => format!("the ledger: {error}"),
        },
    }
}
