//! What billing received: the published files read, summed and verified. Only files are read here, never the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use billing_export::Class;
use billing_export::pickup::{Pair, pairs, read_data, read_manifest};
use billing_export::verify::{Report, verify};

use super::browse::Line;
use super::world;

/// Bytes upward and downward. 128 bits: corrections in files may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Bytes {
    /// Sent by subscribers.
    pub up: i128,
    /// Sent to subscribers.
    pub down: i128,
}

impl Bytes {
    /// Adds both directions.
    pub(in crate::app) fn add(&mut self, up: i128, down: i128) {
        self.up = self.up.saturating_add(up);
        self.down = self.down.saturating_add(down);
    }
}

/// One published file.
#[derive(Debug)]
pub(in crate::app) struct FileLine {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub records: u64,
    /// Sum of its rows.
    pub bytes: Bytes,
}

/// Everything in the pickup folder.
#[derive(Debug)]
pub(in crate::app) struct Exported {
    /// Sums of the rows.
    pub lines: BTreeMap<Line, Bytes>,
    /// The files, in order.
    pub files: Vec<FileLine>,
    /// Bytes counted at the node's sockets, as the manifests say.
    pub seen: Bytes,
    /// Files whose manifest says that bytes were conserved.
    pub conserved: usize,
    /// The outcome of `billing-export verify`.
    pub report: Report,
}

/// Number of complete files in the pickup folder; none while it cannot be read.
pub(in crate::app) fn published(folder: &Path) -> usize {
    pairs(&[folder.to_owned()])
        .map_or(0, |pairs| pairs.iter().filter(|pair| pair.data.is_some() && pair.manifest.is_some()).count())
}

/// Reads the pickup folder.
///
/// # Errors
/// A file that cannot be read, or a row or manifest that is not one; with path and reason.
pub(in crate::app) fn read(folder: &Path) -> Result<Exported, String> {
    let paths: [PathBuf; 1] = [folder.to_owned()];
    let pairs = pairs(&paths).map_err(|error| error.to_string())?;
    let report = verify(&pairs, &mut |_| ()).map_err(|error| error.to_string())?;
    let mut exported =
        Exported { lines: BTreeMap::new(), files: Vec::new(), seen: Bytes::default(), conserved: 0, report };
    for pair in &pairs {
        exported.add(pair)?;
    }
    Ok(exported)
}

impl Exported {
    /// Adds one file.
    fn add(&mut self, pair: &Pair) -> Result<(), String> {
        let (Some(data), Some(manifest)) = (&pair.data, &pair.manifest) else {
            return Err(format!(
                "{}: found one of data file and manifest, wanted both",
                pair.path().display()
            ));
        };
        let (manifest, _) =
            read_manifest(manifest).map_err(|text| format!("{}: {text}", manifest.display()))?;
        self.seen.add(manifest.seen_up_bytes.into(), manifest.seen_down_bytes.into());
        if manifest.conserved {
            self.conserved = self.conserved.saturating_add(1);
        }
        let mut file = FileLine { name: manifest.file, records: 0, bytes: Bytes::default() };
        let mut wrong = None;
        read_data(data, &mut |row| match row {
            Err(error) => wrong = wrong.take().or(Some(error.to_string())),
            Ok(record) => {
                let (up, down) = record.bytes();
                file.records = file.records.saturating_add(1);
                file.bytes.add(up, down);
                let Some(account) = record.account() else { return };
                let session = &account.session;
                let who = world::label(session.subscriber_type().label(), session.subscriber_id());
                let service = account.entry.service().map(ToString::to_string);
                let reason = account.entry.reason().map(|reason| reason.label().to_owned());
                let what = service.or(reason).unwrap_or_default();
                self.lines.entry((who, account.entry.class(), what)).or_default().add(up, down);
            }
        })
        .map_err(|error| error.to_string())?;
        self.files.push(file);
        match wrong {
            Some(text) => Err(format!("{}: {text}", data.display())),
            None => Ok(()),
        }
    }

    /// Sum of the rows of a class, of one subscriber or of all.
    pub(in crate::app) fn of_class(&self, class: Class, subscriber: Option<&str>) -> Bytes {
        let mut sum = Bytes::default();
        for ((who, kind, _), bytes) in &self.lines {
            if *kind == class && subscriber.is_none_or(|wanted| wanted == who) {
                sum.add(bytes.up, bytes.down);
            }
        }
        sum
    }
}
