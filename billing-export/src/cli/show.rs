//! `billing-export show`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use billing_export::codec::csv::{CsvError, Reader};
use billing_export::codec::jsonl;
use billing_export::name::MANIFEST_ENDING;
use billing_export::pickup::read_manifest;
use clap::Args;

use super::Failure;

/// What to show.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys are the columns of the usage file or the keys of the manifest; numbers of records and bytes are strings, so that no
JSON reader rounds them; empty values are null.

Examples:
  billing-export show zrgw-01_usage_20200406T001500Z_00001_0000000001.csv
  billing-export show zrgw-01_usage_20200406T001500Z_00001_0000000001.manifest.json
  billing-export show FILE | jq 'select(.class == \"exempt\")'")]
pub(crate) struct Arguments {
    /// A usage file or manifest
    file: PathBuf,
}

/// Prints the file as JSON lines.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let path = &arguments.file;
    let mut out = BufWriter::new(io::stdout().lock());
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    if path.to_string_lossy().ends_with(MANIFEST_ENDING) {
        let (manifest, _) =
            read_manifest(path).map_err(|text| Failure::no(format!("{}: {text}", path.display())))?;
        let text = manifest.to_text().map_err(|error| Failure::writing(&error.into()))?;
        out.write_all(text.as_bytes()).map_err(|error| Failure::writing(&error))?;
    } else {
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
            let Some(record) = row.map_err(wrong)? else { break };
            jsonl::write(&mut out, reader.format(), &record).map_err(|error| Failure::writing(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::writing(&error))?;
    Ok(ExitCode::SUCCESS)
}
