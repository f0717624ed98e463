//! Sessions that hold addresses, over a restart: a database of its own beside the ledger, for what is written here is answered at
//! once and waits for no checkpoint.
//!
//! What it holds is personal data at rest. Nobody but its owner may read it, what is deleted is overwritten, and it has nothing of
//! sessions that have ended for long.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::ExportError;

/// Name of the database in the state directory.
pub const BINDINGS_NAME: &str = "sessions.db";

/// Marks the file as ours: "ZRGB" in ASCII (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x5a52_4742;
/// Version of the tables (`PRAGMA user_version`).
const VERSION: i64 = 1;
/// The tables.
const SCHEMA: &str = "
CREATE TABLE session (                 -- sessions of RADIUS accounting that last, or have ended of late
    realm   TEXT NOT NULL,
    nas     BLOB NOT NULL,                 -- what tells the access server: its attributes, or its address
    session BLOB NOT NULL,                 -- Acct-Session-Id
    content TEXT NOT NULL,                 -- JSON: whose it is, since when, with which addresses
    PRIMARY KEY (realm, nas, session)
) STRICT, WITHOUT ROWID;
CREATE TABLE node (                    -- one row
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    node_id  TEXT    NOT NULL,
    alive_ms INTEGER NOT NULL              -- when the gateway last said that it hears accounting, in Unix milliseconds
) STRICT;
";
/// Its owner alone: names and addresses of subscribers are in it.
const FILE_MODE: u32 = 0o600;
/// How long another program's transaction is waited for.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_millis(500);
/// After so many pages of its log SQLite brings them home: 16 MiB.
const LOG_PAGES: u32 = 4_096;

/// The key of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingKey<'a> {
    /// Space of the other two.
    pub realm: &'a str,
    /// What tells the access server.
    pub nas: &'a [u8],
    /// Acct-Session-Id.
    pub session: &'a [u8],
}

/// What becomes of a session's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingChange<'a> {
    /// The session.
    pub key: BindingKey<'a>,
    /// What is known of it; none: the row goes.
    pub content: Option<&'a str>,
}

/// The database, open.
pub struct Bindings {
    connection: Connection,
    path: PathBuf,
    /// Its lock: no two processes write sessions of one node.
    lock: File,
    /// What tells its log from another of its name; none where this file system lets SQLite have none.
    log: Option<FileId>,
}

/// What tells a file from another of its name: device and inode.
type FileId = (u64, u64);

impl Bindings {
    /// Opens or creates that of a node in its state directory. Whoever opens it has the ledger's lock.
    ///
    /// # Errors
    /// The file is another's, another node's, of a later version or damaged, or the disk says no.
    pub fn open(directory: &Path, node_id: &str) -> Result<Self, ExportError> {
        let path = directory.join(BINDINGS_NAME);
        create(&path)?;
        let lock = lock(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source| ExportError::store(&path, "opening the sessions", source);
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_WAIT).map_err(failed)?;
        let mut bindings = Self { connection, path: path.clone(), lock, log: None };
        bindings
            .connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
                 PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = {LOG_PAGES};"
            ))
            .map_err(failed)?;
        bindings.judge(node_id)?;
        bindings.log = id_of(&log_path(&path));
        Ok(bindings)
    }

    /// Creates the tables where there are none; refuses what is not this node's.
    fn judge(&mut self, node_id: &str) -> Result<(), ExportError> {
        let path = self.path.clone();
        let failed = |source| ExportError::store(&path, "checking the sessions", source);
        let number = |connection: &Connection, of: &str| {
            connection.query_row(&format!("PRAGMA {of}"), [], |row| row.get::<_, i64>(0))
        };
        let connection = &self.connection;
        let version = number(connection, "user_version").map_err(failed)?;
        let mark = number(connection, "application_id").map_err(failed)?;
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if version == 0 && tables == 0 {
            return self.create(node_id);
        }
        if mark != APPLICATION_ID {
            return Err(self.damaged("a database of another program".to_owned(), "the sessions of this node"));
        }
        if version > VERSION {
            return Err(ExportError::Newer {
                path,
                found: format!("tables of version {version}"),
                wanted: format!("at most {VERSION}"),
            });
        }
        let word: Option<String> =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).optional().map_err(failed)?;
        if word.as_deref() != Some("ok") {
            return Err(self.damaged(word.unwrap_or_default(), "a whole database"));
        }
        let owner: String =
            connection.query_row("SELECT node_id FROM node", [], |row| row.get(0)).map_err(failed)?;
        if owner == node_id {
            Ok(())
        } else {
            Err(self.damaged(format!("the sessions of node \"{owner}\""), "those of this node"))
        }
    }

    /// Creates the tables, all or none.
    fn create(&mut self, node_id: &str) -> Result<(), ExportError> {
        let failed = |source| ExportError::store(&self.path, "creating the sessions", source);
        let transaction = self.connection.transaction().map_err(failed)?;
        let work = || {
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute("INSERT INTO node VALUES (1, ?1, 0)", params![node_id])
        };
        work().map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// Gives every session, and when the gateway last said that it hears accounting, in Unix milliseconds; 0: never.
    ///
    /// # Errors
    /// The disk, or a database that is not as it was written.
    pub fn each(&self, give: &mut dyn FnMut(BindingKey<'_>, &str)) -> Result<u64, ExportError> {
        let mut work = || {
            let mut rows = self.connection.prepare("SELECT realm, nas, session, content FROM session")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let key = BindingKey {
                    realm: row.get_ref(0)?.as_str()?,
                    nas: row.get_ref(1)?.as_blob()?,
                    session: row.get_ref(2)?.as_blob()?,
                };
                give(key, row.get_ref(3)?.as_str()?);
            }
            let alive: i64 = self.connection.query_row("SELECT alive_ms FROM node", [], |row| row.get(0))?;
            Ok(u64::try_from(alive).unwrap_or(0))
        };
        work().map_err(|source| ExportError::store(&self.path, "reading the sessions", source))
    }

    /// Applies changes in their order, and notes when this was: on the disk when this returns, all or none.
    ///
    /// # Errors
    /// The disk. Nothing is changed then, and the same changes may be tried again.
    pub fn commit<'c>(
        &mut self,
        changes: impl IntoIterator<Item = BindingChange<'c>>,
        alive_ms: u64,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::store(&self.path, "saving sessions", source);
        let transaction = self.connection.transaction().map_err(failed)?;
        let work = || {
            let mut put = transaction.prepare_cached(
                "INSERT INTO session (realm, nas, session, content) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET content = excluded.content",
            )?;
            let mut delete = transaction
                .prepare_cached("DELETE FROM session WHERE realm = ?1 AND nas = ?2 AND session = ?3")?;
            for BindingChange { key: BindingKey { realm, nas, session }, content } in changes {
                match content {
                    Some(content) => put.execute(params![realm, nas, session, content])?,
                    None => delete.execute(params![realm, nas, session])?,
                };
            }
            let alive = i64::try_from(alive_ms).unwrap_or(i64::MAX);
            transaction.execute("UPDATE node SET alive_ms = ?1", params![alive])
        };
        work().map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    /// Whether the files that stand at its place are those that are open: not where somebody has removed or replaced the database
    /// or its log. To be asked after a commit.
    pub fn stands(&self) -> bool {
        let own = self.lock.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let has_log = self.log.is_none() || self.log == id_of(&log_path(&self.path));
        own.is_some() && own == id_of(&self.path) && has_log
    }

    /// The error for a database that is not what it should be.
    fn damaged(&self, found: String, wanted: &str) -> ExportError {
        ExportError::Damaged {
            path: self.path.clone(),
            found,
            wanted: wanted.to_owned(),
            remedy: "Move the file away and restart: sessions are known again when accounting speaks of them",
        }
    }
}

/// Where SQLite keeps the log of a database.
fn log_path(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// What tells the file at a path.
fn id_of(path: &Path) -> Option<FileId> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Takes the database for this process, until the value goes.
fn lock(path: &Path) -> Result<File, ExportError> {
    let file = File::open(path).map_err(|source| ExportError::io(path, "opening the sessions", source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(ExportError::Locked { path: path.to_owned() }),
        Err(error) => Err(ExportError::io(path, "locking the sessions", error.into())),
    }
}

/// Creates the database's file where there is none. SQLite gives its log and index the same permissions.
fn create(path: &Path) -> Result<(), ExportError> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(ExportError::io(path, "creating a file", source))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: BindingKey<'_> = BindingKey { realm: "default", nas: b"\x0a\0\0\x01", session: b"81a09556" };

    /// All rows.
    fn rows(bindings: &Bindings) -> (Vec<(String, Vec<u8>, String)>, u64) {
        let mut rows = Vec::new();
        let alive = bindings
            .each(&mut |key, content| {
                rows.push((key.realm.to_owned(), key.session.to_vec(), content.to_owned()))
            })
            .unwrap();
        (rows, alive)
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_and_what_was_deleted_is_not_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut bindings = Bindings::open(folder.path(), "edge-1").unwrap();
        assert_eq!(rows(&bindings), (Vec::new(), 0));
        let other = BindingKey { session: b"other", ..KEY };
        let put = |key, content| BindingChange { key, content: Some(content) };
        bindings.commit([put(KEY, "{\"a\":1}"), put(other, "{}"), put(KEY, "{\"canary\":2}")], 7).unwrap();
        drop(bindings);
        let mut bindings = Bindings::open(folder.path(), "edge-1").unwrap();
        let row =
            |session: &[u8], content: &str| ("default".to_owned(), session.to_vec(), content.to_owned());
        let both = vec![row(b"81a09556", "{\"canary\":2}"), row(b"other", "{}")];
        assert_eq!(rows(&bindings), (both, 7));
        bindings.commit([BindingChange { key: KEY, content: None }], 9).unwrap();
        assert_eq!(rows(&bindings), (vec![row(b"other", "{}")], 9));
        drop(bindings);
        let path = folder.path().join(BINDINGS_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        let bytes = std::fs::read(path).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"canary"));
    }

    #[test]
    fn a_database_or_log_that_was_removed_or_replaced_does_not_stand() {
        for (gone, put) in [
            (BINDINGS_NAME, false),
            (BINDINGS_NAME, true),
            ("sessions.db-wal", false),
            ("sessions.db-wal", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut bindings = Bindings::open(folder.path(), "edge-1").unwrap();
            for alive in 1..3 {
                bindings.commit([], alive).unwrap();
                assert!(bindings.stands());
            }
            let (path, aside) = (folder.path().join(gone), folder.path().join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            if put {
                std::fs::copy(&aside, &path).unwrap();
            }
            // It may say no of itself.
            let _ = bindings.commit([], 3);
            assert!(!bindings.stands(), "{gone}, another in its place: {put}");
        }
    }

    #[test]
    fn a_database_that_may_have_no_log_stands_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut bindings = Bindings::open(folder.path(), "edge-1").unwrap();
        assert!(bindings.log.is_some());
        bindings.connection.pragma_update(None, "journal_mode", "DELETE").unwrap();
        assert!(!folder.path().join("sessions.db-wal").exists());
        assert!(!bindings.stands(), "it had one");
        bindings.log = None;
        bindings.commit([], 1).unwrap();
        assert!(bindings.stands());
    }

    #[test]
    fn what_is_not_this_nodes_is_refused_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        drop(Bindings::open(folder.path(), "edge-1").unwrap());
        let refused = |node: &str| Bindings::open(folder.path(), node).err().unwrap().to_string();
        assert!(refused("edge-2").contains("the sessions of node \"edge-1\""), "{}", refused("edge-2"));
        let path = folder.path().join(BINDINGS_NAME);
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "user_version", 2).unwrap();
        assert!(refused("edge-1").contains("A later version"), "{}", refused("edge-1"));
        connection.pragma_update(None, "application_id", 1).unwrap();
        assert!(refused("edge-1").contains("another program"), "{}", refused("edge-1"));
        drop(connection);
        std::fs::write(&path, vec![7; 9_000]).unwrap();
        assert!(refused("edge-1").contains("sessions"), "{}", refused("edge-1"));
    }
}
