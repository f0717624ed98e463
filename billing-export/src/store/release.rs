//! Records that leave the state: only whole files, in their order, that billing's ledger has, that every sink has, and that are
//! old enough. The row of a released file stays, with its name, sums, SHA-256 and the chain: the proof of what left.

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::Store;
use super::row::{count, instant_text, integer};
use crate::error::ExportError;
use crate::sink::FILES;
use crate::watermark::Watermark;

/// Files that are not released: they follow one another, behind the last one that is.
const KEPT: &str = "file_seq > coalesce((SELECT max(file_seq) FROM released), 0)";
/// The end of a file's last record, whichever kind it is of.
const END: &str = "coalesce(
    (SELECT end_utc FROM record WHERE record.epoch = file.epoch AND record_seq = file.last_seq),
    (SELECT end_utc FROM adjust WHERE adjust.epoch = file.epoch AND record_seq = file.last_seq))";

/// What may leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Releasing<'a> {
    /// How far billing's ledger is.
    pub(crate) watermark: &'a Watermark,
    /// Sinks that have to have a file; none: all that the ledger has heard of, and the folder of usage files.
    pub(crate) sinks: Option<&'a [String]>,
    /// Files whose last record ended before.
    pub(crate) before: Timestamp,
    /// The present.
    pub(crate) now: Timestamp,
    /// Most records taken away at once.
    pub(crate) records_max: u64,
}

/// What left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Released {
    /// Files released.
    pub files: u64,
    /// Records that are in the state no longer.
    pub records: u64,
}

/// A file, by its numbers.
#[derive(Clone, Copy)]
struct Range {
    file_seq: u64,
    epoch: u32,
    first_seq: u64,
    last_seq: u64,
}

impl Range {
    fn of(row: &Row<'_>) -> rusqlite::Result<Range> {
        Ok(Range {
            file_seq: count(row, "file_seq")?,
            epoch: row.get("epoch")?,
            first_seq: count(row, "first_seq")?,
            last_seq: count(row, "last_seq")?,
        })
    }
}

impl Store {
    /// Releases what may leave, as far as `records_max` reaches; the rest leaves at the next call.
    ///
    /// # Errors
    /// The store's; a watermark that is not of this ledger.
    pub(crate) fn release(&mut self, order: Releasing<'_>) -> Result<Released, ExportError> {
        self.check_watermark(order.watermark)?;
        let mut released = Released::default();
        self.transaction("releasing records that billing has", |transaction| {
            let mut left = order.records_max;
            // What the last call left of its last file.
            if let Some(range) = last_released(transaction)? {
                take_away(transaction, range, &mut left, &mut released)?;
            }
            while left > 0 {
                let Some(range) = next(transaction, &order)? else { break };
                transaction
                    .prepare_cached(
                        "INSERT INTO released (file_seq, epoch, first_seq, last_seq, at_utc, watermark)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        integer(range.file_seq)?,
                        range.epoch,
                        integer(range.first_seq)?,
                        integer(range.last_seq)?,
                        instant_text(order.now),
                        integer(order.watermark.file_seq)?,
                    ])?;
                released.files = released.files.saturating_add(1);
                take_away(transaction, range, &mut left, &mut released)?;
            }
            Ok(())
        })?;
        Ok(released)
    }

    /// Refuses a watermark that does not speak of this ledger: its file must be here, with that last record.
    fn check_watermark(&self, watermark: &Watermark) -> Result<(), ExportError> {
        let refused = |found: String, wanted: &str| {
            let message = format!(
                "watermark of node {}: found {found}, wanted {wanted}. Nothing leaves the state: look whether the watermark \
                 is that of this node's ledger",
                watermark.node_id
            );
            Err(ExportError::Settings(message))
        };
        let node = self.node()?;
        if node.is_none_or(|node| node.node_id != watermark.node_id.as_str()) {
            return refused("another node".into(), "this one");
        }
        let file = self.ask("reading the file of a watermark", |connection| {
            // No sealed file has a number that the store cannot hold.
            let Ok(file_seq) = integer(watermark.file_seq) else { return Ok(None) };
            let query = "SELECT * FROM file WHERE file_seq = ?1";
            connection.prepare_cached(query)?.query_row(params![file_seq], Range::of).optional()
        })?;
        let Watermark { epoch, record_seq, file_seq, .. } = watermark;
        match file {
            // Billing has none yet.
            None if *file_seq == 0 => Ok(()),
            None => refused(format!("file_seq {file_seq}"), "a file of this ledger"),
            Some(file) if (file.epoch, file.last_seq) == (*epoch, *record_seq) => Ok(()),
            Some(file) => refused(
                format!("file_seq {file_seq} with record_seq {record_seq} of epoch {epoch}"),
                &format!("{} of epoch {}", file.last_seq, file.epoch),
            ),
        }
    }

    /// The last file that was sealed and the last one that was released.
    pub(crate) fn outbox_ends(&self) -> Result<(u64, u64), ExportError> {
        self.ask("reading the files in the state", |connection| {
            let query = "SELECT (SELECT coalesce(max(file_seq), 0) FROM file) AS sealed,
                (SELECT coalesce(max(file_seq), 0) FROM released) AS released";
            let ends = |row: &Row<'_>| Ok((count(row, "sealed")?, count(row, "released")?));
            connection.prepare_cached(query)?.query_row([], ends)
        })
    }

    /// Records that are sealed and in the state.
    pub(crate) fn outbox_records(&self) -> Result<u64, ExportError> {
        self.ask("counting the records in the state", |connection| {
            let query = format!("SELECT coalesce(sum(records), 0) AS records FROM file WHERE {KEPT}");
            connection.prepare_cached(&query)?.query_row([], |row| count(row, "records"))
        })
    }

    /// When a file was released; none where its records are here.
    pub(crate) fn released_at(&self, file_seq: u64) -> Result<Option<String>, ExportError> {
        self.ask("reading what was released", |connection| {
            // A ledger of a version before, read as it is, has released nothing.
            let has_table = "SELECT count(*) FROM sqlite_schema WHERE name = 'released'";
            if connection.query_row(has_table, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(None);
            }
            let query = "SELECT at_utc FROM released WHERE file_seq = ?1";
            connection
                .prepare_cached(query)?
                .query_row(params![integer(file_seq)?], |row| row.get(0))
                .optional()
        })
    }
}

/// The last file that was released.
fn last_released(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Range>> {
    let query = "SELECT * FROM released ORDER BY file_seq DESC LIMIT 1";
    transaction.prepare_cached(query)?.query_row([], Range::of).optional()
}

/// The next file that may leave; the one behind it has to wait for it.
fn next(transaction: &Transaction<'_>, order: &Releasing<'_>) -> rusqlite::Result<Option<Range>> {
    let query = format!("SELECT *, {END} AS end_utc FROM file WHERE {KEPT} ORDER BY file_seq LIMIT 1");
    let found = transaction
        .prepare_cached(&query)?
        .query_row([], |row| Ok((Range::of(row)?, row.get::<_, Option<String>>("end_utc")?)))
        .optional()?;
    let Some((range, end)) = found else { return Ok(None) };
    // Instants have one written form, whose order is theirs.
    let is_old = end.is_some_and(|end| end < instant_text(order.before));
    let has_leave = range.file_seq <= order.watermark.file_seq.min(at_all_sinks(transaction, order.sinks)?);
    Ok(Some(range).filter(|_| is_old && has_leave))
}

/// The last file that every sink has; 0 where one has not begun.
fn at_all_sinks(transaction: &Transaction<'_>, sinks: Option<&[String]>) -> rusqlite::Result<u64> {
    let mut named: Vec<String> = match sinks {
        Some(sinks) => sinks.to_vec(),
        None => transaction
            .prepare_cached("SELECT DISTINCT sink FROM delivery")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?,
    };
    named.push(FILES.to_owned());
    let mut least = u64::MAX;
    for sink in named {
        let query =
            "SELECT coalesce(max(file_seq), 0) AS has FROM delivery WHERE sink = ?1 AND phase = 'published'";
        let has = transaction.prepare_cached(query)?.query_row(params![sink], |row| count(row, "has"))?;
        least = least.min(has);
    }
    Ok(least)
}

/// Takes records of a released file away, as many as are left to be taken. Corrections stay: they are few, and say why.
fn take_away(
    transaction: &Transaction<'_>,
    range: Range,
    left: &mut u64,
    released: &mut Released,
) -> rusqlite::Result<()> {
    let first: Option<i64> = transaction
        .prepare_cached(
            "SELECT record_seq FROM record WHERE epoch = ?1 AND record_seq BETWEEN ?2 AND ?3 ORDER BY record_seq LIMIT 1",
        )?
        .query_row(params![range.epoch, integer(range.first_seq)?, integer(range.last_seq)?], |row| row.get(0))
        .optional()?;
    let Some(first) = first else { return Ok(()) };
    let last = first.saturating_add(integer((*left).saturating_sub(1))?).min(integer(range.last_seq)?);
    let gone = transaction
        .prepare_cached("DELETE FROM record WHERE epoch = ?1 AND record_seq BETWEEN ?2 AND ?3")?
        .execute(params![range.epoch, first, last])?;
    let gone = u64::try_from(gone).unwrap_or(u64::MAX);
    *left = left.saturating_sub(gone);
    released.records = released.records.saturating_add(gone);
    Ok(())
}
