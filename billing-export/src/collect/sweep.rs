//! The manifests in a folder, in the order of node and file number, a bounded number at a time.
//!
//! A folder that keeps what was taken grows for years. It is read once for each [`BATCH_LEN`] names, and only so many are in
//! memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::name::{DATA_ENDING, FileName, MANIFEST_ENDING};
use crate::unit::NodeId;

/// Most names in memory at once; one costs about 250 bytes.
const BATCH_LEN: usize = 4096;

/// Where a manifest stands in the order: foreign names last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Whether it is no name of a usage file.
    foreign: bool,
    /// The node.
    node: Option<NodeId>,
    /// The number of the file.
    file_seq: u64,
    /// The epoch.
    epoch: u32,
    /// The name without its ending.
    stem: String,
}

/// A manifest in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The name without its ending.
    pub(super) stem: String,
    /// The name in its parts; none where it is not that of a usage file.
    pub(super) name: Option<FileName>,
}

/// What one reading of a folder gives.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The manifests, in order.
    pub(super) found: Vec<Found>,
    /// Where to go on; none at the end.
    pub(super) after: Option<Place>,
    /// Data files without a manifest: not complete yet.
    pub(super) incomplete: u64,
}

/// The next manifests of a folder behind `after`. With `since` only those that changed, or whose data did, at that second of
/// the system's clock or later.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn next(dir: &Path, after: Option<&Place>, since: Option<i64>) -> io::Result<Batch> {
    let mut kept: BTreeMap<Place, Found> = BTreeMap::new();
    let mut batch = Batch::default();
    let mut more = false;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        if let Some(stem) = file_name.strip_suffix(DATA_ENDING) {
            let alone = after.is_none() && !dir.join(format!("{stem}{MANIFEST_ENDING}")).exists();
            batch.incomplete = batch.incomplete.saturating_add(u64::from(alone));
            continue;
        }
        let Some(stem) = file_name.strip_suffix(MANIFEST_ENDING) else { continue };
        let name: Option<FileName> = stem.parse().ok();
        let place = Place {
            foreign: name.is_none(),
            node: name.as_ref().map(|name| name.node_id().clone()),
            file_seq: name.as_ref().map_or(0, FileName::file_seq),
            epoch: name.as_ref().map_or(0, FileName::epoch),
            stem: stem.to_owned(),
        };
        if after.is_some_and(|after| place <= *after) || since.is_some_and(|since| is_older(dir, stem, since))
        {
            continue;
        }
        kept.insert(place, Found { stem: stem.to_owned(), name });
        if kept.len() > BATCH_LEN {
            kept.pop_last();
            more = true;
        }
    }
    batch.after = kept.last_key_value().filter(|_| more).map(|(place, _)| place.clone());
    batch.found = kept.into_values().collect();
    Ok(batch)
}

/// Whether neither file changed since.
fn is_older(dir: &Path, stem: &str, since: i64) -> bool {
    [DATA_ENDING, MANIFEST_ENDING].iter().all(|ending| {
        let metadata = fs::symlink_metadata(dir.join(format!("{stem}{ending}")));
        metadata.is_ok_and(|metadata| metadata.ctime() < since)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_any_size_is_passed_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let count = u64::try_from(BATCH_LEN).unwrap() * 2 + 7;
        let stem = |number: u64| format!("zrgw-{}_usage_20200406T121500Z_00001_{number:010}", number % 2);
        for number in 1..=count {
            fs::write(dir.path().join(format!("{}{MANIFEST_ENDING}", stem(number))), "").unwrap();
        }
        fs::write(dir.path().join(format!("copy{MANIFEST_ENDING}")), "").unwrap();
        fs::write(dir.path().join(format!("half{DATA_ENDING}")), "").unwrap();
        fs::write(dir.path().join("notes.txt"), "").unwrap();
        let (mut found, mut after, mut incomplete) = (Vec::new(), None, 0);
        loop {
            let batch = next(dir.path(), after.as_ref(), None).unwrap();
            assert!(batch.found.len() <= BATCH_LEN);
            found.extend(batch.found.into_iter().map(|found| found.stem));
            incomplete += batch.incomplete;
            match batch.after {
                Some(place) => after = Some(place),
                None => break,
            }
        }
        let of = |node: u64| (1..=count).filter(move |number| number % 2 == node).map(stem);
        let wanted: Vec<String> = of(0).chain(of(1)).chain(["copy".to_owned()]).collect();
        assert_eq!(found, wanted);
        assert_eq!(incomplete, 1);
    }

    #[test]
    fn what_changed_since_is_found_and_the_rest_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let stem = "zrgw-01_usage_20200406T121500Z_00001_0000000001";
        for ending in [DATA_ENDING, MANIFEST_ENDING] {
            fs::write(dir.path().join(format!("{stem}{ending}")), "").unwrap();
        }
        assert_eq!(next(dir.path(), None, Some(0)).unwrap().found.len(), 1);
        assert_eq!(next(dir.path(), None, Some(i64::MAX)).unwrap().found.len(), 0);
        // A manifest whose data is not there is looked at each time.
        fs::remove_file(dir.path().join(format!("{stem}{DATA_ENDING}"))).unwrap();
        assert_eq!(next(dir.path(), None, Some(i64::MAX)).unwrap().found.len(), 1);
    }
}
