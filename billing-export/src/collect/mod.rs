//! The collector: usage files into a PostgreSQL ledger that many gateways share (decision 18).
//!
//! A sweep looks through one folder ([`Collector::sweep`]). A file is taken whole, with its manifest, hash, columns, numbers and
//! sums right, in one transaction with its totals and the watermark of its node; the same again changes nothing; what is not
//! right is refused and told. After the commit the watermark is written for the gateways, and the file is kept, removed or moved
//! away. What a stop leaves undone the next look does: it finds the file known.
//!
//! `config`, `check`, `refusal` and `reconcile` are pure. Time is an argument; only `admin` and the command wait for anything but the ledger.

pub mod admin;
pub mod ask;
pub mod config;
pub mod reconcile;

mod allowance;
mod check;
mod done;
mod ledger;
mod look;
mod refusal;
mod sweep;
mod watermark;

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;

use self::config::Config;
use self::ledger::{Fault, Ledger};
use self::look::Sweep;
use crate::error::ExportError;

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

    /// It could not be read, or, once the ledger had it, not be removed or moved: it is looked at again.
    fn stuck(&mut self, file: &Path, text: &str);

    /// Asked before a file is looked at: whether to pass it over. One that was refused before may be, if it is what it was and no
    /// other file can make it right.
    fn passes_over(&mut self, file: &Path) -> bool;

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
    /// Files that could not be read, removed or moved.
    pub stuck: u64,
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
            stuck: self.stuck.saturating_add(other.stuck),
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
