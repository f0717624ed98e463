//! Totals of the rows that a file brings: usage rows on their own day and account, adjust rows on those of the usage record they correct.
//!
//! A correction whose record is not there waits in `adjustment`, and is added in the transaction that brings the record, or the
//! last of the corrections between the two. One that would take a total below 0 is not added: if it came with the file at hand,
//! the file is refused; if it waited, it goes on waiting and is told, for the file that brings its record is innocent.

use postgres::Transaction;

use super::super::refusal::{Reason, Refusal};
use super::Waiting;
use super::error::Fault;
use super::load::{Brought, File, number};

/// The key of `total`.
const KEY: [&str; 7] =
    ["local_day", "subscriber_type", "subscriber_id", "class", "service_id", "reason", "disposition"];

/// The columns of the key, of this table.
fn key_of(table: &str) -> String {
    KEY.map(|column| format!("{table}.{column}")).join(", ")
}

/// SQL: that two tables have the same key.
fn same_key(one: &str, other: &str) -> String {
    KEY.map(|column| format!("{one}.{column} = {other}.{column}")).join(" AND ")
}

/// Adds the rows that a file brings, which stand in `record` already, to the totals. Returns corrections that waited and are told
/// at last.
pub(super) fn add(
    work: &mut Transaction<'_>,
    file: &File<'_>,
    brought: &Brought,
) -> Result<Vec<Waiting>, Fault> {
    let rows = &brought.rows;
    let schema = file.schema;
    let node = &file.manifest.node_id;
    if brought.summary.adjusts > 0 {
        work.execute(
            &format!(
                "INSERT INTO {schema}.adjustment
                     (node_id, epoch, record_seq, ref_epoch, ref_seq, up_bytes, down_bytes, state, source, name)
                 SELECT node_id, epoch, record_seq, ref_epoch, ref_seq, up_bytes, down_bytes, 'new', $1, $2
                 FROM {rows} WHERE kind = 'adjust'"
            ),
            &[&file.source, &file.manifest.file],
        )?;
    }
    let open = format!("SELECT 1 FROM {schema}.adjustment WHERE node_id = $1 AND state <> 'applied' LIMIT 1");
    let is_open = work.query_opt(&open, &[node])?.is_some();
    if is_open {
        resolve(work, schema, node)?;
        lock(work, schema, node, rows)?;
    }
    add_usage(work, schema, rows)?;
    if !is_open {
        return Ok(Vec::new());
    }
    apply(work, schema, node)?;
    refuse_own(work, file)?;
    let told = work.query(
        &format!(
            "UPDATE {schema}.adjustment SET state = 'refused'
             WHERE node_id = $1 AND state = 'waiting' AND local_day IS NOT NULL
             RETURNING source, name, epoch, record_seq, ref_epoch, ref_seq"
        ),
        &[node],
    )?;
    work.execute(
        &format!("UPDATE {schema}.adjustment SET state = 'waiting' WHERE node_id = $1 AND state = 'new'"),
        &[node],
    )?;
    let waiting = told.iter().map(|row| {
        let numbers = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?);
        Ok(Waiting { source: row.try_get(0)?, name: row.try_get(1)?, refusal: below_zero(numbers) })
    });
    waiting.collect()
}

/// Finds the usage record behind each open correction, over other corrections where there are any between.
fn resolve(work: &mut Transaction<'_>, schema: &str, node: &str) -> Result<(), Fault> {
    let set = KEY.map(|column| format!("{column} = found.{column}")).join(", ");
    let direct = format!(
        "UPDATE {schema}.adjustment a SET {set} FROM {schema}.record found
         WHERE a.node_id = $1 AND a.state <> 'applied' AND a.local_day IS NULL AND found.node_id = a.node_id
             AND found.epoch = a.ref_epoch AND found.record_seq = a.ref_seq AND found.kind = 'usage'"
    );
    work.execute(&direct, &[&node])?;
    let through = format!(
        "UPDATE {schema}.adjustment a SET {set} FROM {schema}.adjustment found
         WHERE a.node_id = $1 AND a.state <> 'applied' AND a.local_day IS NULL AND found.node_id = a.node_id
             AND found.epoch = a.ref_epoch AND found.record_seq = a.ref_seq AND found.local_day IS NOT NULL"
    );
    // Each round finds one more at least: corrections point backwards only.
    while work.execute(&through, &[&node])? > 0 {}
    Ok(())
}

/// Locks the totals that corrections and usage rows change, in the order of their key.
fn lock(work: &mut Transaction<'_>, schema: &str, node: &str, rows: &str) -> Result<(), Fault> {
    let keys = KEY.join(", ");
    let text = format!(
        "SELECT 1 FROM {schema}.total t WHERE ({of_t}) IN (
             SELECT {keys} FROM {rows} WHERE kind = 'usage'
             UNION SELECT {keys} FROM {schema}.adjustment
                 WHERE node_id = $1 AND state <> 'applied' AND local_day IS NOT NULL)
         ORDER BY {of_t} FOR UPDATE",
        of_t = key_of("t"),
    );
    let counted = format!("WITH locked AS ({text}) SELECT count(*) FROM locked");
    work.query_one(&counted, &[&node])?;
    Ok(())
}

/// Adds the usage rows, in the order of the key.
fn add_usage(work: &mut Transaction<'_>, schema: &str, rows: &str) -> Result<(), Fault> {
    let keys = KEY.join(", ");
    work.execute(
        &format!(
            "INSERT INTO {schema}.total AS t ({keys}, up_bytes, down_bytes, records)
             SELECT {keys}, sum(up_bytes), sum(down_bytes), count(*) FROM {rows} WHERE kind = 'usage'
             GROUP BY {keys} ORDER BY {keys}
             ON CONFLICT ({keys}) DO UPDATE SET up_bytes = t.up_bytes + excluded.up_bytes,
                 down_bytes = t.down_bytes + excluded.down_bytes, records = t.records + excluded.records"
        ),
        &[],
    )?;
    Ok(())
}

/// Adds the corrections whose record is there: of each total all of them if it stays at 0 or above, else those of the file at
/// hand if it does with these.
fn apply(work: &mut Transaction<'_>, schema: &str, node: &str) -> Result<(), Fault> {
    let text = format!(
        "WITH due AS (
             SELECT {keys_a}, sum(a.up_bytes) AS up, sum(a.down_bytes) AS down,
                 coalesce(sum(a.up_bytes) FILTER (WHERE a.state = 'new'), 0) AS own_up,
                 coalesce(sum(a.down_bytes) FILTER (WHERE a.state = 'new'), 0) AS own_down
             FROM {schema}.adjustment a WHERE a.node_id = $1 AND a.state <> 'applied' AND a.local_day IS NOT NULL
             GROUP BY {keys_a}
         ), judged AS (
             SELECT {keys_d}, t.up_bytes + d.up >= 0 AND t.down_bytes + d.down >= 0 AS all_fit,
                 t.up_bytes + d.own_up >= 0 AND t.down_bytes + d.own_down >= 0 AS own_fit
             FROM due d JOIN {schema}.total t ON {t_is_d}
         ), added AS (
             UPDATE {schema}.adjustment a SET state = 'applied' FROM judged j
             WHERE a.node_id = $1 AND a.state <> 'applied' AND {a_is_j} AND (j.all_fit OR (j.own_fit AND a.state = 'new'))
             RETURNING {keys_a}, a.up_bytes, a.down_bytes
         ), sums AS (
             SELECT {keys_a}, sum(a.up_bytes) AS up, sum(a.down_bytes) AS down FROM added a GROUP BY {keys_a}
         )
         UPDATE {schema}.total t SET up_bytes = t.up_bytes + s.up, down_bytes = t.down_bytes + s.down
         FROM sums s WHERE {t_is_s}",
        keys_a = key_of("a"),
        keys_d = key_of("d"),
        t_is_d = same_key("t", "d"),
        a_is_j = same_key("a", "j"),
        t_is_s = same_key("t", "s"),
    );
    work.execute(&text, &[&node])?;
    Ok(())
}

/// Refuses the file at hand if one of its corrections could not be added although its record is there.
fn refuse_own(work: &mut Transaction<'_>, file: &File<'_>) -> Result<(), Fault> {
    let text = format!(
        "SELECT epoch, record_seq, ref_epoch, ref_seq FROM {}.adjustment
         WHERE node_id = $1 AND state = 'new' AND local_day IS NOT NULL AND epoch = $2 AND record_seq BETWEEN $3 AND $4
         ORDER BY record_seq LIMIT 1",
        file.schema
    );
    let manifest = file.manifest;
    let (first, last) = (number(manifest.first_seq), number(manifest.last_seq));
    match work.query_opt(&text, &[&manifest.node_id, &i64::from(manifest.epoch), &first, &last])? {
        None => Ok(()),
        Some(row) => {
            let numbers = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            Err(Fault::Refused(below_zero(numbers)))
        }
    }
}

/// The refusal of a correction: its epoch and number, and those of what it corrects.
fn below_zero((epoch, seq, ref_epoch, ref_seq): (i64, i64, i64, i64)) -> Refusal {
    Refusal::new(
        Reason::BelowZero,
        format!(
            "record_seq {seq} of epoch {epoch}: found a correction of record {ref_seq} of epoch {ref_epoch} that takes the total of \
             its day and account below 0, wanted 0 or more. The total stays; correct the correction by one of its own"
        ),
    )
}
