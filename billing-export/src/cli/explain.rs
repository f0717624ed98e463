//! `billing-export explain`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing_export::SubscriberType;
#[cfg(feature = "collect")]
use billing_export::collect::ask::Questions;
use billing_export::pickup::pairs;
use billing_export::statement::{Ambiguous, Coverage, Day, Reading, Statement};
use billing_export::whole::{Counted, read_whole};
use clap::Args;
use jiff::civil::Date;

use super::{EXIT_NO, Failure, Format, progress, zone_of};

/// Whose day to explain.
#[derive(Debug, Args)]
#[command(after_help = "\
Sums are net of corrections, each record is counted once, however often its file was delivered. The day is complete when the files
of every node, or its records in the ledger, cover it from its begin to its end without a gap record. The ledger is asked with the
collector's configuration; with the gateway's [allowance] section in it the statement says what is left. Exit code 1 where nothing is known of the subscriber on
that day, or where a file is not what its manifest says.

Examples:
  billing-export explain /srv/usage --subscriber 77010000001 --day 2020-04-06 --zone Asia/Almaty
  billing-export explain --config /etc/zrgw/collect.toml --subscriber 77010000001 --day 2020-04-06
  billing-export explain /srv/usage --subscriber 77010000001 --type msisdn --day 2020-04-06 --zone Asia/Almaty --format json")]
pub(crate) struct Arguments {
    /// Directories, or single data files or manifests
    #[arg(value_name = "DIR|FILE", required_unless_present = "config", conflicts_with = "config")]
    paths: Vec<PathBuf>,
    /// Ask the ledger of this collector's configuration, in its zone
    #[arg(long, value_name = "FILE", conflicts_with = "zone")]
    config: Option<PathBuf>,
    /// Id of the subscriber, as in the usage files
    #[arg(long, value_name = "ID")]
    subscriber: String,
    /// What kind of id it is: msisdn, imsi or account; needed where several subscribers have it
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<SubscriberType>,
    /// The local day
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Date,
    /// Its zone, as in the IANA time zone database
    #[arg(long, required_unless_present = "config")]
    zone: Option<String>,
    /// How to print the statement
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// A type of id that a subscriber can have.
fn kind(text: &str) -> Result<SubscriberType, String> {
    let kind = text.parse::<SubscriberType>().ok().filter(|kind| *kind != SubscriberType::None);
    kind.ok_or_else(|| "wanted msisdn, imsi or account".to_owned())
}

/// Makes the statement and prints it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (outcome, complete) = match &arguments.config {
        Some(config) => (of_ledger(config, arguments)?, None),
        None => {
            let (outcome, complete) = of_files(arguments)?;
            (outcome, Some(complete))
        }
    };
    match outcome {
        Ok(Some(statement)) => {
            print(&statement, arguments.format).map_err(|error| Failure::writing(&error))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            let which = match complete {
                Some(true) => ", and the day is complete",
                Some(false) => ", and the day is not complete",
                None => " in the ledger",
            };
            eprintln!("found nothing of subscriber {} on {}{which}", arguments.subscriber, arguments.day);
            Ok(ExitCode::from(EXIT_NO))
        }
        Err(Ambiguous(kinds)) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.label()).collect();
            let found = kinds.join(" and ");
            Err(Failure::usage(format!("--subscriber: found the id as {found}, wanted one: add --type")))
        }
    }
}

/// A statement, none where nothing is known, or several subscribers.
type Outcome = Result<Option<Statement>, Ambiguous>;

/// By the ledger.
#[cfg(feature = "collect")]
fn of_ledger(config: &Path, arguments: &Arguments) -> Result<Outcome, Failure> {
    let mut questions = Questions::connect(super::collect::read(config)?)?;
    Ok(questions.statement(arguments.day, &arguments.subscriber, arguments.kind)?)
}

/// There is none in this build.
#[cfg(not(feature = "collect"))]
fn of_ledger(_: &Path, _: &Arguments) -> Result<Outcome, Failure> {
    Err(Failure::usage("--config: this build has no ledger: build it with the feature `collect`".into()))
}

/// By files; whether they cover the day.
fn of_files(arguments: &Arguments) -> Result<(Outcome, bool), Failure> {
    let zone = zone_of(arguments.zone.as_deref().unwrap_or_default())?;
    let day = Day::new(arguments.day, zone).ok_or_else(|| {
        Failure::usage(format!("--day: found {}, wanted one within the calendar", arguments.day))
    })?;
    let pairs = pairs(&arguments.paths)?;
    let bar = progress(&pairs);
    let mut reading = Reading::new(day, &arguments.subscriber, arguments.kind);
    let (mut coverage, mut counted) = (Coverage::new(), Counted::default());
    for pair in &pairs {
        let file_seq = pair.name.as_ref().map_or(0, |name| name.file_seq());
        let read = read_whole(pair, &mut |record| {
            if counted.is_new(record) {
                coverage.add(file_seq, record);
                reading.add(record);
            }
        })?;
        if read.is_none() {
            let path = pair.path().display();
            eprintln!("warning: {path}: found no manifest beside it: not complete, not counted");
        }
        bar.inc(pair.data_len());
    }
    bar.finish_and_clear();
    let complete = coverage.is_complete(reading.day());
    Ok((reading.finish(complete), complete))
}

/// Prints a statement.
fn print(statement: &Statement, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Plain => writeln!(out, "{statement}"),
        Format::Json => {
            serde_json::to_writer(&mut out, statement)?;
            out.write_all(b"\n")
        }
    }
}
