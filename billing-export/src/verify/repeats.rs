//! Records that more than one file has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Fault, Report, Seen};
use crate::pickup::read_data;
use crate::unit::NodeId;

/// Record numbers already met, per node and epoch: first → (last, file).
pub(super) type Ranges = BTreeMap<(NodeId, u32), BTreeMap<u64, (u64, PathBuf)>>;

/// Reports records that an earlier file has too.
pub(super) fn check_repeats(seen: &Seen<'_>, ranges: &mut Ranges, report: &mut Report) {
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
