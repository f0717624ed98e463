//! Folders of usage files: the sink `files`, which publishes sealed files into billing's pickup folder, and further ones;
//! restartable at every step.
//!
//! The store notes two points on the way: *data ready* and *manifest ready*, each after the file is complete and synced
//! under its staging name. A staging file that is gone after its point was noted was renamed before an interruption.
//! A manifest that had its name belongs to billing, with its data: neither is written again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::ExportError;
use crate::settings::Settings;
use crate::sink::file::{Lock, PART_ENDING, hash_file, place, sync_directory, take_staging, write_part};
use crate::sink::{FILES, Phase, Progress, SealedFile, Sink};
use crate::steps::{SharedSteps, Step};
use crate::unit::NodeId;
use crate::witness::{self, Memory};

/// A folder of usage files: the pickup directory of billing, or a further one.
pub struct Folder {
    /// Its id.
    id: String,
    /// Where billing finds the files.
    pickup_dir: PathBuf,
    /// Where they are made.
    staging_dir: PathBuf,
    /// What it has besides.
    role: Role,
}

/// What a folder has besides its directories.
enum Role {
    /// The sink `files`: a file's number is told to the witnesses before it can be seen. Nobody else makes files in the staging
    /// directory for as long as the lock lasts.
    Pickup { node_id: NodeId, witness: Witness, _lock: Arc<Lock> },
    /// A further one, with a lock of its own from its first file on.
    Further(Option<Lock>),
}

/// What the witnesses of this start say.
struct Witness {
    /// The one in memory.
    memory: Memory,
    /// Id of the start, in hex.
    start_id: String,
    /// The highest epoch so far.
    epoch: u32,
    /// The highest file so far.
    file_seq: u64,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Folder {
    /// The pickup directory as a start found it.
    pub(crate) fn pickup(
        settings: &Settings,
        start_id: &str,
        epoch: u32,
        witnessed: u64,
        lock: Arc<Lock>,
    ) -> Folder {
        let Settings { node_id, pickup_dir, staging_dir, .. } = settings.clone();
        let memory = Memory::of(settings);
        let witness = Witness { memory, start_id: start_id.to_owned(), epoch, file_seq: witnessed };
        let role = Role::Pickup { node_id, witness, _lock: lock };
        Folder { id: FILES.to_owned(), pickup_dir, staging_dir, role }
    }

    /// A further folder of the same files, on one file system with its staging directory. Directories that are missing are created
    /// with its first file.
    pub fn further(id: String, dir: PathBuf, staging_dir: PathBuf) -> Folder {
        Folder { id, pickup_dir: dir, staging_dir, role: Role::Further(None) }
    }

    /// Tells the witnesses of a file, before it can be seen; of a further folder takes the lock.
    fn prepare(&mut self, file: &SealedFile<'_>) -> Result<(), ExportError> {
        let (node_id, Witness { memory, start_id, epoch, file_seq }) = match &mut self.role {
            Role::Pickup { node_id, witness, .. } => (node_id, witness),
            Role::Further(Some(_)) => return Ok(()),
            Role::Further(lock) => {
                *lock = Some(take_staging(&self.id, &self.pickup_dir, &self.staging_dir)?);
                return Ok(());
            }
        };
        let manifest = file.manifest();
        if manifest.file_seq <= *file_seq {
            return Ok(());
        }
        *epoch = manifest.epoch.max(*epoch);
        witness::write(&self.staging_dir, node_id, start_id, *epoch, manifest.file_seq)?;
        memory.write(node_id, start_id, *epoch, manifest.file_seq);
        *file_seq = manifest.file_seq;
        Ok(())
    }
}

impl Sink for Folder {
    fn id(&self) -> &str {
        &self.id
    }

    fn advance(
        &mut self,
        file: &SealedFile<'_>,
        phase: Phase,
        steps: &SharedSteps,
    ) -> Result<Progress, ExportError> {
        self.prepare(file)?;
        let places = Places::of(file, self);
        let next = match phase {
            Phase::Sealed => self.write_data(file, &places, steps)?,
            Phase::DataReady => self.place_data(file, &places, steps)?,
            Phase::ManifestReady => self.place_manifest(file, &places, steps)?,
            Phase::Published => Phase::Published,
        };
        Ok(next.into())
    }
}

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
    fn of(file: &SealedFile<'_>, folder: &Folder) -> Places {
        let (data, manifest) = (file.name().data(), file.name().manifest());
        Places {
            data_part: folder.staging_dir.join(format!("{data}{PART_ENDING}")),
            data: folder.pickup_dir.join(data),
            manifest_part: folder.staging_dir.join(format!("{manifest}{PART_ENDING}")),
            manifest: folder.pickup_dir.join(manifest),
        }
    }
}

impl Folder {
    /// Writes the data file under its staging name.
    fn write_data(
        &self,
        file: &SealedFile<'_>,
        places: &Places,
        steps: &SharedSteps,
    ) -> Result<Phase, ExportError> {
        let path = &places.data_part;
        let half = file.manifest().records.div_ceil(2);
        let mut written: u64 = 0;
        let hash = write_part(path, |writer| {
            file.render(path, writer, &mut |writer| {
                written = written.saturating_add(1);
                if written == half {
                    // What was written so far is on disk in part, as it would be after a kill here.
                    writer.flush().map_err(|source| ExportError::io(path, "writing a file", source))?;
                    steps.reach(Step::DuringPart, path)?;
                }
                Ok(())
            })
        })?;
        file.check_hash(hash)?;
        steps.reach(Step::AfterPartSync, path)?;
        sync_directory(&self.staging_dir)?;
        Ok(Phase::DataReady)
    }

    /// Gives the data file its name, then writes the manifest under its staging name.
    fn place_data(
        &self,
        file: &SealedFile<'_>,
        places: &Places,
        steps: &SharedSteps,
    ) -> Result<Phase, ExportError> {
        let sha256 = file.manifest().sha256;
        match hash_file(&places.data_part)? {
            Some(found) if found == sha256 => {
                place(&places.data_part, &places.data, sha256)?;
                steps.reach(Step::AfterDataRename, &places.data)?;
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
        sync_directory(&self.pickup_dir)?;
        sync_directory(&self.staging_dir)?;
        steps.reach(Step::AfterData, &places.data)?;
        let text = file.manifest_text()?;
        let path = &places.manifest_part;
        write_part(path, |writer| {
            let failed = |source| ExportError::io(path, "writing a manifest", source);
            let (first, second) = text.as_bytes().split_at(text.len() / 2);
            writer.write_all(first).and_then(|()| writer.flush()).map_err(failed)?;
            steps.reach(Step::DuringManifestPart, path)?;
            writer.write_all(second).map_err(failed)
        })?;
        sync_directory(&self.staging_dir)?;
        Ok(Phase::ManifestReady)
    }

    /// Gives the manifest its name: from then on both files belong to billing.
    fn place_manifest(
        &self,
        file: &SealedFile<'_>,
        places: &Places,
        steps: &SharedSteps,
    ) -> Result<Phase, ExportError> {
        match hash_file(&places.manifest_part)? {
            Some(found) if found == file.manifest_hash() => {
                if hash_file(&places.data)?.is_none() {
                    return Ok(Phase::Sealed);
                }
                place(&places.manifest_part, &places.manifest, file.manifest_hash())?;
                steps.reach(Step::AfterManifestRename, &places.manifest)?;
            }
            // Damaged while it lay there: its data has its name, the manifest is written again. Until that is noted the part
            // stays: without it the manifest would pass for one that had its name.
            Some(_) => return Ok(Phase::DataReady),
            // It had its name before an interruption; billing may have taken both away.
            None => {}
        }
        sync_directory(&self.pickup_dir)?;
        sync_directory(&self.staging_dir)?;
        steps.reach(Step::BeforePublishedMark, &places.manifest)?;
        Ok(Phase::Published)
    }
}
