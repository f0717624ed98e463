//! Rows that are not as they were written are set aside: they are in no record, and stay to be looked at. What they leave
//! behind does not add up, and is left so: the next file says that it is not conserved.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::Store;
use super::examine::{COUNTERS, Findings, SPENT_KEY, counter_check, spent_check, total_check};
use super::node_row::{self, Sums, numbers};
use super::row::{instant_or_none, instant_text, volume};
use super::write::write_segment;
use crate::check::{Check, Sum};
use crate::epoch::CHANGED;
use crate::error::ExportError;
use crate::ledger::{COUNT_MAX, Segment};
use crate::period::Period;
use crate::unit::Volume;

/// What was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Repaired {
    /// Open counters.
    pub(crate) counters: u64,
    /// Their bytes, as they were found.
    pub(crate) bytes: Volume,
    /// Running totals.
    pub(crate) totals: u64,
    /// What was spent of allowances.
    pub(crate) spent: u64,
    /// The row of `node` or `segment`, or rows that came or went.
    pub(crate) other: bool,
}

/// Columns of a counter as JSON.
const COUNTER_JSON: &str = "json_object('id', counter.id, 'total_id', total_id, 'subscriber_type', subscriber_type,
    'subscriber_id', subscriber_id, 'session_id', session_id, 'class', class, 'service_id', service_id, 'reason', reason,
    'list_id', list_id, 'list_serial', list_serial, 'rating_group', rating_group, 'disposition', disposition,
    'up_bytes', counter.up_bytes, 'down_bytes', counter.down_bytes, 'flags', flags, 'capped', capped,
    'row_check', hex(counter.row_check))";
/// Columns of a running total as JSON.
const TOTAL_JSON: &str = "json_object('id', id, 'subscriber_type', subscriber_type, 'subscriber_id', subscriber_id,
    'session_id', session_id, 'class', class, 'service_id', service_id, 'reason', reason, 'up_bytes', up_bytes,
    'down_bytes', down_bytes, 'row_check', hex(row_check))";
/// Columns of what was spent as JSON.
const SPENT_JSON: &str = "json_object('subscriber_type', subscriber_type, 'subscriber_id', subscriber_id,
    'allowance', allowance, 'span', span, 'bytes', bytes, 'row_check', hex(row_check))";
/// Columns of the segment as JSON.
const SEGMENT_JSON: &str = "json_object('start_utc', start_utc, 'end_utc', end_utc, 'high_water_utc', high_water_utc,
    'stepped', stepped, 'recovered', recovered, 'damaged', damaged, 'seen_up', seen_up, 'seen_down', seen_down,
    'pending_before_up', pending_before_up, 'pending_before_down', pending_before_down,
    'pending_after_up', pending_after_up, 'pending_after_down', pending_after_down, 'usage_up', usage_up,
    'usage_down', usage_down, 'row_check', hex(row_check))";
/// Columns of the node as JSON.
const NODE_JSON: &str = "json_object('node_id', node_id, 'epoch', epoch, 'next_record_seq', next_record_seq,
    'next_file_seq', next_file_seq, 'byte_basis', byte_basis, 'start_id', start_id, 'running', running,
    'tick_sequence', tick_sequence, 'row_check', hex(row_check))";

/// Why rows are set aside at a start.
const WHY: &str = "the row is not as it was written";

/// Copies the rows of `from` that `condition` picks by `?4`.
fn copy(
    transaction: &Transaction<'_>,
    (source, json, from, condition): (&str, &str, &str, &str),
    (now, why): (Timestamp, &str),
    key: impl rusqlite::ToSql,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(&format!(
            "INSERT INTO set_aside (at_utc, epoch, source, why, content)
             SELECT ?1, coalesce((SELECT epoch FROM node), 0), ?2, ?3, {json} FROM {from} WHERE {condition}"
        ))?
        .execute(params![instant_text(now), source, why, key])
}

/// Copies counters of a ledger that is put away; the sum of their bytes.
pub(super) fn set_counters_aside(
    transaction: &Transaction<'_>,
    now: Timestamp,
    why: &str,
) -> rusqlite::Result<Volume> {
    let from = "counter LEFT JOIN total ON total.id = total_id";
    copy(transaction, ("counter", COUNTER_JSON, from, "?4"), (now, why), true)?;
    bytes_of(transaction, "SELECT up_bytes, down_bytes FROM counter", [])
}

/// The sum of the bytes that a query shows.
fn bytes_of(
    transaction: &Transaction<'_>,
    query: &str,
    key: impl rusqlite::Params,
) -> rusqlite::Result<Volume> {
    let mut statement = transaction.prepare_cached(query)?;
    let mut rows = statement.query(key)?;
    let mut sum = Volume::ZERO;
    while let Some(row) = rows.next()? {
        let bytes = volume(row, "up_bytes", "down_bytes").unwrap_or_default();
        let most = Volume { up: COUNT_MAX, down: COUNT_MAX };
        sum = sum.checked_add(bytes).unwrap_or(most);
    }
    Ok(sum)
}

impl Store {
    /// Sets aside what is not as it was written, so that the rest can go on.
    ///
    /// What was spent counts as all of the allowance until its span is over: in doubt a byte is charged. Where numbers or
    /// running totals are concerned, the start that follows begins a new epoch.
    pub(crate) fn repair(
        &mut self,
        findings: &Findings,
        period: Period,
        now: Timestamp,
    ) -> Result<Repaired, ExportError> {
        let mut repaired = Repaired {
            other: findings.node || findings.segment || findings.totals_gone || findings.spent_gone,
            ..Repaired::default()
        };
        self.transaction("setting aside what was changed", |transaction| {
            set_accounts_aside(transaction, findings, now, &mut repaired)?;
            for [kind, id, allowance, span] in &findings.spent {
                let key = "subscriber_type = ?1 AND subscriber_id = ?2 AND allowance = ?3 AND span = ?4";
                transaction
                    .prepare_cached(&format!(
                        "INSERT INTO set_aside (at_utc, epoch, source, why, content)
                         SELECT ?5, coalesce((SELECT epoch FROM node), 0), 'spent', ?6, {SPENT_JSON} FROM spent WHERE {key}"
                    ))?
                    .execute(params![kind, id, allowance, span, instant_text(now), WHY])?;
                transaction
                    .prepare_cached(&format!("UPDATE spent SET bytes = ?5 WHERE {key}"))?
                    .execute(params![kind, id, allowance, span, i64::MAX])?;
                repaired.spent = repaired.spent.saturating_add(1);
            }
            if findings.node {
                copy(transaction, ("node", NODE_JSON, "node", "?4"), (now, WHY), true)?;
                let (epoch, record_seq, file_seq) = numbers(transaction)?;
                transaction.execute(
                    "UPDATE node SET epoch = ?1, next_record_seq = ?2, next_file_seq = ?3, running = 1",
                    params![epoch, super::row::integer(record_seq)?, super::row::integer(file_seq)?],
                )?;
            }
            if findings.segment || findings.sealed_already || repaired.counters > 0 {
                write_segment(transaction, &segment_left(transaction, findings, period, now)?)?;
            }
            if findings.ends_epoch() {
                transaction.execute(
                    "UPDATE node SET start_id = ?1, pending_start_id = NULL, pending_witness = NULL",
                    params![CHANGED],
                )?;
            }
            check_everything(transaction)
        })?;
        Ok(repaired)
    }
}

/// Sets counters and running totals aside: a counter goes with its total.
fn set_accounts_aside(
    transaction: &Transaction<'_>,
    findings: &Findings,
    now: Timestamp,
    repaired: &mut Repaired,
) -> rusqlite::Result<()> {
    let from = "counter LEFT JOIN total ON total.id = total_id";
    let by_id = findings.counters.iter().map(|id| ("counter.id = ?4", "id = ?1", *id));
    let by_total = findings.totals.iter().map(|id| ("total_id = ?4", "total_id = ?1", *id));
    for (which, condition, id) in by_id.chain(by_total) {
        let query = format!("SELECT up_bytes, down_bytes FROM counter WHERE {condition}");
        let bytes = bytes_of(transaction, &query, params![id])?;
        repaired.bytes = repaired.bytes.checked_add(bytes).unwrap_or(repaired.bytes);
        copy(transaction, ("counter", COUNTER_JSON, from, which), (now, WHY), id)?;
        let gone = transaction
            .prepare_cached(&format!("DELETE FROM counter WHERE {condition}"))?
            .execute(params![id])?;
        repaired.counters = repaired.counters.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
    }
    for id in &findings.totals {
        copy(transaction, ("total", TOTAL_JSON, "total", "id = ?4"), (now, WHY), id)?;
        transaction.prepare_cached("DELETE FROM total WHERE id = ?1")?.execute(params![id])?;
        repaired.totals = repaired.totals.saturating_add(1);
    }
    Ok(())
}

/// The segment with the counters that are left. Figures stay as they are, so that what is missing shows; where its own row
/// cannot be trusted, or is sealed already, it begins where the last sealed record ends.
fn segment_left(
    transaction: &Transaction<'_>,
    findings: &Findings,
    period: Period,
    now: Timestamp,
) -> rusqlite::Result<Segment> {
    let found = transaction.query_row("SELECT * FROM segment", [], node_row::segment).ok();
    let agrees = !findings.sealed_already && node_row::segment_agrees(transaction).unwrap_or(false);
    let trusted = found.filter(|_| agrees);
    if (findings.segment || findings.sealed_already) && trusted.is_none() {
        copy(transaction, ("segment", SEGMENT_JSON, "segment", "?4"), (now, WHY), true)?;
    }
    let segment = match trusted {
        Some(segment) => segment,
        None => {
            let query = "SELECT max(end_utc) AS end_utc FROM record";
            let last = transaction.query_row(query, [], |row| instant_or_none(row, "end_utc"))?;
            // What was pending at the time of a segment that is sealed has had its verdict since.
            let found = found.filter(|_| !findings.sealed_already);
            let figures = found.map(|found| found.figures).unwrap_or_default();
            Segment { figures, ..Segment::beginning(last.unwrap_or(now), period) }
        }
    };
    let usage = bytes_of(transaction, "SELECT up_bytes, down_bytes FROM counter", [])?;
    Ok(Segment { usage, damaged: true, ..segment })
}

/// Gives every row that is not sealed its check, whatever it says, and every table its sum.
pub(super) fn check_everything(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    type Checked<'q> = (&'q str, &'q str, fn(&Row<'_>) -> rusqlite::Result<Check>);
    let by_id: [Checked<'_>; 2] =
        [("counter", COUNTERS, counter_check), ("total", "SELECT * FROM total", total_check)];
    for (table, query, check) in by_id {
        let checks: Vec<(i64, Check)> = transaction
            .prepare(query)?
            .query_map([], |row| Ok((row.get("id")?, check(row)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut update = transaction.prepare(&format!("UPDATE {table} SET row_check = ?2 WHERE id = ?1"))?;
        for (id, check) in checks {
            update.execute(params![id, check.bytes()])?;
        }
    }
    let checks: Vec<([String; 4], Check)> = transaction
        .prepare("SELECT * FROM spent")?
        .query_map([], |row| {
            let mut key: [String; 4] = Default::default();
            for (column, place) in SPENT_KEY.into_iter().zip(&mut key) {
                *place = row.get(column)?;
            }
            Ok((key, spent_check(row)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut update = transaction.prepare(
        "UPDATE spent SET row_check = ?5
         WHERE subscriber_type = ?1 AND subscriber_id = ?2 AND allowance = ?3 AND span = ?4",
    )?;
    for ([kind, id, allowance, span], check) in checks {
        update.execute(params![kind, id, allowance, span, check.bytes()])?;
    }
    let sum: Sum = node_row::sum_of(transaction, "counter")?;
    let segment = transaction.query_row("SELECT * FROM segment", [], node_row::segment).optional()?;
    if let Some(segment) = segment {
        write_segment(transaction, &Segment { sum, ..segment })?;
    }
    let sums = Sums {
        totals: node_row::sum_of(transaction, "total")?,
        spent: node_row::sum_of(transaction, "spent")?,
    };
    node_row::write(transaction, sums)
}
