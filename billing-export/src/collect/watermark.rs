//! The watermark file of a node, which its gateway reads: up to there the ledger has everything.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

use super::Watermark;
use crate::error::ExportError;
use crate::sink::file::sync_directory;

/// Version of the file.
const FORMAT: u32 = 1;
/// Gateways read it under users of their own; it names no subscriber.
const MODE: u32 = 0o644;

/// The file's text.
#[derive(Serialize)]
struct Text<'w> {
    /// [`FORMAT`].
    format: u32,
    /// The node.
    node_id: &'w str,
    /// The epoch of the last record.
    epoch: u64,
    /// The last record of the unbroken run.
    record_seq: String,
    /// Its file.
    file_seq: String,
}

/// Writes the watermark of a node into `dir`, complete or not at all; nothing before the first file. One writer at a time, over
/// processes: another collector may write here too.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(dir: &Path, watermark: &Watermark) -> Result<(), ExportError> {
    if watermark.file_seq == 0 {
        return Ok(());
    }
    let Watermark { node_id, file_seq, epoch, record_seq, .. } = watermark;
    let text = Text {
        format: FORMAT,
        node_id,
        epoch: *epoch,
        record_seq: record_seq.to_string(),
        file_seq: file_seq.to_string(),
    };
    let target = dir.join(format!("{node_id}.json"));
    let failed = |source| ExportError::io(&target, "writing a watermark", source);
    let text = serde_json::to_string(&text).map_err(|error| failed(error.into()))?;
    let text = format!("{text}\n");
    if fs::read_to_string(&target).is_ok_and(|found| found == text) {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(dir.join(".lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let part = dir.join(format!("{node_id}.json.part"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&part).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&part, &target).map_err(failed)?;
    sync_directory(dir)
}
