//! `billing-export totals`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing_export::pickup::pairs;
use billing_export::totals::{By, Totals, totals};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::{EXIT_NO, Failure, Format, progress, zone_of};

/// What to sum up.
#[derive(Debug, Args)]
#[command(after_help = "\
Each record is counted once, however often its file was delivered. A file that is not what its manifest says ends the
sum with exit 1; a data file without a manifest is not complete and is left out with a warning. Where files or records are
missing between others the sums of the rest are printed, what is missing is named, and the exit code is 1.

Examples:
  billing-export totals /srv/usage
  billing-export totals /srv/usage --by subscriber --format json
  billing-export totals /srv/usage --by day --zone Asia/Almaty
  billing-export totals --config /etc/zrgw/collect.toml --by day")]
pub(crate) struct Arguments {
    /// Directories, or single data files or manifests
    #[arg(value_name = "DIR|FILE", required_unless_present = "config", conflicts_with = "config")]
    paths: Vec<PathBuf>,
    /// Ask the ledger of this collector's configuration, in its zone
    #[arg(long, value_name = "FILE", conflicts_with = "zone")]
    config: Option<PathBuf>,
    /// Sums per subscriber, service, local day or reason, and class; without it per class
    #[arg(long, value_enum)]
    by: Option<ByWord>,
    /// Zone of local days, as in the IANA time zone database
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// How to print the sums
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// The words of `--by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ByWord {
    /// Type and id.
    Subscriber,
    /// Service id of the list.
    Service,
    /// Local day in which a record starts.
    Day,
    /// Reason of charged and unattributed bytes.
    Reason,
}

/// The key's column; none without `--by`.
fn column(by: Option<ByWord>) -> Option<&'static str> {
    by.map(|by| match by {
        ByWord::Subscriber => "subscriber",
        ByWord::Service => "service",
        ByWord::Day => "day",
        ByWord::Reason => "reason",
    })
}

/// Sums up and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let by = match arguments.by {
        None => By::Class,
        Some(ByWord::Subscriber) => By::Subscriber,
        Some(ByWord::Service) => By::Service,
        Some(ByWord::Day) => By::Day,
        Some(ByWord::Reason) => By::Reason,
    };
    if let Some(config) = &arguments.config {
        let sums = of_ledger(config, by)?;
        print(&sums, column(arguments.by), arguments.format).map_err(|error| Failure::writing(&error))?;
        return Ok(ExitCode::SUCCESS);
    }
    let zone = zone_of(&arguments.zone)?;
    let pairs = pairs(&arguments.paths)?;
    let bar = progress(&pairs);
    let sums = totals(&pairs, by, &zone, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    for path in &sums.incomplete {
        eprintln!("warning: {}: found no manifest beside it: not complete, not counted", path.display());
    }
    if sums.repeated > 0 {
        eprintln!("warning: found {} records a second time: counted once", sums.repeated);
    }
    print(&sums, column(arguments.by), arguments.format).map_err(|error| Failure::writing(&error))?;
    for missing in &sums.missing {
        eprintln!("error: {missing}: missing between others, so that the sums are too small");
    }
    if sums.missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("have the missing files delivered again, or written by `billing-export render`");
    Ok(ExitCode::from(EXIT_NO))
}

/// The sums of the ledger.
#[cfg(feature = "collect")]
fn of_ledger(config: &Path, by: By) -> Result<Totals, Failure> {
    let config = super::collect::read(config)?;
    Ok(billing_export::collect::ask::Questions::connect(config)?.totals(by)?)
}

/// There is none in this build.
#[cfg(not(feature = "collect"))]
fn of_ledger(_: &Path, _: By) -> Result<Totals, Failure> {
    Err(Failure::usage("--config: this build has no ledger: build it with the feature `collect`".into()))
}

/// Prints the sums.
fn print(sums: &Totals, column: Option<&'static str>, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Plain => {
            let mut rows: Vec<Vec<String>> = Vec::new();
            let head = ["class", "records", "up_bytes", "down_bytes"];
            rows.push(column.into_iter().chain(head).map(str::to_owned).collect());
            for ((key, class), sum) in &sums.sums {
                let key = column.map(|_| if key.is_empty() { "-".to_owned() } else { key.clone() });
                let values = [
                    class.to_string(),
                    sum.records.to_string(),
                    sum.up_bytes.to_string(),
                    sum.down_bytes.to_string(),
                ];
                rows.push(key.into_iter().chain(values).collect());
            }
            // The last three columns are numbers and stand to the right.
            let texts = usize::from(column.is_some()).saturating_add(1);
            write_aligned(&mut out, &rows, texts)
        }
        Format::Json => {
            let rows = sums.sums.iter().map(|((key, class), sum)| {
                let mut row = Map::new();
                if let Some(column) = column {
                    let key = if key.is_empty() { Value::Null } else { key.as_str().into() };
                    row.insert(column.into(), key);
                }
                row.insert("class".into(), class.label().into());
                row.insert("records".into(), sum.records.to_string().into());
                row.insert("up_bytes".into(), sum.up_bytes.to_string().into());
                row.insert("down_bytes".into(), sum.down_bytes.to_string().into());
                Value::Object(row)
            });
            writeln!(out, "{}", Value::Array(rows.collect()))
        }
    }
}

/// Writes a table: the first `texts` columns to the left, the others to the right, two spaces between.
fn write_aligned(out: &mut impl io::Write, rows: &[Vec<String>], texts: usize) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter().filter_map(|row| row.get(at)).map(|value| value.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (at, (value, width)) in row.iter().zip(&widths).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            let space = " ".repeat(width.saturating_sub(value.chars().count()));
            if at < texts {
                line.push_str(value);
                line.push_str(&space);
            } else {
                line.push_str(&space);
                line.push_str(value);
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
