//! The durable ledger: SQLite in WAL mode with `synchronous=FULL` and one writer at a time (decision 17): the exporter, which
//! counts and seals, and the couriers of sinks, which note in `delivery` how far they are.
//!
//! Every change is one transaction. After any error the connection is dropped and what is on disk is read again: a
//! failed fsync is never repeated as if it had succeeded.

mod adjust;
mod bindings;
mod delivery;
mod examine;
mod file_writer;
mod migrate;
mod node_row;
mod read;
mod release;
mod repair;
mod row;
mod schema;
mod seal;
mod spent;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::error::ExportError;
use crate::sink::file::create_file;
use node_row::Sums;

pub(crate) use adjust::{Asked, Place};
pub use bindings::{BINDINGS_NAME, BindingChange, BindingKey, Bindings};
pub use delivery::SinkStanding;
pub(crate) use delivery::{Kept, Next};
pub use migrate::VERSION as LEDGER_VERSION;
pub(crate) use read::FileRow;
pub use release::Released;
pub(crate) use release::Releasing;
pub(crate) use repair::Repaired;
pub(crate) use seal::{NewState, SealOrder, Sealer};
pub(crate) use write::NodeRow;

/// Name of the ledger in the state directory.
pub const STORE_NAME: &str = "ledger.db";

/// How long another program's transaction is waited for. The ledger has one process that writes, in turns ([`WriteTurn`]), so
/// a lock in its way is somebody's mistake; the operation is tried again at the next call, and a stopping gateway must not wait long at each.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_millis(500);

/// Whose turn it is to write, among the connections of one process: none waits for a lock of another in vain.
#[derive(Clone, Default)]
pub(crate) struct WriteTurn(Arc<Mutex<()>>);

/// The durable ledger, open.
pub(crate) struct Store {
    /// The connection.
    connection: Connection,
    /// Its file, for messages.
    path: PathBuf,
    /// Taken for each transaction.
    turn: WriteTurn,
}

impl WriteTurn {
    /// Waits for it, and has it until the value goes.
    fn take(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Opens or creates the ledger for writing, checks it and brings its tables to the present version. One that a later
    /// program wrote stays as it is.
    pub(crate) fn open(path: &Path, turn: &WriteTurn) -> Result<Store, ExportError> {
        Store::refuse_newer(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite would open it to everyone; log and index take their permissions from it.
        create_file(path)?;
        let mut store = Store { turn: turn.clone(), ..Store::connect(path, flags)? };
        store.run("setting up the ledger", |connection| {
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
                 PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;",
            )
        })?;
        if store.version()? == 0 {
            store.create()?;
        }
        store.check()?;
        store.migrate()?;
        Ok(store)
    }

    /// Opens a ledger that this process has open already, beside that, for a courier.
    pub(crate) fn open_beside(path: &Path, turn: &WriteTurn) -> Result<Store, ExportError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut store = Store { turn: turn.clone(), ..Store::connect(path, flags)? };
        store.run("opening the ledger for a sink", |connection| {
            connection.execute_batch(
                "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
                 PRAGMA temp_store = MEMORY;",
            )
        })?;
        store.check_mark()?;
        Ok(store)
    }

    /// Refuses what a later program wrote before a connection is open that could write. What else is wrong with the file is
    /// told by the opening proper.
    fn refuse_newer(path: &Path) -> Result<(), ExportError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let looked = Store::connect(path, flags)
            .and_then(|store| store.check_mark().and_then(|()| store.check_formats()));
        match looked {
            Err(error @ ExportError::Newer { .. }) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Opens a ledger for reading, without taking anything from its writer.
    pub(crate) fn open_to_read(path: &Path) -> Result<Store, ExportError> {
        // SQLite's word for a file that is not there is that it cannot be opened.
        std::fs::metadata(path).map_err(|source| ExportError::Io {
            path: path.to_owned(),
            action: "looking for the ledger",
            source,
            remedy: "Name the state directory of the node (node.state_dir), or the ledger in it",
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::connect(path, flags)?;
        store.check()?;
        Ok(store)
    }

    /// Opens a ledger for a look, without reading the rest of it.
    pub(crate) fn open_to_look(path: &Path) -> Result<Store, ExportError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Store::connect(path, flags)?;
        store.check_mark()?;
        Ok(store)
    }

    /// The node that a ledger is of, without looking at the rest of it.
    pub(crate) fn owner(path: &Path) -> Result<Option<String>, ExportError> {
        Store::open_to_look(path)?.ask("reading who wrote the ledger", |connection| {
            connection.query_row("SELECT node_id FROM node", [], |row| row.get(0)).optional()
        })
    }

    /// The connection.
    fn connect(path: &Path, flags: OpenFlags) -> Result<Store, ExportError> {
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|source| ExportError::store(path, "opening the ledger", source))?;
        connection.set_prepared_statement_cache_capacity(32);
        connection
            .busy_timeout(BUSY_WAIT)
            .map_err(|source| ExportError::store(path, "opening the ledger", source))?;
        Ok(Store { connection, path: path.to_owned(), turn: WriteTurn::default() })
    }

    /// Refuses files that are not ours, newer than we are, or damaged.
    fn check(&self) -> Result<(), ExportError> {
        self.check_mark()?;
        let word: Option<String> = self.ask("checking the ledger", |connection| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).optional()
        })?;
        match word {
            Some(word) if word == "ok" => Ok(()),
            other => Err(self.damaged(other.unwrap_or_default(), "a whole database")),
        }
    }

    /// The ledger's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a ledger that another start has.
    pub(crate) fn of_another_start(&self) -> ExportError {
        ExportError::Damaged {
            path: self.path.clone(),
            found: "a ledger that this process did not start".into(),
            wanted: "the one it was writing".into(),
            remedy: "The file was replaced while the gateway ran: restart the gateway, it begins a new epoch",
        }
    }

    /// The error for a ledger that contradicts itself.
    fn damaged(&self, found: String, wanted: &str) -> ExportError {
        ExportError::Damaged {
            path: self.path.clone(),
            found,
            wanted: wanted.into(),
            remedy: "Restore the state directory from a copy, or move it away and start again: either begins a new \
                     epoch with a gap record",
        }
    }

    /// Runs statements outside a transaction.
    fn run(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), ExportError> {
        work(&self.connection).map_err(|source| ExportError::store(&self.path, action, source))
    }

    /// Asks for something.
    fn ask<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ExportError> {
        work(&self.connection).map_err(|source| ExportError::store(&self.path, action, source))
    }

    /// One transaction, committed durably when this returns.
    fn transaction(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), ExportError> {
        let path = &self.path;
        let failed = |source| ExportError::store(path, action, source);
        let _turn = self.turn.take();
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed)?;
        work(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// A transaction that changes what stands under checks. Before it the rows of `node` and `segment` are held against
    /// theirs, after it they get new ones; `work` keeps the sums.
    fn checked(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>, &mut Sums) -> rusqlite::Result<()>,
    ) -> Result<(), ExportError> {
        let path = &self.path;
        let failed = |source| ExportError::store(path, action, source);
        let changed = |what| ExportError::Changed { path: path.clone(), what };
        let _turn = self.turn.take();
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(failed)?;
        let mut sums = match node_row::verified(&transaction).map_err(failed)? {
            Ok(sums) => sums,
            Err(what) => return Err(changed(what)),
        };
        match work(&transaction, &mut sums) {
            Ok(()) => {}
            Err(rusqlite::Error::StatementChangedRows(_)) => return Err(changed("a row")),
            Err(error) => return Err(failed(error)),
        }
        node_row::write(&transaction, sums).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

/// Refuses to go on where a row was not found as it was written: [`Store::checked`] makes it [`ExportError::Changed`].
fn as_written(rows: usize) -> rusqlite::Result<()> {
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(rows)) }
}

/// Changes a ledger as a later version would: every row keeps a check of what it says.
#[cfg(test)]
pub(crate) fn write_as_it_stands(ledger: &Path, change: &str) {
    let mut connection = Connection::open(ledger).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch(change).unwrap();
    repair::check_everything(&transaction).unwrap();
    transaction.commit().unwrap();
}
