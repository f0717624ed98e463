//! Sums over usage files: in 128 bits, each record once however often its file was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::class::Class;
use crate::pickup::Pair;
use crate::record::{Kind, Record};
use crate::unit::NodeId;
use crate::whole::{Counted, WholeError, read_whole};

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
    /// Rows of kind usage; corrections are in the bytes.
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
) -> Result<Totals, WholeError> {
    let mut totals = Totals::default();
    let (mut counted, mut files) = (Counted::default(), Files::new());
    for pair in pairs {
        let mut each = |record: &Record| match counted.is_new(record) {
            true => totals.add(record, by, zone),
            false => totals.repeated = totals.repeated.saturating_add(1),
        };
        match read_whole(pair, &mut each)? {
            None => totals.incomplete.push(pair.path().to_owned()),
            Some(manifest) => {
                if let Ok(node) = manifest.node_id.parse::<NodeId>() {
                    files.entry(node).or_default().insert(manifest.file_seq);
                }
                progress(pair.data_len());
            }
        }
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
        for (epoch, ranges) in counted.of_node(node_id) {
            let pairs = ranges.values().zip(ranges.keys().skip(1));
            missing.extend(pairs.filter_map(|(last, next)| between(node_id, Some(epoch), *last, *next)));
        }
    }
    missing
}

/// The numbers between two that follow one another, if there are any.
fn between(node_id: &NodeId, epoch: Option<u32>, one: u64, next: u64) -> Option<Missing> {
    let (first, last) = (one.checked_add(1)?, next.checked_sub(1)?);
    (first <= last).then(|| Missing { node_id: node_id.clone(), epoch, first, last })
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
        sum.records = sum.records.saturating_add(u64::from(record.kind() == Kind::Usage));
        // 2⁶³ records of 2⁶⁴ bytes fit 127 bits.
        sum.up_bytes = sum.up_bytes.saturating_add(up);
        sum.down_bytes = sum.down_bytes.saturating_add(down);
    }
}
