//! A usage file as a file of charging records, in two passes over its records: the first counts, for the header says before
//! the first record how long the file is; the second writes. Memory does not grow with the file. Pure.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::RecordError;
use super::header::{CDR_HEADER_LEN, Closure, FileHeader, HeaderTime, LENGTH_UNKNOWN, cdr_header};
use super::profile::{Profile, SessionFacts};
use super::record::{chosen, encode, low_32};
use super::time::LocalTime;
use crate::record::{Body, Record};
use crate::unit::Cause;

/// Lost-CDR indicator: nothing is missing.
const NONE_LOST: u8 = 0;
/// Lost-CDR indicator: one record at least is missing, and it is not known how many.
const UNKNOWN_LOST: u8 = 128;

/// What a sink has counted up to a usage file: all that a file of charging records depends on besides the records and the
/// profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Files so far, over all epochs.
    #[serde(with = "crate::manifest::decimal")]
    pub files: u64,
    /// The epoch of the last usage file; 0 before the first.
    pub epoch: u32,
    /// Records so far in that epoch.
    #[serde(with = "crate::manifest::decimal")]
    pub records: u64,
    /// A gap record was passed, and no file has said so.
    pub gap: bool,
}

impl Counts {
    /// These counts where a usage file of an epoch begins.
    fn at(self, epoch: u32) -> Counts {
        let records = if self.epoch == epoch { self.records } else { 0 };
        Counts { epoch, records, ..self }
    }
}

/// What the first pass found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The header, and the name of the file.
    pub file: Option<(FileHeader, String)>,
    /// What is counted after it.
    pub after: Counts,
}

/// One usage file on its way.
#[derive(Debug, Clone)]
pub struct Composer<'p> {
    /// What is agreed.
    profile: &'p Profile,
    /// What is counted, with the records that were added.
    counts: Counts,
    /// A gap record was passed before the first record of the file, or among them.
    lost: bool,
    /// Start of the first record; end and cause of the last.
    span: Option<(Timestamp, Timestamp, Option<Cause>)>,
    /// Records added.
    cdrs: u64,
    /// Their octets, with their headers.
    length: u64,
}

impl<'p> Composer<'p> {
    /// The usage file of an epoch that follows after these counts.
    pub fn new(profile: &'p Profile, before: Counts, epoch: u32) -> Composer<'p> {
        Composer { profile, counts: before.at(epoch), lost: false, span: None, cdrs: 0, length: 0 }
    }

    /// Adds a record of the usage file, and returns its octets with their header; none where it has no place in the file.
    ///
    /// # Errors
    /// It cannot be written by the profile.
    pub fn add(&mut self, record: &Record, facts: &SessionFacts) -> Result<Option<Vec<u8>>, RecordError> {
        if matches!(record.body, Body::Gap) {
            self.counts.gap = true;
        }
        let Some(row) = chosen(self.profile, record) else { return Ok(None) };
        let local = self.counts.records.saturating_add(1);
        let encoded = encode(self.profile, facts, record, row, local)?;
        // What is longer is refused above.
        let length = u16::try_from(encoded.len()).unwrap_or(u16::MAX);
        let mut octets = Vec::with_capacity(encoded.len().saturating_add(CDR_HEADER_LEN));
        octets.extend(cdr_header(length, self.profile.release));
        octets.extend(encoded);
        self.counts.records = local;
        self.lost |= std::mem::take(&mut self.counts.gap);
        let (start, end) = (record.window.start(), record.window.end());
        self.span = Some((self.span.map_or(start, |(first, ..)| first), end, record.cause));
        self.cdrs = self.cdrs.saturating_add(1);
        self.length = self.length.saturating_add(u64::try_from(octets.len()).unwrap_or(u64::MAX));
        Ok(Some(octets))
    }

    /// What the first pass found: no file where no record had a place in it.
    pub fn outline(self) -> Outline {
        let Some((start, end, cause)) = self.span else {
            return Outline { file: None, after: self.counts };
        };
        let after = Counts { files: self.counts.files.saturating_add(1), ..self.counts };
        let profile = self.profile;
        let header_length = profile.layout.length();
        let length = self.length.saturating_add(u64::from(header_length));
        let (opened, appended) = (LocalTime::at(start, &profile.zone), LocalTime::at(end, &profile.zone));
        let closure = if cause == Some(Cause::Period) { Closure::TimeLimit } else { Closure::Normal };
        let header = FileHeader {
            file_length: u32::try_from(length).unwrap_or(LENGTH_UNKNOWN),
            header_length,
            high: profile.release,
            low: profile.release,
            opening: HeaderTime::of(opened),
            last_append: HeaderTime::of(appended),
            cdrs: u32::try_from(self.cdrs).unwrap_or(u32::MAX),
            sequence: low_32(after.files),
            closure: closure.octet(),
            node_address: profile.address,
            lost: if self.lost { UNKNOWN_LOST } else { NONE_LOST },
            routeing_filter: Vec::new(),
            private_extension: profile.layout.has_extension_length().then(Vec::new),
        };
        let name = file_name(profile, after, appended);
        Outline { file: Some((header, name)), after }
    }
}

impl FileHeader {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(&self.octets())
    }
}

/// The name of a file: node, running count, local time of its last record, epoch (TS 32.297 §6.2: a node's files are told apart
/// by their running count, which is without holes).
fn file_name(profile: &Profile, after: Counts, time: LocalTime) -> String {
    let civil = time.civil();
    format!(
        "{}_-_{}.{}_-_{}{}_-_{}.cdr",
        profile.node_name,
        after.files,
        civil.strftime("%Y%m%d"),
        civil.strftime("%H%M"),
        time.offset_text(),
        after.epoch
    )
}
