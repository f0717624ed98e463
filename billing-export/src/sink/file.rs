//! Files that are complete or not there: written under a staging name, synced, renamed without replacing, directories
//! synced (notes/billing §1.3).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

use crate::error::ExportError;
use crate::manifest::Hash;

/// Ending of a file that is not complete.
pub(crate) const PART_ENDING: &str = ".part";
/// Usage files name subscribers: the owner writes, the group reads, others do not.
const FILE_MODE: u32 = 0o640;
/// The same for directories.
const DIRECTORY_MODE: u32 = 0o750;
/// Bytes read at once when a file is hashed.
const HASH_BLOCK_LEN: usize = 64 * 1024;

/// Creates a directory and those above it, closed to others; one that exists stays as it is.
pub(crate) fn create_directory(path: &Path) -> Result<(), ExportError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|source| ExportError::io(path, "creating the directory", source))
}

/// Creates an empty file closed to others; one that exists stays as it is, and is not even opened: closing it again would
/// give back the locks that another connection of this process has on it.
pub(crate) fn create_file(path: &Path) -> Result<(), ExportError> {
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(ExportError::io(path, "creating a file", source)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), ExportError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| ExportError::io(path, "syncing the directory", source))
}

/// Writes a file under its staging name, from nothing, and syncs it. Returns its hash.
pub(crate) fn write_part(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<Hash, ExportError> {
    let failed = |source| ExportError::io(path, "writing a file", source);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|source| ExportError::io(path, "creating a file", source))?;
    let mut hashing = Hashing::new(BufWriter::new(file));
    fill(&mut hashing)?;
    hashing.flush().map_err(failed)?;
    hashing.inner.get_ref().sync_all().map_err(|source| ExportError::io(path, "syncing a file", source))?;
    Ok(hashing.finish())
}

/// A writer that hashes what passes.
pub(crate) struct Hashing<W> {
    /// Where it goes.
    inner: W,
    /// What passed.
    hasher: Sha256,
}

impl<W> Hashing<W> {
    /// What is written goes on to `inner`.
    pub(crate) fn new(inner: W) -> Hashing<W> {
        Hashing { inner, hasher: Sha256::new() }
    }

    /// The hash of what was written.
    pub(crate) fn finish(self) -> Hash {
        Hash::finish(self.hasher)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The hash of a file; none if there is no file.
pub(crate) fn hash_file(path: &Path) -> Result<Option<Hash>, ExportError> {
    let failed = |source| ExportError::io(path, "reading a file", source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut reader = BufReader::new(file);
    let mut hasher = Sha256::new();
    let mut block = vec![0_u8; HASH_BLOCK_LEN];
    loop {
        match reader.read(&mut block).map_err(failed)? {
            0 => return Ok(Some(Hash::finish(hasher))),
            read => hasher.update(block.get(..read).unwrap_or_default()),
        }
    }
}

/// Gives a complete file its name, if nothing else has it. A file of equal content that has it already is ours from
/// before an interruption, and accepted.
pub(crate) fn place(part: &Path, target: &Path, hash: Hash) -> Result<(), ExportError> {
    match renameat_with(CWD, part, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            let found = hash_file(target)?;
            if found == Some(hash) {
                return remove_if_there(part);
            }
            Err(ExportError::NameTaken {
                path: target.to_owned(),
                part: part.to_owned(),
                found: found.map_or_else(|| "nothing".into(), |hash| hash.to_string()),
                wanted: hash.to_string(),
            })
        }
        Err(errno) => Err(ExportError::io(target, "renaming a complete file into place", errno.into())),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), ExportError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ExportError::io(path, "removing a file", error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The directories of a sink, made where they are missing, and the lock on its staging directory.
pub(crate) fn take_staging(id: &str, dir: &Path, staging_dir: &Path) -> Result<Lock, ExportError> {
    create_directory(dir)?;
    create_directory(staging_dir)?;
    Lock::take(staging_dir.join(format!("{id}.lock")))
}

/// A lock on a directory, held while the value lives, and given back by the system when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The locked file.
    file: File,
}

impl Drop for Lock {
    /// Unlocked by word, not only closed: a process that was started at this moment holds a copy of the descriptor until it
    /// runs its own program, and with the copy the lock (flock(2)).
    fn drop(&mut self) {
        // Where it fails, closing the file is left.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock.
    pub(crate) fn take(path: PathBuf) -> Result<Lock, ExportError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|source| ExportError::io(&path, "opening the lock", source))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file }),
            Err(fs::TryLockError::WouldBlock) => Err(ExportError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => Err(ExportError::io(&path, "taking the lock", source)),
        }
    }
}
