//! Whether one file is what its name and its manifest say, judged row by row while it is read. Pure.
//!
//! The rows are judged by the same words as `verify` uses. Conservation is not asked for: a gateway that finds its own bytes
//! not conserved says so and delivers them all the same (decision 20); that the manifest says what its figures say is.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::refusal::{Reason, Refusal};
use crate::codec::Format;
use crate::codec::csv::{CsvError, LINE_LEN_MAX};
use crate::manifest::{Hash, Manifest};
use crate::name::{FileName, STREAM_USAGE};
use crate::record::{Body, Kind, Record};

/// Most rows of one file: ten times what a gateway writes into one unless told otherwise.
pub const RECORDS_MAX: u64 = 10_000_000;
/// Most local days of one file: all its rows are of one seal.
const DAYS_MAX: usize = 64;
/// The greatest number of a record or file that the ledger keeps: the one behind it is a PostgreSQL `bigint` too, as the end of
/// a range.
const NUMBER_MAX: u64 = i64::MAX.unsigned_abs() - 1;
/// The greatest serial of a list that the ledger keeps (PostgreSQL `bigint`).
const SERIAL_MAX: u64 = i64::MAX.unsigned_abs();

/// What to do about a file that is not as it was sealed.
const AGAIN: &str = "Have it delivered again, or written by `billing-export render`";

/// Refuses a manifest that contradicts the name or itself, or is larger than a file may be.
pub(super) fn judge_manifest(name: &FileName, manifest: &Manifest) -> Result<(), Refusal> {
    let said = |key: &str, found: String, wanted: String| {
        let same = found == wanted;
        let text = || format!("{key}: found {found}, wanted {wanted}, as the file's name has it. {AGAIN}");
        if same { Ok(()) } else { Err(Refusal::new(Reason::Manifest, text())) }
    };
    said("file", manifest.file.clone(), name.data())?;
    said("node_id", manifest.node_id.clone(), name.node_id().to_string())?;
    said("epoch", manifest.epoch.to_string(), name.epoch().to_string())?;
    said("file_seq", manifest.file_seq.to_string(), name.file_seq().to_string())?;
    said("stream", manifest.stream.clone(), STREAM_USAGE.to_owned())?;
    let refuse = |text: String| Err(Refusal::new(Reason::Manifest, format!("{text}. {AGAIN}")));
    let Manifest { first_seq, last_seq, records, .. } = manifest;
    let of_range = last_seq.checked_sub(*first_seq).and_then(|more| more.checked_add(1));
    if *first_seq == 0 || manifest.file_seq == 0 || of_range != Some(*records) {
        return refuse(format!(
            "found {records} records from {first_seq} to {last_seq} in file {}, wanted numbers from 1 that agree",
            manifest.file_seq
        ));
    }
    if manifest.previous_manifest_sha256.is_none() && *first_seq != 1 {
        return refuse(
            "previous_manifest_sha256: found null, wanted a hash: it is not the first of its epoch"
                .to_owned(),
        );
    }
    if manifest.conserved != manifest.figures().conserved(manifest.rows()) {
        return refuse(format!("conserved: found {}, wanted what its own figures say", manifest.conserved));
    }
    if *records > RECORDS_MAX || *last_seq > NUMBER_MAX || manifest.file_seq > NUMBER_MAX {
        let text = format!(
            "found {records} records to number {last_seq} in file {}, wanted at most {RECORDS_MAX} records and numbers up to {NUMBER_MAX}",
            manifest.file_seq
        );
        return Err(Refusal::new(Reason::TooLarge, text));
    }
    Ok(())
}

/// Refuses a data file longer than its rows can be, before it is read.
pub(super) fn judge_length(length: u64, manifest: &Manifest) -> Result<(), Refusal> {
    let line = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
    let most = manifest.records.saturating_add(1).saturating_mul(line);
    if length > most {
        let text =
            format!("found {length} bytes, wanted at most {most} for {} rows. {AGAIN}", manifest.records);
        return Err(Refusal::new(Reason::TooLarge, text));
    }
    Ok(())
}

/// What the rows of a file come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    /// Rows of kind adjust.
    pub(super) adjusts: u64,
    /// Local days in which rows start; not empty.
    pub(super) days: BTreeSet<Date>,
    /// Whether the first row is of kind gap.
    pub(super) begins_with_gap: bool,
    /// End of the last row.
    pub(super) end: Timestamp,
}

/// The rows of one file, judged one after another.
pub(super) struct Rows<'m> {
    /// What they are to be.
    manifest: &'m Manifest,
    /// Zone of local days.
    zone: &'m TimeZone,
    /// How many there were.
    count: u64,
    /// Sums of the usage rows, upward and downward.
    sum: (i128, i128),
    /// Rows of kind adjust.
    adjusts: u64,
    /// Local days.
    days: BTreeSet<Date>,
    /// The start of the row before, and its day: all rows of a seal have the same.
    last_day: Option<(Timestamp, Date)>,
    /// Whether the first row is of kind gap.
    begins_with_gap: bool,
    /// End of the last row.
    end: Option<Timestamp>,
    /// The first thing that is wrong.
    wrong: Option<Refusal>,
}

impl<'m> Rows<'m> {
    /// No row yet.
    pub(super) fn new(manifest: &'m Manifest, zone: &'m TimeZone) -> Rows<'m> {
        Rows {
            manifest,
            zone,
            count: 0,
            sum: (0, 0),
            adjusts: 0,
            days: BTreeSet::new(),
            last_day: None,
            begins_with_gap: false,
            end: None,
            wrong: None,
        }
    }

    /// Takes the next row in. Gives it back with its local day as long as nothing was wrong.
    pub(super) fn take(&mut self, row: Result<Record, CsvError>) -> Option<(Record, Date)> {
        if self.wrong.is_some() {
            return None;
        }
        match row
            .map_err(|error| Refusal::new(Reason::Row, format!("{error}. {AGAIN}")))
            .and_then(|record| self.judge(record))
        {
            Ok(taken) => Some(taken),
            Err(refusal) => {
                self.wrong = Some(refusal);
                None
            }
        }
    }

    /// Judges one row.
    fn judge(&mut self, record: Record) -> Result<(Record, Date), Refusal> {
        let wanted = self.manifest.first_seq.saturating_add(self.count);
        let row = |text: String| {
            Err(Refusal::new(Reason::Row, format!("record_seq {}: {text}. {AGAIN}", record.seq)))
        };
        if self.count >= self.manifest.records {
            let text = format!(
                "found more than {} rows, wanted as many as the manifest says. {AGAIN}",
                self.manifest.records
            );
            return Err(Refusal::new(Reason::Count, text));
        }
        if record.seq != wanted {
            return row(format!("found it where {wanted} belongs"));
        }
        if record.node_id.as_str() != self.manifest.node_id || record.epoch != self.manifest.epoch {
            return row(format!(
                "found node {} and epoch {}, wanted those of the file's name",
                record.node_id, record.epoch
            ));
        }
        if record.byte_basis.label() != self.manifest.byte_basis {
            return row(format!(
                "found byte_basis {}, wanted {}, as the manifest says",
                record.byte_basis.label(),
                self.manifest.byte_basis
            ));
        }
        if let Body::Adjust { reference, .. } = &record.body
            && ((reference.epoch, reference.seq) >= (record.epoch, record.seq) || reference.seq == 0)
        {
            return row(format!(
                "found a correction of record {} of epoch {}, wanted an earlier one",
                reference.seq, reference.epoch
            ));
        }
        let list_serial =
            record.account().and_then(|account| account.list.as_ref()).map_or(0, |list| list.serial);
        if list_serial > SERIAL_MAX {
            return row(format!("found list_serial {list_serial}, wanted at most {SERIAL_MAX}"));
        }
        match record.kind() {
            Kind::Usage => {
                let (up, down) = record.bytes();
                self.sum = (self.sum.0.saturating_add(up), self.sum.1.saturating_add(down));
            }
            Kind::Adjust => self.adjusts = self.adjusts.saturating_add(1),
            Kind::Gap if self.count == 0 => self.begins_with_gap = true,
            Kind::Gap | Kind::Heartbeat => {}
        }
        self.count = self.count.saturating_add(1);
        self.end = Some(record.window.end());
        let day = self.day(record.window.start())?;
        Ok((record, day))
    }

    /// The local day of an instant.
    fn day(&mut self, start: Timestamp) -> Result<Date, Refusal> {
        if let Some((known, day)) = self.last_day
            && known == start
        {
            return Ok(day);
        }
        let day = self.zone.to_datetime(start).date();
        self.last_day = Some((start, day));
        self.days.insert(day);
        if self.days.len() > DAYS_MAX {
            let text = format!("found rows of more than {DAYS_MAX} local days, wanted those of one period");
            return Err(Refusal::new(Reason::TooLarge, text));
        }
        Ok(day)
    }

    /// What the rows come to, held against the manifest.
    ///
    /// # Errors
    /// The first thing that was wrong with a row; else the hash, the columns, the number of rows, the sums. The hash goes
    /// before what is wrong with a row: a file that was changed on its way says nothing about its gateway.
    pub(super) fn finish(self, hash: Hash, format: Option<Format>) -> Result<Summary, Refusal> {
        let Rows { manifest, .. } = self;
        let refuse = |reason, what: &str, found: String, wanted: String| {
            let text = format!("{what}: found {found}, wanted {wanted}, as the manifest says. {AGAIN}");
            Err(Refusal::new(reason, text))
        };
        if hash != manifest.sha256 {
            return refuse(Reason::Sha256, "sha256", hash.to_string(), manifest.sha256.to_string());
        }
        if let (Some(found), Some(wanted)) = (format, Format::of_number(manifest.format))
            && !found.columns().eq(wanted.columns())
        {
            let found = format!("those of format {}", found.number());
            return refuse(Reason::Columns, "columns", found, format!("those of {}", manifest.format));
        }
        if let Some(refusal) = self.wrong {
            let columns = format.is_none();
            return Err(if columns { Refusal { reason: Reason::Columns, ..refusal } } else { refusal });
        }
        if self.count != manifest.records {
            return refuse(Reason::Count, "rows", self.count.to_string(), manifest.records.to_string());
        }
        let wanted = (i128::from(manifest.up_bytes), i128::from(manifest.down_bytes));
        if self.sum != wanted {
            let text = |(up, down): (i128, i128)| format!("{up} up and {down} down");
            return refuse(Reason::Sum, "sum of the usage rows", text(self.sum), text(wanted));
        }
        let Some(end) = self.end else {
            return refuse(Reason::Count, "rows", "none".to_owned(), "at least one".to_owned());
        };
        let Rows { adjusts, days, begins_with_gap, .. } = self;
        Ok(Summary { adjusts, days, begins_with_gap, end })
    }
}
