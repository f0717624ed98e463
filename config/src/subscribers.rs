//! `[subscribers]`: the static subscriber table, its place and its limits; its parser is [`parse`].

use crate::key::Key;
use crate::reader::Reader;
pub use crate::subscriber_table::{HEADER, ID_CHARS_MAX, PROBLEMS_MAX, Subscriber, SubscriberType, parse};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The keys of `[subscribers]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("subscribers", "file"),
    Key::defaulted("subscribers", "size_max"),
    Key::defaulted("subscribers", "entries_max"),
];

/// Largest table, in bytes: a million rows of some sixty bytes.
pub const SIZE_MAX_DEFAULT: usize = 64 << 20;
/// Range of `size_max`: the table is held whole while it is read.
pub const SIZE_MAX_RANGE: RangeInclusive<usize> = 1 << 10..=4 << 30;
/// Most rows: as many as trusted answers and accounts (DESIGN §7).
pub const ENTRIES_MAX_DEFAULT: usize = 1_000_000;
/// Range of `entries_max`.
pub const ENTRIES_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;

/// `[subscribers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribers {
    /// The table: CSV `prefix,subscriber_type,subscriber_id`.
    pub file: PathBuf,
    /// Largest table, in bytes.
    pub size_max: usize,
    /// Most rows.
    pub entries_max: usize,
}

impl Subscribers {
    /// Reads `[subscribers]`; `None` when the section is absent, or its required key missing or wrong (noted).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Subscribers> {
        let section = reader.section("subscribers");
        let file = section.required_path(reader, "file");
        let size_max = section.size(reader, "size_max", SIZE_MAX_DEFAULT, SIZE_MAX_RANGE).value;
        let entries_max = section.count(reader, "entries_max", ENTRIES_MAX_DEFAULT, ENTRIES_MAX_RANGE).value;
        Some(Subscribers { file: file?.0, size_max, entries_max })
    }
}
