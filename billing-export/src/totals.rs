//! Sums over usage files: in 128 bits, each record once however often its file was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::class::Class;
use crate::error::ExportError;
use crate::pickup::{Pair, read_data, read_manifest};
use crate::record::Record;
use crate::sink::file::hash_file;
use crate::unit::NodeId;

/// What sums are kept by, besides the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Nothing else.
    Class,
    /// Type and id of the subscriber.
    Subscriber,
    /// Service id.
    Service,
    /// Local day of the zone in which the record starts.
    Day,
    /// Reason.
    Reason,
}

/// One sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Rows of kind usage and adjust.
    pub records: u64,
    /// Bytes upward; corrections may make it negative.
    pub up_bytes: i128,
    /// Bytes downward.
    pub down_bytes: i128,
}

/// The sums, and what was left out of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// By key (empty for [`By::Class`], and where the record has none) and class.
    pub sums: BTreeMap<(String, Class), Sum>,
    /// Data files without a manifest: not complete, not counted.
    pub incomplete: Vec<PathBuf>,
    /// Rows that were counted before.
    pub repeated: u64,
    /// What lies between files that were counted and was not: the sums are without it.
    pub missing: Vec<Missing>,
}

/// Files, or records where no file is, that were lost between others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The node they are of.
    pub node_id: NodeId,
    /// The epoch, where it is records that are missing.
    pub epoch: Option<u32>,
    /// Number of the first (`file_seq`, or `record_seq`).
    pub first: u64,
    /// Number of the last.
    pub last: u64,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node_id, epoch, first, last } = self;
        match epoch {
            Some(epoch) => write!(f, "epoch {epoch} of node {node_id}: record_seq ")?,
            None => write!(f, "node {node_id}: file_seq ")?,
        }
        if first == last { write!(f, "{first}") } else { write!(f, "{first} to {last}") }
    }
}

/// Why sums cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum TotalsError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ExportError),
    /// A file is not what its manifest says: no sum is better than a wrong one.
    #[error("{path}: {text}. Run `billing-export verify` and have the file delivered again")]
    Faulty {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// Record numbers already counted, per node and epoch, as first → last.
type Counted = BTreeMap<(NodeId, u32), BTreeMap<u64, u64>>;
/// Numbers of the files counted, per node.
type Files = BTreeMap<NodeId, BTreeSet<u64>>;

/// Sums files up. `progress` is told the size of each data file once it is read.
///
/// # Errors
/// A file that cannot be read, or is not what its manifest says.
pub fn totals(
    pairs: &[Pair],
    by: By,
    zone: &TimeZone,
    progress: &mut dyn FnMut(u64),
) -> Result<Totals, TotalsError> {
    let mut totals = Totals::default();
    let (mut counted, mut files) = (Counted::new(), Files::new());
    for pair in pairs {
        let (data, manifest) = match (&pair.data, &pair.manifest) {
            (Some(data), Some(manifest)) => (data, manifest),
            (Some(data), None) => {
                totals.incomplete.push(data.clone());
                continue;
            }
            (None, _) => {
                let text = "found a manifest without its data file, wanted both".to_owned();
                return Err(TotalsError::Faulty { path: pair.path().to_owned(), text });
            }
        };
        let faulty = |text: String| TotalsError::Faulty { path: data.clone(), text };
        let (manifest, _) =
            read_manifest(manifest).map_err(|text| TotalsError::Faulty { path: manifest.clone(), text })?;
        match hash_file(data)? {
            Some(found) if found == manifest.sha256 => {}
            Some(found) => {
                return Err(faulty(format!(
                    "found sha256 {found}, wanted {}, as the manifest says",
                    manifest.sha256
                )));
            }
            None => return Err(faulty("found it gone, wanted it to stay while sums are taken".into())),
        }
        let mut wrong = None;
        read_data(data, &mut |row| match row {
            Ok(record) if first_time(&mut counted, &record) => totals.add(&record, by, zone),
            Ok(_) => totals.repeated = totals.repeated.saturating_add(1),
            Err(error) => wrong = wrong.take().or(Some(error.to_string())),
        })?;
        if let Some(text) = wrong {
            return Err(faulty(text));
        }
        if let Ok(node) = manifest.node_id.parse::<NodeId>() {
            files.entry(node).or_default().insert(manifest.file_seq);
        }
        progress(pair.data_len());
    }
    totals.missing = missing(&files, &counted);
    Ok(totals)
}

/// What lies between the files of each node, and between the records where its files are whole.
fn missing(files: &Files, counted: &Counted) -> Vec<Missing> {
    let mut missing = Vec::new();
    for (node_id, numbers) in files {
        let pairs = numbers.iter().zip(numbers.iter().skip(1));
        let before = missing.len();
        missing.extend(pairs.filter_map(|(one, next)| between(node_id, None, *one, *next)));
        if missing.len() > before {
            continue;
        }
        for ((_, epoch), ranges) in counted.iter().filter(|((node, _), _)| node == node_id) {
            let pairs = ranges.values().zip(ranges.keys().skip(1));
            missing.extend(pairs.filter_map(|(last, next)| between(node_id, Some(*epoch), *last, *next)));
        }
    }
    missing
}

/// The numbers between two that follow one another, if there are any.
fn between(node_id: &NodeId, epoch: Option<u32>, one: u64, next: u64) -> Option<Missing> {
    let (first, last) = (one.checked_add(1)?, next.checked_sub(1)?);
    (first <= last).then(|| Missing { node_id: node_id.clone(), epoch, first, last })
}

/// Notes a record as counted; false if it was before.
fn first_time(counted: &mut Counted, record: &Record) -> bool {
    let known = counted.entry((record.node_id.clone(), record.epoch)).or_default();
    let seq = record.seq;
    let before = known.range(..=seq).next_back().map(|(first, last)| (*first, *last));
    if before.is_some_and(|(_, last)| last >= seq) {
        return false;
    }
    let joined_after = seq.checked_add(1).and_then(|next| known.remove(&next));
    let last = joined_after.unwrap_or(seq);
    match before.filter(|(_, last)| last.checked_add(1) == Some(seq)) {
        Some((first, _)) => known.insert(first, last),
        None => known.insert(seq, last),
    };
    true
}

impl Totals {
    /// Adds one record.
    fn add(&mut self, record: &Record, by: By, zone: &TimeZone) {
        let Some(account) = record.account() else { return };
        let key = match by {
            By::Class => String::new(),
            By::Subscriber => {
                let session = &account.session;
                match session.subscriber_id() {
                    "" => session.subscriber_type().label().to_owned(),
                    id => format!("{}:{id}", session.subscriber_type().label()),
                }
            }
            By::Service => account.entry.service().map(|service| service.to_string()).unwrap_or_default(),
            By::Day => zone.to_datetime(record.window.start()).date().to_string(),
            By::Reason => account.entry.reason().map_or("", |reason| reason.label()).to_owned(),
        };
        let sum = self.sums.entry((key, account.entry.class())).or_default();
        let (up, down) = record.bytes();
        sum.records = sum.records.saturating_add(1);
        // 2⁶³ records of 2⁶⁴ bytes fit 127 bits.
        sum.up_bytes = sum.up_bytes.saturating_add(up);
        sum.down_bytes = sum.down_bytes.saturating_add(down);
    }
}
