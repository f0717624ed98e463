//! `billing-export render`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;

/// What to render.
#[derive(Debug, Args)]
#[command(after_help = "\
The bytes are those that were published, data file and manifest; the ledger is only read and may be in use. A file that
was lost on the way is replaced like this.

Examples:
  billing-export render --state /var/lib/gateway --file-seq 42 --out /tmp/again
  billing-export render --state /var/lib/gateway/ledger.db --file-seq 42 --out .")]
pub(crate) struct Arguments {
    /// The ledger, or the state directory it stands in
    #[arg(long, value_name = "DB")]
    state: PathBuf,
    /// Number of the file, as in its name
    #[arg(long, value_name = "N")]
    file_seq: u64,
    /// Directory to write into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Renders the file and prints the paths written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let written = billing_export::render(&arguments.state, arguments.file_seq, &arguments.out)?;
    let mut out = io::stdout().lock();
    for path in written {
        writeln!(out, "{}", path.display()).map_err(|error| Failure::writing(&error))?;
    }
    Ok(ExitCode::SUCCESS)
}
