//! The static subscriber table: CSV `prefix,subscriber_type,subscriber_id` in, rows or every problem out.
//!
//! Pure. One row per line, no quoting (no allowed value needs it), `#` is not special, lines end in LF or CRLF. Messages
//! never repeat a prefix or an id: both are personal data, and the place says which one is meant.

use crate::problem::{Problem, quoted};
use ipnet::IpNet;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// The first line of every table; at least one row follows.
pub const HEADER: &str = "prefix,subscriber_type,subscriber_id";
/// Longest subscriber id, in characters.
pub const ID_CHARS_MAX: usize = 64;
/// After so many problems the rest of a table is not judged: the last problem says so.
pub const PROBLEMS_MAX: usize = 1_000;
/// What a spreadsheet takes for the beginning of a formula. Usage files have ids as they are, for billing compares them; quotes
/// are taken off before a formula is looked for.
const FORMULA_STARTS: [char; 4] = ['=', '+', '-', '@'];
/// The types as written.
const TYPES: [(&str, SubscriberType); 3] = [
    ("msisdn", SubscriberType::Msisdn),
    ("imsi", SubscriberType::Imsi),
    ("account", SubscriberType::Account),
];

/// One row: who sends from a prefix.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Source addresses, without host bits; never IPv4-mapped.
    pub prefix: IpNet,
    /// What kind of id it is.
    pub subscriber_type: SubscriberType,
    /// The id: 1 to 64 printable ASCII characters without comma and quote, none of `= + - @` first; digits only for msisdn
    /// and imsi.
    pub subscriber_id: String,
    /// Line of the table, from 1.
    pub line: u32,
}

impl fmt::Debug for Subscriber {
    /// Shows the line instead of who and where (decision 22).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscriber({}, line {})", self.subscriber_type.label(), self.line)
    }
}

/// What kind of id a subscriber has (column `subscriber_type` of `billing-export/docs/records.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriberType {
    /// Telephone number (ITU-T E.164), digits only.
    Msisdn,
    /// Identity of the SIM (ITU-T E.212), digits only.
    Imsi,
    /// Account of a fixed or Wi-Fi operator.
    Account,
}

impl SubscriberType {
    /// The type as written.
    pub fn label(self) -> &'static str {
        match self {
            SubscriberType::Msisdn => "msisdn",
            SubscriberType::Imsi => "imsi",
            SubscriberType::Account => "account",
        }
    }
}

/// Reads a subscriber table of at most `size_max` bytes and `rows_max` rows.
///
/// Prefixes are IPv4 or IPv6, bare addresses are their whole length; a row within another's prefix is allowed (the
/// longer prefix wins), the same prefix twice is not. A byte order mark at the start is passed over.
///
/// # Errors
/// Every problem in the order of places, at most [`PROBLEMS_MAX`] and a last one that says the rest is not judged.
pub fn parse(text: &str, size_max: usize, rows_max: usize) -> Result<Vec<Subscriber>, Vec<Problem>> {
    if text.len() > size_max {
        let wanted = format!("at most subscribers.size_max ({size_max} bytes)");
        return Err(vec![problem((1, 1), "table", &format!("{} bytes", text.len()), &wanted)]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A final line end ends the last row and starts no further one.
    let mut lines = (1..=u32::MAX).zip(text.strip_suffix('\n').unwrap_or(text).split('\n'));
    let mut table = Table { rows: Vec::new(), prefixes: HashMap::new(), problems: Vec::new() };
    let header = lines.next().map_or("", |(_, line)| unended(line));
    if header != HEADER {
        let mut fault = problem((1, 1), "header", &shape_of_header(header), &format!("the line `{HEADER}`"));
        fault.remedy = Some("the header line is required; columns stand in this order".to_owned());
        table.problems.push(fault);
    }
    for (number, line) in lines {
        if table.problems.len() >= PROBLEMS_MAX {
            table.problems.push(problem(
                (number, 1),
                "table",
                "too many problems above",
                "those mended first",
            ));
            break;
        }
        if table.rows.len() >= rows_max {
            let wanted = format!("at most subscribers.entries_max ({rows_max} rows)");
            table.problems.push(problem((number, 1), "table", "one more row", &wanted));
            break;
        }
        table.line(number, unended(line));
    }
    if table.rows.is_empty() && table.problems.is_empty() {
        let mut fault = problem((1, 1), "table", "no row below the header", "at least one");
        let remedy = "whatever writes it has failed? A node that is to know nobody has no [subscribers]";
        fault.remedy = Some(remedy.to_owned());
        table.problems.push(fault);
    }
    if table.problems.is_empty() { Ok(table.rows) } else { Err(table.problems) }
}

/// A table being read.
struct Table {
    /// Rows that are right.
    rows: Vec<Subscriber>,
    /// Prefixes met, with the line of each.
    prefixes: HashMap<IpNet, u32>,
    /// Problems so far.
    problems: Vec<Problem>,
}

impl Table {
    /// Reads one row.
    fn line(&mut self, number: u32, line: &str) {
        if line.is_empty() {
            self.problems.push(problem(
                (number, 1),
                "row",
                "an empty line",
                "a row, or the end of the table",
            ));
            return;
        }
        let fields: Vec<&str> = line.split(',').collect();
        let &[prefix, kind, id] = fields.as_slice() else {
            let wanted = format!("3 (`{HEADER}`)");
            self.problems.push(problem((number, 1), "row", &count(fields.len(), "field"), &wanted));
            return;
        };
        let kind_column = column_after(1, prefix);
        let id_column = column_after(kind_column, kind);
        let prefix = match prefix_of(prefix) {
            Ok(prefix) => Some(prefix),
            Err((found, wanted)) => {
                self.problems.push(problem((number, 1), "prefix", found, wanted));
                None
            }
        };
        if let Some(prefix) = prefix {
            match self.prefixes.get(&prefix) {
                Some(first) => {
                    let found = format!("the prefix of line {first} again");
                    self.problems.push(problem((number, 1), "prefix", &found, "each prefix once"));
                }
                None => {
                    self.prefixes.insert(prefix, number);
                }
            }
        }
        let known = TYPES.iter().find(|(word, _)| *word == kind).map(|(_, known)| *known);
        if known.is_none() {
            let found = if kind.is_empty() { "nothing" } else { "another word" };
            let wanted = "one of msisdn, imsi, account (no spaces around)";
            self.problems.push(problem((number, kind_column), "subscriber_type", found, wanted));
        }
        if let Err((offset, found, wanted)) = judge_id(id, known) {
            let column = id_column.saturating_add(offset);
            self.problems.push(problem((number, column), "subscriber_id", &found, &wanted));
        } else if let (Some(prefix), Some(subscriber_type)) = (prefix, known) {
            self.rows.push(Subscriber {
                prefix,
                subscriber_type,
                subscriber_id: id.to_owned(),
                line: number,
            });
        }
    }
}

/// A prefix or bare address, or what was found and what was wanted.
fn prefix_of(text: &str) -> Result<IpNet, (&'static str, &'static str)> {
    let form = "an IPv4 or IPv6 address or prefix, such as 100.64.0.0/24 or 2001:db8::/64";
    if text.is_empty() {
        return Err(("nothing", form));
    }
    if text.trim() != text {
        return Err(("white space around the prefix", "none"));
    }
    let prefix = match text.contains('/') {
        true => text.parse::<IpNet>().ok(),
        false => text.parse::<IpAddr>().ok().map(IpNet::from),
    };
    let prefix = prefix.ok_or(("text that is neither", form))?;
    if prefix.addr() != prefix.network() {
        return Err(("an address with bits beyond the prefix length", "those bits zero"));
    }
    let mapped = matches!(prefix.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    if mapped && prefix.prefix_len() >= IPV4_MAPPED_BITS {
        return Err(("an IPv4 address in IPv6 form", "the IPv4 form: mapped addresses are read as IPv4"));
    }
    Ok(prefix)
}

/// Length of the prefix ::ffff:0:0/96 that holds the IPv4-mapped addresses (RFC 4291 §2.5.5.2).
const IPV4_MAPPED_BITS: u8 = 96;

/// Judges an id; a fault comes with its character offset in the id, what was found and what was wanted.
fn judge_id(id: &str, kind: Option<SubscriberType>) -> Result<(), (u32, String, String)> {
    let length = id.chars().count();
    if !(1..=ID_CHARS_MAX).contains(&length) {
        return Err((0, count(length, "character"), format!("1 to {ID_CHARS_MAX}")));
    }
    let printable = |character: char| matches!(character, ' '..='~') && character != '"';
    let digits_only = match kind {
        Some(SubscriberType::Msisdn | SubscriberType::Imsi) => true,
        Some(SubscriberType::Account) | None => false,
    };
    for (offset, character) in (0..).zip(id.chars()) {
        if !printable(character) {
            let found = format!("the character U+{:04X}", u32::from(character));
            return Err((offset, found, "printable ASCII without comma and quote".to_owned()));
        }
        if digits_only && !character.is_ascii_digit() {
            let label = kind.map_or("", SubscriberType::label);
            return Err((
                offset,
                "a character that is no digit".to_owned(),
                format!("digits only in an {label}"),
            ));
        }
    }
    if id.starts_with(FORMULA_STARTS) {
        let found = "an id that a spreadsheet takes for a formula".to_owned();
        return Err((0, found, "one that begins with none of = + - @".to_owned()));
    }
    if id.starts_with(' ') || id.ends_with(' ') {
        return Err((0, "a space at an end of the id".to_owned(), "none".to_owned()));
    }
    Ok(())
}

/// What stands where the header should; a row that stands there instead is not repeated.
fn shape_of_header(line: &str) -> String {
    if line.is_empty() {
        "nothing".to_owned()
    } else if line.bytes().any(|byte| byte.is_ascii_digit()) {
        "another line (a row without a header?)".to_owned()
    } else {
        quoted(line)
    }
}

/// The line without the CR of a CRLF.
fn unended(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// Column of the field after `field` and its comma.
fn column_after(column: u32, field: &str) -> u32 {
    let width = u32::try_from(field.chars().count()).unwrap_or(u32::MAX);
    column.saturating_add(width).saturating_add(1)
}

/// `1 field`, `3 fields`.
fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A problem without a remedy of its own.
fn problem((line, column): (u32, u32), key: &str, found: &str, wanted: &str) -> Problem {
    let [key, found, wanted] = [key, found, wanted].map(str::to_owned);
    Problem { line, column, key, found, wanted, remedy: None }
}
