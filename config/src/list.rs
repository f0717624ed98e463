//! `[list]`: the allowlist document and its limits.

use crate::key::Key;
use crate::reader::{Fault, Reader};
use crate::value::word_of;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The keys of `[list]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("list", "file"),
    Key::defaulted("list", "signatures"),
    Key::defaulted("list", "size_max"),
    Key::defaulted("list", "entries_max"),
];

/// Largest list document, in bytes (DESIGN §7: 4 MiB, raised for larger lists).
pub const SIZE_MAX_DEFAULT: usize = 4 << 20;
/// Range of `size_max`: a list is held whole while it is read.
pub const SIZE_MAX_RANGE: RangeInclusive<usize> = 1 << 10..=1 << 30;
/// Most entries of a list (DESIGN §7).
pub const ENTRIES_MAX_DEFAULT: usize = 1_000_000;
/// Range of `entries_max`.
pub const ENTRIES_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
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
                let fault = Fault::new("\"required\"", "\"none\"");
                Err(fault.remedy("this version verifies no signatures and does not pretend to"))
            }
            _ => word_of(value, &SIGNATURES),
        });
        let signatures = section.defaulted(found, Signatures::None).value;
        let size_max = section.size(reader, "size_max", SIZE_MAX_DEFAULT, SIZE_MAX_RANGE).value;
        let entries_max = section.count(reader, "entries_max", ENTRIES_MAX_DEFAULT, ENTRIES_MAX_RANGE).value;
        Some(List { file: file?.0, signatures, size_max, entries_max })
    }
}
