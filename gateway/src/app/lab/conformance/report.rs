//! The outcome as a table or as one JSON object.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::{Found, Judgement, Row, Total};

/// A probe in JSON.
#[derive(Serialize)]
struct JsonRow<'a> {
    test: &'static str,
    subscriber: &'static str,
    protocol: &'static str,
    ip_version: &'static str,
    name: &'static str,
    address: String,
    payload_bytes: u64,
    carried_bytes: u64,
    wanted: &'static str,
    found: &'static str,
    detail: Option<&'a str>,
    ok: bool,
}

/// The outcome in JSON.
#[derive(Serialize)]
struct JsonOutcome<'a> {
    ok: bool,
    probes: Vec<JsonRow<'a>>,
    totals: &'a [Total],
    faults: &'a [String],
}

impl Found {
    /// As it is called in reports.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::NotExempt(_) => "not exempt",
            Self::Uncounted => "not in the records",
            Self::CutOff(_) => "cut off",
            Self::Failed(_) => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The reason, or what went wrong.
    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            Self::NotExempt(text) | Self::CutOff(text) | Self::Failed(text) => Some(text),
            Self::Exempt | Self::Uncounted | Self::Unknown => None,
        }
    }

    /// Both.
    fn described(&self) -> String {
        self.detail().map_or_else(|| self.label().to_owned(), |detail| format!("{} ({detail})", self.label()))
    }
}

/// One object, one line.
///
/// # Errors
/// The library's.
pub(super) fn json(outcome: &Judgement) -> serde_json::Result<String> {
    let probes = outcome.rows.iter().map(json_row).collect();
    let whole =
        JsonOutcome { ok: outcome.is_good(), probes, totals: &outcome.totals, faults: &outcome.faults };
    serde_json::to_string(&whole).map(|text| text + "\n")
}

/// A probe in JSON.
fn json_row(row: &Row) -> JsonRow<'_> {
    let probe = &row.probe;
    JsonRow {
        test: probe.audit.label(),
        subscriber: probe.who.id(),
        protocol: probe.protocol.label(),
        ip_version: probe.family.label(),
        name: probe.name,
        address: probe.place.address(probe.family).to_string(),
        payload_bytes: probe.payload_bytes,
        carried_bytes: row.down_bytes,
        wanted: probe.wanted.label(),
        found: row.found.label(),
        detail: row.found.detail(),
        ok: row.is_good(),
    }
}

/// A table, and what is wrong below it.
pub(super) fn plain(outcome: &Judgement) -> String {
    let head = ["test", "over", "ip", "name", "address", "bytes", "wanted", "found", ""].map(str::to_owned);
    let lines = outcome.rows.iter().map(|row| {
        let probe = &row.probe;
        [
            probe.audit.label().to_owned(),
            probe.protocol.label().to_owned(),
            probe.family.label().to_owned(),
            probe.name.to_owned(),
            probe.place.address(probe.family).to_string(),
            row.down_bytes.to_string(),
            probe.wanted.label().to_owned(),
            row.found.described(),
            if row.is_good() { "ok" } else { "WRONG" }.to_owned(),
        ]
    });
    let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
    let widths: Vec<usize> = (0..9)
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text.push('\n');
    for total in &outcome.totals {
        let exempt: u64 = outcome
            .rows
            .iter()
            .filter(|row| row.probe.who.id() == total.subscriber && row.found == Found::Exempt)
            .fold(0, |sum, row| sum.saturating_add(row.down_bytes));
        let _ = writeln!(
            text,
            "subscriber {}: {} bytes exempt in the records, {exempt} at the device; {} not exempt",
            total.subscriber, total.exempt_down_bytes, total.other_down_bytes
        );
    }
    let good = outcome.rows.iter().filter(|row| row.is_good()).count();
    let _ = writeln!(text, "{good} of {} probes as they must be", outcome.rows.len());
    text
}

/// Every difference, one line each.
pub(super) fn differences(outcome: &Judgement) -> Vec<String> {
    let rows = outcome.rows.iter().filter(|row| !row.is_good()).map(|row| {
        let probe = &row.probe;
        format!(
            "{} over {} and {}: found {}, wanted {}",
            probe.audit.label(),
            probe.protocol.label(),
            probe.family.label(),
            row.found.described(),
            probe.wanted.label()
        )
    });
    let totals = outcome.totals.iter().filter_map(|total| {
        let why = total.undecoded?;
        Some(format!(
            "subscriber {}: {} exempt bytes are of no certain set of probes: {why}",
            total.subscriber, total.exempt_down_bytes
        ))
    });
    let faults = outcome.faults.iter().map(|fault| format!("records: {fault}"));
    rows.chain(totals).chain(faults).collect()
}
