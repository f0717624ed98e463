//! Reads a list document: TOML 1.0 in, a [`Document`] or every problem at once out.
//!
//! The reader walks the spanned syntax tree itself instead of deserialising: a deserialiser stops at the first mistake,
//! and an officer who corrects forty lines wants to see all forty. Unknown keys are refused, because a misspelt `scope`
//! that is silently ignored changes what is exempt.

mod entry;
mod field;
mod place;

use toml::de::DeTable;

use crate::document::{Document, FORMAT};
use crate::problem::Problem;
use field::{Reader, Table};
use place::PlaceIndex;

/// Largest list text by default (DESIGN §7).
pub const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest number of rules and denies (DESIGN §7).
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
    /// Bytes of text. Reading needs memory of about twelve times the text.
    pub bytes_max: usize,
    /// Rules and denies.
    pub entries_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: LIST_BYTES_MAX, entries_max: LIST_ENTRIES_MAX }
    }
}

/// Reads a document; on failure, every problem sorted by place.
pub(crate) fn document(text: &str, limits: &Limits) -> Result<Document, Vec<Problem>> {
    if text.len() > limits.bytes_max {
        return Err(vec![Problem {
            line: 1,
            column: 1,
            found: format!("a text of {} bytes", text.len()),
            wanted: format!("at most {} bytes; raise the size limit for larger lists", limits.bytes_max),
        }]);
    }
    let (tree, syntax_errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(PlaceIndex::new(text), limits.entries_max);
    for error in &syntax_errors {
        reader.report_syntax(error.span().map_or(0, |span| span.start), error.message());
    }
    let document = read_document(&mut reader, tree.get_ref());
    match (reader.into_problems(), document) {
        (problems, Some(document)) if problems.is_empty() => Ok(document),
        (problems, _) => Err(problems),
    }
}

/// Reads the top level; none when a required key is missing or wrong, which has been reported.
fn read_document(reader: &mut Reader<'_>, tree: &DeTable<'_>) -> Option<Document> {
    let table = Table::open(reader, tree, 0, "the document", DOCUMENT_KEYS);
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
    let previous_sha256 = entry::read_sha256(reader, &table);
    let note = table.text(reader, "note");
    let services = entry::read_services(reader, &table);
    let denies = entry::read_denies(reader, &table);
    let not_separable = entry::read_not_separable(reader, &table);
    Some(Document {
        list_id: list_id?,
        serial: serial?,
        issued: issued?,
        effective_from: effective_from?,
        expires: expires?,
        previous_sha256,
        note,
        services,
        denies,
        not_separable,
        place: reader.place(0),
    })
}
