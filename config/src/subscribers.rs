//! `[subscribers]`: the static subscriber table, its place and its limits; its parser is [`parse`].

use crate::key::Key;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::Section;
pub use crate::subscriber_table::{HEADER, ID_CHARS_MAX, PROBLEMS_MAX, Subscriber, SubscriberType, parse};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The keys of `[subscribers]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("subscribers", "file"),
    Key::defaulted("subscribers", "size_max"),
    Key::defaulted("subscribers", "entries_max"),
    Key::defaulted("subscribers", "hold_removed_percent"),
    Key::defaulted("subscribers", "accept_sha256"),
];

/// Largest table, in bytes: a million rows of some sixty bytes.
pub const SIZE_MAX_DEFAULT: usize = 64 << 20;
/// Range of `size_max`: the table is held whole while it is read.
pub const SIZE_MAX_RANGE: RangeInclusive<usize> = 1 << 10..=4 << 30;
/// Most rows: as many as trusted answers and accounts (a key of `config/examples/full.toml`).
pub const ENTRIES_MAX_DEFAULT: usize = 1_000_000;
/// Range of `entries_max`.
pub const ENTRIES_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// How much smaller than the table in force a new one may be, in percent of its rows, before it waits for a word.
pub const HOLD_REMOVED_PERCENT_DEFAULT: u8 = 10;
/// Range of `hold_removed_percent`; at 100 no table waits.
pub const HOLD_REMOVED_PERCENT_RANGE: RangeInclusive<u8> = 0..=100;
/// Most tables that are accepted by their hashes.
pub const ACCEPTED_MAX: usize = 16;
/// Digits of a SHA-256.
const SHA256_DIGITS: usize = 64;
/// What hashes look like, for messages.
const HASHES_FORM: &str = "an array of SHA-256 in quotes, 64 digits of 0-9 and a-f each";

/// `[subscribers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribers {
    /// The table: CSV `prefix,subscriber_type,subscriber_id`.
    pub file: PathBuf,
    /// Largest table, in bytes.
    pub size_max: usize,
    /// Most rows.
    pub entries_max: usize,
    /// A table that has more percent fewer rows than the one in force waits for a word.
    pub hold_removed_percent: u8,
    /// SHA-256 of tables that are taken all the same, in lower-case digits.
    pub accept_sha256: Vec<String>,
}

impl Subscribers {
    /// Reads `[subscribers]`; `None` when the section is absent, or its required key missing or wrong (noted).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Subscribers> {
        let section = reader.section("subscribers");
        let file = section.required_path(reader, "file");
        let size_max = section.size(reader, "size_max", SIZE_MAX_DEFAULT, SIZE_MAX_RANGE).value;
        let entries_max = section.count(reader, "entries_max", ENTRIES_MAX_DEFAULT, ENTRIES_MAX_RANGE).value;
        let (default, range) = (HOLD_REMOVED_PERCENT_DEFAULT, HOLD_REMOVED_PERCENT_RANGE);
        let hold_removed_percent = section.count(reader, "hold_removed_percent", default, range).value;
        let accept_sha256 = accepted(reader, &section);
        Some(Subscribers { file: file?.0, size_max, entries_max, hold_removed_percent, accept_sha256 })
    }
}

/// Reads the hashes of tables that are taken whatever they lack.
fn accepted(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<String> {
    let is_hash = |text: &&str| {
        text.len() == SHA256_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let read = section.read_each(reader, "accept_sha256", HASHES_FORM, |value| {
        let hash = value.as_str().filter(is_hash);
        hash.map(ToOwned::to_owned)
            .ok_or_else(|| Mismatch::new(describe(value), "64 digits of 0-9 and a-f in quotes"))
    });
    let Some(entries) = read else { return Vec::new() };
    if let Some((_, at)) = entries.get(ACCEPTED_MAX) {
        let fault = Mismatch::new(format!("{} hashes", entries.len()), format!("at most {ACCEPTED_MAX}"));
        reader.wrong(section.key("accept_sha256"), *at, fault);
    }
    entries.into_iter().map(|(hash, _)| hash).collect()
}
