//! What becomes of files once the ledger has them: they stay, are removed, or are moved to another folder.
//!
//! The data file goes first and the manifest last, so that a stop between the two leaves a manifest that the ledger knows: the
//! next look finishes it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::config::Done;
use crate::error::ExportError;
use crate::sink::file::{PART_ENDING, hash_file, place, remove_if_there, sync_directory, write_part};

/// Does with a data file and its manifest what the configuration says. Either may be gone already.
///
/// # Errors
/// A file that cannot be moved or removed; what the ledger has does not change.
pub(super) fn settle(done: &Done, dir: &Path, data: &str, manifest: &str) -> Result<(), ExportError> {
    match done {
        Done::Keep => Ok(()),
        Done::Delete => {
            for name in [data, manifest] {
                remove_if_there(&dir.join(name))?;
                sync_directory(dir)?;
            }
            Ok(())
        }
        Done::Move(folder) => {
            for name in [data, manifest] {
                move_file(&dir.join(name), folder, name)?;
                sync_directory(folder)?;
                sync_directory(dir)?;
            }
            Ok(())
        }
    }
}

/// Moves one file, over file systems too; never onto another content. A file that is gone was moved before.
fn move_file(from: &Path, folder: &Path, name: &str) -> Result<(), ExportError> {
    let to = folder.join(name);
    match renameat_with(CWD, from, CWD, &to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::EXIST) if hash_file(from)? == hash_file(&to)? => remove_if_there(from),
        Err(rustix::io::Errno::EXIST) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "another content has this name there");
            Err(failed(from, source, "Move the other file away: it was not delivered under this name"))
        }
        Err(rustix::io::Errno::XDEV) => copy_over(from, folder, name),
        Err(errno) => Err(failed(
            from,
            errno.into(),
            "Give the collector the right to write in both folders; the ledger has the file",
        )),
    }
}

/// Copies a file to another file system and removes it here once it is there whole.
fn copy_over(from: &Path, folder: &Path, name: &str) -> Result<(), ExportError> {
    let part = folder.join(format!("{name}{PART_ENDING}"));
    let reading = |source| ExportError::io(from, "reading a file", source);
    let mut file = File::open(from).map_err(reading)?;
    let hash = write_part(&part, |writer| io::copy(&mut file, writer).map(|_| ()).map_err(reading))?;
    place(&part, &folder.join(name), hash)?;
    sync_directory(folder)?;
    fs::remove_file(from).map_err(|source| ExportError::io(from, "removing a file", source))
}

/// The error of a file that stays where it is.
fn failed(path: &Path, source: io::Error, remedy: &'static str) -> ExportError {
    ExportError::Io { path: path.to_owned(), action: "moving a file that the ledger has", source, remedy }
}
