//! `billing-export collect`.

mod follow;
mod told;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing_export::collect::config::{Config, TEXT_LEN_MAX};
use billing_export::collect::{CollectError, Collector, Look, Summary};
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use self::told::Told;
use super::{EXIT_CONFIG, EXIT_IO, EXIT_NO, Failure, Format};

/// What to collect, and how long.
#[derive(Debug, Args)]
#[command(after_help = "\
Reads the usage files of any number of gateways into a PostgreSQL ledger: each record once, totals in the same transaction.
A file is taken whole or not at all: with its manifest, and with the hash, columns, numbers and sums that it names. The same
file again changes nothing. What is refused is told on standard error with its reason and stands in the table `refusal`.
Without --once it follows the folders until SIGTERM or SIGINT, and waits for a ledger that is away.

Exit codes with --once: 0 everything was taken or known, 1 something was refused, 74 ledger or source not reachable.
A configuration that cannot work, a newer ledger or one of another zone: 78.

Examples:
  billing-export collect --config /etc/zrgw/collect.toml --once
  billing-export collect --config /etc/zrgw/collect.toml --once --format json
  billing-export collect --config /etc/zrgw/collect.toml

The configuration:
  [ledger]
  url = \"postgresql://zrgw@127.0.0.1:5432/zrgw\"
  zone = \"Asia/Almaty\"
  [[source]]
  kind = \"files\"
  dir = \"/srv/usage\"")]
pub(crate) struct Arguments {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Load what is there and end
    #[arg(long)]
    once: bool,
    /// How to print what was done
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Failure {
        let code = match &error {
            CollectError::Config(_) => EXIT_CONFIG,
            CollectError::Away(_) => EXIT_IO,
        };
        Failure { code, message: Some(error.to_string()) }
    }
}

/// Collects, and prints what was done.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = read(&arguments.config)?;
    let (summary, code) = if arguments.once {
        let (summary, away) = once(config)?;
        let code = match away {
            Some(failure) => failure.report(),
            None if summary.stuck > 0 => ExitCode::from(EXIT_IO),
            None if summary.refused > 0 => ExitCode::from(EXIT_NO),
            None => ExitCode::SUCCESS,
        };
        (summary, code)
    } else {
        (follow::run(config)?, ExitCode::SUCCESS)
    };
    print(&summary, arguments.format).map_err(|error| Failure::writing(&error))?;
    Ok(code)
}

/// Reads the configuration.
pub(super) fn read(path: &Path) -> Result<Config, Failure> {
    let wrong =
        |text: String| Failure { code: EXIT_CONFIG, message: Some(format!("{}{text}", path.display())) };
    let length = fs::metadata(path).map_err(|error| Failure::reading(path, &error))?.len();
    if usize::try_from(length).map_or(true, |length| length > TEXT_LEN_MAX) {
        return Err(wrong(format!(
            ": found {length} bytes, wanted a configuration of at most {TEXT_LEN_MAX}"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::reading(path, &error))?;
    Config::parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(|error| wrong(format!(":{error}")))
}

/// Loads what is there. A source that cannot be read keeps none of the others out; the first of them is told last.
fn once(config: Config) -> Result<(Summary, Option<Failure>), Failure> {
    let sources = config.sources.len();
    let mut collector = Collector::new(config);
    let mut told = Told::new(None, true);
    let (mut sum, mut away) = (Summary::default(), None);
    for source in 0..sources {
        collector.connect()?;
        match collector.sweep(source, Look::Thorough, &mut told) {
            Ok(summary) => sum = sum.and(summary),
            Err(error) => away = away.or(Some(Failure::from(error))),
        }
    }
    told.end();
    if away.is_none() {
        say_dropped(&collector.drop_old(Timestamp::now())?);
    }
    Ok((sum, away))
}

/// Says which days have totals only from here on.
fn say_dropped(days: &[Date]) {
    for day in days {
        eprintln!(
            "note: the records of {day} are older than ledger.retention and were dropped; their totals stay"
        );
    }
}

/// Prints what was done.
fn print(summary: &Summary, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Summary { taken, known, refused, records, incomplete, .. } = summary;
    match format {
        Format::Plain => writeln!(
            out,
            "{taken} files taken, {known} known, {refused} refused, {incomplete} not complete, {records} records taken"
        ),
        Format::Json => {
            let outcome = json!({
                "taken": taken.to_string(),
                "known": known.to_string(),
                "refused": refused.to_string(),
                "incomplete": incomplete.to_string(),
                "records": records.to_string(),
            });
            writeln!(out, "{outcome}")
        }
    }
}
