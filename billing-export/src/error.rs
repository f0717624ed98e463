//! What can go wrong, with place, what was found, what was wanted, and the remedy.

use std::io;
use std::path::{Path, PathBuf};

use crate::codec::account::FieldError;

/// A word outside its vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: found {found:?}, wanted {wanted}")]
pub struct UnknownLabel {
    /// Which vocabulary.
    what: &'static str,
    /// The word, cut to a readable length.
    found: String,
    /// What would have been right.
    wanted: &'static str,
}

/// Longest part of a foreign word repeated in a message, in characters.
const FOUND_LEN_MAX: usize = 64;

impl UnknownLabel {
    /// The error for `found` in the vocabulary `what`.
    pub(crate) fn new(what: &'static str, found: &str, wanted: &'static str) -> UnknownLabel {
        UnknownLabel { what, found: found.chars().take(FOUND_LEN_MAX).collect(), wanted }
    }
}

/// Why the ledger refuses a tick. Nothing of a refused tick is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A count beyond what the store can keep exactly.
    #[error("{what}: found a sum above {max}, wanted at most that; the tick is not applied")]
    TooLarge {
        /// Which count.
        what: &'static str,
        /// The greatest that can be kept.
        max: u64,
    },
    /// A text that no row could carry.
    #[error(
        "{what}: found {found:?}, wanted 1 to 253 bytes without control characters; the tick is not applied"
    )]
    Text {
        /// Which text.
        what: &'static str,
        /// The text.
        found: String,
    },
    /// More open counters than allowed.
    #[error(
        "found {found} open counters, wanted at most {max} (export.accounts_max); the tick is not applied. \
         Raise export.accounts_max, or shorten export.period so that counters are sealed sooner"
    )]
    AccountsMax {
        /// Counters needed.
        found: usize,
        /// Counters allowed.
        max: usize,
    },
}

/// Why an export operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or directory.
    #[error("{path}: {action}: {source}. {remedy}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's word.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The store.
    #[error("{path}: {action}: {source}. {remedy}")]
    Store {
        /// The database file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// SQLite's word.
        source: rusqlite::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The tick was refused; the state is unchanged.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process holds the directory.
    #[error(
        "{path}: found it locked by another process, wanted it for this one. Two exporters must not share a \
         directory: stop the other process, or give this node directories of its own"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// What is stored contradicts itself or what was expected.
    #[error("{path}: found {found}, wanted {wanted}. {remedy}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What should stand there.
        wanted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A later version of the program wrote it.
    #[error(
        "{path}: found {found}, wanted {wanted}. A later version of the gateway wrote it, and it stays as it is: run that \
         version, or a later one"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What is known here.
        wanted: String,
    },
    /// A row of the ledger is not as this process wrote it.
    #[error(
        "{path}: found {what} that another hand has changed while the gateway ran, wanted it as it was written. The \
         ledger is opened anew: what was changed is set aside and never published"
    )]
    Changed {
        /// The database.
        path: PathBuf,
        /// Which row.
        what: &'static str,
    },
    /// The name of a usage file is taken by another content.
    #[error(
        "{path}: found a file with sha256 {found}, wanted {wanted} or none, as {part} has. It was not written by this \
         node: move it away, then the complete file takes its name"
    )]
    NameTaken {
        /// The name in the pickup directory.
        path: PathBuf,
        /// Our file, complete, in the staging directory.
        part: PathBuf,
        /// The hash of what stands there.
        found: String,
        /// The hash of ours.
        wanted: String,
    },
    /// No such sealed file.
    #[error("{path}: found no sealed file with file_seq {file_seq}, wanted {wanted}")]
    NoSuchFile {
        /// The database.
        path: PathBuf,
        /// The number asked for.
        file_seq: u64,
        /// The numbers there are.
        wanted: String,
    },
    /// Settings that cannot work together.
    #[error("{0}")]
    Settings(String),
}

impl ExportError {
    /// Whether the state after the error is known to be the state before it, so that nothing has to be read again.
    pub(crate) fn leaves_state_known(&self) -> bool {
        match self {
            ExportError::Ledger(_) | ExportError::NoSuchFile { .. } | ExportError::Settings(_) => true,
            ExportError::Io { .. }
            | ExportError::Store { .. }
            | ExportError::Locked { .. }
            | ExportError::Damaged { .. }
            | ExportError::Newer { .. }
            | ExportError::Changed { .. }
            | ExportError::NameTaken { .. } => false,
        }
    }

    /// An input/output error with the remedy that fits it.
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> ExportError {
        let remedy = io_remedy(&source);
        ExportError::Io { path: path.to_owned(), action, source, remedy }
    }

    /// An error about what somebody named to be read.
    pub(crate) fn reading(path: &Path, action: &'static str, source: io::Error) -> ExportError {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => {
                "Correct the path: a directory with usage files, or files that end in .csv or .manifest.json"
            }
            io::ErrorKind::PermissionDenied => "Give the user who runs this the right to read it",
            _ => "Nothing was changed; try again, or read a copy",
        };
        ExportError::Io { path: path.to_owned(), action, source, remedy }
    }

    /// A store error with the remedy that fits it.
    pub(crate) fn store(path: &Path, action: &'static str, source: rusqlite::Error) -> ExportError {
        let remedy = store_remedy(&source);
        ExportError::Store { path: path.to_owned(), action, source, remedy }
    }
}

/// Shown where a repetition is all that can be advised.
const REMEDY_AGAIN: &str =
    "Nothing incomplete is visible to billing; the operation is tried again at the next call";

/// What to do about a system error.
fn io_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free space on this file system; nothing incomplete is visible to billing and the operation is tried again"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "Mount the file system writable; the operation is tried again at the next call"
        }
        io::ErrorKind::PermissionDenied => {
            "Give the gateway's user read and write permission here; the operation is tried again at the next call"
        }
        io::ErrorKind::CrossesDevices => {
            "Put export.staging_dir on the file system of export.dir: a rename cannot cross file systems"
        }
        io::ErrorKind::NotFound => "Create the directory, or correct the path in the configuration",
        _ => REMEDY_AGAIN,
    }
}

/// What to do about a store error.
fn store_remedy(source: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    if std::error::Error::source(source)
        .is_some_and(|word| word.is::<UnknownLabel>() || word.is::<FieldError>())
    {
        return "A later version of the gateway wrote it, or another hand: run the version that wrote it, or a later one";
    }
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "Free space on this file system; what was committed is kept and the operation is tried again"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "Give the gateway's user read and write permission on the state directory and the files in it"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "Move the state directory away and start again: the node goes on in a new epoch, with a gap record"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Close the other program that writes to the ledger; reading it is harmless"
        }
        _ => "What was committed is kept; the state is read again before the next operation",
    }
}
