//! Starts, ticks and phases: every change of the ledger but the seal.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, Transaction, named_params, params};

use super::examine::COUNTERS;
use super::node_row::{self, Sums, stored};
use super::row::{account, count, instant_text, integer, volume, word};
use super::spent::write_spent;
use super::{Store, as_written};
use crate::account::{Account, Spent};
use crate::check::{Check, CounterFields, Sum, identity, of_segment, of_total};
use crate::codec::account::AccountWords;
use crate::epoch::Mark;
use crate::error::ExportError;
use crate::ledger::{Counter, Opening, Segment, Staged};
use crate::steps::{Step, Steps};
use crate::unit::{ByteBasis, Volume};

/// The row of `node`, read.
#[derive(Debug, Clone)]
pub(crate) struct NodeRow {
    /// Who writes this ledger.
    pub(crate) node_id: String,
    /// What tells it from a copy.
    pub(crate) mark: Mark,
    /// What the open counters count.
    pub(crate) byte_basis: ByteBasis,
    /// Not stopped cleanly, or still running.
    pub(crate) running: bool,
    /// Last tick of the run.
    pub(crate) tick_sequence: u64,
}

impl Store {
    /// The row of `node`; none in a ledger that no start has reached.
    pub(crate) fn node(&self) -> Result<Option<NodeRow>, ExportError> {
        self.ask("reading who wrote the ledger", |connection| {
            connection
                .query_row("SELECT *, (SELECT max(file_seq) FROM file) AS file_seq FROM node", [], |row| {
                    let pending: Option<String> = row.get("pending_start_id")?;
                    let witness: Option<String> = row.get("pending_witness")?;
                    let file_seq: Option<i64> = row.get("file_seq")?;
                    Ok(NodeRow {
                        node_id: row.get("node_id")?,
                        mark: Mark {
                            start_id: row.get("start_id")?,
                            pending: pending.map(|id| (id, witness.unwrap_or_default())),
                            epoch: row.get("epoch")?,
                            file_seq: file_seq.map_or(0, i64::unsigned_abs),
                            boot_id: row.get("boot_id")?,
                        },
                        byte_basis: word(row, "byte_basis")?,
                        running: row.get("running")?,
                        tick_sequence: count(row, "tick_sequence")?,
                    })
                })
                .optional()
        })
    }

    /// The highest number of a sealed file; 0 for none.
    pub(crate) fn highest_file(&self) -> Result<u64, ExportError> {
        self.ask("reading the sealed files", |connection| {
            connection.query_row("SELECT coalesce(max(file_seq), 0) AS file_seq FROM file", [], |row| {
                count(row, "file_seq")
            })
        })
    }

    /// First half of a start: the id is pending, ticks count from 1, the run is not ended cleanly.
    pub(crate) fn begin_start(
        &mut self,
        start_id: &str,
        witness: &str,
        boot_id: Option<&str>,
    ) -> Result<(), ExportError> {
        self.checked("writing the start", |transaction, _| {
            transaction.execute(
                "UPDATE node SET pending_start_id = ?1, pending_witness = ?2, boot_id = ?3, running = 1,
                    tick_sequence = 0",
                params![start_id, witness, boot_id],
            )?;
            Ok(())
        })
    }

    /// Second half of a start: the witness has the id too.
    pub(crate) fn complete_start(&mut self, start_id: &str) -> Result<(), ExportError> {
        self.checked("completing the start", |transaction, _| {
            transaction.execute(
                "UPDATE node SET start_id = ?1, pending_start_id = NULL, pending_witness = NULL",
                params![start_id],
            )?;
            Ok(())
        })
    }

    /// The byte basis of what is counted from here on.
    pub(crate) fn set_byte_basis(&mut self, byte_basis: ByteBasis) -> Result<(), ExportError> {
        self.checked("writing the byte basis", |transaction, _| {
            transaction.execute("UPDATE node SET byte_basis = ?1", params![byte_basis.label()])?;
            Ok(())
        })
    }

    /// A clean stop.
    pub(crate) fn set_stopped(&mut self) -> Result<(), ExportError> {
        self.checked("writing the clean stop", |transaction, _| {
            transaction.execute("UPDATE node SET running = 0", [])?;
            Ok(())
        })
    }

    /// The open segment and counters.
    pub(crate) fn open_counters(&self) -> Result<(Segment, HashMap<Account, Counter>), ExportError> {
        let segment = self.ask("reading the open segment", |connection| {
            connection.query_row("SELECT * FROM segment", [], node_row::segment)
        })?;
        let counters = self.ask("reading the open counters", |connection| {
            let mut statement = connection.prepare(COUNTERS)?;
            let rows = statement.query_map([], |row| {
                let counter = Counter {
                    id: Some(row.get("id")?),
                    total_id: Some(row.get("total_id")?),
                    total_before: volume(row, "total_up", "total_down")?,
                    volume: volume(row, "up_bytes", "down_bytes")?,
                    flags: word(row, "flags")?,
                    capped: row.get("capped")?,
                    check: stored(row, "row_check")?,
                };
                Ok((account(row)?, counter))
            })?;
            rows.collect()
        })?;
        Ok((segment, counters))
    }

    /// The running total of an account.
    pub(crate) fn opening(&self, account: &Account) -> Result<Opening, ExportError> {
        let opening = self.ask("reading a running total", |connection| opening(connection, account))?;
        opening.ok_or_else(|| ExportError::Changed { path: self.path.clone(), what: "a running total" })
    }

    /// Writes what a tick changes, durably; the counters learn their rows.
    pub(crate) fn write_tick(
        &mut self,
        staged: &mut Staged,
        spent: &[Spent],
        steps: &mut dyn Steps,
    ) -> Result<(), ExportError> {
        let path = self.path.clone();
        let mut injected = Ok(());
        let outcome = self.checked("writing a checkpoint", |transaction, sums| {
            write_counters(transaction, &mut staged.changes, &mut staged.segment.sum, sums)?;
            write_spent(transaction, spent, sums)?;
            write_segment(transaction, &staged.segment)?;
            transaction
                .prepare_cached("UPDATE node SET tick_sequence = ?1")?
                .execute(params![integer(staged.sequence)?])?;
            injected = steps.at(Step::BeforeCheckpointCommit);
            // Any SQLite error ends the transaction; the injected one is reported in its place.
            if injected.is_err() { Err(rusqlite::Error::ExecuteReturnedResults) } else { Ok(()) }
        });
        injected.map_err(|source| ExportError::io(&path, "committing a checkpoint", source))?;
        outcome?;
        steps
            .at(Step::AfterCheckpointCommit)
            .map_err(|source| ExportError::io(&path, "after committing a checkpoint", source))
    }

    /// Writes a segment in which nothing was counted.
    pub(crate) fn write_idle_segment(&mut self, segment: &Segment) -> Result<(), ExportError> {
        self.checked("writing the open segment", |transaction, _| write_segment(transaction, segment))
    }
}

/// The running total of an account, nothing where it has none; none where its row is not as it was written.
pub(super) fn opening(connection: &Connection, account: &Account) -> rusqlite::Result<Option<Opening>> {
    let words = AccountWords::of(account);
    let found = connection
        .prepare_cached(
            "SELECT id, up_bytes, down_bytes, row_check FROM total WHERE subscriber_id = ?1 AND session_id = ?2
             AND subscriber_type = ?3 AND class = ?4 AND service_id = ?5 AND reason = ?6",
        )?
        .query_row(
            params![
                words.subscriber_id,
                words.session_id,
                words.subscriber_type,
                words.class,
                words.service_id.unwrap_or(""),
                words.reason.unwrap_or(""),
            ],
            |row| {
                let total = volume(row, "up_bytes", "down_bytes")?;
                let agrees = stored(row, "row_check")? == Some(of_total(identity(account), total));
                Ok(agrees.then_some(Opening { total_id: Some(row.get("id")?), total }))
            },
        )
        .optional()?;
    Ok(found.unwrap_or_else(|| Some(Opening::default())))
}

/// Writes counters and gives new ones their rows. A row that is not as it was written last ends the transaction.
fn write_counters(
    transaction: &Transaction<'_>,
    changes: &mut [(Account, Counter)],
    sum: &mut Sum,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached(
        "UPDATE counter SET up_bytes = ?2, down_bytes = ?3, flags = ?4, capped = ?5, row_check = ?6
         WHERE id = ?1 AND row_check = ?7",
    )?;
    let mut flags = String::new();
    for (account, counter) in changes {
        flags.clear();
        if !counter.flags.is_empty() {
            flags = counter.flags.to_string();
        }
        let (up, down) = (integer(counter.volume.up)?, integer(counter.volume.down)?);
        let check =
            CounterFields::of(account, counter.volume, &flags, counter.capped).check(identity(account));
        match (counter.id, counter.check) {
            (Some(id), Some(before)) => {
                let values = params![id, up, down, flags, counter.capped, check.bytes(), before.bytes()];
                as_written(update.execute(values)?)?;
                sum.remove(before);
            }
            (Some(_), None) | (None, _) => {
                insert_counter(transaction, account, counter, &flags, check, sums)?
            }
        }
        sum.add(check);
        counter.check = Some(check);
    }
    Ok(())
}

/// The row of an account's running total, which begins at 0 here.
fn insert_total(transaction: &Transaction<'_>, account: &Account, sums: &mut Sums) -> rusqlite::Result<i64> {
    let words = AccountWords::of(account);
    let check = of_total(identity(account), Volume::ZERO);
    let AccountWords { subscriber_type: kind, subscriber_id: subscriber, session_id, class, .. } = words;
    let (service, reason) = (words.service_id.unwrap_or(""), words.reason.unwrap_or(""));
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO total (subscriber_id, session_id, subscriber_type, class, service_id, reason, up_bytes,
                down_bytes, row_check)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7) ON CONFLICT DO NOTHING RETURNING id",
        )?
        .query_row(
            params![subscriber, session_id, kind, class, service, reason, check.bytes()],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(id) = inserted {
        sums.totals.add(check);
        return Ok(id);
    }
    // Another list version of the same tick wrote it a moment ago.
    transaction
        .prepare_cached(
            "SELECT id FROM total WHERE subscriber_id = ?1 AND session_id = ?2 AND subscriber_type = ?3
             AND class = ?4 AND service_id = ?5 AND reason = ?6",
        )?
        .query_row(params![subscriber, session_id, kind, class, service, reason], |row| row.get(0))
}

/// Writes a counter for the first time, and its running total if it has none.
fn insert_counter(
    transaction: &Transaction<'_>,
    account: &Account,
    counter: &mut Counter,
    flags: &str,
    check: Check,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let total_id = match counter.total_id {
        Some(total_id) => total_id,
        None => insert_total(transaction, account, sums)?,
    };
    let words = AccountWords::of(account);
    transaction
        .prepare_cached(
            "INSERT INTO counter (total_id, list_id, list_serial, rating_group, disposition, up_bytes, down_bytes,
                flags, capped, row_check)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            total_id,
            words.list_id,
            words.list_serial.map(integer).transpose()?,
            words.rating_group,
            words.disposition,
            integer(counter.volume.up)?,
            integer(counter.volume.down)?,
            flags,
            counter.capped,
            check.bytes(),
        ])?;
    counter.total_id = Some(total_id);
    counter.id = Some(transaction.last_insert_rowid());
    Ok(())
}

/// Writes the row of `segment`.
pub(super) fn write_segment(transaction: &Transaction<'_>, segment: &Segment) -> rusqlite::Result<()> {
    let figures = &segment.figures;
    transaction
        .prepare_cached(
            "REPLACE INTO segment (only, start_utc, end_utc, high_water_utc, stepped, recovered, damaged, seen_up,
                seen_down, pending_before_up, pending_before_down, pending_after_up, pending_after_down, usage_up,
                usage_down, counters_sum, row_check)
             VALUES (1, :start, :end, :high_water, :stepped, :recovered, :damaged, :seen_up, :seen_down, :before_up,
                :before_down, :after_up, :after_down, :usage_up, :usage_down, :sum, :check)",
        )?
        .execute(named_params! {
            ":start": instant_text(segment.start),
            ":end": instant_text(segment.end),
            ":high_water": segment.high_water.map(instant_text),
            ":stepped": segment.stepped,
            ":recovered": segment.recovered,
            ":damaged": segment.damaged,
            ":seen_up": integer(figures.seen.up)?,
            ":seen_down": integer(figures.seen.down)?,
            ":before_up": integer(figures.pending_before.up)?,
            ":before_down": integer(figures.pending_before.down)?,
            ":after_up": integer(figures.pending_after.up)?,
            ":after_down": integer(figures.pending_after.down)?,
            ":usage_up": integer(segment.usage.up)?,
            ":usage_down": integer(segment.usage.down)?,
            ":sum": segment.sum.bytes(),
            ":check": of_segment(segment).bytes(),
        })?;
    Ok(())
}
