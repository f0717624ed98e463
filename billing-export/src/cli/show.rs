//! `billing-export show`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing_export::codec::csv::{CsvError, Reader};
use billing_export::codec::jsonl;
use billing_export::pickup::read_manifest;
use billing_export::tdf;
use clap::Args;

use super::Failure;

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
What a file is, its content says. Keys are the columns of the usage file, the keys of the manifest, or the field names of
TS 32.297 (one line for the file's header) and TS 32.298 (one line for each record); numbers of records and bytes are
strings, so that no JSON reader rounds them; empty values are null.

Examples:
  billing-export show zrgw-01_usage_20200406T001500Z_00001_0000000001.csv
  billing-export show zrgw-01_usage_20200406T001500Z_00001_0000000001.manifest.json
  billing-export show zrgw-01_-_1.20200406_-_0615+0600_-_1.cdr
  billing-export show FILE | jq 'select(.class == \"exempt\")'")]
pub(crate) struct Arguments {
    /// A usage file, manifest or file of charging records
    file: PathBuf,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Columns with a header line.
    Usage,
    /// One line of JSON.
    Manifest,
    /// TS 32.297.
    Charging,
}

/// Octets that say what a file is: the two lengths with which a file of charging records begins. The second is below 2¹⁸, so
/// there is an octet of zeros among them, which no text has.
const HEAD_LEN: u64 = 8;

impl Kind {
    /// What a file is that begins so.
    fn of(head: &[u8]) -> Kind {
        if head.contains(&0) {
            return Kind::Charging;
        }
        match head.trim_ascii_start().first() {
            Some(b'{') => Kind::Manifest,
            Some(_) | None => Kind::Usage,
        }
    }
}

/// Prints the file as JSON lines.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = &arguments.file;
    let mut out = BufWriter::new(io::stdout().lock());
    let reading = |error: io::Error| Failure::reading(path, &error);
    let mut file = File::open(path).map_err(reading)?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(HEAD_LEN).read_to_end(&mut head).map_err(reading)?;
    // A pipe cannot be read from its begin again.
    let whole = head.as_slice().chain(file);
    match Kind::of(&head) {
        Kind::Usage => usage(path, whole, &mut out)?,
        Kind::Manifest => manifest(path, &mut out)?,
        Kind::Charging => charging(path, whole, &mut out)?,
    }
    out.flush().map_err(|error| Failure::writing(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a manifest.
fn manifest(path: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let (manifest, _) =
        read_manifest(path).map_err(|text| Failure::no(format!("{}: {text}", path.display())))?;
    let text = manifest.to_text().map_err(|error| Failure::writing(&error.into()))?;
    out.write_all(text.as_bytes()).map_err(|error| Failure::writing(&error))
}

/// Prints the rows of a usage file.
fn usage(path: &Path, file: impl Read, out: &mut impl Write) -> Result<(), Failure> {
    let wrong = |error: CsvError| match error {
        CsvError::Io { source, .. } if source.kind() != io::ErrorKind::InvalidData => {
            Failure::reading(path, &source)
        }
        error => Failure::no(format!("{}: {error}", path.display())),
    };
    let mut reader = Reader::new(BufReader::new(file)).map_err(wrong)?;
    loop {
        // What could be read before an error is printed all the same.
        let row = reader.read();
        if row.is_err() {
            out.flush().map_err(|error| Failure::writing(&error))?;
        }
        let Some(record) = row.map_err(wrong)? else { return Ok(()) };
        jsonl::write(&mut *out, reader.format(), &record).map_err(|error| Failure::writing(&error))?;
    }
}

/// Prints the header and the records of a file of charging records.
fn charging(path: &Path, file: impl Read, out: &mut impl Write) -> Result<(), Failure> {
    let writing = |error: io::Error| Failure::writing(&error);
    let wrong = |error: tdf::ReadError| match error {
        tdf::ReadError::Io(source) => Failure::reading(path, &source),
        error @ tdf::ReadError::Format { .. } => Failure::no(format!("{}: {error}", path.display())),
    };
    let mut reader = tdf::Reader::new(BufReader::new(file)).map_err(wrong)?;
    tdf::write_header(&mut *out, reader.header()).map_err(writing)?;
    loop {
        let cdr = reader.read();
        if cdr.is_err() {
            out.flush().map_err(writing)?;
        }
        let Some(cdr) = cdr.map_err(wrong)? else { return Ok(()) };
        tdf::write_record(&mut *out, &cdr).map_err(writing)?;
    }
}
