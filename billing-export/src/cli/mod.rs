//! The command line: one file per command, and what they share.

pub(crate) mod adjust;
#[cfg(feature = "collect")]
pub(crate) mod collect;
pub(crate) mod explain;
pub(crate) mod prune;
#[cfg(feature = "collect")]
pub(crate) mod reconcile;
pub(crate) mod render;
pub(crate) mod show;
pub(crate) mod totals;
pub(crate) mod verify;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use billing_export::ExportError;
use billing_export::pickup::Pair;
use billing_export::whole::WholeError;
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

/// What billing does with usage files.
#[derive(Debug, Parser)]
#[command(name = "billing-export", version, about, long_about = None, after_help = "\
Exit codes: 0 done, 1 the answer is no, 2 wrong use, 74 input/output, 78 configuration.

Examples:
  billing-export verify /srv/usage
  billing-export totals /srv/usage --by day --zone Asia/Almaty
  billing-export explain /srv/usage --subscriber 77010000001 --day 2020-04-06 --zone Asia/Almaty
  billing-export adjust --state /var/lib/gateway --epoch 1 --seq 42 --void --note 'test traffic of our own'
  billing-export show /srv/usage/zrgw-01_usage_20200406T001500Z_00001_0000000001.csv")]
pub(crate) struct Command {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Check hashes, chain, gaps and repeats, totals and conservation of usage files
    Verify(verify::Arguments),
    /// Print a usage file or manifest as JSON lines
    Show(show::Arguments),
    /// Write a sealed file again, byte for byte, from the ledger of a node
    Render(render::Arguments),
    /// Sum usage files up
    Totals(totals::Arguments),
    /// Say what a subscriber had free and was charged on a day, and why
    Explain(explain::Arguments),
    /// Correct a sealed record by a record of its own
    Adjust(adjust::Arguments),
    /// Compare the ledger with what the operator counted
    #[cfg(feature = "collect")]
    Reconcile(reconcile::Arguments),
    /// Let records that billing has leave the state of a node
    Prune(prune::Arguments),
    /// Take usage files into a PostgreSQL ledger, once or until told to stop
    #[cfg(feature = "collect")]
    Collect(collect::Arguments),
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading.
    Plain,
    /// For programs.
    Json,
}

/// The answer is no.
pub(crate) const EXIT_NO: u8 = 1;
/// Wrong use.
const EXIT_USAGE: u8 = 2;
/// Input/output (sysexits EX_IOERR).
const EXIT_IO: u8 = 74;
/// Configuration (sysexits EX_CONFIG).
const EXIT_CONFIG: u8 = 78;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    code: u8,
    /// The message; none where the reader of our output went away.
    message: Option<String>,
}

impl Failure {
    /// The answer is no, for this reason.
    pub(crate) fn no(message: String) -> Failure {
        Failure { code: EXIT_NO, message: Some(message) }
    }

    /// Wrong use.
    pub(crate) fn usage(message: String) -> Failure {
        Failure { code: EXIT_USAGE, message: Some(message) }
    }

    /// Whoever was asked has not answered.
    pub(crate) fn waiting(message: String) -> Failure {
        Failure { code: EXIT_IO, message: Some(message) }
    }

    /// A file could not be read.
    pub(crate) fn reading(path: &Path, error: &io::Error) -> Failure {
        Failure { code: EXIT_IO, message: Some(format!("{}: reading a file: {error}", path.display())) }
    }

    /// Standard output could not be written; a reader that went away wanted no more.
    pub(crate) fn writing(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure { code: 0, message: None };
        }
        Failure { code: EXIT_IO, message: Some(format!("standard output: {error}")) }
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("billing-export: {message}");
        }
        ExitCode::from(self.code)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        let code = match &error {
            ExportError::Io { .. } | ExportError::Store { .. } | ExportError::Locked { .. } => EXIT_IO,
            ExportError::Damaged { .. }
            | ExportError::Newer { .. }
            | ExportError::Changed { .. }
            | ExportError::NameTaken { .. }
            | ExportError::NoSuchFile { .. }
            | ExportError::Ledger(_) => EXIT_NO,
            ExportError::Settings(_) => EXIT_CONFIG,
        };
        Failure { code, message: Some(error.to_string()) }
    }
}

impl From<WholeError> for Failure {
    fn from(error: WholeError) -> Failure {
        match error {
            WholeError::Read(error) => error.into(),
            WholeError::Faulty { .. } => Failure::no(error.to_string()),
        }
    }
}

/// The zone of `--zone`.
pub(crate) fn zone_of(name: &str) -> Result<TimeZone, Failure> {
    TimeZone::get(name).map_err(|error| {
        Failure::usage(format!("--zone: found {name:?}, wanted a name such as Asia/Almaty: {error}"))
    })
}

/// A bar over the bytes of these files; hidden unless standard error is a terminal.
pub(crate) fn progress(pairs: &[Pair]) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes = pairs.iter().fold(0_u64, |sum, pair| sum.saturating_add(pair.data_len()));
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
