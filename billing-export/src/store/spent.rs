//! What subscribers have spent of their allowances: written with the tick that counts the bytes, read at a start.

use std::ops::Range;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::node_row::{Sums, stored};
use super::row::{count, integer, unreadable, word};
use super::{Store, as_written};
use crate::account::Spent;
use crate::check::{of_spent, spent_key};
use crate::error::ExportError;
use crate::subscriber::Session;

/// Writes what was spent; a sum never falls. A row that is not as it was written ends the transaction.
pub(super) fn write_spent(
    transaction: &Transaction<'_>,
    spent: &[Spent],
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    const KEY: &str = "subscriber_type = ?1 AND subscriber_id = ?2 AND allowance = ?3 AND span = ?4";
    let mut read = transaction.prepare_cached(&format!("SELECT bytes, row_check FROM spent WHERE {KEY}"))?;
    let mut update =
        transaction.prepare_cached(&format!("UPDATE spent SET bytes = ?5, row_check = ?6 WHERE {KEY}"))?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO spent (subscriber_type, subscriber_id, allowance, span, bytes, row_check)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    // In the order of the table: neighbours share a page.
    let mut spent: Vec<&Spent> = spent.iter().collect();
    spent.sort_unstable_by_key(|spent| (spent.subscriber.subscriber_id(), &*spent.allowance, &*spent.span));
    for spent in spent {
        let subscriber = &spent.subscriber;
        let (kind, id) = (subscriber.subscriber_type().label(), subscriber.subscriber_id());
        let key = spent_key(spent);
        let before = read
            .query_row(params![kind, id, spent.allowance, spent.span], |row| {
                let bytes = count(row, "bytes")?;
                let check = of_spent(key, bytes);
                Ok((stored(row, "row_check")? == Some(check)).then_some((bytes, check)))
            })
            .optional()?;
        let check = of_spent(key, spent.bytes);
        let values = params![kind, id, spent.allowance, spent.span, integer(spent.bytes)?, check.bytes()];
        match before {
            None => {
                insert.execute(values)?;
            }
            Some(None) => as_written(0)?,
            Some(Some((bytes, _))) if bytes >= spent.bytes => continue,
            Some(Some((_, before))) => {
                update.execute(values)?;
                sums.spent.remove(before);
            }
        }
        sums.spent.add(check);
    }
    Ok(())
}

impl Store {
    /// Calls `each` for what was spent in these spans.
    pub(crate) fn each_spent(
        &self,
        spans: &[String],
        each: &mut dyn FnMut(Spent),
    ) -> Result<(), ExportError> {
        self.ask("reading what was spent of allowances", |connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM spent WHERE span = ?1")?;
            for span in spans {
                let rows = statement.query_map(params![span], |row| {
                    let subscriber = Session::new(
                        word(row, "subscriber_type")?,
                        row.get_ref("subscriber_id")?.as_str()?,
                        "",
                    )
                    .map_err(|error| unreadable("subscriber_id", error))?;
                    Ok(Spent {
                        subscriber,
                        allowance: row.get("allowance")?,
                        span: row.get("span")?,
                        bytes: count(row, "bytes")?,
                    })
                })?;
                for row in rows {
                    each(row?);
                }
            }
            Ok(())
        })
    }

    /// Forgets what was spent in spans of these ranges.
    pub(crate) fn forget_spent(&mut self, over: &[Range<String>]) -> Result<(), ExportError> {
        self.checked("forgetting spans that are over", |transaction, sums| {
            for Range { start, end } in over {
                let mut read = transaction
                    .prepare_cached("SELECT row_check FROM spent WHERE span >= ?1 AND span < ?2")?;
                let mut rows = read.query(params![start, end])?;
                while let Some(row) = rows.next()? {
                    if let Some(check) = stored(row, "row_check")? {
                        sums.spent.remove(check);
                    }
                }
                transaction
                    .execute("DELETE FROM spent WHERE span >= ?1 AND span < ?2", params![start, end])?;
            }
            Ok(())
        })
    }
}
