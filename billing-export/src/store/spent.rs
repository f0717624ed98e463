//! What subscribers have spent of their allowances: written with the tick that counts the bytes, read at a start.

use std::ops::Range;

use rusqlite::{Transaction, params};

use super::Store;
use super::row::{count, integer, unreadable, word};
use crate::account::Spent;
use crate::error::ExportError;
use crate::subscriber::Session;

/// Writes what was spent; a sum never falls.
pub(super) fn write_spent(transaction: &Transaction<'_>, spent: &[Spent]) -> rusqlite::Result<()> {
    let mut write = transaction.prepare_cached(
        "INSERT INTO spent (subscriber_type, subscriber_id, allowance, span, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET bytes = max(bytes, excluded.bytes)",
    )?;
    // In the order of the table: neighbours share a page.
    let mut spent: Vec<&Spent> = spent.iter().collect();
    spent.sort_unstable_by_key(|spent| (spent.subscriber.subscriber_id(), &*spent.allowance, &*spent.span));
    for spent in spent {
        let subscriber = &spent.subscriber;
        write.execute(params![
            subscriber.subscriber_type().label(),
            subscriber.subscriber_id(),
            spent.allowance,
            spent.span,
            integer(spent.bytes)?
        ])?;
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
        self.transaction("forgetting spans that are over", |transaction| {
            for Range { start, end } in over {
                transaction
                    .execute("DELETE FROM spent WHERE span >= ?1 AND span < ?2", params![start, end])?;
            }
            Ok(())
        })
    }
}
