//! `billing-export verify`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use billing_export::pickup::pairs;
use billing_export::verify::{Fault, Report, verify};
use clap::Args;
use serde_json::json;

use super::{EXIT_NO, Failure, Format, progress};

/// What to verify.
#[derive(Debug, Args)]
#[command(after_help = "\
Checked: that name, manifest and rows agree; SHA-256 of each data file; the chain of manifests; missing and repeated
numbers of files and records over all epochs; running totals; conservation of bytes; that no manifest or data file is
missing. Every fault is named. Exit 0 if there is none, 1 if there is.

Examples:
  billing-export verify /srv/usage
  billing-export verify --format json today/*.csv")]
pub(crate) struct Arguments {
    /// Directories, or single data files or manifests
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// How to print the outcome
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// Verifies and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let pairs = pairs(&arguments.paths)?;
    let bar = progress(&pairs);
    let report = verify(&pairs, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    print(&report, arguments.format).map_err(|error| Failure::writing(&error))?;
    if report.files == 0 && report.faults.is_empty() {
        return Err(Failure::no(
            "found no usage file, wanted at least one: an idle gateway sends heartbeats".into(),
        ));
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NO) })
}

/// Prints the outcome.
fn print(report: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Plain => {
            for fault in &report.faults {
                writeln!(out, "fault: {fault}")?;
            }
            writeln!(
                out,
                "{} files, {} records, {} bytes up, {} bytes down, {} faults",
                report.files,
                report.records,
                report.up_bytes,
                report.down_bytes,
                report.faults.len()
            )
        }
        Format::Json => {
            let list = |faults: &[Fault]| {
                let one =
                    |fault: &Fault| json!({"file": fault.file.display().to_string(), "text": fault.text});
                faults.iter().map(one).collect::<Vec<_>>()
            };
            let outcome = json!({
                "files": report.files.to_string(),
                "records": report.records.to_string(),
                "up_bytes": report.up_bytes.to_string(),
                "down_bytes": report.down_bytes.to_string(),
                "faults": list(&report.faults),
                "notes": list(&report.notes),
            });
            writeln!(out, "{outcome}")
        }
    }
}
