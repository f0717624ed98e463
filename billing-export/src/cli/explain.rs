//! `billing-export explain`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use billing_export::SubscriberType;
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
of every node cover it from its begin to its end without a gap record. Exit code 1 where nothing is known of the subscriber on
that day, or where a file is not what its manifest says.

Examples:
  billing-export explain /srv/usage --subscriber 77010000001 --day 2020-04-06 --zone Asia/Almaty
  billing-export explain /srv/usage --subscriber 77010000001 --type msisdn --day 2020-04-06 --zone Asia/Almaty --format json")]
pub(crate) struct Arguments {
    /// Directories, or single data files or manifests
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
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
    #[arg(long)]
    zone: String,
    /// How to print the statement
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// A type of id that a subscriber can have.
fn kind(text: &str) -> Result<SubscriberType, String> {
    let kind = text.parse::<SubscriberType>().ok().filter(|kind| *kind != SubscriberType::None);
    kind.ok_or_else(|| "wanted msisdn, imsi or account".to_owned())
}

/// Reads the files and prints the statement.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let zone = zone_of(&arguments.zone)?;
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
            eprintln!(
                "warning: {}: found no manifest beside it: not complete, not counted",
                pair.path().display()
            );
        }
        bar.inc(pair.data_len());
    }
    bar.finish_and_clear();
    let complete = coverage.is_complete(reading.day());
    match reading.finish(complete) {
        Ok(Some(statement)) => {
            print(&statement, arguments.format).map_err(|error| Failure::writing(&error))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            let which = if complete { "and the day is complete" } else { "and the day is not complete" };
            eprintln!("found nothing of subscriber {} on {}, {which}", arguments.subscriber, arguments.day);
            Ok(ExitCode::from(EXIT_NO))
        }
        Err(Ambiguous(kinds)) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind.label()).collect();
            Err(Failure::usage(format!(
                "--subscriber: found the id as {}, wanted one: add --type",
                kinds.join(" and ")
            )))
        }
    }
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
