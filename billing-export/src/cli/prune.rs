//! `billing-export prune`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use billing_export::pickup::read_watermark;
use billing_export::{Release, Timestamp, Watermark, prune, quantity};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, Format};

/// What may leave.
#[derive(Debug, Args)]
#[command(after_help = "\
Whole files leave, oldest first: those that billing's ledger has by its watermark, that every sink has, and whose last record ended
before the retention. Their rows stay in the ledger (tables file and released) with sums, SHA-256 and the chain; corrections stay
too. A running gateway does the same by itself with export.release; for this command it must be stopped.

Examples:
  billing-export prune --state /var/lib/gateway --watermark /srv/watermarks/zrgw-01.json
  billing-export prune --state /var/lib/gateway --watermark /srv/watermarks/zrgw-01.json --retention '90 d'")]
pub(crate) struct Arguments {
    /// State directory of the node
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The watermark of billing's ledger, as `collect` writes it
    #[arg(long, value_name = "FILE")]
    watermark: PathBuf,
    /// How long records stay at least: '35 d', '12 h'
    #[arg(long, value_name = "TIME", default_value = "35 d", value_parser = time)]
    retention: Duration,
    /// How to print what left
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// A length of time.
fn time(text: &str) -> Result<Duration, String> {
    quantity::duration(text).ok_or_else(|| format!("found {text:?}, wanted {}", quantity::DURATION_FORM))
}

/// Takes away what may leave and says how much that was.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let watermark = read(&arguments.watermark)?;
    let release = Release { watermark: &watermark, retention: arguments.retention, sinks: None };
    let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    let mut tell = |left: billing_export::Released| {
        bar.set_message(format!("{} records of {} files have left", left.records, left.files));
        bar.tick();
    };
    let left = prune(&arguments.state, release, Timestamp::now(), &mut tell)?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    let written = match arguments.format {
        Format::Plain => {
            writeln!(out, "{} records of {} files have left the state", left.records, left.files)
        }
        Format::Json => {
            let (files, records) = (left.files.to_string(), left.records.to_string());
            writeln!(out, "{}", serde_json::json!({ "files": files, "records": records }))
        }
    };
    written.map_err(|error| Failure::writing(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a watermark.
fn read(path: &Path) -> Result<Watermark, Failure> {
    let read = read_watermark(path).map_err(|error| Failure::reading(path, &error))?;
    read.map_err(|error| Failure::no(format!("{}: {error}", path.display())))
}
