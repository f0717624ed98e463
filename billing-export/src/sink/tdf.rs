//! A sink of files of charging records (TS 32.297, TS 32.298): one for each usage file that has rows of the wanted classes.
//!
//! Running count and local sequence numbers are the sink's own. What it has counted up to a usage file is kept in the ledger, in
//! the transaction that says that the file is done, so each file is a function of sealed records, those counts and the
//! profile. Before a file can be seen its name and hash are kept too: a change of the configuration in between makes no
//! second file of the same records. A part that is gone after that was renamed, and belongs to the receiver.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ExportError;
use crate::manifest::Hash;
use crate::sink::file::{Lock, hash_file, place, sync_directory, take_staging, write_part};
use crate::sink::{Phase, Progress, SealedFile, Sink};
use crate::steps::{SharedSteps, Step};
use crate::tdf::{Composer, Counts, FileHeader, Outline, Profile, RecordError, SessionFacts};

/// A sink of files of charging records.
#[derive(Debug)]
pub struct Tdf {
    /// Its id.
    id: String,
    /// Where the receiver finds the files.
    dir: PathBuf,
    /// Where they are made; on the file system of `dir`.
    staging_dir: PathBuf,
    /// What is agreed.
    profile: Profile,
    /// Held from the first file on: nobody else makes files of this sink in the staging directory.
    lock: Option<Lock>,
}

/// What the sink keeps of a file, as JSON in table `delivery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// What is counted after it.
    counts: Counts,
    /// The file; none where no row had a place in one.
    file: Option<Made>,
}

/// A file that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Its name.
    name: String,
    /// Its hash.
    sha256: Hash,
}

impl Tdf {
    /// A sink; directories that are missing are created with its first file.
    pub fn new(id: String, dir: PathBuf, staging_dir: PathBuf, profile: Profile) -> Tdf {
        Tdf { id, dir, staging_dir, profile, lock: None }
    }

    /// The one file that is not complete.
    fn part(&self) -> PathBuf {
        self.staging_dir.join(format!("{}.cdr.part", self.id))
    }

    /// The directories, and the lock on the staging directory.
    fn prepare(&mut self) -> Result<(), ExportError> {
        if self.lock.is_none() {
            self.lock = Some(take_staging(&self.id, &self.dir, &self.staging_dir)?);
        }
        Ok(())
    }

    /// The error for a record that the profile cannot write.
    fn refused(&self, error: &RecordError) -> ExportError {
        ExportError::Settings(format!("sink {}: {error}", self.id))
    }

    /// What was kept, read back.
    fn kept(&self, file: &SealedFile<'_>, text: Option<&str>) -> Result<Option<Kept>, ExportError> {
        let damaged = |found: String| ExportError::Damaged {
            path: PathBuf::from(file.name().data()),
            found,
            wanted: "the counts and the name that it wrote".to_owned(),
            remedy: "Table delivery of the ledger was changed by another hand: restore the state directory from a copy, or \
                     give the sink another id, with which it begins to count anew",
        };
        let Some(text) = text else { return Ok(None) };
        let kept: Kept = serde_json::from_str(text)
            .map_err(|error| damaged(format!("kept for sink {}: {error}", self.id)))?;
        let is_name = |made: &Made| Path::new(&made.name).file_name() == Some(made.name.as_ref());
        match kept.file.as_ref().filter(|made| !is_name(made)) {
            Some(made) => Err(damaged(format!("the name {:?}", made.name))),
            None => Ok(Some(kept)),
        }
    }

    /// The first pass: what the file is, if there is one.
    fn outline(&self, file: &SealedFile<'_>, before: Counts) -> Result<Outline, ExportError> {
        let mut composer = Composer::new(&self.profile, before, file.manifest().epoch);
        let facts = SessionFacts::default();
        file.each_sealed_record(&mut |record| {
            composer.add(record, &facts).map(drop).map_err(|error| self.refused(&error))
        })?;
        Ok(composer.outline())
    }

    /// The second pass: the octets of the file.
    fn render(
        &self,
        file: &SealedFile<'_>,
        before: Counts,
        header: &FileHeader,
        writer: &mut dyn Write,
        steps: &SharedSteps,
    ) -> Result<(), ExportError> {
        let part = self.part();
        let failed = |source| ExportError::io(&part, "writing a file", source);
        header.write(writer).map_err(failed)?;
        let mut composer = Composer::new(&self.profile, before, file.manifest().epoch);
        let facts = SessionFacts::default();
        let half = u64::from(header.cdrs).div_ceil(2);
        let mut written: u64 = 0;
        file.each_record(&mut |record| {
            let cdr = composer.add(record, &facts).map_err(|error| self.refused(&error))?;
            let Some(cdr) = cdr else { return Ok(()) };
            writer.write_all(&cdr).map_err(failed)?;
            written = written.saturating_add(1);
            if written == half {
                // What was written so far is on disk in part, as it would be after a kill here.
                writer.flush().map_err(failed)?;
                steps.reach(Step::DuringPart, &part)?;
            }
            Ok(())
        })
    }

    /// Makes the file under its staging name, if there is one.
    fn make(&self, file: &SealedFile<'_>, steps: &SharedSteps) -> Result<Progress, ExportError> {
        let before = self.kept(file, file.kept_before())?.map(|kept| kept.counts).unwrap_or_default();
        let Outline { file: outline, after: counts } = self.outline(file, before)?;
        let Some((header, name)) = outline else {
            return self.progress(Phase::Published, Kept { counts, file: None });
        };
        let part = self.part();
        let sha256 = write_part(&part, |writer| self.render(file, before, &header, writer, steps))?;
        steps.reach(Step::AfterPartSync, &part)?;
        sync_directory(&self.staging_dir)?;
        self.progress(Phase::DataReady, Kept { counts, file: Some(Made { name, sha256 }) })
    }

    /// Gives the file its name: from then on it belongs to the receiver.
    fn place(&self, made: &Made, steps: &SharedSteps) -> Result<Phase, ExportError> {
        let (part, target) = (self.part(), self.dir.join(&made.name));
        match hash_file(&part)? {
            Some(found) if found == made.sha256 => {
                place(&part, &target, made.sha256)?;
                steps.reach(Step::AfterDataRename, &target)?;
            }
            // Damaged while it lay there.
            Some(_) => return Ok(Phase::Sealed),
            // It had its name before an interruption; the receiver may have taken it away.
            None => {}
        }
        sync_directory(&self.dir)?;
        sync_directory(&self.staging_dir)?;
        steps.reach(Step::BeforePublishedMark, &target)?;
        Ok(Phase::Published)
    }

    /// A step with what is kept.
    fn progress(&self, phase: Phase, kept: Kept) -> Result<Progress, ExportError> {
        let text = serde_json::to_string(&kept)
            .map_err(|error| ExportError::io(&self.staging_dir, "noting what was counted", error.into()))?;
        Ok(Progress { phase, kept: Some(text) })
    }
}

impl Sink for Tdf {
    fn id(&self) -> &str {
        &self.id
    }

    fn advance(
        &mut self,
        file: &SealedFile<'_>,
        phase: Phase,
        steps: &SharedSteps,
    ) -> Result<Progress, ExportError> {
        self.prepare()?;
        match phase {
            Phase::Sealed => self.make(file, steps),
            Phase::DataReady | Phase::ManifestReady => match self.kept(file, file.kept())? {
                Some(Kept { file: Some(made), .. }) => self.place(&made, steps).map(Progress::from),
                Some(Kept { file: None, .. }) | None => Ok(Phase::Sealed.into()),
            },
            Phase::Published => Ok(Phase::Published.into()),
        }
    }
}
