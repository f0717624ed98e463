//! The rows of one file on their way into a table: read once, hashed, judged, and copied in blocks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use jiff::civil::Date;
use postgres::{Client, CopyInWriter, Transaction};

use super::super::check::{Rows, Summary};
use super::super::refusal::{Reason, Refusal};
use super::error::Fault;
use super::load::File;
use crate::codec::Format;
use crate::error::ExportError;
use crate::pickup::read_data;
use crate::record::Record;

/// A table of this connection alone, with the columns of `record`: for files of which something is there.
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

/// Makes the table [`STAGED`] of a new connection.
pub(super) fn prepare(client: &mut Client, schema: &str) -> Result<(), Fault> {
    client.batch_execute(&format!("CREATE TEMPORARY TABLE staged (LIKE {schema}.record)"))?;
    Ok(())
}

/// Reads and judges a data file, and copies its rows into a table with the columns of `record`. The days of its rows are told also
/// where the copy fails, as it does where there is no partition for one.
///
/// # Errors
/// What is wrong with the file, or with the way to the ledger: the transaction is over then.
pub(super) fn copy(
    work: &mut Transaction<'_>,
    target: &str,
    file: &File<'_>,
    days: &mut BTreeSet<Date>,
) -> Result<Summary, Fault> {
    let copy = work.copy_in(&format!("COPY {target} FROM STDIN"))?;
    let mut writer = Writer { copy, block: String::with_capacity(BLOCK_LEN) };
    let mut rows = Rows::new(file.manifest, file.zone);
    let mut lost = None;
    let read = read_data(file.data, &mut |row| {
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
    days.clone_from(&summary.days);
    // What was lost on the way is told by the end of the copy in the ledger's own words.
    match (writer.finish(), lost) {
        (Ok(count), None) if count == file.manifest.records => Ok(summary),
        (Ok(count), lost) => {
            let lost = lost.map_or_else(String::new, |error| format!(": {error}"));
            Err(Fault::Away(format!("it took {count} rows of {}{lost}", file.manifest.records)))
        }
        (Err(error), _) => {
            let fault = Fault::from(error);
            let about = fault.is_about_a_value();
            Err(about.map_or(fault, |text| {
                Fault::Refused(Refusal::new(Reason::Row, format!("the ledger cannot keep a value: {text}")))
            }))
        }
    }
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
