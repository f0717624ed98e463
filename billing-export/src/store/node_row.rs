//! The check of the row of `node`, which covers that of `segment` and the sums of all tables: it is new at every tick.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::row::{count, instant, instant_or_none, volume};
use crate::audit::Figures;
use crate::check::{Check, Fields, Sum, of_segment};
use crate::ledger::Segment;

/// The sums of the checks of two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    /// Of `total`.
    pub(super) totals: Sum,
    /// Of `spent`.
    pub(super) spent: Sum,
}

/// The row with the segment's check beside it.
const NODE: &str = "SELECT *, (SELECT row_check FROM segment) AS segment_check FROM node";

/// A check as a row has it.
pub(super) fn stored(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Check>> {
    Ok(row.get_ref(column)?.as_blob_or_null()?.and_then(Check::of_bytes))
}

/// The check of a row of `node` with these sums.
fn node_check(row: &Row<'_>, sums: Sums) -> rusqlite::Result<Check> {
    let mut fields = Fields::of("node");
    for column in ["node_id", "byte_basis", "start_id", "pending_start_id", "pending_witness", "boot_id"] {
        fields.bytes_or_none(row.get_ref(column)?.as_bytes_or_null()?);
    }
    for column in ["epoch", "next_record_seq", "next_file_seq", "running", "tick_sequence"] {
        fields.number(row.get(column)?);
    }
    fields.bytes(&sums.totals.bytes());
    fields.bytes(&sums.spent.bytes());
    fields.bytes_or_none(row.get_ref("segment_check")?.as_blob_or_null()?);
    Ok(fields.finish())
}

/// The open segment from its row.
pub(super) fn segment(row: &Row<'_>) -> rusqlite::Result<Segment> {
    let sum = Sum::of_bytes(row.get_ref("counters_sum")?.as_blob()?);
    Ok(Segment {
        start: instant(row, "start_utc")?,
        end: instant(row, "end_utc")?,
        high_water: instant_or_none(row, "high_water_utc")?,
        stepped: row.get("stepped")?,
        recovered: row.get("recovered")?,
        damaged: row.get("damaged")?,
        figures: Figures {
            seen: volume(row, "seen_up", "seen_down")?,
            pending_before: volume(row, "pending_before_up", "pending_before_down")?,
            pending_after: volume(row, "pending_after_up", "pending_after_down")?,
        },
        usage: volume(row, "usage_up", "usage_down")?,
        sum: sum.unwrap_or_default(),
    })
}

/// Whether the row of `segment` is as it was written.
pub(super) fn segment_agrees(connection: &rusqlite::Connection) -> rusqlite::Result<bool> {
    let agrees = connection
        .prepare_cached("SELECT * FROM segment")?
        .query_row([], |row| {
            let stored = stored(row, "row_check")?;
            // A time that cannot be read was not written by us.
            Ok(segment(row).is_ok_and(|segment| Some(of_segment(&segment)) == stored))
        })
        .optional()?;
    Ok(agrees == Some(true))
}

/// Whether the segment begins before the last record of its epoch ends: it was put back, for windows do not overlap.
pub(super) fn segment_is_before_last_seal(connection: &rusqlite::Connection) -> rusqlite::Result<bool> {
    let query = "SELECT end_utc FROM record WHERE epoch = (SELECT max(epoch) FROM file)
                 ORDER BY record_seq DESC LIMIT 1";
    let sealed = connection.query_row(query, [], |row| instant(row, "end_utc")).optional()?;
    let begins = connection.query_row("SELECT * FROM segment", [], |row| Ok(instant(row, "start_utc").ok()));
    let begins = begins.optional()?.flatten();
    Ok(sealed.zip(begins).is_some_and(|(sealed, begins)| begins < sealed))
}

/// The sums, where the row of `node` is as it was written; none without a row.
pub(super) fn sums(connection: &rusqlite::Connection) -> rusqlite::Result<Option<Result<Sums, ()>>> {
    connection
        .prepare_cached(NODE)?
        .query_row([], |row| {
            let sum = |column: &str| Ok::<_, rusqlite::Error>(Sum::of_bytes(row.get_ref(column)?.as_blob()?));
            let (Some(totals), Some(spent)) = (sum("totals_sum")?, sum("spent_sum")?) else {
                return Ok(Err(()));
            };
            let sums = Sums { totals, spent };
            let agrees = stored(row, "row_check")? == Some(node_check(row, sums)?);
            Ok(if agrees { Ok(sums) } else { Err(()) })
        })
        .optional()
}

/// The sums, if `node` and `segment` are as they were written; otherwise which is not.
pub(super) fn verified(transaction: &Transaction<'_>) -> rusqlite::Result<Result<Sums, &'static str>> {
    match sums(transaction)? {
        None => Ok(Ok(Sums::default())),
        Some(Err(())) => Ok(Err("the row of node")),
        Some(Ok(_)) if !segment_agrees(transaction)? => Ok(Err("the row of segment")),
        Some(Ok(sums)) => Ok(Ok(sums)),
    }
}

/// Writes the sums and the check of the row of `node` as it stands.
pub(super) fn write(transaction: &Transaction<'_>, sums: Sums) -> rusqlite::Result<()> {
    let check = transaction.prepare_cached(NODE)?.query_row([], |row| node_check(row, sums)).optional()?;
    let Some(check) = check else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE node SET totals_sum = ?1, spent_sum = ?2, row_check = ?3")?
        .execute(params![sums.totals.bytes(), sums.spent.bytes(), check.bytes()])?;
    Ok(())
}

/// The sum of the checks that a table's rows have.
pub(super) fn sum_of(connection: &rusqlite::Connection, table: &str) -> rusqlite::Result<Sum> {
    let mut statement = connection.prepare(&format!("SELECT row_check FROM {table}"))?;
    let mut rows = statement.query([])?;
    let mut sum = Sum::default();
    while let Some(row) = rows.next()? {
        if let Some(check) = stored(row, "row_check")? {
            sum.add(check);
        }
    }
    Ok(sum)
}

/// The next number of a record in the epoch that the sealed records say, and of a file.
pub(super) fn numbers(connection: &rusqlite::Connection) -> rusqlite::Result<(u32, u64, u64)> {
    let query =
        "SELECT coalesce(max(epoch), 1) AS epoch, coalesce(max(file_seq), 0) + 1 AS file_seq FROM file";
    let (epoch, file_seq) =
        connection.query_row(query, [], |row| Ok((row.get::<_, u32>("epoch")?, count(row, "file_seq")?)))?;
    // Every sealed record is in a file, a correction too.
    let query = "SELECT coalesce(max(last_seq), 0) + 1 AS record_seq FROM file WHERE epoch = ?1";
    let record_seq = connection.query_row(query, params![epoch], |row| count(row, "record_seq"))?;
    Ok((epoch, record_seq, file_seq))
}
