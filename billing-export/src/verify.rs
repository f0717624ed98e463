//! What billing checks before it loads: hashes, the chain of manifests, gaps and repeats in the numbers of files and
//! records, running totals, conservation, and that name, manifest and content agree.
//!
//! Memory: one running total per (session, service, class, reason) of the epoch being read, about 300 bytes each; rows
//! are not kept.

mod chain;
mod data;
mod faults;
mod repeats;
mod running;

use std::fmt;
use std::path::PathBuf;

use self::chain::check_chain;
use self::data::check_data;
use self::faults::Faults;
use self::repeats::{Ranges, check_repeats};
use self::running::Totals;
use crate::audit::Figures;
use crate::error::ExportError;
use crate::manifest::{Hash, Manifest};
use crate::name::STREAM_USAGE;
use crate::pickup::{Pair, read_manifest};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file it was found in.
    pub file: PathBuf,
    /// What was found and what was wanted.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.text)
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Data files read.
    pub files: u64,
    /// Rows read.
    pub records: u64,
    /// Sum of all rows, upward. 128 bits, so that no number of files overflows it.
    pub up_bytes: i128,
    /// Sum of all rows, downward.
    pub down_bytes: i128,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is not wrong and should be known: gap records, files before the first one given.
    pub notes: Vec<Fault>,
}

/// What one file says, as far as it could be read.
struct Seen<'a> {
    /// The files.
    pair: &'a Pair,
    /// The manifest and its hash.
    manifest: Option<(Manifest, Hash)>,
    /// First and last record number of the rows, and their epoch.
    rows: Option<(u32, u64, u64)>,
    /// Whether nothing was wrong with it by itself.
    sound: bool,
}

/// Verifies files. `progress` is told the size of each data file once it is read.
///
/// # Errors
/// A file that cannot be read at all; everything else is a fault in the report.
pub fn verify(pairs: &[Pair], progress: &mut dyn FnMut(u64)) -> Result<Report, ExportError> {
    let mut report = Report::default();
    let mut totals = Totals::default();
    let mut ranges = Ranges::new();
    let mut previous: Option<Seen<'_>> = None;
    for pair in pairs {
        let seen = check_file(pair, &mut totals, &mut report)?;
        check_repeats(&seen, &mut ranges, &mut report);
        check_chain(previous.as_ref(), &seen, &mut report);
        progress(pair.data_len());
        if seen.pair.name.is_some() {
            previous = Some(seen);
        }
    }
    Ok(report)
}

/// Checks one file by itself.
fn check_file<'a>(pair: &'a Pair, totals: &mut Totals, report: &mut Report) -> Result<Seen<'a>, ExportError> {
    let mut faults = Faults { file: pair.path().to_owned(), report, count: 0 };
    if pair.name.is_none() {
        faults.add(
            "name: wanted {node_id}_usage_{YYYYMMDDThhmmssZ}_{epoch:05}_{file_seq:010}.csv or .manifest.json"
                .into(),
        );
    }
    let manifest = match &pair.manifest {
        None => {
            faults.add("found no manifest beside it, wanted one: the file is not complete".into());
            None
        }
        Some(path) => match read_manifest(path) {
            Ok((manifest, hash)) => {
                check_manifest(pair, &manifest, &mut faults);
                Some((manifest, hash))
            }
            Err(text) => {
                faults.add_at(path, text);
                None
            }
        },
    };
    let rows = match &pair.data {
        None => {
            faults.add("found a manifest without its data file, wanted both".into());
            None
        }
        Some(path) => {
            check_data(pair, path, manifest.as_ref().map(|(manifest, _)| manifest), totals, &mut faults)?
        }
    };
    let sound = faults.finish() == 0;
    Ok(Seen { pair, manifest, rows, sound })
}

/// Checks that a manifest agrees with the name and with itself.
fn check_manifest(pair: &Pair, manifest: &Manifest, faults: &mut Faults<'_>) {
    if let Some(name) = &pair.name {
        const NAME: &str = "the file's name has it";
        faults.compare("manifest, file", manifest.file.clone(), name.data(), NAME);
        faults.compare("manifest, node_id", manifest.node_id.as_str(), name.node_id().as_str(), NAME);
        faults.compare("manifest, epoch", manifest.epoch, name.epoch(), NAME);
        faults.compare("manifest, file_seq", manifest.file_seq, name.file_seq(), NAME);
    }
    faults.compare("manifest, stream", manifest.stream.as_str(), STREAM_USAGE, "the contract has it");
    let conserved = manifest.figures().conserved(manifest.rows());
    faults.compare("manifest, conserved", manifest.conserved, conserved, "its own figures say");
    if !conserved {
        let Figures { seen, pending_before, pending_after } = manifest.figures();
        faults.add(format!(
            "bytes are not conserved: found seen {}+{}, pending before {}+{}, usage rows {}+{}, pending after {}+{} \
             (up+down), wanted seen + pending before = usage rows + pending after",
            seen.up,
            seen.down,
            pending_before.up,
            pending_before.down,
            manifest.up_bytes,
            manifest.down_bytes,
            pending_after.up,
            pending_after.down,
        ));
    }
}
