//! From one version of the tables to the next. A migration is never changed once a ledger went through it: its test brings a
//! ledger that was stored by the version before (`tests/billing-export/golden/ledger-N.sql`) to the present.

use rusqlite::Transaction;

use super::{Store, repair, schema};
use crate::codec::Format;
use crate::error::ExportError;

/// One step of the tables.
struct Migration {
    /// The version it leads to (`PRAGMA user_version`).
    to: i64,
    /// What it changes; records and files stay as they are.
    apply: fn(&Transaction<'_>) -> rusqlite::Result<()>,
}

/// All steps from nothing to the present, in order.
const MIGRATIONS: [Migration; 5] = [
    Migration { to: 1, apply: |transaction| transaction.execute_batch(schema::SCHEMA) },
    Migration { to: 2, apply: checks },
    Migration { to: 3, apply: |transaction| transaction.execute_batch(schema::FORMATS) },
    Migration { to: 4, apply: |transaction| transaction.execute_batch(schema::DELIVERIES) },
    Migration { to: 5, apply: corrections_and_releases },
];

/// The version of the tables that this program writes.
pub const VERSION: i64 = {
    let [.., last] = &MIGRATIONS;
    last.to
};

/// Adds the checks of every row that is not sealed. What the ledger holds is taken as it is, this once: nothing says what it
/// was.
fn checks(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    // Allowances came later than the rest of version 1.
    if transaction.query_row(schema::HAS_ALLOWANCES, [], |row| row.get::<_, i64>(0))? == 0 {
        transaction.execute_batch(schema::ALLOWANCES)?;
    }
    transaction.execute_batch(schema::CHECKS)?;
    repair::check_everything(transaction)
}

/// Adds corrections, records that may leave, and what sinks keep.
fn corrections_and_releases(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(schema::KEPT)?;
    transaction.execute_batch(schema::CORRECTIONS)?;
    transaction.execute_batch(schema::RELEASES)
}

/// Applies every step after version `from`.
fn apply(transaction: &Transaction<'_>, from: i64) -> rusqlite::Result<()> {
    MIGRATIONS.iter().filter(|step| step.to > from).try_for_each(|step| (step.apply)(transaction))?;
    transaction.pragma_update(None, "user_version", VERSION)
}

impl Store {
    /// Version of the tables; 0 for none.
    pub(super) fn version(&self) -> Result<i64, ExportError> {
        self.ask("reading the ledger's version", |connection| {
            connection.query_row("PRAGMA user_version", [], |row| row.get(0))
        })
    }

    /// Whether its tables are of this version.
    pub(crate) fn is_present(&self) -> Result<bool, ExportError> {
        Ok(self.version()? == VERSION)
    }

    /// Creates the tables, all or none.
    pub(super) fn create(&mut self) -> Result<(), ExportError> {
        let tables: i64 = self.ask("reading the ledger's tables", |connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        })?;
        if tables != 0 {
            return Err(
                self.damaged("tables without a version".into(), "a ledger of this program, or no file")
            );
        }
        self.transaction("creating the ledger", |transaction| {
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            apply(transaction, 0)
        })
    }

    /// Brings a ledger of a version before to the present one, all or nothing.
    pub(super) fn migrate(&mut self) -> Result<(), ExportError> {
        let version = self.version()?;
        if version == VERSION {
            return Ok(());
        }
        self.transaction("bringing the ledger to the present version", |transaction| {
            apply(transaction, version)
        })
    }

    /// Refuses files that are not ours, or newer than we are.
    pub(super) fn check_mark(&self) -> Result<(), ExportError> {
        let application: i64 = self.ask("reading the ledger's mark", |connection| {
            connection.query_row("PRAGMA application_id", [], |row| row.get(0))
        })?;
        if application != schema::APPLICATION_ID {
            return Err(self.damaged(format!("application_id {application}"), "a ledger of this program"));
        }
        match self.version()? {
            version if version > VERSION => {
                Err(self
                    .newer(format!("a ledger of version {version}"), format!("at most version {VERSION}")))
            }
            version if version < 1 => {
                Err(self.damaged(format!("a ledger of version {version}"), "version 1 or later"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a ledger with files whose columns are not known here: it could not publish them.
    pub(super) fn check_formats(&self) -> Result<(), ExportError> {
        if self.version()? < schema::VERSION_WITH_FORMATS {
            return Ok(());
        }
        let newest: Option<u32> = self.ask("reading the versions of the sealed files", |connection| {
            connection.query_row("SELECT max(format) FROM file", [], |row| row.get(0))
        })?;
        match newest.filter(|number| Format::of_number(*number).is_none()) {
            None => Ok(()),
            Some(number) => {
                let known = Format::NEWEST.number();
                Err(self
                    .newer(format!("a file sealed in format {number}"), format!("at most format {known}")))
            }
        }
    }

    /// The error for a ledger that a later program wrote.
    pub(super) fn newer(&self, found: String, wanted: String) -> ExportError {
        ExportError::Newer { path: self.path.clone(), found, wanted }
    }
}
