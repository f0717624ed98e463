//! `[list]`: the allowlist document and its limits.

use crate::key::Key;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::Section;
use crate::value::word_of;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The keys of `[list]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("list", "file"),
    Key::defaulted("list", "signatures"),
    Key::defaulted("list", "size_max"),
    Key::defaulted("list", "entries_max"),
    Key::defaulted("list", "accept_errors"),
];

/// Largest list document, in bytes (default 4 MiB, raised for larger lists).
pub const SIZE_MAX_DEFAULT: usize = 4 << 20;
/// Range of `size_max`: a list is held whole while it is read.
pub const SIZE_MAX_RANGE: RangeInclusive<usize> = 1 << 10..=1 << 30;
/// Most entries of a list (a key of `config/examples/full.toml`).
pub const ENTRIES_MAX_DEFAULT: usize = 1_000_000;
/// Range of `entries_max`.
pub const ENTRIES_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// Most codes of `accept_errors`; the linter has fewer.
pub const ACCEPT_ERRORS_MAX: usize = 64;
/// Longest code, in bytes.
const CODE_BYTES_MAX: usize = 40;
/// What `accept_errors` looks like, for messages.
const CODES_FORM: &str = "an array of codes that `allowlist lint` prints, such as [\"shared-host\"]";
/// The values of `signatures` this version can honour.
const SIGNATURES: [(&str, Signatures); 1] = [("none", Signatures::None)];

/// `[list]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The list document.
    pub file: PathBuf,
    /// Which signatures are wanted before a list is taken.
    pub signatures: Signatures,
    /// Largest document, in bytes.
    pub size_max: usize,
    /// Most entries (host and prefix rules, denials).
    pub entries_max: usize,
    /// Codes of the linter's errors that do not refuse a list, each once; whether the linter has them is for the caller to say.
    pub accept_errors: Vec<String>,
}

/// Which signatures are wanted before a list is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signatures {
    /// None: whoever can write the file decides what is free.
    None,
}

impl List {
    /// Reads `[list]`; `None` when a required key is missing or wrong (noted).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<List> {
        let section = reader.section("list");
        section.required_here(reader);
        let file = section.required_path(reader, "file");
        let found = section.read(reader, "signatures", |value| match value.as_str() {
            Some("required") => {
                let fault = Mismatch::new("\"required\"", "\"none\"");
                Err(fault.remedy("this version verifies no signatures and does not pretend to"))
            }
            _ => word_of(value, &SIGNATURES),
        });
        let signatures = section.defaulted(found, Signatures::None).value;
        let size_max = section.size(reader, "size_max", SIZE_MAX_DEFAULT, SIZE_MAX_RANGE).value;
        let entries_max = section.count(reader, "entries_max", ENTRIES_MAX_DEFAULT, ENTRIES_MAX_RANGE).value;
        let accept_errors = read_codes(reader, &section);
        Some(List { file: file?.0, signatures, size_max, entries_max, accept_errors })
    }
}

/// Reads `accept_errors`; without it, none.
fn read_codes(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<String> {
    let is_code = |text: &str| {
        (1..=CODE_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_'))
    };
    let read = section.read_each(reader, "accept_errors", CODES_FORM, |value| match value.as_str() {
        Some(text) if is_code(text) => Ok(text.to_owned()),
        _ => Err(Mismatch::new(
            describe(value),
            "a code that `allowlist lint` prints, such as \"shared-host\"",
        )),
    });
    let mut codes: Vec<String> = Vec::new();
    for (index, (code, at)) in read.unwrap_or_default().into_iter().enumerate() {
        let key = format!("{}[{index}]", section.key("accept_errors"));
        if codes.len() == ACCEPT_ERRORS_MAX {
            let fault = Mismatch::new("one more code", format!("at most {ACCEPT_ERRORS_MAX}"));
            reader.wrong(key, at, fault);
            break;
        }
        if codes.contains(&code) {
            reader.wrong(key, at, Mismatch::new(format!("\"{code}\" again"), "each code once"));
        } else {
            codes.push(code);
        }
    }
    codes
}
