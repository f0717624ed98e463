//! The witness: a small file outside the state directory that knows which start wrote the state last, and how many files
//! were handed to billing. A copy of the state that is put back does not bring the witness with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::epoch::{Names, Witness};
use crate::error::ExportError;
use crate::manifest::Hash;
use crate::name::FileName;
use crate::sink::file::{PART_ENDING, sync_directory, write_part};
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
    /// The hash of the values.
    fn check(&self) -> String {
        let Written { node_id, start_id, epoch, file_seq, check: _ } = self;
        Hash::of(format!("{node_id}\n{start_id}\n{epoch}\n{file_seq}\n").as_bytes()).to_string()
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
    let written = bytes.get(..bytes.len().min(WITNESS_LEN_MAX)).and_then(|bytes| {
        let written: Written = serde_json::from_slice(bytes).ok()?;
        (written.check == written.check() && written.node_id == node_id.as_str()).then_some(written)
    });
    Ok(written.map_or(Witness::Unreadable, |Written { start_id, epoch, file_seq, .. }| Witness::Says {
        start_id,
        epoch,
        file_seq,
    }))
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
    let mut written = Written {
        node_id: node_id.to_string(),
        start_id: start_id.to_owned(),
        epoch,
        file_seq,
        check: String::new(),
    };
    written.check = written.check();
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
