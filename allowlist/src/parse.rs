//! Reads a list document: TOML 1.0 in, a [`Document`] or every problem at once out.
//!
//! The reader walks the spanned syntax tree itself instead of deserialising: a deserialiser stops at the first mistake,
//! and an officer who corrects forty lines wants to see all forty. Unknown keys are refused, because a misspelt `scope`
//! that is silently ignored changes what is exempt.
//!
//! A text of the plain form is read table by table (`section`), rules of the plain form without a tree (`plain`): that takes
//! a third of the time and a fifth of the memory. What is refused, and what comes out, is the same either way.

mod entry;
mod field;
mod place;
mod plain;
mod section;

use toml::de::DeTable;

use crate::document::{Deny, Document, FORMAT, Moment, NotSeparable, RuleEntry, Service};
use crate::problem::{NO_LIST, Problem, quoted};
use entry::ServiceIds;
use field::{Reader, Table};
use place::PlaceIndex;
use plain::Recent;
use section::{Kind, Sections};

/// Largest text whatever the limit: places in it, and in the names it holds, are 32-bit numbers.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// Largest list text by default (a key of `config/examples/full.toml`).
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest number of rules and denies (a key of `config/examples/full.toml`).
pub const LIST_ENTRIES_MAX: usize = 1_000_000;

/// Most problems reported of one document; a text with more is not a list with mistakes.
pub(crate) const PROBLEMS_MAX: usize = 1_000;

/// Keys of the document's top level, in canonical order.
const DOCUMENT_KEYS: &[&str] = &[
    "format",
    "list_id",
    "serial",
    "issued",
    "effective_from",
    "expires",
    "previous_sha256",
    "note",
    "service",
    "deny",
    "not_separable",
];

/// How large a document may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text, at most 1 GiB. Reading needs memory of about two to three times the text, of a text that is not in
    /// plain form (tables inline, strings over lines) twelve times.
    pub bytes_max: usize,
    /// Rules and denies.
    pub entries_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: LIST_BYTES_MAX, entries_max: LIST_ENTRIES_MAX }
    }
}

/// A document as far as it could be read, for the linter: one wrong value hides nothing else.
pub(crate) struct Reading {
    /// What could be read. A rule or deny of which something is wrong is left out; where a value of the document's own, or the id
    /// of a service, is wrong, another stands for it.
    pub(crate) document: Document,
    /// How much of the document's own keys is right.
    pub(crate) head: Head,
    /// Whether a rule or deny was left out.
    pub(crate) is_partial: bool,
    /// Every problem sorted by place.
    pub(crate) problems: Vec<Problem>,
}

/// How much of a document's own keys could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// All.
    Whole,
    /// Not all, but the times from which and until which it is in force.
    Dated,
    /// Not these either.
    Unknown,
}

/// Reads a document; on failure, every problem sorted by place.
pub(crate) fn document(text: &str, limits: &Limits) -> Result<Document, Vec<Problem>> {
    let Reading { document, head, is_partial: _, problems } = read(text, limits)?;
    if problems.is_empty() && head == Head::Whole { Ok(document) } else { Err(problems) }
}

/// Reads a document as far as it goes.
///
/// # Errors
/// The text is too large, or nothing like a list.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Reading, Vec<Problem>> {
    let bytes_max = limits.bytes_max.min(TEXT_BYTES_MAX);
    if text.len() > bytes_max {
        return Err(vec![Problem {
            line: 1,
            column: 1,
            found: format!("a text of {} bytes", text.len()),
            wanted: format!("at most {bytes_max} bytes; raise the size limit for larger lists"),
        }]);
    }
    Sections::of(text)
        .and_then(|sections| by_table(text, &sections, limits))
        .unwrap_or_else(|| as_a_whole(text, limits))
}

/// The one problem of a text that has none of a list's keys: pasted addresses, a page, another program's file.
fn foreign(text: &str, tree: &DeTable<'_>) -> Option<Vec<Problem>> {
    if DOCUMENT_KEYS.iter().any(|key| tree.contains_key(*key)) {
        return None;
    }
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    let (line, first) = (1..=u32::MAX).zip(lines).find(|(_, line)| !is_blank(line))?;
    let found = format!("{NO_LIST}: its first line is {}", quoted(first.trim()));
    let wanted = "a list, which begins with `format = 1`".to_owned();
    Some(vec![Problem { line, column: 1, found, wanted }])
}

/// Reads a text of any form.
fn as_a_whole(text: &str, limits: &Limits) -> Result<Reading, Vec<Problem>> {
    let mut reader = Reader::new(PlaceIndex::new(text), limits.entries_max);
    let tree = parse(&mut reader, text);
    if let Some(problems) = foreign(text, &tree) {
        return Err(problems);
    }
    // What stands behind a break in the syntax is a guess.
    let is_whole = !reader.has_problems();
    let table = Table::open(&mut reader, &tree, 0, "the document", DOCUMENT_KEYS);
    let document = read_head(&mut reader, &table);
    let mut services = entry::read_services(&mut reader, &table);
    let mut denies = entry::read_denies(&mut reader, &table);
    let not_separable = entry::read_not_separable(&mut reader, &table);
    if !is_whole {
        (services, denies) = (Vec::new(), Vec::new());
        reader.leave_out();
    }
    Ok(reading(reader, document, (services, denies, not_separable)))
}

/// Reads a text of plain form table by table; none when it turns out to be of another form.
fn by_table(text: &str, sections: &Sections<'_>, limits: &Limits) -> Option<Result<Reading, Vec<Problem>>> {
    let mut reader = Reader::new(PlaceIndex::new(text), limits.entries_max);
    let tree = parse(&mut reader, sections.root());
    if ["service", "deny", "not_separable"].iter().any(|key| tree.contains_key(*key)) {
        return None;
    }
    if sections.iter().next().is_none()
        && let Some(problems) = foreign(text, &tree)
    {
        return Some(Err(problems));
    }
    let table = Table::open(&mut reader, &tree, 0, "the document", DOCUMENT_KEYS);
    let document = read_head(&mut reader, &table);
    let (mut services, mut denies, mut not_separable) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ids, mut recent) = (ServiceIds::default(), Recent::default());
    let mut service = None;
    let mut rules = Vec::new();
    let mut rule_counts = sections.rules().iter();
    let mut may_count = true;
    for part in sections.iter() {
        let offset = reader.go_to(part.body, part.header);
        match part.kind {
            Kind::Rule | Kind::Deny if may_count => may_count = reader.count_entry(offset),
            Kind::Rule | Kind::Deny | Kind::Service | Kind::NotSeparable => {}
        }
        if part.kind == Kind::Rule {
            if !may_count {
                continue;
            }
            let place = reader.place(offset);
            let plain = plain::read_rule(part.text, place, &mut recent);
            rules.extend(plain.or_else(|| {
                reader.soundly(|reader| {
                    let tree = parse(reader, part.text);
                    entry::read_rule(reader, &tree, offset, &mut recent)
                })
            }));
            continue;
        }
        if part.kind == Kind::Deny {
            if may_count {
                denies.extend(reader.soundly(|reader| {
                    let tree = parse(reader, part.text);
                    entry::read_deny(reader, &tree, offset)
                }));
            }
            continue;
        }
        let tree = parse(&mut reader, part.text);
        match part.kind {
            Kind::Service => {
                if tree.contains_key("rule") {
                    return None;
                }
                services.extend(finished(&mut service, &mut rules));
                service = Some(entry::read_service(&mut reader, &mut ids, &tree, offset));
                let count = rule_counts.next().copied().unwrap_or(0);
                rules.reserve_exact(count.min(limits.entries_max));
            }
            Kind::Deny | Kind::Rule => {}
            Kind::NotSeparable => {
                not_separable.extend(entry::read_not_separable_entry(&mut reader, &tree, offset));
            }
        }
    }
    services.extend(finished(&mut service, &mut rules));
    Some(Ok(reading(reader, document, (services, denies, not_separable))))
}

/// The service that was read, with its rules.
fn finished(service: &mut Option<Service>, rules: &mut Vec<RuleEntry>) -> Option<Service> {
    let rules = std::mem::take(rules);
    service.take().map(|service| Service { rules, ..service })
}

/// The syntax tree of a part, what is no syntax reported.
fn parse<'p>(reader: &mut Reader<'_>, part: &'p str) -> DeTable<'p> {
    let (tree, syntax_errors) = DeTable::parse_recoverable(part);
    for error in &syntax_errors {
        reader.report_syntax(error.span().map_or(0, |span| span.start), error.message());
    }
    tree.into_inner()
}

/// What was read, put together.
fn reading(
    reader: Reader<'_>,
    (document, head): (Document, Head),
    (services, denies, not_separable): (Vec<Service>, Vec<Deny>, Vec<NotSeparable>),
) -> Reading {
    let document = Document { services, denies, not_separable, ..document };
    Reading { document, head, is_partial: reader.is_partial(), problems: reader.into_problems() }
}

/// Reads the top level's own keys; where a required one is missing or wrong, which is reported, another stands for it.
fn read_head(reader: &mut Reader<'_>, table: &Table<'_, '_>) -> (Document, Head) {
    let format = table.required_integer(reader, "format", "`format = 1`");
    if let Some(format) = format
        && format != FORMAT
    {
        reader.report(
            table.value_offset("format"),
            format!("format {format}"),
            format!("format {FORMAT}, the only one this tool reads"),
        );
    }
    let list_id = table.required_identifier(reader, "list_id", "`list_id`, the name of the list");
    let serial = table.required_integer(reader, "serial", "`serial`, a number that rises with each edition");
    if serial == Some(0) {
        reader.report(table.value_offset("serial"), "serial 0".to_owned(), "a serial from 1 on".to_owned());
    }
    let issued = table.required_moment(reader, "issued");
    let effective_from = table.required_moment(reader, "effective_from");
    let expires = table.required_moment(reader, "expires");
    if let (Some(effective_from), Some(expires)) = (effective_from, expires)
        && effective_from.instant() >= expires.instant()
    {
        reader.report(
            table.value_offset("expires"),
            format!("expires {expires}, not after effective_from {effective_from}"),
            "`expires` later than `effective_from`".to_owned(),
        );
    }
    let previous_sha256 = entry::read_sha256(reader, table);
    let note = table.text(reader, "note");
    let head = match (&list_id, serial, issued, effective_from, expires) {
        (Some(_), Some(_), Some(_), Some(_), Some(_)) => Head::Whole,
        (_, _, Some(_), Some(_), Some(_)) => Head::Dated,
        _ => Head::Unknown,
    };
    let document = Document {
        list_id: list_id.unwrap_or_default(),
        serial: serial.unwrap_or_default(),
        issued: issued.unwrap_or(Moment::UNKNOWN),
        effective_from: effective_from.unwrap_or(Moment::UNKNOWN),
        expires: expires.unwrap_or(Moment::UNKNOWN),
        previous_sha256,
        note,
        services: Vec::new(),
        denies: Vec::new(),
        not_separable: Vec::new(),
        place: reader.place(0),
    };
    (document, head)
}
