//! What the demonstration prints: tables for people, and the list of figures that must agree.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use billing_export::Class;

use super::browse::{Line, Tally};
use super::exported::{Bytes, Exported};
use super::inputs::Ports;
use super::world::{FORGER, FORGER_SERVER, SITES, SUBSCRIBERS};

/// Files shown at each end of a long list.
const FILES_SHOWN: usize = 6;

/// One figure that has to agree.
#[derive(Debug)]
pub(super) struct Check {
    /// What it is.
    what: String,
    /// What had to come.
    expected: String,
    /// What came.
    found: String,
}

impl Check {
    /// A check of two values.
    fn new(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self { what: what.into(), expected: expected.to_string(), found: found.to_string() }
    }

    /// Whether the two agree.
    fn holds(&self) -> bool {
        self.expected == self.found
    }

    /// The difference, for a message.
    pub(super) fn difference(&self) -> Option<String> {
        let Self { what, expected, found } = self;
        (!self.holds()).then(|| format!("{what}: found {found}, wanted {expected}"))
    }
}

/// The paragraph that says what was set up.
pub(super) fn set_up(steered: SocketAddr, proxied: SocketAddr, ports: Ports, flows: u64) -> String {
    let Ports { tls, http, dns } = ports;
    let sites = SITES.len();
    let forger = FORGER.label();
    format!(
        "A gateway node runs in this process, without root and on loopback only: a steered listener at {steered} and a\n\
         proxy_protocol listener at {proxied}, each for TCP and UDP. {sites} sites are TLS and HTTP/3 servers (port {tls})\n\
         and HTTP servers (port {http}) at addresses of their own, with a certificate made for this run; a DNS stub at\n\
         127.0.0.1:{dns} knows them. The list has three services (open-school with everything below school.example,\n\
         library, exams) and denies ads.school.example; news.example and games.example are on no list. Three subscribers\n\
         browse. A fourth, {forger}, sends listed names to a server of his own at {FORGER_SERVER}.\n\
         Flows: {flows}. Each client counts the payload bytes of TCP and UDP at its own socket; the exported figures must\n\
         equal these counts to the byte.\n"
    )
}

/// The figures that must agree: what clients counted against what was exported, and the rest.
pub(super) fn checks(tally: &Tally, exported: &Exported) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut lines: Vec<&Line> = tally.lines.keys().chain(exported.lines.keys()).collect();
    lines.sort_by_key(|line| (place(&line.0), *line));
    lines.dedup();
    for line in lines {
        let wanted = tally.lines.get(line).copied().unwrap_or_default();
        let found = exported.lines.get(line).copied().unwrap_or_default();
        let (who, class, what) = line;
        let name = |direction: &str| format!("{who}, {} {what}, {direction}", class.label());
        checks.push(Check::new(name("up"), wanted.up, found.up));
        checks.push(Check::new(name("down"), wanted.down, found.down));
    }
    let mut counted = Bytes::default();
    tally.lines.values().for_each(|volume| counted.add(volume.up.into(), volume.down.into()));
    let mut rows = Bytes::default();
    exported.lines.values().for_each(|bytes| rows.add(bytes.up, bytes.down));
    let forger = FORGER.label();
    let forged = exported.of_class(Class::Exempt, Some(&forger));
    let unattributed = exported.of_class(Class::Unattributed, None);
    checks.extend([
        Check::new("all rows, up", counted.up, rows.up),
        Check::new("all rows, down", counted.down, rows.down),
        Check::new("seen at the gateway's sockets, up", counted.up, exported.seen.up),
        Check::new("seen at the gateway's sockets, down", counted.down, exported.seen.down),
        Check::new(format!("{forger} (forges), exempt, up + down"), 0, forged.up.saturating_add(forged.down)),
        Check::new("unattributed, up + down", 0, unattributed.up.saturating_add(unattributed.down)),
        Check::new("unlisted names refused at the steered listener", tally.refusals_wanted, tally.refused),
        Check::new(
            "flows that ended as they had to",
            tally.flows(),
            tally.carried.saturating_add(tally.refused),
        ),
        Check::new("files with bytes conserved", exported.files.len(), exported.conserved),
        Check::new("faults found by verification", 0, exported.report.faults.len()),
    ]);
    checks
}

/// Where a subscriber stands in tables: in the order of the script, strangers last.
fn place(who: &str) -> usize {
    SUBSCRIBERS.iter().position(|known| known.label() == who).unwrap_or(SUBSCRIBERS.len())
}

/// A table cell and how it is aligned.
#[derive(Clone, Copy)]
enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lays rows out in columns, two blanks between them and before the first.
fn table(aligns: &[Align], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, align)) in row.iter().zip(aligns).enumerate() {
            let width = width(column);
            // Writing to a string does not fail.
            let _ = match align {
                Align::Left => write!(line, "  {cell:<width$}"),
                Align::Right => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of cells.
fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// The table of subscribers: exempt by service, charged by reason, totals.
pub(super) fn subscribers(exported: &Exported) -> String {
    let mut rows = vec![row(&["subscriber", "class", "service or reason", "up", "down"])];
    let mut people: Vec<&String> = exported.lines.keys().map(|(who, _, _)| who).collect();
    people.sort_by_key(|who| (place(who), *who));
    people.dedup();
    for who in people {
        let mut total = Bytes::default();
        let mut first = if *who == FORGER.label() { format!("{who} (forges)") } else { who.clone() };
        let mut cells = |class: &str, what: &str, bytes: Bytes| {
            let who = std::mem::take(&mut first);
            rows.push(vec![
                who,
                class.to_owned(),
                what.to_owned(),
                bytes.up.to_string(),
                bytes.down.to_string(),
            ]);
        };
        for ((_, class, what), bytes) in exported.lines.iter().filter(|((owner, _, _), _)| owner == who) {
            cells(class.label(), what, *bytes);
            total.add(bytes.up, bytes.down);
        }
        cells("total", "", total);
    }
    for class in [Class::Exempt, Class::Charged, Class::Unattributed] {
        let sum = exported.of_class(class, None);
        rows.push(row(&["all subscribers", class.label(), "", &sum.up.to_string(), &sum.down.to_string()]));
    }
    let aligns = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Right];
    format!("Bytes by subscriber, from the exported files\n{}", table(&aligns, &rows))
}

/// The list of files; of a long one the first and last.
pub(super) fn files(exported: &Exported) -> String {
    let mut rows = vec![row(&["file", "rows", "up", "down"])];
    let count = exported.files.len();
    let hidden = count.saturating_sub(FILES_SHOWN.saturating_mul(2));
    for (index, file) in exported.files.iter().enumerate() {
        let last = index >= count.saturating_sub(FILES_SHOWN);
        if index < FILES_SHOWN || last {
            let bytes = file.bytes;
            let (records, up, down) =
                (file.records.to_string(), bytes.up.to_string(), bytes.down.to_string());
            rows.push(row(&[&file.name, &records, &up, &down]));
        } else if index == FILES_SHOWN {
            rows.push(row(&[&format!("({hidden} more)")]));
        }
    }
    let aligns = [Align::Left, Align::Right, Align::Right, Align::Right];
    format!(
        "Exported files, one for each period of a second, each with its manifest\n{}",
        table(&aligns, &rows)
    )
}

/// The outcome of the verification.
pub(super) fn verification(exported: &Exported) -> String {
    let report = &exported.report;
    let mut text = format!(
        "Verification (hashes, chain of manifests, numbers of files and records, running totals, conservation)\n  \
         {} files, {} records, {} bytes up, {} bytes down, {} faults\n",
        report.files,
        report.records,
        report.up_bytes,
        report.down_bytes,
        report.faults.len()
    );
    for fault in &report.faults {
        let _ = writeln!(text, "  fault: {fault}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// The list of checks.
pub(super) fn check_list(checks: &[Check]) -> String {
    let mut rows = vec![row(&["", "figure", "expected", "exported"])];
    for check in checks {
        let mark = if check.holds() { "ok" } else { "DIFFERS" };
        rows.push(row(&[mark, &check.what, &check.expected, &check.found]));
    }
    let aligns = [Align::Left, Align::Left, Align::Right, Align::Right];
    format!("Expected (counted by the clients) = exported\n{}", table(&aligns, &rows))
}

/// The last words: what holds, and what to run next.
pub(super) fn ending(checks: &[Check], kept: Option<&Path>) -> String {
    let wrong = checks.iter().filter(|check| !check.holds()).count();
    let mut text = match wrong {
        0 => format!("All {} figures are as expected.\n", checks.len()),
        _ => format!("{wrong} of {} figures are NOT as expected.\n", checks.len()),
    };
    match kept {
        None => text.push_str("The folder was temporary and is removed; --dir DIR keeps it.\n"),
        Some(folder) => {
            let folder = folder.display();
            let _ = write!(
                text,
                "Kept in {folder}; look further with\n  \
                 billing-export verify {folder}/usage\n  \
                 billing-export totals {folder}/usage --by service\n  \
                 gateway explain video.school.example --config {folder}/gateway.toml\n"
            );
        }
    }
    text
}

/// What the clients counted, as CSV: for whoever compares it with the exported files by other means.
pub(super) fn expected_csv(tally: &Tally) -> String {
    let mut text = "subscriber,class,service_or_reason,up_bytes,down_bytes\n".to_owned();
    for ((who, class, what), volume) in &tally.lines {
        let _ = writeln!(text, "{who},{},{what},{},{}", class.label(), volume.up, volume.down);
    }
    text
}

#[cfg(test)]
mod tests {
    use billing_export::Volume;

    use super::*;

    #[test]
    fn columns_are_aligned_and_short_rows_end_early() {
        let rows = [row(&["a", "10"]), row(&["bcd", "7"]), row(&["x"])];
        assert_eq!(table(&[Align::Left, Align::Right], &rows), "  a    10\n  bcd   7\n  x\n");
    }

    #[test]
    fn t23_an_exempt_byte_of_the_forger_and_a_lost_byte_are_named() {
        let line = |class, what: &str| (FORGER.label(), class, what.to_owned());
        let mismatch = line(Class::Charged, "address_mismatch");
        let mut tally = Tally::default();
        tally.lines.insert(mismatch.clone(), Volume { up: 100, down: 200 });
        let bytes = |up, down| Bytes { up, down };
        let lines = [(mismatch, bytes(100, 199)), (line(Class::Exempt, "library"), bytes(0, 1))];
        let exported = Exported {
            lines: lines.into(),
            files: Vec::new(),
            seen: bytes(100, 200),
            conserved: 0,
            report: billing_export::verify::Report::default(),
        };
        let differences: Vec<_> = checks(&tally, &exported).iter().filter_map(Check::difference).collect();
        assert_eq!(
            differences,
            [
                "msisdn 77010000666, exempt library, down: found 1, wanted 0",
                "msisdn 77010000666, charged address_mismatch, down: found 199, wanted 200",
                "msisdn 77010000666 (forges), exempt, up + down: found 1, wanted 0",
            ]
        );
    }

    #[test]
    fn a_check_holds_only_when_both_sides_agree() {
        assert_eq!(Check::new("a", 7_u64, 7_i128).difference(), None);
        let differs = Check::new("a, up", 7, 8);
        assert_eq!(differs.difference().as_deref(), Some("a, up: found 8, wanted 7"));
        assert!(check_list(std::slice::from_ref(&differs)).contains("DIFFERS"));
        assert!(ending(&[differs], None).starts_with("1 of 1 figures are NOT as expected."));
    }
}
