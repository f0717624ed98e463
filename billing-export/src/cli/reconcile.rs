//! `billing-export reconcile`.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing_export::collect::ask::Questions;
use billing_export::collect::reconcile::{ADDED, COLUMNS, Claim, Compared, Counted, compare};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use super::{EXIT_NO, Failure, Format};

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "\
The operator's file is CSV with the header subscriber_type,subscriber_id,start_utc,end_utc,up_bytes,down_bytes. Printed are its
rows, in their order, with exempt_up, exempt_down, charged_up, charged_down (what the ledger has of records that start in that
time, net of corrections), difference_up, difference_down (the operator's less ours), percent (both differences without their
signs, of the operator's bytes) and cause: the first of equal, within_tolerance, incomplete, byte_basis, more_than_operator,
not_seen_here, unexplained. Exit code 1 where one is more_than_operator or unexplained.

Example:
  billing-export reconcile --config /etc/zrgw/collect.toml --operator /srv/pgw/2020-04-06.csv --tolerance 0.5")]
pub(crate) struct Arguments {
    /// The collector's configuration, whose ledger is asked
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What the operator counted
    #[arg(long, value_name = "CSV")]
    operator: PathBuf,
    /// Percent of the operator's bytes that need no explanation, with at most two digits behind the point
    #[arg(long, value_name = "PERCENT", default_value = "1.0", value_parser = hundredths)]
    tolerance: u128,
    /// How to print the comparison: plain is CSV
    #[arg(long, value_enum, default_value = "plain")]
    format: Format,
}

/// Percent in hundredths.
fn hundredths(text: &str) -> Result<u128, String> {
    let wrong = || format!("found {text:?}, wanted percent with at most two digits behind the point, as 0.5");
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || rest.len() > 2 || !is_number(whole) || !is_number(rest) {
        return Err(wrong());
    }
    format!("{whole}{rest:0<2}").parse().map_err(|_| wrong())
}

/// Compares row by row and prints.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut questions = Questions::connect(super::collect::read(&arguments.config)?)?;
    let path = &arguments.operator;
    let file = File::open(path).map_err(|error| Failure::reading(path, &error))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(file));
    check_head(path, &mut reader)?;
    let mut printer = Printer::new(io::stdout().lock(), arguments.format)?;
    let bar = bar();
    let mut open = 0_u64;
    for row in reader.records() {
        let row = row.map_err(|error| unreadable(path, &error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let values: Vec<&str> = row.iter().collect();
        let claim =
            Claim::read(&values).map_err(|text| Failure::no(format!("{}:{line}: {text}", path.display())))?;
        let counted = questions.counted(&claim)?;
        let compared = compare(&claim, &counted, arguments.tolerance);
        open = open.saturating_add(u64::from(compared.cause.is_open()));
        printer.print(&values, &counted, &compared).map_err(|error| Failure::writing(&error))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    printer.finish().map_err(|error| Failure::writing(&error))?;
    if open == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{open} rows are more_than_operator or unexplained");
    Ok(ExitCode::from(EXIT_NO))
}

/// Counts rows where somebody sees it.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {pos} rows compared, {per_sec}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Refuses a file with other columns.
fn check_head(path: &Path, reader: &mut csv::Reader<BufReader<File>>) -> Result<(), Failure> {
    let head = reader.headers().map_err(|error| unreadable(path, &error))?;
    if head.iter().eq(COLUMNS) {
        return Ok(());
    }
    let (found, wanted) = (head.iter().collect::<Vec<_>>().join(","), COLUMNS.join(","));
    Err(Failure::no(format!("{}:1: found the columns {found:?}, wanted {wanted}", path.display())))
}

/// What cannot be read of the operator's file.
fn unreadable(path: &Path, error: &csv::Error) -> Failure {
    match error.kind() {
        csv::ErrorKind::Io(error) => Failure::reading(path, error),
        _ => Failure::no(format!("{}: {error}", path.display())),
    }
}

/// Prints comparisons one by one.
struct Printer<W: Write> {
    out: Form<W>,
}

/// In which form.
enum Form<W: Write> {
    Csv(Box<csv::Writer<W>>),
    /// An array; whether it has an element.
    Json(W, bool),
}

impl<W: Write> Printer<W> {
    fn new(mut out: W, format: Format) -> Result<Printer<W>, Failure> {
        let out = match format {
            Format::Plain => {
                let mut writer = csv::Writer::from_writer(out);
                let written = writer.write_record(COLUMNS.iter().chain(&ADDED));
                written.map_err(|error| Failure::writing(&error.into()))?;
                Form::Csv(Box::new(writer))
            }
            Format::Json => {
                out.write_all(b"[").map_err(|error| Failure::writing(&error))?;
                Form::Json(out, false)
            }
        };
        Ok(Printer { out })
    }

    fn print(&mut self, values: &[&str], counted: &Counted, compared: &Compared) -> io::Result<()> {
        let added = [
            counted.exempt.0.to_string(),
            counted.exempt.1.to_string(),
            counted.charged.0.to_string(),
            counted.charged.1.to_string(),
            compared.difference.0.to_string(),
            compared.difference.1.to_string(),
            compared.percent(),
            compared.cause.label().to_owned(),
        ];
        let values = values.iter().copied().chain(added.iter().map(String::as_str));
        match &mut self.out {
            Form::Csv(writer) => Ok(writer.write_record(values)?),
            Form::Json(out, has_one) => {
                let names = COLUMNS.iter().chain(&ADDED).map(|name| (*name).to_owned());
                let row: Map<String, Value> = names.zip(values.map(Value::from)).collect();
                if std::mem::replace(has_one, true) {
                    out.write_all(b",")?;
                }
                write!(out, "\n{}", Value::Object(row))
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self.out {
            Form::Csv(mut writer) => writer.flush(),
            Form::Json(mut out, _) => out.write_all(b"\n]\n"),
        }
    }
}
