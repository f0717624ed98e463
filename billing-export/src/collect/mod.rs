//! The collector: usage files into a PostgreSQL ledger that many gateways share (decision 18).
//!
//! A sweep looks through one folder ([`Collector::sweep`]). A file is taken whole, with its manifest, hash, columns, numbers and
//! sums right, in one transaction with its totals and the watermark of its node; the same again changes nothing; what is not
//! right is refused and told. After the commit the watermark is written for the gateways, and the file is kept, removed or moved
//! away. What a stop leaves undone the next look does: it finds the file known.
//!
//! `config`, `check` and `refusal` are pure. Time is an argument; only `admin` and the command wait for anything but the ledger.

pub mod admin;
pub mod config;

mod check;
mod done;
mod ledger;
mod refusal;
mod sweep;
mod watermark;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;

use self::check::{judge_length, judge_manifest};
use self::config::{Config, Source};
use self::ledger::{Candidate, Fault, Ledger, Loaded};
use self::sweep::Found;
use crate::error::ExportError;
use crate::manifest::{Hash, Manifest};
use crate::name::{DATA_ENDING, FileName, MANIFEST_ENDING};
use crate::pickup::read_manifest;
use crate::sink::file::hash_file;

pub use self::check::RECORDS_MAX;
pub use self::ledger::Watermark;
pub use self::refusal::{Reason, Refusal};

/// Longest password read, in bytes.
const PASSWORD_LEN_MAX: usize = 1024;

/// Why the collector cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The ledger is not what the configuration says: the same again will fail again.
    #[error("{0}")]
    Config(String),
    /// Ledger, source or a folder cannot be reached: later it may.
    #[error("{0}. What was committed is kept, and nothing else was changed")]
    Away(String),
}

impl From<Fault> for CollectError {
    fn from(fault: Fault) -> CollectError {
        match fault {
            Fault::Config(text) => CollectError::Config(text),
            Fault::Refused(_) | Fault::Sql(_) | Fault::Away(_) | Fault::File(_) => {
                CollectError::Away(fault.to_string())
            }
        }
    }
}

impl From<ExportError> for CollectError {
    fn from(error: ExportError) -> CollectError {
        CollectError::Away(error.to_string())
    }
}

/// Who is told what becomes of files.
pub trait Watch {
    /// The records of a file are in the ledger.
    fn taken(&mut self, file: &Path, records: u64, watermark: &Watermark);

    /// The ledger had every record of it.
    fn known(&mut self, file: &Path);

    /// It is not in the ledger; `is_new` unless it was refused for this before.
    fn refused(&mut self, file: &Path, refusal: &Refusal, is_new: bool);

    /// Whether to stop before the next file.
    fn is_stopping(&self) -> bool;
}

/// Which files of a folder are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// All; the data of known ones is hashed again.
    Thorough,
    /// All; of known ones the manifest counts.
    Whole,
    /// Those that changed at this second of the system's clock or later.
    Since(i64),
}

/// What became of the files of one sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files taken.
    pub taken: u64,
    /// Files whose every record was there before.
    pub known: u64,
    /// Files refused.
    pub refused: u64,
    /// Records that were not there before.
    pub records: u64,
    /// Data files without a manifest; not counted where only changed files are looked at.
    pub incomplete: u64,
    /// Whether a refused file may be taken once others are there.
    pub may_pass: bool,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Summary) -> Summary {
        Summary {
            taken: self.taken.saturating_add(other.taken),
            known: self.known.saturating_add(other.known),
            refused: self.refused.saturating_add(other.refused),
            records: self.records.saturating_add(other.records),
            incomplete: self.incomplete.saturating_add(other.incomplete),
            may_pass: self.may_pass || other.may_pass,
        }
    }
}

/// A collector with its connection.
pub struct Collector {
    /// What it is told.
    config: Config,
    /// The connection; none after it was lost.
    ledger: Option<Ledger>,
}

/// What became of one file.
enum Outcome {
    /// Taken, with the number of new records.
    Taken(u64),
    /// Known.
    Known,
    /// Refused; whether it may be taken later.
    Refused(bool),
    /// It went away while it was looked at.
    Gone,
}

/// One folder being looked through.
struct Sweep<'s> {
    /// The folder.
    source: &'s Source,
    /// The folder as the table `refusal` names it.
    dir: String,
    /// Whether the data of known files is hashed again.
    thorough: bool,
    /// Where watermarks are written.
    watermark_dir: Option<&'s Path>,
    /// Who is told.
    watch: &'s mut dyn Watch,
}

impl Collector {
    /// A collector that has yet to connect.
    pub fn new(config: Config) -> Collector {
        Collector { config, ledger: None }
    }

    /// What it is told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Connects where there is no connection, makes what is missing in the ledger, and writes the watermarks that a stop left
    /// unwritten. Returns the watermark of every node if it connected.
    ///
    /// # Errors
    /// The ledger cannot be reached, or is not what the configuration says.
    pub fn connect(&mut self) -> Result<Option<Vec<Watermark>>, CollectError> {
        if self.ledger.as_ref().is_some_and(|ledger| !ledger.is_closed()) {
            return Ok(None);
        }
        self.ledger = None;
        let password = self.config.ledger.password_file.as_deref().map(read_password).transpose()?;
        let mut ledger = Ledger::open(&self.config.ledger, password.as_deref())?;
        let watermarks = ledger.watermarks()?;
        if let Some(dir) = &self.config.watermark_dir {
            watermarks.iter().try_for_each(|watermark| watermark::write(dir, watermark))?;
        }
        self.ledger = Some(ledger);
        Ok(Some(watermarks))
    }

    /// Looks through one source, `number` counted from 0 in the order of the configuration.
    ///
    /// # Errors
    /// Ledger, folder or a file cannot be reached. What was taken until then is.
    pub fn sweep(
        &mut self,
        number: usize,
        look: Look,
        watch: &mut dyn Watch,
    ) -> Result<Summary, CollectError> {
        let Collector { config, ledger: Some(ledger) } = self else {
            return Err(CollectError::Away("the ledger: not connected".to_owned()));
        };
        let Some(source) = config.sources.get(number) else { return Ok(Summary::default()) };
        let mut sweep = Sweep {
            source,
            dir: source.dir.display().to_string(),
            thorough: look == Look::Thorough,
            watermark_dir: config.watermark_dir.as_deref(),
            watch,
        };
        let since = if let Look::Since(since) = look { Some(since) } else { None };
        let swept = sweep.run(ledger, since);
        if swept.is_err() {
            // Whatever it was in the middle of ends with the connection.
            self.ledger = None;
        }
        swept
    }

    /// Drops the records that are older than the retention, counted from the local day of `now`. Returns their days.
    ///
    /// # Errors
    /// The ledger cannot be reached.
    pub fn drop_old(&mut self, now: Timestamp) -> Result<Vec<Date>, CollectError> {
        let Collector { config, ledger: Some(ledger) } = self else { return Ok(Vec::new()) };
        let today = config.ledger.zone.to_datetime(now).date();
        Ok(ledger.drop_old(today, config.ledger.retention_days)?)
    }
}

impl Sweep<'_> {
    /// Looks through the folder, a bounded number of names at a time.
    fn run(&mut self, ledger: &mut Ledger, since: Option<i64>) -> Result<Summary, CollectError> {
        let dir = &self.source.dir;
        let reading = |error: io::Error| {
            CollectError::Away(format!("{}: reading the names in the source: {error}", dir.display()))
        };
        if let config::Done::Move(folder) = &self.source.done {
            fs::create_dir_all(folder).map_err(|error| {
                CollectError::Away(format!("{}: creating the folder: {error}", folder.display()))
            })?;
        }
        let mut summary = Summary::default();
        let mut after = None;
        loop {
            let batch = sweep::next(dir, after.as_ref(), since).map_err(reading)?;
            summary.incomplete = summary.incomplete.saturating_add(batch.incomplete);
            let asked: Vec<_> = batch
                .found
                .iter()
                .filter_map(|found| found.name.as_ref())
                .map(|name| (name.node_id().to_string(), name.file_seq()))
                .collect();
            let known = if asked.is_empty() { HashMap::new() } else { ledger.known(&asked)? };
            for found in &batch.found {
                if self.watch.is_stopping() {
                    return Ok(summary);
                }
                let one = match self.look_at(ledger, found, &known)? {
                    Outcome::Taken(records) => Summary { taken: 1, records, ..Summary::default() },
                    Outcome::Known => Summary { known: 1, ..Summary::default() },
                    Outcome::Refused(may_pass) => Summary { refused: 1, may_pass, ..Summary::default() },
                    Outcome::Gone => Summary::default(),
                };
                summary = summary.and(one);
            }
            match batch.after {
                Some(place) => after = Some(place),
                None => return Ok(summary),
            }
        }
    }

    /// Looks at one file, and tells what became of it.
    fn look_at(
        &mut self,
        ledger: &mut Ledger,
        found: &Found,
        known: &HashMap<(String, u64), String>,
    ) -> Result<Outcome, CollectError> {
        let data_name = format!("{}{DATA_ENDING}", found.stem);
        let manifest_name = format!("{}{MANIFEST_ENDING}", found.stem);
        let data = self.source.dir.join(&data_name);
        let manifest_path = self.source.dir.join(&manifest_name);
        let judged = read_and_judge(found.name.as_ref(), &manifest_path);
        let judged = match judged {
            Err(_) if !manifest_path.exists() => return Ok(Outcome::Gone),
            judged => judged.and_then(|(manifest, hash)| {
                let key = (manifest.node_id.clone(), manifest.file_seq);
                let is_known = known.get(&key).is_some_and(|known| *known == hash.to_string());
                Ok((manifest, hash, is_known))
            }),
        };
        let outcome = match judged {
            Err(refusal) => Err(refusal),
            Ok((manifest, _, true)) => self.look_again(&data, &manifest)?.map(|()| Loaded::Known),
            Ok((manifest, hash, false)) => {
                let file = Candidate { source: &self.dir, data: &data, manifest: &manifest, hash };
                take(ledger, &file)?
            }
        };
        match outcome {
            Ok(Loaded::Taken { records, watermark, waiting }) => {
                if let Some(dir) = self.watermark_dir {
                    watermark::write(dir, &watermark)?;
                }
                for waiting in waiting {
                    let is_new = ledger.note_refusal(&waiting.source, &waiting.name, &waiting.refusal)?;
                    self.watch.refused(
                        &Path::new(&waiting.source).join(&waiting.name),
                        &waiting.refusal,
                        is_new,
                    );
                }
                self.watch.taken(&data, records, &watermark);
                done::settle(&self.source.done, &self.source.dir, &data_name, &manifest_name)?;
                Ok(Outcome::Taken(records))
            }
            Ok(Loaded::Known) => {
                self.watch.known(&data);
                done::settle(&self.source.done, &self.source.dir, &data_name, &manifest_name)?;
                Ok(Outcome::Known)
            }
            Err(refusal) => {
                let is_new = ledger.note_refusal(&self.dir, &data_name, &refusal)?;
                self.watch.refused(&data, &refusal, is_new);
                Ok(Outcome::Refused(refusal.reason.may_pass()))
            }
        }
    }

    /// Whether the data of a file that the ledger has is still what was taken. It may be gone: it was, before its manifest.
    fn look_again(&self, data: &Path, manifest: &Manifest) -> Result<Result<(), Refusal>, CollectError> {
        if !self.thorough {
            return Ok(Ok(()));
        }
        match hash_file(data)? {
            Some(found) if found != manifest.sha256 => {
                let text = format!(
                    "sha256: found {found}, wanted {}, as the manifest says and as the ledger has it: the file was changed after it \
                     was taken. Remove both files, or have them delivered again",
                    manifest.sha256
                );
                Ok(Err(Refusal::new(Reason::Sha256, text)))
            }
            Some(_) | None => Ok(Ok(())),
        }
    }
}

/// Reads a manifest and judges it by itself.
fn read_and_judge(name: Option<&FileName>, path: &Path) -> Result<(Manifest, Hash), Refusal> {
    let Some(name) = name else {
        let text = "found another name, wanted {node_id}_usage_{YYYYMMDDThhmmssZ}_{epoch:05}_{file_seq:010}.manifest.json";
        return Err(Refusal::new(Reason::Name, text));
    };
    let (manifest, hash) = read_manifest(path).map_err(|text| Refusal::new(Reason::Manifest, text))?;
    judge_manifest(name, &manifest)?;
    Ok((manifest, hash))
}

/// Takes a file that the ledger does not have.
fn take(ledger: &mut Ledger, file: &Candidate<'_>) -> Result<Result<Loaded, Refusal>, CollectError> {
    let missing = || Refusal::new(Reason::DataMissing, "found a manifest without its data file, wanted both");
    let taken = match fs::metadata(file.data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Fault::Refused(missing())),
        Err(error) => Err(Fault::File(ExportError::reading(file.data, "reading a usage file", error))),
        Ok(metadata) => judge_length(metadata.len(), file.manifest)
            .map_err(Fault::Refused)
            .and_then(|()| ledger.take(file)),
    };
    match taken {
        Ok(loaded) => Ok(Ok(loaded)),
        Err(Fault::Refused(refusal)) if refusal.reason == Reason::DataMissing => {
            // Another collector took it, and its data away, since we asked.
            let key = (file.manifest.node_id.clone(), file.manifest.file_seq);
            let known = ledger.known(std::slice::from_ref(&key))?;
            let is_known = known.get(&key).is_some_and(|known| *known == file.hash.to_string());
            Ok(if is_known { Ok(Loaded::Known) } else { Err(refusal) })
        }
        Err(Fault::Refused(refusal)) => Ok(Err(refusal)),
        Err(fault) => Err(fault.into()),
    }
}

/// The password in a file, without the line end behind it.
fn read_password(path: &Path) -> Result<String, CollectError> {
    let wrong =
        |text: String| CollectError::Config(format!("{}: ledger.password_file: {text}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let word = text.strip_suffix('\n').unwrap_or(&text);
    let word = word.strip_suffix('\r').unwrap_or(word);
    if word.is_empty() || word.len() > PASSWORD_LEN_MAX || word.contains('\n') {
        return Err(wrong(format!(
            "found {} bytes, wanted one line with the password, at most {PASSWORD_LEN_MAX}",
            text.len()
        )));
    }
    Ok(word.to_owned())
}
