//! The rows of one file on their way into the ledger: read once, judged, and copied into a table of this connection alone.
//!
//! Nothing that others see has changed when it is done: what is staged was what its manifest says, to the byte.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use postgres::{Client, CopyInWriter};

use super::super::check::{Rows, Summary};
use super::super::refusal::{Reason, Refusal};
use super::error::Fault;
use crate::codec::Format;
use crate::error::ExportError;
use crate::manifest::Manifest;
use crate::pickup::read_data;
use crate::record::Record;

/// The staging table: the columns of `record`. Every file empties it.
pub(super) const STAGED: &str = "pg_temp.staged";
/// Bytes handed to the connection at once.
const BLOCK_LEN: usize = 256 * 1024;
/// Columns that hold no text: empty is NULL there.
const NOT_TEXT: [&str; 8] = [
    "ref_epoch",
    "ref_seq",
    "rating_group",
    "list_serial",
    "up_bytes",
    "down_bytes",
    "up_bytes_total",
    "down_bytes_total",
];

/// Makes the staging table of a new connection.
pub(super) fn prepare(client: &mut Client, schema: &str) -> Result<(), Fault> {
    client.batch_execute(&format!("CREATE TEMPORARY TABLE staged (LIKE {schema}.record)"))?;
    Ok(())
}

/// Reads, judges and stages a data file.
///
/// # Errors
/// What is wrong with the file, or with the way to the ledger.
pub(super) fn stage(
    client: &mut Client,
    data: &Path,
    manifest: &Manifest,
    zone: &TimeZone,
) -> Result<Summary, Fault> {
    let mut work = client.transaction()?;
    work.batch_execute(&format!("TRUNCATE {STAGED}"))?;
    let mut writer = Writer {
        copy: work.copy_in(&format!("COPY {STAGED} FROM STDIN"))?,
        block: String::with_capacity(BLOCK_LEN),
    };
    let mut rows = Rows::new(manifest, zone);
    let mut lost = None;
    let read = read_data(data, &mut |row| {
        if let Some((record, day)) = rows.take(row)
            && lost.is_none()
        {
            lost = writer.write(&record, day).err();
        }
    });
    let (hash, format) = read.map_err(|error| match error {
        ExportError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Fault::Refused(
            Refusal::new(Reason::DataMissing, "found a manifest without its data file, wanted both"),
        ),
        other => Fault::File(other),
    })?;
    let summary = rows.finish(hash, format).map_err(Fault::Refused)?;
    // What was lost on the way is told by the end of the copy in the ledger's own words.
    match (writer.finish(), lost) {
        (Ok(count), None) if count == manifest.records => {}
        (Ok(count), lost) => {
            let lost = lost.map_or_else(String::new, |error| format!(": {error}"));
            return Err(Fault::Away(format!("it took {count} rows of {}{lost}", manifest.records)));
        }
        (Err(error), _) => {
            let fault = Fault::from(error);
            let about = fault.is_about_a_value();
            return Err(about.map_or(fault, |text| {
                Fault::Refused(Refusal::new(Reason::Row, format!("the ledger cannot keep a value: {text}")))
            }));
        }
    }
    work.commit()?;
    Ok(summary)
}

/// Rows on their way into the copy.
struct Writer<'c> {
    /// The copy.
    copy: CopyInWriter<'c>,
    /// Text not yet handed on.
    block: String,
}

impl Writer<'_> {
    /// Adds one row: values between tabs, a backslash before itself (PostgreSQL, COPY, text format). No value holds a tab or a
    /// line end: the codec refuses control characters.
    fn write(&mut self, record: &Record, day: Date) -> io::Result<()> {
        let block = &mut self.block;
        let _ = Format::FIRST.write(record, &mut |column, text| {
            if text.is_empty() && NOT_TEXT.contains(&column) {
                block.push_str("\\N");
            } else if text.contains('\\') {
                block.push_str(&text.replace('\\', "\\\\"));
            } else {
                block.push_str(text);
            }
            block.push('\t');
            Ok::<(), std::convert::Infallible>(())
        });
        let _ = writeln!(block, "{day}");
        if self.block.len() >= BLOCK_LEN { self.hand_on() } else { Ok(()) }
    }

    /// Hands the block to the connection.
    fn hand_on(&mut self) -> io::Result<()> {
        self.copy.write_all(self.block.as_bytes())?;
        self.block.clear();
        Ok(())
    }

    /// Ends the copy. A block that cannot be handed on is told by the end.
    fn finish(mut self) -> Result<u64, postgres::Error> {
        let _ = self.hand_on();
        self.copy.finish()
    }
}
