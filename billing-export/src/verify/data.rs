//! Checks the rows of one file: each by itself, each behind the one before, and all of them against the manifest.

use std::path::Path;

use super::Fault;
use super::faults::Faults;
use super::running::Totals;
use crate::codec::Format;
use crate::error::ExportError;
use crate::manifest::{Hash, Manifest};
use crate::period::{format_compact, format_instant};
use crate::pickup::{Pair, read_data};
use crate::record::{Body, Kind, Record, Window};

/// What the rows of a file come to.
#[derive(Default)]
struct Rows {
    /// Epoch, lowest and highest record number.
    range: Option<(u32, u64, u64)>,
    /// How many there are.
    count: u64,
    /// Their bytes, upward and downward, with those of corrections.
    sum: (i128, i128),
    /// The bytes of its usage rows.
    usage: (i128, i128),
    /// The last one.
    last: Option<Record>,
    /// Windows of gap records.
    gaps: Vec<Window>,
}

/// Checks the rows of a file; returns epoch, lowest and highest record number.
pub(super) fn check_data(
    pair: &Pair,
    path: &Path,
    manifest: Option<&Manifest>,
    totals: &mut Totals,
    faults: &mut Faults<'_>,
) -> Result<Option<(u32, u64, u64)>, ExportError> {
    let mut rows = Rows::default();
    let (hash, format) = read_data(path, &mut |row| {
        let record = match row {
            Ok(record) => record,
            Err(error) => return faults.add(error.to_string()),
        };
        check_row(pair, manifest, rows.last.as_ref(), &record, faults);
        totals.check(&record, faults);
        rows.add(record);
    })?;
    rows.report(path, faults);
    if let Some(manifest) = manifest {
        rows.compare(manifest, hash, format, faults);
    }
    if rows.count == 0 {
        faults.add("found no row, wanted at least a heartbeat".into());
    }
    if let (Some(name), Some(last)) = (&pair.name, &rows.last) {
        let end = format_compact(last.window.end());
        faults.compare("time in the name", name.end(), end.as_str(), "end_utc of the last row");
    }
    Ok(rows.range)
}

impl Rows {
    /// Adds a row.
    fn add(&mut self, record: Record) {
        self.count = self.count.saturating_add(1);
        let (up, down) = record.bytes();
        self.sum = (self.sum.0.saturating_add(up), self.sum.1.saturating_add(down));
        if record.kind() == Kind::Usage {
            self.usage = (self.usage.0.saturating_add(up), self.usage.1.saturating_add(down));
        }
        if record.kind() == Kind::Gap {
            self.gaps.push(record.window);
        }
        let (first, highest) =
            self.range.map_or((record.seq, record.seq), |(_, first, highest)| (first, highest));
        self.range = Some((record.epoch, first.min(record.seq), highest.max(record.seq)));
        self.last = Some(record);
    }

    /// Adds them to the report, and notes their gaps.
    fn report(&self, path: &Path, faults: &mut Faults<'_>) {
        faults.report.files = faults.report.files.saturating_add(1);
        faults.report.records = faults.report.records.saturating_add(self.count);
        faults.report.up_bytes = faults.report.up_bytes.saturating_add(self.sum.0);
        faults.report.down_bytes = faults.report.down_bytes.saturating_add(self.sum.1);
        for window in &self.gaps {
            let (start, end) = (format_instant(window.start()), format_instant(window.end()));
            let text =
                format!("a gap record says that counts are missing or do not add up from {start} to {end}");
            faults.report.notes.push(Fault { file: path.to_owned(), text });
        }
    }

    /// Compares them with what the manifest says.
    fn compare(&self, manifest: &Manifest, hash: Hash, format: Option<Format>, faults: &mut Faults<'_>) {
        const MANIFEST: &str = "the manifest says";
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
        faults.compare("number of rows", self.count, manifest.records, MANIFEST);
        let (up, down) = self.usage;
        faults.compare("sum of up_bytes", up, manifest.up_bytes.into(), MANIFEST);
        faults.compare("sum of down_bytes", down, manifest.down_bytes.into(), MANIFEST);
        faults.compare(
            "last record_seq",
            self.last.as_ref().map_or(0, |record| record.seq),
            manifest.last_seq,
            MANIFEST,
        );
    }
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
    if let Body::Adjust { reference, .. } = &record.body
        && (reference.epoch, reference.seq) >= (record.epoch, record.seq)
    {
        faults.add(format!(
            "{}: found record {} of epoch {}, wanted one before it",
            row("ref_seq"),
            reference.seq,
            reference.epoch
        ));
    }
    let (wanted, why) = match (last, manifest) {
        (Some(last), _) => (last.seq.saturating_add(1), "the row before asks for"),
        (None, Some(manifest)) => (manifest.first_seq, "the manifest says"),
        (None, None) => return,
    };
    faults.compare("record_seq", record.seq, wanted, why);
}
