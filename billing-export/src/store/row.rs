//! Our words to SQLite values and back.

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;

use crate::account::Account;
use crate::codec::account::AccountWords;
use crate::error::UnknownLabel;
use crate::period::{format_instant, parse_instant};
use crate::unit::Volume;

/// A count as SQLite keeps it; more than 2⁶³−1 is refused, never wrapped.
pub(super) fn integer(count: u64) -> rusqlite::Result<i64> {
    i64::try_from(count).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A count read back.
pub(super) fn count(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let place = row.as_ref().column_index(column)?;
    let number: i64 = row.get(place)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(place, number))
}

/// Two counts read back.
pub(super) fn volume(row: &Row<'_>, up: &str, down: &str) -> rusqlite::Result<Volume> {
    Ok(Volume { up: count(row, up)?, down: count(row, down)? })
}

/// A value that is not of its vocabulary.
pub(super) fn unreadable(
    column: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let _ = column;
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

/// A word of a vocabulary read back.
pub(super) fn word<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

/// A word that may be missing.
pub(super) fn word_or_none<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| unreadable(column, error)),
    }
}

/// An instant as the usage file writes it.
pub(super) fn instant_text(at: Timestamp) -> String {
    format_instant(at)
}

/// An instant read back.
pub(super) fn instant(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Timestamp> {
    let text = row.get_ref(column)?.as_str()?;
    parse_instant(text)
        .ok_or_else(|| unreadable(column, UnknownLabel::new(column, text, "UTC with milliseconds")))
}

/// An instant that may be missing.
pub(super) fn instant_or_none(row: &Row<'_>, column: &'static str) -> rusqlite::Result<Option<Timestamp>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(None),
        Some(_) => instant(row, column).map(Some),
    }
}

/// The account of a row with the columns of `total` and `counter`, or of `record`. What an account does not have is null in
/// one table and empty in another.
pub(super) fn account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let text = |column: &str| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
    let given = |column: &str| Ok::<_, rusqlite::Error>(text(column)?.filter(|text| !text.is_empty()));
    let list_id = text("list_id")?;
    let words = AccountWords {
        subscriber_type: text("subscriber_type")?.unwrap_or(""),
        subscriber_id: text("subscriber_id")?.unwrap_or(""),
        session_id: text("session_id")?.unwrap_or(""),
        list_id,
        list_serial: list_id.map(|_| count(row, "list_serial")).transpose()?,
        class: text("class")?.unwrap_or(""),
        reason: given("reason")?,
        service_id: given("service_id")?,
        rating_group: row.get("rating_group")?,
        disposition: given("disposition")?,
    };
    words.account().map_err(|error| unreadable(error.column, error))
}
