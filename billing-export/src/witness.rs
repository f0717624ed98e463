//! The witness: a small file outside the state directory that knows which start wrote the state last, and how many files
//! were handed to billing. A copy of the state that is put back does not bring the witness with it.
//!
//! A second one stands in a directory in memory, for copies that bring the first one with them. It is worth what memory
//! is: gone after a boot, and no fault where it is gone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::epoch::{Names, Witness};
use crate::error::ExportError;
use crate::manifest::Hash;
use crate::name::FileName;
use crate::settings::Settings;
use crate::sink::file::{PART_ENDING, create_directory, sync_directory, write_part};
use crate::unit::NodeId;

/// Longest witness read; a real one has about 250 bytes.
const WITNESS_LEN_MAX: usize = 4096;

/// The witness as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The gateway.
    node_id: String,
    /// Id of the last start, in hex.
    start_id: String,
    /// The epoch.
    epoch: u32,
    /// Highest file whose publication was begun.
    file_seq: u64,
    /// Hash of the other values: a damaged witness is not believed.
    check: String,
}

impl Written {
    /// A witness with its hash.
    fn new(node_id: &NodeId, start_id: &str, epoch: u32, file_seq: u64) -> Written {
        let (node_id, start_id) = (node_id.to_string(), start_id.to_owned());
        let written = Written { node_id, start_id, epoch, file_seq, check: String::new() };
        Written { check: written.check(), ..written }
    }

    /// What it says, if it is whole and of this node.
    fn says(self, node_id: &NodeId) -> Option<Witness> {
        let whole = self.check == self.check() && self.node_id == node_id.as_str();
        let Written { start_id, epoch, file_seq, .. } = self;
        whole.then_some(Witness::Says { start_id, epoch, file_seq })
    }

    /// The hash of the values.
    fn check(&self) -> String {
        let Written { node_id, start_id, epoch, file_seq, check: _ } = self;
        Hash::of(format!("{node_id}\n{start_id}\n{epoch}\n{file_seq}\n").as_bytes()).to_string()
    }
}

/// The witness in memory as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InMemory {
    /// What the witness on the disk says too.
    witness: Written,
    /// The boot it was written in; empty where that is not known.
    boot_id: String,
    /// The pickup directory.
    pickup_dir: PathBuf,
    /// What tells it from another directory that stood there before.
    pickup_made: String,
}

/// Most files looked at when witnesses of nodes that are gone are removed.
const SWEEP_MAX: usize = 4096;

/// What tells a directory from another one of its name: where it is, and when it was made.
fn made(directory: &Path) -> Option<String> {
    let metadata = fs::metadata(directory).ok()?;
    let born = metadata.created().ok().and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    Some(format!("{}:{}:{}", metadata.dev(), metadata.ino(), born.unwrap_or_default().as_nanos()))
}

/// The witness of a node in memory: by node and pickup directory, for one machine may carry several nodes of one name.
#[derive(Default)]
pub(crate) struct Memory {
    /// The file; none where there is no such directory.
    path: Option<PathBuf>,
    /// The boot; empty where it is not known.
    boot_id: String,
    /// The pickup directory.
    pickup_dir: PathBuf,
}

impl Memory {
    /// The place of a node's witness in memory.
    pub(crate) fn of(settings: &Settings) -> Memory {
        let pickup_dir =
            fs::canonicalize(&settings.pickup_dir).unwrap_or_else(|_| settings.pickup_dir.clone());
        let name = Hash::of(pickup_dir.as_os_str().as_encoded_bytes()).to_string();
        let name = format!("{}-{}.witness", settings.node_id, name.get(..16).unwrap_or_default());
        let path = settings.memory_dir.as_ref().map(|directory| directory.join(name));
        Memory { path, boot_id: settings.boot_id.clone().unwrap_or_default(), pickup_dir }
    }

    /// Reads it. One of another boot or of another pickup directory says nothing, and so does one that cannot be read;
    /// where a ledger is there, the directory may have been put back with it.
    pub(crate) fn read(&self, node_id: &NodeId, has_ledger: bool) -> Witness {
        let Some(bytes) = self.path.as_ref().and_then(|path| fs::read(path).ok()) else {
            return Witness::Absent;
        };
        let written = bytes.get(..bytes.len().min(2 * WITNESS_LEN_MAX));
        let Some(found) = written.and_then(|bytes| serde_json::from_slice::<InMemory>(bytes).ok()) else {
            return Witness::Absent;
        };
        let same_place = has_ledger || made(&self.pickup_dir) == Some(found.pickup_made);
        let ours = found.boot_id == self.boot_id && found.pickup_dir == self.pickup_dir && same_place;
        match found.witness.says(node_id) {
            Some(witness) if ours => witness,
            Some(_) | None => Witness::Absent,
        }
    }

    /// Writes it as far as that is possible: what it cannot say is not said wrongly.
    pub(crate) fn write(&self, node_id: &NodeId, start_id: &str, epoch: u32, file_seq: u64) {
        let Some(path) = &self.path else { return };
        let pickup_made = made(&self.pickup_dir).unwrap_or_default();
        let (boot_id, pickup_dir) = (self.boot_id.clone(), self.pickup_dir.clone());
        let written = Written::new(node_id, start_id, epoch, file_seq);
        let said = InMemory { witness: written, boot_id, pickup_dir, pickup_made };
        let part = path.with_extension("part");
        let put = write_part(&part, |writer| {
            let line = serde_json::to_writer(&mut *writer, &said).map_err(io::Error::from);
            line.map_err(|source| ExportError::io(&part, "writing the witness", source))
        });
        if put.is_err() || fs::rename(&part, path).is_err() {
            let _ = fs::remove_file(&part);
            let _ = fs::remove_file(path);
        }
    }

    /// Removes what nodes left behind whose pickup directory is gone, and makes the directory where it is missing.
    pub(crate) fn prepare(&self) {
        let Some(directory) = self.path.as_ref().and_then(|path| path.parent()) else { return };
        let _ = create_directory(directory);
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.take(SWEEP_MAX).flatten() {
            let said =
                fs::read(entry.path()).ok().and_then(|bytes| serde_json::from_slice::<InMemory>(&bytes).ok());
            if said.is_some_and(|said| !said.pickup_dir.exists()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Where the witness of a node stands.
pub(crate) fn path(staging_dir: &Path, node_id: &NodeId) -> PathBuf {
    staging_dir.join(format!("{node_id}.witness"))
}

/// Reads the witness of a node.
pub(crate) fn read(staging_dir: &Path, node_id: &NodeId) -> Result<Witness, ExportError> {
    let path = path(staging_dir, node_id);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Witness::Absent),
        Err(error) => return Err(ExportError::io(&path, "reading the witness", error)),
    };
    let written = bytes.get(..bytes.len().min(WITNESS_LEN_MAX));
    let written = written.and_then(|bytes| serde_json::from_slice::<Written>(bytes).ok());
    Ok(written.and_then(|written| written.says(node_id)).unwrap_or(Witness::Unreadable))
}

/// Writes the witness: the old one or the new one is there, never a part of one.
pub(crate) fn write(
    staging_dir: &Path,
    node_id: &NodeId,
    start_id: &str,
    epoch: u32,
    file_seq: u64,
) -> Result<(), ExportError> {
    let path = path(staging_dir, node_id);
    let part = staging_dir.join(format!("{node_id}.witness{PART_ENDING}"));
    let written = Written::new(node_id, start_id, epoch, file_seq);
    write_part(&part, |writer| {
        serde_json::to_writer(&mut *writer, &written)
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(|source| ExportError::io(&part, "writing the witness", source))
    })?;
    fs::rename(&part, &path)
        .map_err(|source| ExportError::io(&path, "putting the witness in place", source))?;
    sync_directory(staging_dir)
}

/// Highest epoch and file number among a node's names in the pickup directory.
pub(crate) fn names(pickup_dir: &Path, node_id: &NodeId) -> Result<Names, ExportError> {
    let failed = |source| ExportError::io(pickup_dir, "reading the names in the directory", source);
    let mut names = Names::default();
    for entry in fs::read_dir(pickup_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().and_then(|name| FileName::of_file(name).ok()) else {
            continue;
        };
        if name.node_id() == node_id {
            names.epoch = names.epoch.max(name.epoch());
            names.file_seq = names.file_seq.max(name.file_seq());
        }
    }
    Ok(names)
}
