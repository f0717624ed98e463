//! Whether all records of a day are there: what the files of each node cover. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Day;
use crate::record::{Kind, Record, Window};
use crate::unit::NodeId;

/// What one file covers.
#[derive(Debug, Clone, Copy)]
struct Covered {
    start: Timestamp,
    end: Timestamp,
    /// It begins an epoch with a gap record: files of the state that was lost before it may never have been.
    begins_epoch: bool,
}

/// What files cover, by node and number.
#[derive(Debug, Default)]
pub struct Coverage {
    files: BTreeMap<NodeId, BTreeMap<u64, Covered>>,
    gaps: Vec<Window>,
}

impl Coverage {
    /// Nothing.
    pub fn new() -> Coverage {
        Coverage::default()
    }

    /// Takes a record of a file of its node. A correction covers nothing: it speaks of what was.
    pub fn add(&mut self, file_seq: u64, record: &Record) {
        let window = record.window;
        let begins_epoch = record.kind() == Kind::Gap && record.seq == 1;
        if record.kind() == Kind::Gap {
            self.gaps.push(window);
        }
        let files = self.files.entry(record.node_id.clone()).or_default();
        let (start, end) = match record.kind() {
            Kind::Adjust => (window.end(), window.end()),
            Kind::Usage | Kind::Heartbeat | Kind::Gap => (window.start(), window.end()),
        };
        let covered = files.entry(file_seq).or_insert(Covered { start, end, begins_epoch });
        covered.start = covered.start.min(start);
        covered.end = covered.end.max(end);
        covered.begins_epoch |= begins_epoch;
    }

    /// Whether everything that was counted on the day is in a record that is here: for every node without a break from its first
    /// file, or from before the day, to its end, and no gap record speaks of it.
    pub fn is_complete(&self, day: &Day) -> bool {
        let touched = |gap: &Window| gap.start() < day.end() && gap.end() >= day.start();
        !self.files.is_empty()
            && !self.gaps.iter().any(touched)
            && self.files.values().all(|files| is_covered(files, day))
    }
}

/// Whether the files of a node cover the day: from its begin, or the node's first file, to its end, with no file missing that lies in
/// it.
fn is_covered(files: &BTreeMap<u64, Covered>, day: &Day) -> bool {
    let mut before: Option<(u64, Timestamp)> = None;
    let mut is_reached = false;
    for (file_seq, file) in files {
        let follows = match before {
            // A node has its first file from its first start on.
            None => *file_seq == 1 || file.start <= day.start(),
            Some((seq, _)) => seq.checked_add(1) == Some(*file_seq) || file.begins_epoch,
        };
        // What is missing before a file lies in the day where the file begins in it: a seal may be cut over several.
        if !follows && file.start > day.start() && file.start < day.end() {
            return false;
        }
        if !follows && file.start >= day.end() {
            break;
        }
        let end = before.filter(|_| follows).map_or(file.end, |(_, end)| end.max(file.end));
        is_reached |= end >= day.end();
        before = Some((*file_seq, end));
    }
    is_reached
}
