//! One row of a usage file read back into a record.
//!
//! Every value has one written form, so what is read is written again equal: no leading zeros, no other time zone, flags
//! in order.

use std::fmt;
use std::str::FromStr;

use crate::account::Account;
use crate::codec::account::{AccountWords, FieldError, word};
use crate::codec::columns::Format;
use crate::period::parse_instant;
use crate::record::{Body, Change, Kind, Record, Reference, Window};
use crate::unit::Volume;

/// The values of one row, by name.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// Which columns they stand in.
    format: Format,
    /// The values, as many as the format has columns.
    values: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// The value of a column; empty where the row or its version has none.
    fn get(self, column: &'static str) -> &'a str {
        self.format.place(column).and_then(|place| self.values.get(place)).unwrap_or("")
    }

    /// The value of a column; none where it is empty.
    fn given(self, column: &'static str) -> Option<&'a str> {
        Some(self.get(column)).filter(|value| !value.is_empty())
    }

    /// The error for a column.
    fn refuse(self, column: &'static str, wanted: impl Into<String>) -> FieldError {
        FieldError::new(column, self.get(column), wanted)
    }

    /// A value of a vocabulary.
    fn word<T: FromStr<Err: fmt::Display>>(self, column: &'static str) -> Result<T, FieldError> {
        word(column, self.get(column))
    }

    /// A number in its one decimal form.
    fn number<T: FromStr + ToString>(self, column: &'static str) -> Result<T, FieldError> {
        let text = self.get(column);
        let number = text.parse::<T>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| self.refuse(column, "a decimal number without leading zeros, within its range"))
    }

    /// A number that may be missing.
    fn number_given<T: FromStr + ToString>(self, column: &'static str) -> Result<Option<T>, FieldError> {
        self.given(column).map(|_| self.number(column)).transpose()
    }

    /// An instant in its one form.
    fn instant(self, column: &'static str) -> Result<jiff::Timestamp, FieldError> {
        parse_instant(self.get(column))
            .ok_or_else(|| self.refuse(column, "UTC with milliseconds, as 2026-04-06T00:15:00.000Z"))
    }

    /// A value that this kind of row does not have.
    fn empty(self, column: &'static str) -> Result<(), FieldError> {
        match self.given(column) {
            None => Ok(()),
            Some(_) => Err(self.refuse(column, format!("nothing in a row of kind {}", self.get("kind")))),
        }
    }

    /// A signed number of bytes.
    fn change(self, column: &'static str) -> Result<Change, FieldError> {
        Change::new(self.number(column)?).ok_or_else(|| self.refuse(column, "at most 64 bits and a sign"))
    }

    /// Upward and downward bytes.
    fn volume(self, up: &'static str, down: &'static str) -> Result<Volume, FieldError> {
        Ok(Volume { up: self.number(up)?, down: self.number(down)? })
    }

    /// The account of a usage or adjust row.
    fn account(self) -> Result<Account, FieldError> {
        let words = AccountWords {
            subscriber_type: self.get("subscriber_type"),
            subscriber_id: self.get("subscriber_id"),
            session_id: self.get("session_id"),
            list_id: self.given("list_id"),
            list_serial: self.number_given("list_serial")?,
            class: self.get("class"),
            reason: self.given("reason"),
            service_id: self.given("service_id"),
            rating_group: self.number_given("rating_group")?,
            disposition: self.given("disposition"),
        };
        let account = words.account()?;
        if account.entry.clone().normalised() != account.entry {
            return Err(self.refuse("class", "unattributed, where the reason says that nobody is known"));
        }
        Ok(account)
    }

    /// What the row says.
    fn body(self, kind: Kind) -> Result<Body, FieldError> {
        if kind != Kind::Adjust {
            self.empty("ref_epoch")?;
            self.empty("ref_seq")?;
        }
        match kind {
            Kind::Usage => Ok(Body::Usage {
                account: self.account()?,
                volume: self.volume("up_bytes", "down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Adjust => Ok(Body::Adjust {
                reference: Reference { epoch: self.number("ref_epoch")?, seq: self.number("ref_seq")? },
                account: self.account()?,
                up: self.change("up_bytes")?,
                down: self.change("down_bytes")?,
                total: self.volume("up_bytes_total", "down_bytes_total")?,
            }),
            Kind::Heartbeat | Kind::Gap => {
                self.format
                    .columns()
                    .filter(|column| !OF_EVERY_KIND.contains(column))
                    .try_for_each(|column| self.empty(column))?;
                Ok(if kind == Kind::Heartbeat { Body::Heartbeat } else { Body::Gap })
            }
        }
    }
}

/// Columns that a row of every kind has; a heartbeat and a gap have no others.
const OF_EVERY_KIND: [&str; 9] =
    ["node_id", "epoch", "record_seq", "kind", "start_utc", "end_utc", "byte_basis", "cause", "flags"];

/// The record of a row of this version, which has as many values as the version has columns.
///
/// # Errors
/// The first value that is not in its written form or does not fit the others.
pub(super) fn parse(format: Format, values: &csv::StringRecord) -> Result<Record, FieldError> {
    let row = Row { format, values };
    let kind: Kind = row.word("kind")?;
    let window = Window::new(row.instant("start_utc")?, row.instant("end_utc")?)
        .ok_or_else(|| row.refuse("end_utc", "an instant not before start_utc"))?;
    let cause = row.given("cause").map(|_| row.word("cause")).transpose()?;
    Ok(Record {
        node_id: row.word("node_id")?,
        epoch: row.number("epoch")?,
        seq: row.number("record_seq")?,
        window,
        byte_basis: row.word("byte_basis")?,
        cause,
        flags: row.word("flags")?,
        body: row.body(kind)?,
    })
}
