//! The usage file: RFC 4180 CSV in UTF-8 with one header line.
//!
//! Lines end with CR LF when written; LF alone is read too. One row is at most [`LINE_LEN_MAX`] bytes long.

use std::io::{self, Read, Write};

use crate::codec::account::{FOUND_LEN_MAX, FieldError};
use crate::codec::columns::Format;
use crate::codec::row::parse;
use crate::record::Record;

/// Longest line read, in bytes; the longest written has about 1,500.
pub const LINE_LEN_MAX: usize = 16 * 1024;

/// Writes a usage file.
pub struct Writer<W: Write> {
    /// Quoting and line ends.
    inner: csv::Writer<W>,
    /// Its columns.
    format: Format,
}

impl<W: Write> Writer<W> {
    /// Begins a file of this version with its header line.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn new(writer: W, format: Format) -> io::Result<Writer<W>> {
        let mut inner = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(writer);
        inner.write_record(format.columns()).map_err(system_error)?;
        Ok(Writer { inner, format })
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Those of the writer below.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.format.write(record, &mut |_, text| self.inner.write_field(text)).map_err(system_error)?;
        self.inner.write_record(None::<&[u8]>).map_err(system_error)
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
        self.inner.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// The system's own error, whose kind decides the remedy.
fn system_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => source,
        other => io::Error::other(format!("{other:?}")),
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
    #[error("line {line}: found {found}, wanted RFC 4180 CSV in UTF-8 with the {} columns of a usage file", Format::NEWEST.columns().len())]
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
    /// The columns that the header names.
    format: Format,
}

impl<R: Read> Reader<R> {
    /// Begins a file: its header line must be that of a version of the usage file.
    ///
    /// # Errors
    /// Another header, none, or the reader's own.
    pub fn new(reader: R) -> Result<Reader<R>, CsvError> {
        let inner = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(LineLimit {
            inner: reader,
            line_len: 0,
            after_return: false,
        });
        let mut reader = Reader { inner, row: csv::StringRecord::new(), line: 0, format: Format::NEWEST };
        if !reader.advance()? {
            return Err(CsvError::Form { line: 1, found: "an empty file".into() });
        }
        reader.format = Format::of_header(&reader.row).ok_or_else(|| {
            let header = reader.row.iter().collect::<Vec<_>>().join(",");
            let found: String = header.chars().take(FOUND_LEN_MAX).collect();
            CsvError::Form { line: 1, found: format!("the header {found:?}") }
        })?;
        Ok(reader)
    }

    /// The version whose columns the header names.
    pub fn format(&self) -> Format {
        self.format
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
        if self.row.len() != self.format.columns().len() {
            return Err(CsvError::Form { line, found: format!("{} values", self.row.len()) });
        }
        parse(self.format, &self.row).map(Some).map_err(|source_field| CsvError::Field { line, source_field })
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
        let header: Vec<_> = Format::NEWEST.columns().collect();
        Reader::new(format!("{}\r\n{text}", header.join(",")).as_bytes())?.read()
    }

    #[test]
    fn b12_counts_up_to_sixty_four_bits_are_exact_and_beyond_refused() {
        for count in [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, (1 << 53) + 1, (1 << 63) - 1, u64::MAX] {
            let record = read(&line(&count.to_string(), "0")).unwrap().unwrap();
            assert_eq!(record.bytes(), (i128::from(count), 0));
            let mut written = String::new();
            Format::NEWEST
                .write(&record, &mut |column, text| {
                    if column == "up_bytes" {
                        written = text.to_owned();
                    }
                    Ok::<_, ()>(())
                })
                .unwrap();
            assert_eq!(written, count.to_string());
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
    fn a_file_is_written_and_read_with_the_columns_of_its_own_version() {
        let record = read(&line("5", "7")).unwrap().unwrap();
        for (format, ending) in [(Format::NEWEST, ",period,"), (Format::OF_TESTS, ",period,,12")] {
            let mut writer = Writer::new(Vec::new(), format).unwrap();
            writer.write(&record).unwrap();
            let text = String::from_utf8(writer.finish().unwrap()).unwrap();
            assert!(text.ends_with(&format!("{ending}\r\n")), "{text}");
            let mut reader = Reader::new(text.as_bytes()).unwrap();
            assert_eq!((reader.format(), reader.read().unwrap()), (format, Some(record.clone())));
            // A row of the other version under this header.
            let (header, row) = text.split_once("\r\n").unwrap();
            let other = if format == Format::NEWEST {
                format!("{},12", row.trim_end())
            } else {
                row.replace(",12", "")
            };
            let mixed = format!("{header}\r\n{other}");
            assert!(Reader::new(mixed.as_bytes()).unwrap().read().is_err(), "{mixed}");
        }
        let header: Vec<_> = Format::NEWEST.columns().chain(["of_nobody"]).collect();
        assert!(matches!(Reader::new(header.join(",").as_bytes()), Err(CsvError::Form { .. })));
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
