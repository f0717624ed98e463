//! The columns of usage files, by version: each is written here once, with the text a record has in it. Pure.
//!
//! A version never changes once a file was sealed in it: its hash is fixed at the seal, and it is rendered and verified with
//! the columns of its own version for ever. To add a column, add a version: its columns beside the ones before in
//! [`VERSIONS`], and make it [`Format::NEWEST`].

use std::fmt::{self, Write as _};

use crate::codec::account::AccountWords;
use crate::period::format_instant;
use crate::record::{Body, Record};

/// A version of the usage file: its number, which the manifest and the ledger have, and its columns.
#[derive(Clone, Copy)]
pub struct Format(&'static Version);

/// What a version is.
struct Version {
    /// Its number.
    number: u32,
    /// Its columns, in order.
    columns: &'static [Column],
}

/// One column.
struct Column {
    /// Its name in the header.
    name: &'static str,
    /// Adds the text of a row; nothing where the row's kind has none.
    text: fn(&Written<'_>, &mut String),
}

impl Format {
    /// What everything was sealed in while there was no other.
    pub(crate) const FIRST: Format = Format(&VERSION_1);
    /// What files are sealed in, unless a receiver is not ready for it.
    pub const NEWEST: Format = Format(&VERSION_1);

    /// The version with this number; none where it is of a later program.
    pub fn of_number(number: u32) -> Option<Format> {
        VERSIONS.iter().find(|version| version.number == number).copied().map(Format)
    }

    /// The newest version with this header; none where it is of no version that is known here.
    pub(super) fn of_header(header: &csv::StringRecord) -> Option<Format> {
        let with_header = |version: &&&Version| version.columns.iter().map(|column| column.name).eq(header);
        VERSIONS.iter().rev().find(with_header).copied().map(Format)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0.number
    }

    /// The names of its columns, in order.
    pub fn columns(self) -> impl ExactSizeIterator<Item = &'static str> + Clone {
        self.0.columns.iter().map(|column| column.name)
    }

    /// Place of a column; none in a version without it.
    pub(super) fn place(self, name: &str) -> Option<usize> {
        self.0.columns.iter().position(|column| column.name == name)
    }

    /// Calls `each` with the text of every column of a record, in order.
    ///
    /// # Errors
    /// The first of `each`.
    pub(crate) fn write<E>(
        self,
        record: &Record,
        each: &mut dyn FnMut(&'static str, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        let written = Written { record, account: record.account().map(AccountWords::of) };
        let mut text = String::new();
        for column in self.0.columns {
            text.clear();
            (column.text)(&written, &mut text);
            each(column.name, &text)?;
        }
        Ok(())
    }
}

impl PartialEq for Format {
    /// A number stands for one version.
    fn eq(&self, other: &Format) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Format").field(&self.number()).finish()
    }
}

/// A record on its way into text.
struct Written<'r> {
    /// The record.
    record: &'r Record,
    /// Its account in words.
    account: Option<AccountWords<'r>>,
}

/// Adds the written form of a value; a `String` takes everything.
fn put(text: &mut String, value: impl fmt::Display) {
    let _ = write!(text, "{value}");
}

/// Adds a word, if there is one.
fn put_word(text: &mut String, word: Option<&str>) {
    text.push_str(word.unwrap_or(""));
}

/// Every version there is, by number.
const VERSIONS: &[&Version] = &[
    &VERSION_1,
    #[cfg(test)]
    &VERSION_OF_TESTS,
];

/// The first version: `billing-export/docs/records.md`.
const VERSION_1: Version = Version { number: 1, columns: COLUMNS_1 };

/// A column that no version has, for the tests of what happens once there are two.
#[cfg(test)]
const VERSION_OF_TESTS: Version = {
    const COLUMNS: [Column; COLUMNS_1.len() + 1] = {
        let mut columns = [const { Column { name: "both_bytes", text: both_bytes } }; COLUMNS_1.len() + 1];
        let mut at = 0;
        while at < COLUMNS_1.len() {
            columns[at] = Column { name: COLUMNS_1[at].name, text: COLUMNS_1[at].text };
            at += 1;
        }
        columns
    };
    Version { number: 1_000, columns: &COLUMNS }
};

#[cfg(test)]
impl Format {
    /// A later version, which has a column more.
    pub(crate) const OF_TESTS: Format = Format(&VERSION_OF_TESTS);
}

/// The column that no version has.
#[cfg(test)]
fn both_bytes(row: &Written<'_>, text: &mut String) {
    let (up, down) = row.record.bytes();
    put(text, up.saturating_add(down));
}

/// The columns of the first version.
const COLUMNS_1: &[Column] = &[
    Column { name: "node_id", text: |row, text| put(text, &row.record.node_id) },
    Column { name: "epoch", text: |row, text| put(text, row.record.epoch) },
    Column { name: "record_seq", text: |row, text| put(text, row.record.seq) },
    Column { name: "kind", text: |row, text| text.push_str(row.record.kind().label()) },
    Column {
        name: "ref_epoch",
        text: |row, text| {
            if let Body::Adjust { reference, .. } = &row.record.body {
                put(text, reference.epoch);
            }
        },
    },
    Column {
        name: "ref_seq",
        text: |row, text| {
            if let Body::Adjust { reference, .. } = &row.record.body {
                put(text, reference.seq);
            }
        },
    },
    Column { name: "class", text: |row, text| put_word(text, row.account.map(|words| words.class)) },
    Column { name: "reason", text: |row, text| put_word(text, row.account.and_then(|words| words.reason)) },
    Column {
        name: "subscriber_type",
        text: |row, text| put_word(text, row.account.map(|words| words.subscriber_type)),
    },
    Column {
        name: "subscriber_id",
        text: |row, text| put_word(text, row.account.map(|words| words.subscriber_id)),
    },
    Column {
        name: "session_id",
        text: |row, text| put_word(text, row.account.map(|words| words.session_id)),
    },
    Column {
        name: "service_id",
        text: |row, text| put_word(text, row.account.and_then(|words| words.service_id)),
    },
    Column {
        name: "rating_group",
        text: |row, text| {
            if let Some(group) = row.account.and_then(|words| words.rating_group) {
                put(text, group);
            }
        },
    },
    Column { name: "list_id", text: |row, text| put_word(text, row.account.and_then(|words| words.list_id)) },
    Column {
        name: "list_serial",
        text: |row, text| {
            if let Some(serial) = row.account.and_then(|words| words.list_serial) {
                put(text, serial);
            }
        },
    },
    Column { name: "start_utc", text: |row, text| text.push_str(&format_instant(row.record.window.start())) },
    Column { name: "end_utc", text: |row, text| text.push_str(&format_instant(row.record.window.end())) },
    Column {
        name: "up_bytes",
        text: |row, text| match &row.record.body {
            Body::Usage { volume, .. } => put(text, volume.up),
            Body::Adjust { up, .. } => put(text, up.bytes()),
            Body::Heartbeat | Body::Gap => {}
        },
    },
    Column {
        name: "down_bytes",
        text: |row, text| match &row.record.body {
            Body::Usage { volume, .. } => put(text, volume.down),
            Body::Adjust { down, .. } => put(text, down.bytes()),
            Body::Heartbeat | Body::Gap => {}
        },
    },
    Column {
        name: "up_bytes_total",
        text: |row, text| {
            if let Body::Usage { total, .. } | Body::Adjust { total, .. } = &row.record.body {
                put(text, total.up);
            }
        },
    },
    Column {
        name: "down_bytes_total",
        text: |row, text| {
            if let Body::Usage { total, .. } | Body::Adjust { total, .. } = &row.record.body {
                put(text, total.down);
            }
        },
    },
    Column { name: "byte_basis", text: |row, text| text.push_str(row.record.byte_basis.label()) },
    Column {
        name: "disposition",
        text: |row, text| put_word(text, row.account.and_then(|words| words.disposition)),
    },
    Column { name: "cause", text: |row, text| put_word(text, row.record.cause.map(|cause| cause.label())) },
    Column { name: "flags", text: |row, text| put(text, row.record.flags) },
];
