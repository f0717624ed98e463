//! The watermark file of a node, which its gateway reads: up to there the ledger has everything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Watermark;
use crate::error::{ExportError, UnknownLabel};
use crate::sink::file::sync_directory;
use crate::watermark;

/// Gateways read it under users of their own; it names no subscriber.
const MODE: u32 = 0o644;

/// Writes the watermark of a node into `dir`, complete or not at all; nothing before the first file. One writer at a time, over
/// processes: another collector may write here too.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write(dir: &Path, watermark: &Watermark) -> Result<(), ExportError> {
    if watermark.file_seq == 0 {
        return Ok(());
    }
    let node_id = &watermark.node_id;
    let target = dir.join(format!("{node_id}.json"));
    let failed = |source| ExportError::io(&target, "writing a watermark", source);
    let text = of_gateways(watermark).and_then(|mark| Ok(mark.to_text()?)).map_err(failed)?;
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

/// As gateways read it. What the ledger has was a node's name and epoch when it was taken.
fn of_gateways(watermark: &Watermark) -> io::Result<watermark::Watermark> {
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let Watermark { node_id, file_seq, epoch, record_seq, .. } = watermark;
    Ok(watermark::Watermark {
        node_id: node_id.parse().map_err(|error: UnknownLabel| wrong(error.to_string()))?,
        epoch: u32::try_from(*epoch).map_err(|_| wrong(format!("epoch {epoch}")))?,
        record_seq: *record_seq,
        file_seq: *file_seq,
    })
}
