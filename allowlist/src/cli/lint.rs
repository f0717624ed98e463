//! `allowlist lint LIST`.

use std::fmt::Write as _;
use std::io::Write as _;

use allowlist::lint::{self, Finding, Severity};
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, Failure, Format, ListArguments, print};

/// Arguments of `allowlist lint`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  allowlist lint kz-education-2020.toml
  allowlist lint --format json list.toml
  allowlist lint --at 2020-04-10T12:00:00+06:00 list.toml
  curl -s https://example.org/list.toml | allowlist lint -

Exit status: 0 no errors, 1 errors found, 2 wrong use, 74 the list cannot be read from disk, 78 it is not UTF-8 text.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    list: ListArguments,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Plain)]
    format: Format,
    /// The instant at which the list is judged; the present one by default
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// The findings as JSON.
#[derive(Serialize)]
struct Report<'a> {
    list: &'a str,
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Row<'a>>,
}

/// One finding as JSON.
#[derive(Serialize)]
struct Row<'a> {
    severity: &'a str,
    line: u32,
    column: u32,
    code: &'a str,
    reason: &'a str,
    remedy: &'a str,
}

/// Lints a list: findings on standard output, their number on standard error.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let list = arguments.list.shown();
    let text = arguments.list.read()?;
    let at = arguments.at.unwrap_or_else(Timestamp::now);
    let findings = lint::text(&text, &arguments.list.limits(), Some(at));
    let count = |severity| findings.iter().filter(|finding| finding.severity() == severity).count();
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    match arguments.format {
        Format::Plain => print(&plain(&list, &findings))?,
        Format::Json => {
            let report =
                Report { list: &list, errors, warnings, notes, findings: findings.iter().map(row).collect() };
            print(&super::json(&report)?)?;
        }
    }
    if lint::is_no_list(&findings) {
        // As below.
        let _ = writeln!(std::io::stderr(), "{}", super::how_to_begin());
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{list}: {errors} errors, {warnings} warnings, {notes} notes");
    Ok(if errors == 0 { Answer::Yes } else { Answer::No })
}

/// One line per finding.
fn plain(list: &str, findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        // A String accepts every write.
        let _ = writeln!(out, "{list}:{finding}");
    }
    out
}

/// A finding as JSON.
fn row(finding: &Finding) -> Row<'_> {
    Row {
        severity: finding.severity().label(),
        line: finding.place.line,
        column: finding.place.column,
        code: finding.code.label(),
        reason: &finding.reason,
        remedy: &finding.remedy,
    }
}
