//! Publication of sealed files, restartable at every step.
//!
//! The store notes two points on the way: *data ready* and *manifest ready*, each after the file is complete and synced
//! under its staging name. A staging file that is gone after its point was noted was renamed before an interruption.
//! A manifest that had its name belongs to billing, with its data: neither is written again.

use std::path::{Path, PathBuf};

use crate::codec::csv;
use crate::error::ExportError;
use crate::manifest::Hash;
use crate::settings::Settings;
use crate::sink::file::{PART_ENDING, hash_file, place, remove_if_there, sync_directory, write_part};
use crate::steps::{Step, Steps};
use crate::store::{FileRow, Phase, Store};

/// Where the four files of one publication stand.
struct Places {
    /// The data file, incomplete or not yet in place.
    data_part: PathBuf,
    /// The data file in place.
    data: PathBuf,
    /// The manifest, incomplete or not yet in place.
    manifest_part: PathBuf,
    /// The manifest in place.
    manifest: PathBuf,
}

impl Places {
    /// The places of a file.
    fn of(file: &FileRow, settings: &Settings) -> Places {
        let (data, manifest) = (file.name.data(), file.name.manifest());
        Places {
            data_part: settings.staging_dir.join(format!("{data}{PART_ENDING}")),
            data: settings.pickup_dir.join(data),
            manifest_part: settings.staging_dir.join(format!("{manifest}{PART_ENDING}")),
            manifest: settings.pickup_dir.join(manifest),
        }
    }
}

/// Publishes every sealed file, in order. `witness` is told of a file before it can be seen.
pub(super) fn publish(
    store: &mut Store,
    settings: &Settings,
    witness: &mut dyn FnMut(u64) -> Result<(), ExportError>,
    steps: &mut dyn Steps,
) -> Result<u64, ExportError> {
    let mut published: u64 = 0;
    while let Some(file) = store.next_unpublished()? {
        witness(file.manifest.file_seq)?;
        let places = Places::of(&file, settings);
        let mut phase = file.phase;
        loop {
            phase = match phase {
                Phase::Sealed => write_data(store, &file, &places, settings, steps)?,
                Phase::DataReady => place_data(store, &file, &places, settings, steps)?,
                Phase::ManifestReady => place_manifest(store, &file, &places, settings, steps)?,
                Phase::Published => break,
            };
        }
        published = published.saturating_add(1);
    }
    Ok(published)
}

/// Reaches a named point.
fn reach(steps: &mut dyn Steps, step: Step, path: &Path) -> Result<(), ExportError> {
    steps.at(step).map_err(|source| ExportError::io(path, step.label(), source))
}

/// Writes the data file under its staging name.
fn write_data(
    store: &mut Store,
    file: &FileRow,
    places: &Places,
    settings: &Settings,
    steps: &mut dyn Steps,
) -> Result<Phase, ExportError> {
    let path = &places.data_part;
    let half = file.manifest.records.div_ceil(2);
    let mut written: u64 = 0;
    let hash = write_part(path, |writer| {
        render(store, file, path, writer, &mut |writer| {
            written = written.saturating_add(1);
            if written == half {
                // What was written so far is on disk in part, as it would be after a kill here.
                writer.flush().map_err(|source| ExportError::io(path, "writing a file", source))?;
                reach(steps, Step::DuringPart, path)?;
            }
            Ok(())
        })
    })?;
    check_hash(store, file, hash)?;
    reach(steps, Step::AfterPartSync, path)?;
    sync_directory(&settings.staging_dir)?;
    store.set_phase(file.manifest.file_seq, Phase::DataReady)?;
    Ok(Phase::DataReady)
}

/// Gives the data file its name, then writes the manifest under its staging name.
fn place_data(
    store: &mut Store,
    file: &FileRow,
    places: &Places,
    settings: &Settings,
    steps: &mut dyn Steps,
) -> Result<Phase, ExportError> {
    let sha256 = file.manifest.sha256;
    match hash_file(&places.data_part)? {
        Some(found) if found == sha256 => {
            place(&places.data_part, &places.data, sha256)?;
            reach(steps, Step::AfterDataRename, &places.data)?;
        }
        // Damaged while it lay there.
        Some(_) => return Ok(Phase::Sealed),
        None => match hash_file(&places.data)? {
            Some(found) if found == sha256 => {}
            Some(found) => {
                return Err(ExportError::NameTaken {
                    path: places.data.clone(),
                    part: places.data_part.clone(),
                    found: found.to_string(),
                    wanted: sha256.to_string(),
                });
            }
            // Not billing's before its manifest is there: somebody removed it.
            None => return Ok(Phase::Sealed),
        },
    }
    sync_directory(&settings.pickup_dir)?;
    sync_directory(&settings.staging_dir)?;
    reach(steps, Step::AfterData, &places.data)?;
    let text = manifest_text(store, file)?;
    let path = &places.manifest_part;
    write_part(path, |writer| {
        let failed = |source| ExportError::io(path, "writing a manifest", source);
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        writer.write_all(first).and_then(|()| writer.flush()).map_err(failed)?;
        reach(steps, Step::DuringManifestPart, path)?;
        writer.write_all(second).map_err(failed)
    })?;
    sync_directory(&settings.staging_dir)?;
    store.set_phase(file.manifest.file_seq, Phase::ManifestReady)?;
    Ok(Phase::ManifestReady)
}

/// Gives the manifest its name: from then on both files belong to billing.
fn place_manifest(
    store: &mut Store,
    file: &FileRow,
    places: &Places,
    settings: &Settings,
    steps: &mut dyn Steps,
) -> Result<Phase, ExportError> {
    match hash_file(&places.manifest_part)? {
        Some(found) if found == file.manifest_hash => {
            if hash_file(&places.data)?.is_none() {
                return Ok(Phase::Sealed);
            }
            place(&places.manifest_part, &places.manifest, file.manifest_hash)?;
            reach(steps, Step::AfterManifestRename, &places.manifest)?;
        }
        // Damaged while it lay there: its data has its name, the manifest is written again.
        Some(_) => {
            remove_if_there(&places.manifest_part)?;
            return Ok(Phase::DataReady);
        }
        // It had its name before an interruption; billing may have taken both away.
        None => {}
    }
    sync_directory(&settings.pickup_dir)?;
    sync_directory(&settings.staging_dir)?;
    reach(steps, Step::BeforePublishedMark, &places.manifest)?;
    store.set_phase(file.manifest.file_seq, Phase::Published)?;
    reach(steps, Step::AfterPublishedMark, &places.manifest)?;
    Ok(Phase::Published)
}

/// What follows each row of a rendering.
pub(crate) type AfterRow<'a> =
    dyn FnMut(&mut csv::Writer<&mut dyn std::io::Write>) -> Result<(), ExportError> + 'a;

/// Writes the rows of a sealed file to `writer`, which stands for `path`; `after_row` follows each.
pub(crate) fn render(
    store: &Store,
    file: &FileRow,
    path: &Path,
    writer: &mut dyn std::io::Write,
    after_row: &mut AfterRow<'_>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::io(path, "rendering a sealed file", source);
    let mut rows = csv::Writer::new(writer, file.format).map_err(failed)?;
    store.each_record(file, &mut |record| {
        rows.write(record).map_err(failed)?;
        after_row(&mut rows)
    })?;
    rows.finish().map_err(failed)?;
    Ok(())
}

/// Refuses a rendering that is not what was sealed.
pub(crate) fn check_hash(store: &Store, file: &FileRow, found: Hash) -> Result<(), ExportError> {
    if found == file.manifest.sha256 {
        return Ok(());
    }
    Err(damaged(store, file, "records", found, file.manifest.sha256))
}

/// The manifest of a sealed file, checked against the hash it was sealed with.
pub(crate) fn manifest_text(store: &Store, file: &FileRow) -> Result<String, ExportError> {
    let text = file
        .manifest
        .to_text()
        .map_err(|error| ExportError::io(store.path(), "rendering a manifest", error.into()))?;
    let found = Hash::of(text.as_bytes());
    if found == file.manifest_hash {
        return Ok(text);
    }
    Err(damaged(store, file, "figures", found, file.manifest_hash))
}

/// The error for sealed rows that are not what they were.
fn damaged(store: &Store, file: &FileRow, what: &str, found: Hash, wanted: Hash) -> ExportError {
    ExportError::Damaged {
        path: store.path().to_owned(),
        found: format!("{what} of file {} with sha256 {found}", file.name),
        wanted: format!("{wanted}, as sealed"),
        remedy: "The ledger was changed after the seal: restore the state directory from a copy, which begins a new \
                 epoch with a gap record",
    }
}
