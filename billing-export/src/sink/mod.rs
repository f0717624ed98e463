//! Ways out for sealed records. A sink takes sealed files in their order, each with its own place in the ledger
//! (table `delivery`), and none waits for another or holds up the counting: a [`Courier`] carries for one sink, by a
//! connection of its own, and keeps no transaction or query open while the sink works.
//!
//! To add a sink, add a file here that implements [`Sink`], and have the gateway begin its courier (`app/export/ledger.rs`).

pub(crate) mod file;
pub mod folder;
pub mod tdf;

mod backoff;
mod courier;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

pub use backoff::Backoff;
pub use courier::{Courier, Since};

use self::file::Hashing;
use crate::codec::{Format, csv};
use crate::error::{ExportError, UnknownLabel};
use crate::manifest::{Hash, Manifest};
use crate::name::FileName;
use crate::record::Record;
use crate::steps::SharedSteps;
use crate::store::{FileRow, Store};

/// Id of the folder of usage files (`[export] dir`) in the ledger and in metrics.
pub const FILES: &str = "files";

/// Longest id of a sink.
const ID_LEN_MAX: usize = 32;

/// Whether a text may be a sink's id.
pub(crate) fn is_sink_id(id: &str) -> bool {
    let is_of_ids = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=ID_LEN_MAX).contains(&id.len()) && id.bytes().all(is_of_ids)
}

/// One way out.
pub trait Sink: Send {
    /// What the ledger and the metrics call it: `[a-z0-9-]{1,32}`, and never another.
    fn id(&self) -> &str;

    /// Takes `file` one step on from `phase`. What comes back is on the disk before the next step, so that after any stop the
    /// file goes on from there; a step whose end was not noted is done again, and must come to the same.
    ///
    /// It may take as long as it likes.
    ///
    /// # Errors
    /// The file stays where it was, and is tried again later.
    fn advance(
        &mut self,
        file: &SealedFile<'_>,
        phase: Phase,
        steps: &SharedSteps,
    ) -> Result<Progress, ExportError>;
}

/// How far a step of a sink came, and what it keeps of the file: both are noted in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How far.
    pub phase: Phase,
    /// What the sink keeps of the file from here on, as a short JSON object; none where what it kept stays. It comes back with every later step of
    /// the file ([`SealedFile::kept`]) and with those of the next ([`SealedFile::kept_before`]).
    pub kept: Option<String>,
}

impl From<Phase> for Progress {
    fn from(phase: Phase) -> Progress {
        Progress { phase, kept: None }
    }
}

/// How far a file is at a sink. A sink that makes no files of its own goes from the first to the last in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Its records are sealed.
    Sealed,
    /// Its data is complete under a staging name, or has its name.
    DataReady,
    /// Its data is in place; its manifest is complete under a staging name, or has its name.
    ManifestReady,
    /// The sink has all of it.
    Published,
}

impl Phase {
    /// All phases.
    const ALL: [Phase; 4] = [Phase::Sealed, Phase::DataReady, Phase::ManifestReady, Phase::Published];

    /// The word in the store.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Phase::Sealed => "sealed",
            Phase::DataReady => "data_ready",
            Phase::ManifestReady => "manifest_ready",
            Phase::Published => "published",
        }
    }
}

impl FromStr for Phase {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Phase, UnknownLabel> {
        Phase::ALL.into_iter().find(|phase| phase.label() == text).ok_or_else(|| {
            UnknownLabel::new("phase", text, "sealed, data_ready, manifest_ready or published")
        })
    }
}

/// A sealed file as a sink sees it. It never changes.
pub struct SealedFile<'s> {
    /// Where its records stand.
    store: &'s Store,
    /// Its row.
    row: &'s FileRow,
    /// What the sink kept of the last file that it has.
    before: Option<&'s str>,
    /// What it kept of this one.
    here: Option<&'s str>,
}

impl fmt::Debug for SealedFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedFile").field(&self.row.name).finish()
    }
}

/// What follows each row of a rendering.
pub(crate) type AfterRow<'a> = dyn FnMut(&mut csv::Writer<&mut dyn Write>) -> Result<(), ExportError> + 'a;

impl<'s> SealedFile<'s> {
    /// The file of a row of this store.
    pub(crate) fn new(store: &'s Store, row: &'s FileRow) -> SealedFile<'s> {
        SealedFile { store, row, before: None, here: None }
    }

    /// With what a sink kept of the last file it has, and of this one.
    pub(crate) fn with_kept(self, before: Option<&'s str>, here: Option<&'s str>) -> SealedFile<'s> {
        SealedFile { before, here, ..self }
    }

    /// What the sink kept of the last file that it has; none of its first.
    pub fn kept_before(&self) -> Option<&str> {
        self.before
    }

    /// What the sink kept of this file when its phase was noted.
    pub fn kept(&self) -> Option<&str> {
        self.here
    }

    /// Its name.
    pub fn name(&self) -> &FileName {
        &self.row.name
    }

    /// Whose columns it has.
    pub fn format(&self) -> Format {
        self.row.format
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.row.manifest
    }

    /// Hash of the manifest's text as it was sealed.
    pub(crate) fn manifest_hash(&self) -> Hash {
        self.row.manifest_hash
    }

    /// Calls `each` for every record, in order. Memory does not grow with the file, and no query is open meanwhile.
    ///
    /// # Errors
    /// The ledger's, or the first of `each`.
    pub fn each_record(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        self.store.each_record(self.row, each)
    }

    /// As [`SealedFile::each_record`], and refuses records that are not those that were sealed: after the last of them.
    pub(crate) fn each_sealed_record(
        &self,
        each: &mut dyn FnMut(&Record) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let path = self.store.path();
        let failed = |source| ExportError::io(path, "rendering a sealed file", source);
        let mut hashing = Hashing::new(std::io::sink());
        let mut rows = csv::Writer::new(&mut hashing, self.row.format).map_err(failed)?;
        self.each_record(&mut |record| {
            rows.write(record).map_err(failed)?;
            each(record)
        })?;
        rows.finish().map_err(failed)?;
        self.check_hash(hashing.finish())
    }

    /// Writes the data file to `writer`, which stands for `path`; `after_row` follows each row.
    pub(crate) fn render(
        &self,
        path: &Path,
        writer: &mut dyn Write,
        after_row: &mut AfterRow<'_>,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::io(path, "rendering a sealed file", source);
        let mut rows = csv::Writer::new(writer, self.row.format).map_err(failed)?;
        self.each_record(&mut |record| {
            rows.write(record).map_err(failed)?;
            after_row(&mut rows)
        })?;
        rows.finish().map_err(failed)?;
        Ok(())
    }

    /// Refuses a rendering that is not what was sealed.
    pub(crate) fn check_hash(&self, found: Hash) -> Result<(), ExportError> {
        if found == self.row.manifest.sha256 {
            return Ok(());
        }
        Err(self.damaged("records", found, self.row.manifest.sha256))
    }

    /// The manifest's text, checked against the hash it was sealed with.
    ///
    /// # Errors
    /// The figures of the ledger are not those that were sealed.
    pub fn manifest_text(&self) -> Result<String, ExportError> {
        let failed = |error: serde_json::Error| {
            ExportError::io(self.store.path(), "rendering a manifest", error.into())
        };
        let text = self.row.manifest.to_text().map_err(failed)?;
        let found = Hash::of(text.as_bytes());
        if found == self.row.manifest_hash {
            return Ok(text);
        }
        Err(self.damaged("figures", found, self.row.manifest_hash))
    }

    /// The error for sealed rows that are not what they were.
    fn damaged(&self, what: &str, found: Hash, wanted: Hash) -> ExportError {
        ExportError::Damaged {
            path: self.store.path().to_owned(),
            found: format!("{what} of file {} with sha256 {found}", self.row.name),
            wanted: format!("{wanted}, as sealed"),
            remedy: "The ledger was changed after the seal: restore the state directory from a copy, which begins a \
                     new epoch with a gap record",
        }
    }
}
