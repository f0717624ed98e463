//! The usage file: RFC 4180 CSV in UTF-8 with one header line.
//!
//! Lines end with CR LF when written; LF alone is read too. Every value has one written form, so what is read is written
//! again equal: no leading zeros, no other time zone, flags in order. One row is at most [`LINE_LEN_MAX`] bytes long.

use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::Arc;

use crate::account::{Account, Entry, ListVersion};
use crate::class::Class;
use crate::period::{format_instant, parse_instant};
use crate::record::{Body, Change, Kind, Record, Reference, Window};
use crate::subscriber::Session;
use crate::unit::Volume;

/// The columns, in order.
pub const COLUMNS: [&str; 25] = [
    "node_id",
    "epoch",
    "record_seq",
    "kind",
    "ref_epoch",
    "ref_seq",
    "class",
    "reason",
    "subscriber_type",
    "subscriber_id",
    "session_id",
    "service_id",
    "rating_group",
    "list_id",
    "list_serial",
    "start_utc",
    "end_utc",
    "up_bytes",
    "down_bytes",
    "up_bytes_total",
    "down_bytes_total",
    "byte_basis",
    "disposition",
    "cause",
    "flags",
];

/// Longest line read, in bytes; the longest written has about 1,500.
pub const LINE_LEN_MAX: usize = 16 * 1024;

/// The values of one row as text, in the order of [`COLUMNS`]; empty where the kind has none.
pub type Fields = [String; 25];

/// The row of a record.
pub fn fields(record: &Record) -> Fields {
    let mut fields = Fields::default();
    let [
        node_id,
        epoch,
        seq,
        kind,
        ref_epoch,
        ref_seq,
        class,
        reason,
        subscriber_type,
        subscriber_id,
        session_id,
        service_id,
        rating_group,
        list_id,
        list_serial,
        start,
        end,
        up,
        down,
        up_total,
        down_total,
        byte_basis,
        disposition,
        cause,
        flags,
    ] = &mut fields;
    *node_id = record.node_id.to_string();
    *epoch = record.epoch.to_string();
    *seq = record.seq.to_string();
    *kind = record.kind().label().into();
    *start = format_instant(record.window.start());
    *end = format_instant(record.window.end());
    *byte_basis = record.byte_basis.label().into();
    *cause = record.cause.map_or("", |cause| cause.label()).into();
    *flags = record.flags.to_string();
    if let Some(account) = record.account() {
        *class = account.entry.class().label().into();
        *reason = account.entry.reason().map_or("", |reason| reason.label()).into();
        *subscriber_type = account.session.subscriber_type().label().into();
        *subscriber_id = account.session.subscriber_id().into();
        *session_id = account.session.session_id().into();
        if let Some(list) = &account.list {
            *list_id = list.id.to_string();
            *list_serial = list.serial.to_string();
        }
        if let Entry::Exempt { service, rating_group: group, disposition: who } = &account.entry {
            *service_id = service.to_string();
            *rating_group = group.to_string();
            *disposition = who.label().into();
        }
    }
    match &record.body {
        Body::Usage { volume, total, .. } => {
            *up = volume.up.to_string();
            *down = volume.down.to_string();
            *up_total = total.up.to_string();
            *down_total = total.down.to_string();
        }
        Body::Adjust { reference, up: up_change, down: down_change, total, .. } => {
            *ref_epoch = reference.epoch.to_string();
            *ref_seq = reference.seq.to_string();
            *up = up_change.bytes().to_string();
            *down = down_change.bytes().to_string();
            *up_total = total.up.to_string();
            *down_total = total.down.to_string();
        }
        Body::Heartbeat | Body::Gap => {}
    }
    fields
}

/// What is wrong with one value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The column's name.
    pub column: &'static str,
    /// The value, cut to a readable length; personal data is left out.
    pub found: String,
    /// What would have been right.
    pub wanted: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: found {:?}, wanted {}", self.column, self.found, self.wanted)
    }
}

/// The values of one row, by name.
struct Row<'a>(&'a [&'a str; 25]);

/// Longest value repeated in a message, in characters.
const FOUND_LEN_MAX: usize = 64;

impl<'a> Row<'a> {
    /// The value of a column.
    fn get(&self, column: &'static str) -> &'a str {
        COLUMNS.iter().zip(self.0).find_map(|(name, value)| (*name == column).then_some(*value)).unwrap_or("")
    }

    /// The error for a column.
    fn refuse(&self, column: &'static str, wanted: impl Into<String>) -> FieldError {
        let personal = matches!(column, "subscriber_id" | "session_id");
        let found = if personal {
            "(not shown)".into()
        } else {
            self.get(column).chars().take(FOUND_LEN_MAX).collect()
        };
        FieldError { column, found, wanted: wanted.into() }
    }

    /// A value of a vocabulary.
    fn word<T: FromStr<Err: std::fmt::Display>>(&self, column: &'static str) -> Result<T, FieldError> {
        self.get(column).parse().map_err(|error: T::Err| self.refuse(column, wanted_of(&error.to_string())))
    }

    /// A number in its one decimal form.
    fn number<T: FromStr + ToString>(&self, column: &'static str) -> Result<T, FieldError> {
        let text = self.get(column);
        let number = text.parse::<T>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| self.refuse(column, "a decimal number without leading zeros, within its range"))
    }

    /// An instant in its one form.
    fn instant(&self, column: &'static str) -> Result<jiff::Timestamp, FieldError> {
        parse_instant(self.get(column))
            .ok_or_else(|| self.refuse(column, "UTC with milliseconds, as 2026-04-06T00:15:00.000Z"))
    }

    /// A value that this kind of row does not have.
    fn empty(&self, column: &'static str) -> Result<(), FieldError> {
        if self.get(column).is_empty() {
            return Ok(());
        }
        Err(self.refuse(column, format!("nothing in a row of kind {}", self.get("kind"))))
    }

    /// Text that must be there.
    fn text(&self, column: &'static str) -> Result<Arc<str>, FieldError> {
        let text = self.get(column);
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(self.refuse(column, "text without control characters"));
        }
        Ok(text.into())
    }

    /// A signed number of bytes.
    fn change(&self, column: &'static str) -> Result<Change, FieldError> {
        Change::new(self.number(column)?).ok_or_else(|| self.refuse(column, "at most 64 bits and a sign"))
    }

    /// Upward and downward bytes.
    fn volume(&self, up: &'static str, down: &'static str) -> Result<Volume, FieldError> {
        Ok(Volume { up: self.number(up)?, down: self.number(down)? })
    }

    /// The account of a usage or adjust row.
    fn account(&self) -> Result<Account, FieldError> {
        let session =
            Session::new(self.word("subscriber_type")?, self.get("subscriber_id"), self.get("session_id"))
                .map_err(|error| self.refuse("subscriber_id", wanted_of(&error.to_string())))?;
        let list = if self.get("list_id").is_empty() && self.get("list_serial").is_empty() {
            None
        } else {
            Some(ListVersion { id: self.text("list_id")?, serial: self.number("list_serial")? })
        };
        let class: Class = self.word("class")?;
        let entry = match class {
            Class::Exempt => {
                self.empty("reason")?;
                Entry::Exempt {
                    service: self.text("service_id")?,
                    rating_group: self.number("rating_group")?,
                    disposition: self.word("disposition")?,
                }
            }
            Class::Charged => Entry::Charged(self.word("reason")?),
            Class::Unattributed => Entry::Unattributed(self.word("reason")?),
        };
        if class != Class::Exempt {
            for column in ["service_id", "rating_group", "disposition"] {
                self.empty(column)?;
            }
        }
        if entry.clone().normalised() != entry {
            return Err(self.refuse("class", "unattributed, where the reason says that nobody is known"));
        }
        Ok(Account { session, list, entry })
    }

    /// What the row says.
    fn body(&self, kind: Kind) -> Result<Body, FieldError> {
        if kind != Kind::Adjust {
            self.empty("ref_epoch")?;
            self.empty("ref_seq")?;
        }
        match kind {
            Kind::Usage => Ok(Body::Usage {
                account: self.account()?,
                volume: self.volume("up_bytes", "down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Adjust => Ok(Body::Adjust {
                reference: Reference { epoch: self.number("ref_epoch")?, seq: self.number("ref_seq")? },
                account: self.account()?,
                up: self.change("up_bytes")?,
                down: self.change("down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Heartbeat | Kind::Gap => {
                const UNUSED: [&str; 14] = [
                    "class",
                    "reason",
                    "subscriber_type",
                    "subscriber_id",
                    "session_id",
                    "service_id",
                    "rating_group",
                    "list_id",
                    "list_serial",
                    "up_bytes",
                    "down_bytes",
                    "up_bytes_total",
                    "down_bytes_total",
                    "disposition",
                ];
                UNUSED.into_iter().try_for_each(|column| self.empty(column))?;
                Ok(if kind == Kind::Heartbeat { Body::Heartbeat } else { Body::Gap })
            }
        }
    }
}

/// The part of a vocabulary's message that says what was wanted.
fn wanted_of(message: &str) -> String {
    message.rsplit_once("wanted ").map_or(message, |(_, wanted)| wanted).to_owned()
}

/// The record of a row.
///
/// # Errors
/// The first value that is not in its written form or does not fit the others.
pub fn parse_fields(values: &[&str; 25]) -> Result<Record, FieldError> {
    let row = Row(values);
    let kind: Kind = row.word("kind")?;
    let window = Window::new(row.instant("start_utc")?, row.instant("end_utc")?)
        .ok_or_else(|| row.refuse("end_utc", "an instant not before start_utc"))?;
    let cause = if row.get("cause").is_empty() { None } else { Some(row.word("cause")?) };
    Ok(Record {
        node_id: row.word("node_id")?,
        epoch: row.number("epoch")?,
        seq: row.number("record_seq")?,
        window,
        byte_basis: row.word("byte_basis")?,
        cause,
        flags: row.word("flags")?,
        body: row.body(kind)?,
    })
}

/// Writes a usage file.
pub struct Writer<W: Write> {
    /// Quoting and line ends.
    inner: csv::Writer<W>,
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header line.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn new(writer: W) -> io::Result<Writer<W>> {
        let mut inner = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(writer);
        inner.write_record(COLUMNS)?;
        Ok(Writer { inner })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        Ok(self.inner.write_record(fields(record))?)
    }

    /// Hands the rows so far to the writer below.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    /// Hands all rows to the writer below and gives it back.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn finish(self) -> io::Result<W> {
        self.inner.into_inner().map_err(|error| io::Error::new(error.error().kind(), error.to_string()))
    }
}

/// Why a usage file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// The reader below failed, or a line is over [`LINE_LEN_MAX`].
    #[error("line {line}: {source}")]
    Io {
        /// Line, from 1.
        line: u64,
        /// The cause.
        source: io::Error,
    },
    /// Not RFC 4180 or not UTF-8.
    #[error("line {line}: found {found}, wanted RFC 4180 CSV in UTF-8 with the {} columns of the contract", COLUMNS.len())]
    Form {
        /// Line, from 1.
        line: u64,
        /// What stands there.
        found: String,
    },
    /// A value.
    #[error("line {line}: {source_field}")]
    Field {
        /// Line, from 1.
        line: u64,
        /// Which value, and why.
        source_field: FieldError,
    },
}

/// Reads a usage file row by row, in bounded memory.
pub struct Reader<R: Read> {
    /// Quoting and line ends.
    inner: csv::Reader<LineLimit<R>>,
    /// The row being read.
    row: csv::StringRecord,
    /// Its line, from 1: no value holds a line end, and no line is empty.
    line: u64,
}

impl<R: Read> Reader<R> {
    /// Begins a file: its header line must be that of the contract.
    ///
    /// # Errors
    /// Another header, none, or the reader's own.
    pub fn new(reader: R) -> Result<Reader<R>, CsvError> {
        let inner = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(LineLimit {
            inner: reader,
            line_len: 0,
            after_return: false,
        });
        let mut reader = Reader { inner, row: csv::StringRecord::new(), line: 0 };
        if !reader.advance()? {
            return Err(CsvError::Form { line: 1, found: "an empty file".into() });
        }
        if !reader.row.iter().eq(COLUMNS) {
            let header = reader.row.iter().collect::<Vec<_>>().join(",");
            let found: String = header.chars().take(FOUND_LEN_MAX).collect();
            return Err(CsvError::Form { line: 1, found: format!("the header {found:?}") });
        }
        Ok(reader)
    }

    /// Reads the next row; false at the end.
    fn advance(&mut self) -> Result<bool, CsvError> {
        self.line = self.line.saturating_add(1);
        let line = self.line;
        self.inner.read_record(&mut self.row).map_err(|error| match error.into_kind() {
            csv::ErrorKind::Io(source) => CsvError::Io { line, source },
            csv::ErrorKind::Utf8 { .. } => CsvError::Form { line, found: "bytes that are not UTF-8".into() },
            other => {
                CsvError::Form { line, found: format!("{other:?}").chars().take(FOUND_LEN_MAX).collect() }
            }
        })
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// The first thing wrong with the row. Reading on after an error is possible except after [`CsvError::Io`].
    pub fn read(&mut self) -> Result<Option<Record>, CsvError> {
        if !self.advance()? {
            return Ok(None);
        }
        let line = self.line;
        let mut values = [""; 25];
        if self.row.len() != values.len() {
            return Err(CsvError::Form { line, found: format!("{} values", self.row.len()) });
        }
        values.iter_mut().zip(&self.row).for_each(|(slot, value)| *slot = value);
        parse_fields(&values).map(Some).map_err(|source_field| CsvError::Field { line, source_field })
    }
}

/// Refuses an empty line, and one over the limit before it is kept.
struct LineLimit<R> {
    /// The reader below.
    inner: R,
    /// Bytes since the last line end.
    line_len: usize,
    /// Whether the last byte was a carriage return.
    after_return: bool,
}

impl<R: Read> Read for LineLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let refused = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let read = self.inner.read(buffer)?;
        for byte in buffer.iter().take(read) {
            if *byte == b'\n' {
                if self.line_len == usize::from(self.after_return) {
                    return Err(refused("found an empty line, wanted a usage row".into()));
                }
                self.line_len = 0;
            } else {
                self.line_len = self.line_len.saturating_add(1);
            }
            self.after_return = *byte == b'\r';
            if self.line_len > LINE_LEN_MAX {
                return Err(refused(format!("found a line over {LINE_LEN_MAX} bytes, wanted a usage row")));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A usage row with these bytes.
    fn line(up: &str, down: &str) -> String {
        format!(
            "n,1,1,usage,,,charged,no_name,msisdn,77010000001,s1,,,l,3,2026-04-06T00:00:00.000Z,\
             2026-04-06T00:15:00.000Z,{up},{down},{up},{down},payload,,period,\r\n"
        )
    }

    /// Header and this text, read.
    fn read(text: &str) -> Result<Option<Record>, CsvError> {
        Reader::new(format!("{}\r\n{text}", COLUMNS.join(",")).as_bytes())?.read()
    }

    #[test]
    fn b12_counts_up_to_sixty_four_bits_are_exact_and_beyond_refused() {
        for count in [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, (1 << 53) + 1, (1 << 63) - 1, u64::MAX] {
            let record = read(&line(&count.to_string(), "0")).unwrap().unwrap();
            assert_eq!(record.bytes(), (i128::from(count), 0));
            assert_eq!(fields(&record)[17], count.to_string());
        }
        for bad in ["18446744073709551616", "-1", "-0", "+1", "01", "1.0", "1e3", "", " 1", "0x10", "١"] {
            assert!(read(&line(bad, "0")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rows_that_contradict_themselves_are_refused() {
        let good = line("1", "2");
        assert!(read(&good).unwrap().is_some());
        assert!(read(&good.replace("\r\n", "\n")).unwrap().is_some());
        for (from, to) in [
            ("usage", "heartbeat"),
            ("usage,,", "usage,1,"),
            ("charged", "exempt"),
            ("no_name", ""),
            ("no_name", "no_subscriber"),
            ("msisdn,77010000001", "none,77010000001"),
            ("msisdn,77010000001", "msisdn,"),
            (",l,3,", ",l,,"),
            (",l,3,", ",,3,"),
            (",payload,,", ",payload,tagged,"),
            ("00:15:00.000Z", "00:15:00Z"),
            ("2026-04-06T00:00:00", "2026-04-06T00:15:01"),
            ("period,", "period,x"),
            ("n,1,1", "N,1,1"),
        ] {
            assert_ne!(good.replace(from, to), good);
            assert!(read(&good.replace(from, to)).is_err(), "{from:?} -> {to:?}");
        }
    }

    #[test]
    fn personal_data_is_not_repeated_in_messages() {
        let error = read(&line("1", "2").replace("msisdn,77", "none,77")).unwrap_err().to_string();
        assert!(!error.contains("7701"), "{error}");
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn empty_lines_are_refused() {
        for text in ["\n", "\r\n", "\r\n\r\n"] {
            assert!(matches!(read(text), Err(CsvError::Io { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_over_or_endless_is_refused() {
        let over = format!("{},", "x".repeat(LINE_LEN_MAX));
        assert!(matches!(read(&over), Err(CsvError::Io { .. })));
        let at = "x".repeat(LINE_LEN_MAX);
        assert!(matches!(read(&at), Err(CsvError::Form { .. })));
        let endless = io::repeat(b'"');
        assert!(matches!(Reader::new(endless), Err(CsvError::Io { .. })));
    }
}
