//! Usage files that are what their manifests say, record by record, each record once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::ExportError;
use crate::manifest::Manifest;
use crate::pickup::{Pair, read_data, read_manifest};
use crate::record::Record;
use crate::sink::file::hash_file;
use crate::unit::NodeId;

/// Why a file cannot be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum WholeError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ExportError),
    /// A file is not what its manifest says: no figure is better than a wrong one.
    #[error("{path}: {text}. Run `billing-export verify` and have the file delivered again")]
    Faulty {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
}

/// Calls `each` for every record of a file; returns its manifest, none where there is none yet: it is not complete, and not read.
///
/// # Errors
/// A file that cannot be read, or is not what its manifest says.
pub fn read_whole(pair: &Pair, each: &mut dyn FnMut(&Record)) -> Result<Option<Manifest>, WholeError> {
    let (data, manifest) = match (&pair.data, &pair.manifest) {
        (Some(data), Some(manifest)) => (data, manifest),
        (Some(_), None) => return Ok(None),
        (None, _) => {
            let text = "found a manifest without its data file, wanted both".to_owned();
            return Err(WholeError::Faulty { path: pair.path().to_owned(), text });
        }
    };
    let faulty = |text: String| WholeError::Faulty { path: data.clone(), text };
    let (manifest, _) =
        read_manifest(manifest).map_err(|text| WholeError::Faulty { path: manifest.clone(), text })?;
    match hash_file(data)? {
        Some(found) if found == manifest.sha256 => {}
        Some(found) => {
            return Err(faulty(format!(
                "found sha256 {found}, wanted {}, as the manifest says",
                manifest.sha256
            )));
        }
        None => return Err(faulty("found it gone, wanted it to stay while it is read".into())),
    }
    let mut wrong = None;
    read_data(data, &mut |row| match row {
        Ok(record) => each(&record),
        Err(error) => wrong = wrong.take().or(Some(error.to_string())),
    })?;
    match wrong {
        Some(text) => Err(faulty(text)),
        None => Ok(Some(manifest)),
    }
}

/// Record numbers already counted, per node and epoch, as first → last. Memory grows with breaks, not with records.
#[derive(Debug, Default)]
pub struct Counted(BTreeMap<(NodeId, u32), BTreeMap<u64, u64>>);

impl Counted {
    /// Notes a record as counted; false if it was before.
    pub fn is_new(&mut self, record: &Record) -> bool {
        let known = self.0.entry((record.node_id.clone(), record.epoch)).or_default();
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

    /// The ranges of a node, by epoch.
    pub(crate) fn of_node(&self, node_id: &NodeId) -> impl Iterator<Item = (u32, &BTreeMap<u64, u64>)> {
        self.0
            .iter()
            .filter(move |((node, _), _)| node == node_id)
            .map(|((_, epoch), ranges)| (*epoch, ranges))
    }
}
