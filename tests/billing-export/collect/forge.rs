//! Usage files that no gateway sealed and yet are valid: written by hand with the crate's own codec.

use std::fs;
use std::path::{Path, PathBuf};

use billing_export::audit::Figures;
use billing_export::codec::Format;
use billing_export::codec::csv::Writer;
use billing_export::manifest::{Hash, Manifest};
use billing_export::name::FileName;
use billing_export::record::{Body, Change, Record, Reference, Window};
use billing_export::*;
use jiff::{SignedDuration, Timestamp};

use crate::support::*;

/// A gateway by hand: rows are added, then written as the next file of the chain.
pub(crate) struct Forge {
    /// The node.
    pub(crate) node: NodeId,
    /// The epoch of the next rows.
    pub(crate) epoch: u32,
    /// Number of the next record.
    pub(crate) seq: u64,
    /// Number of the next file.
    pub(crate) file_seq: u64,
    /// Hash of the manifest before.
    pub(crate) previous: Option<Hash>,
    /// Start of the next rows.
    pub(crate) start: Timestamp,
    /// Rows of the next file.
    pub(crate) rows: Vec<Record>,
}

impl Forge {
    /// A gateway that has written nothing.
    pub(crate) fn new(node: &str) -> Forge {
        let node = node.parse().unwrap();
        Forge { node, epoch: 1, seq: 1, file_seq: 1, previous: None, start: at(0), rows: Vec::new() }
    }

    /// Adds a row; returns its epoch and number.
    pub(crate) fn add(&mut self, body: Body) -> Reference {
        let record = Record {
            node_id: self.node.clone(),
            epoch: self.epoch,
            seq: self.seq,
            window: Window::new(self.start, self.start + SignedDuration::from_mins(15)).unwrap(),
            byte_basis: ByteBasis::Payload,
            cause: matches!(body, Body::Usage { .. }).then_some(Cause::Period),
            flags: Flags::NONE,
            body,
        };
        let reference = Reference { epoch: self.epoch, seq: self.seq };
        self.rows.push(record);
        self.seq += 1;
        reference
    }

    /// Adds bytes of a subscriber.
    pub(crate) fn usage(&mut self, id: &str, up: u64, down: u64) -> Reference {
        self.add(Body::Usage {
            account: exempt(id, "bilimland"),
            volume: volume(up, down),
            total: volume(up, down),
        })
    }

    /// Adds a correction.
    pub(crate) fn adjust(&mut self, id: &str, reference: Reference, up: i128, down: i128) -> Reference {
        let change = |bytes| Change::new(bytes).unwrap();
        let (up, down) = (change(up), change(down));
        self.add(Body::Adjust { reference, account: exempt(id, "bilimland"), up, down, total: volume(0, 0) })
    }

    /// Writes the rows as the next file into a folder; returns the data file.
    pub(crate) fn write(&mut self, folder: &Path) -> PathBuf {
        let (data, manifest) = self.render();
        let path = folder.join(&manifest.file);
        let text = manifest.to_text().unwrap();
        crate::put(&path, &data);
        crate::put(&folder.join(manifest.file.replace(".csv", ".manifest.json")), text.as_bytes());
        self.previous = Some(Hash::of(text.as_bytes()));
        self.file_seq += 1;
        self.rows.clear();
        path
    }

    /// Data and manifest of the next file.
    pub(crate) fn render(&self) -> (Vec<u8>, Manifest) {
        let mut writer = Writer::new(Vec::new(), Format::NEWEST).unwrap();
        self.rows.iter().for_each(|row| writer.write(row).unwrap());
        let data = writer.finish().unwrap();
        let usage = self.rows.iter().filter(|row| matches!(row.body, Body::Usage { .. }));
        let sum = |pick: fn((i128, i128)) -> i128| {
            let sum: i128 = usage.clone().map(|row| pick(row.bytes())).sum();
            u64::try_from(sum).unwrap_or(u64::MAX)
        };
        let (up, down) = (sum(|bytes| bytes.0), sum(|bytes| bytes.1));
        let (first, last) = (self.rows.first().unwrap(), self.rows.last().unwrap());
        let name = FileName::new(self.node.clone(), last.window.end(), first.epoch, self.file_seq);
        let manifest = Manifest {
            format: 1,
            file: name.data(),
            node_id: self.node.to_string(),
            epoch: first.epoch,
            file_seq: self.file_seq,
            stream: "usage".into(),
            records: self.rows.len() as u64,
            first_seq: first.seq,
            last_seq: last.seq,
            up_bytes: up,
            down_bytes: down,
            sha256: Hash::of(&data),
            previous_manifest_sha256: self.previous.filter(|_| first.seq != 1),
            byte_basis: "payload".into(),
            seen_up_bytes: up,
            seen_down_bytes: down,
            pending_before_up_bytes: 0,
            pending_before_down_bytes: 0,
            pending_after_up_bytes: 0,
            pending_after_down_bytes: 0,
            conserved: true,
        };
        assert!(
            Figures { seen: volume(up, down), pending_before: Volume::ZERO, pending_after: Volume::ZERO }
                .conserved(volume(up, down))
        );
        (data, manifest)
    }
}

/// The manifest beside a data file.
pub(crate) fn manifest_of(data: &Path) -> Manifest {
    let path = data.to_str().unwrap().replace(".csv", ".manifest.json");
    Manifest::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Writes a data file again with another manifest beside it, under the name that manifest says.
pub(crate) fn rewrite(
    data: &[u8],
    mut manifest: Manifest,
    folder: &Path,
    change: impl FnOnce(&mut Manifest),
) -> PathBuf {
    manifest.sha256 = Hash::of(data);
    change(&mut manifest);
    let path = folder.join(&manifest.file);
    crate::put(&path, data);
    crate::put(
        &folder.join(manifest.file.replace(".csv", ".manifest.json")),
        manifest.to_text().unwrap().as_bytes(),
    );
    path
}

/// The same file under another number.
pub(crate) fn renumbered(data: &Path, folder: &Path, file_seq: u64) -> PathBuf {
    let manifest = manifest_of(data);
    let file =
        manifest.file.replace(&format!("_{:010}.csv", manifest.file_seq), &format!("_{file_seq:010}.csv"));
    rewrite(&fs::read(data).unwrap(), manifest, folder, |manifest| {
        (manifest.file, manifest.file_seq) = (file, file_seq);
    })
}
