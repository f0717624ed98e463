//! What billing checks before it loads: hashes, the chain of manifests, gaps and repeats in the numbers of files and
//! records, running totals, conservation, and that name, manifest and content agree.
//!
//! Memory: one running total per (session, service, class, reason) of the epoch being read, about 300 bytes each; rows
//! are not kept.

mod chain;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use self::chain::check_chain;
use crate::audit::Figures;
use crate::class::{Class, Reason};
use crate::codec::Format;
use crate::error::ExportError;
use crate::manifest::{Hash, Manifest};
use crate::name::STREAM_USAGE;
use crate::period::{format_compact, format_instant};
use crate::pickup::{Pair, read_data, read_manifest};
use crate::record::{Body, Kind, Record};
use crate::subscriber::Session;
use crate::unit::{NodeId, Volume};

/// Most faults listed of one file; the rest are counted.
const FAULTS_PER_FILE_MAX: usize = 20;

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

/// Record numbers already met, per node and epoch: first → (last, file).
type Ranges = BTreeMap<(NodeId, u32), BTreeMap<u64, (u64, PathBuf)>>;

/// Key of a running total.
#[derive(PartialEq, Eq, Hash)]
struct TotalKey {
    /// Whose.
    session: Session,
    /// As what.
    class: Class,
    /// Why.
    reason: Option<Reason>,
    /// For which service.
    service: Option<std::sync::Arc<str>>,
}

/// Running totals of one node's epoch.
#[derive(Default)]
struct Totals {
    /// By key, after the last record read.
    running: HashMap<TotalKey, Volume>,
    /// Node, epoch and last record.
    at: Option<(NodeId, u32, u64)>,
    /// Whether the epoch was read from its first record.
    complete: bool,
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

/// Collects the faults of one file, at most [`FAULTS_PER_FILE_MAX`] of them.
struct Faults<'r> {
    /// The file.
    file: PathBuf,
    /// Where they go.
    report: &'r mut Report,
    /// How many there were.
    count: usize,
}

impl Faults<'_> {
    /// Adds a fault.
    fn add(&mut self, text: String) {
        let file = self.file.clone();
        self.add_at(&file, text);
    }

    /// Adds a fault whose place is in `file`, one of the pair.
    fn add_at(&mut self, file: &Path, text: String) {
        self.count = self.count.saturating_add(1);
        if self.count <= FAULTS_PER_FILE_MAX {
            self.report.faults.push(Fault { file: file.to_owned(), text });
        }
    }

    /// Adds a fault unless the two are equal.
    fn compare<T: PartialEq + fmt::Display>(&mut self, what: &str, found: T, wanted: T, where_wanted: &str) {
        if found != wanted {
            self.add(format!("{what}: found {found}, wanted {wanted}, as {where_wanted}"));
        }
    }

    /// Says how many were not listed.
    fn finish(self) -> usize {
        let more = self.count.saturating_sub(FAULTS_PER_FILE_MAX);
        if more > 0 {
            let text = format!("and {more} more of this file");
            self.report.faults.push(Fault { file: self.file, text });
        }
        self.count
    }
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

/// Checks the rows of a file; returns epoch, lowest and highest record number.
fn check_data(
    pair: &Pair,
    path: &Path,
    manifest: Option<&Manifest>,
    totals: &mut Totals,
    faults: &mut Faults<'_>,
) -> Result<Option<(u32, u64, u64)>, ExportError> {
    let mut rows: Option<(u32, u64, u64)> = None;
    let mut count: u64 = 0;
    let mut sum = (0_i128, 0_i128);
    let mut last: Option<Record> = None;
    let mut gaps = Vec::new();
    let (hash, format) = read_data(path, &mut |row| {
        let record = match row {
            Ok(record) => record,
            Err(error) => return faults.add(error.to_string()),
        };
        count = count.saturating_add(1);
        let (up, down) = record.bytes();
        sum = (sum.0.saturating_add(up), sum.1.saturating_add(down));
        check_row(pair, manifest, last.as_ref(), &record, faults);
        totals.check(&record, faults);
        if record.kind() == Kind::Gap {
            gaps.push(record.window);
        }
        let (first, highest) = rows.map_or((record.seq, record.seq), |(_, first, highest)| (first, highest));
        rows = Some((record.epoch, first.min(record.seq), highest.max(record.seq)));
        last = Some(record);
    })?;
    faults.report.files = faults.report.files.saturating_add(1);
    faults.report.records = faults.report.records.saturating_add(count);
    faults.report.up_bytes = faults.report.up_bytes.saturating_add(sum.0);
    faults.report.down_bytes = faults.report.down_bytes.saturating_add(sum.1);
    for window in gaps {
        let (start, end) = (format_instant(window.start()), format_instant(window.end()));
        let text =
            format!("a gap record says that counts are missing or do not add up from {start} to {end}");
        faults.report.notes.push(Fault { file: path.to_owned(), text });
    }
    const MANIFEST: &str = "the manifest says";
    if let Some(manifest) = manifest {
        faults.compare("sha256", hash, manifest.sha256, MANIFEST);
        let of_manifest = Format::of_number(manifest.format);
        if let (Some(found), Some(wanted)) = (format, of_manifest)
            && !found.columns().eq(wanted.columns())
        {
            let number = found.number();
            faults.compare(
                "columns",
                format!("those of format {number}"),
                format!("those of {}", manifest.format),
                MANIFEST,
            );
        }
        faults.compare("number of rows", count, manifest.records, MANIFEST);
        faults.compare("sum of up_bytes", sum.0, manifest.up_bytes.into(), MANIFEST);
        faults.compare("sum of down_bytes", sum.1, manifest.down_bytes.into(), MANIFEST);
        faults.compare(
            "last record_seq",
            last.as_ref().map_or(0, |record| record.seq),
            manifest.last_seq,
            MANIFEST,
        );
    }
    if count == 0 {
        faults.add("found no row, wanted at least a heartbeat".into());
    }
    if let (Some(name), Some(last)) = (&pair.name, &last) {
        let end = format_compact(last.window.end());
        faults.compare("time in the name", name.end(), end.as_str(), "end_utc of the last row");
    }
    Ok(rows)
}

/// Checks that a row agrees with its file and follows the row before.
fn check_row(
    pair: &Pair,
    manifest: Option<&Manifest>,
    last: Option<&Record>,
    record: &Record,
    faults: &mut Faults<'_>,
) {
    let row = |column: &str| format!("record_seq {}, {column}", record.seq);
    if let Some(name) = &pair.name {
        const NAME: &str = "the file's name has it";
        faults.compare(&row("node_id"), &record.node_id, name.node_id(), NAME);
        faults.compare(&row("epoch"), record.epoch, name.epoch(), NAME);
    }
    if let Some(manifest) = manifest {
        let basis = record.byte_basis.label();
        faults.compare(&row("byte_basis"), basis, manifest.byte_basis.as_str(), "the manifest says");
    }
    let (wanted, why) = match (last, manifest) {
        (Some(last), _) => (last.seq.saturating_add(1), "the row before asks for"),
        (None, Some(manifest)) => (manifest.first_seq, "the manifest says"),
        (None, None) => return,
    };
    faults.compare("record_seq", record.seq, wanted, why);
}

impl Totals {
    /// Checks the running total of a record against the one before it.
    fn check(&mut self, record: &Record, faults: &mut Faults<'_>) {
        let follows = self.at.as_ref().is_some_and(|(node_id, epoch, seq)| {
            *node_id == record.node_id && *epoch == record.epoch && seq.checked_add(1) == Some(record.seq)
        });
        if !follows {
            *self = Totals { complete: record.seq == 1, ..Totals::default() };
        }
        self.at = Some((record.node_id.clone(), record.epoch, record.seq));
        let (Body::Usage { account, total, .. } | Body::Adjust { account, total, .. }) = &record.body else {
            return;
        };
        let key = TotalKey {
            session: account.session.clone(),
            class: account.entry.class(),
            reason: account.entry.reason(),
            service: account.entry.service().cloned(),
        };
        let before = self.running.insert(key, *total).or(self.complete.then_some(Volume::ZERO));
        let Some(before) = before else { return };
        let (up, down) = record.bytes();
        let text = |direction: &str| format!("record_seq {}, {direction}_bytes_total", record.seq);
        const WHY: &str = "the total before and the row's bytes give";
        faults.compare(&text("up"), total.up.into(), i128::from(before.up).saturating_add(up), WHY);
        faults.compare(&text("down"), total.down.into(), i128::from(before.down).saturating_add(down), WHY);
    }
}

/// Reports records that an earlier file has too.
fn check_repeats(seen: &Seen<'_>, ranges: &mut Ranges, report: &mut Report) {
    let Some((epoch, first, last)) = seen.rows else { return };
    let node = match (&seen.manifest, &seen.pair.name) {
        (_, Some(name)) => Some(name.node_id().clone()),
        (Some((manifest, _)), None) => manifest.node_id.parse().ok(),
        (None, None) => seen.pair.data.as_deref().and_then(node_of_first_row),
    };
    let Some(node) = node else { return };
    let known = ranges.entry((node, epoch)).or_default();
    let overlapping = known.range(..=last).next_back().filter(|(_, (end, _))| *end >= first);
    if let Some((start, (end, other))) = overlapping {
        let text = format!(
            "found record_seq {} to {} of epoch {epoch} a second time, wanted each once: {} has them",
            first.max(*start),
            last.min(*end),
            other.display()
        );
        report.faults.push(Fault { file: seen.pair.path().to_owned(), text });
        return;
    }
    known.insert(first, (last, seen.pair.path().to_owned()));
}

/// The node a data file without a usable name speaks of.
fn node_of_first_row(path: &Path) -> Option<NodeId> {
    let mut node = None;
    let _ = read_data(path, &mut |row| {
        if let (None, Ok(record)) = (&node, row) {
            node = Some(record.node_id);
        }
    });
    node
}
