//! The seal: open counters become numbered, immutable records and files, in one transaction.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::examine::{COUNTERS, counter_check};
use super::file_writer::{FileWriter, Numbers};
use super::node_row::Sums;
use super::repair::set_counters_aside;
use super::row::integer;
use super::write::write_segment;
use super::{Store, as_written, node_row};
use crate::audit::Split;
use crate::check::Sum;
use crate::codec::Format;
use crate::error::ExportError;
use crate::ledger::{Ledger, Segment};
use crate::record::{Body, Window};
use crate::settings::Settings;
use crate::steps::{Step, Steps};
use crate::unit::{ByteBasis, Cause, Flag, Flags, NodeId, Volume};

/// Who seals.
#[derive(Debug, Clone)]
pub(crate) struct Sealer<'a> {
    /// The gateway.
    pub(crate) node_id: &'a NodeId,
    /// Whose columns the files have.
    pub(crate) format: Format,
    /// Most rows in a file.
    pub(crate) file_records_max: u32,
}

impl<'a> Sealer<'a> {
    /// Who seals by these settings.
    pub(crate) fn of(settings: &'a Settings) -> Sealer<'a> {
        let Settings { node_id, format, file_records_max, .. } = settings;
        Sealer { node_id, format: *format, file_records_max: *file_records_max }
    }
}

/// What to seal, and what comes after.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealOrder {
    /// End of the window.
    pub(crate) end: Timestamp,
    /// Why.
    pub(crate) cause: Cause,
    /// Whole periods passed unseen after the window, up to here: one heartbeat row speaks for them.
    pub(crate) skipped_until: Option<Timestamp>,
    /// The next segment.
    pub(crate) next: Segment,
}

/// What a new state begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewState<'s> {
    /// The machine's boot.
    pub(crate) boot_id: Option<&'s str>,
    /// Epoch of its records.
    pub(crate) epoch: u32,
    /// Highest file number known.
    pub(crate) file_seq: u64,
    /// The window of the gap record; none at the first start.
    pub(crate) gap: Option<Window>,
    /// The first segment.
    pub(crate) segment: Segment,
    /// The present.
    pub(crate) now: Timestamp,
    /// Why counters that are open are set aside.
    pub(crate) why: &'static str,
}

impl Store {
    /// Seals the open counters of a ledger. Returns the number of records; the ledger is to begin `order.next`.
    pub(crate) fn seal(
        &mut self,
        sealer: &Sealer<'_>,
        ledger: &Ledger,
        order: &SealOrder,
        steps: &mut dyn Steps,
    ) -> Result<u64, ExportError> {
        let path = self.path.clone();
        let mut injected = Ok(());
        let mut sealed = 0;
        let outcome = self.checked("sealing records", |transaction, sums| {
            // What the rows say is what is sealed, or nothing is.
            if rows_sum(transaction)? != Some(ledger.segment().sum) {
                return as_written(0);
            }
            let numbers = read_numbers(transaction)?;
            let mut writer = FileWriter::new(transaction, sealer, numbers, sums);
            sealed = write_seal(&mut writer, ledger, order, &mut |step| {
                injected = steps.at(step);
                // Any SQLite error ends the transaction; the injected one is reported in its place.
                if injected.is_err() { Err(rusqlite::Error::ExecuteReturnedResults) } else { Ok(()) }
            })?;
            let numbers = writer.numbers;
            transaction.execute("DELETE FROM counter", [])?;
            write_segment(transaction, &order.next)?;
            write_numbers(transaction, numbers)
        });
        injected.map_err(|source| ExportError::io(&path, "sealing records", source))?;
        outcome?;
        steps
            .at(Step::AfterSeal)
            .map_err(|source| ExportError::io(&path, "after sealing records", source))?;
        Ok(sealed)
    }

    /// Begins the next epoch of a running node, whose clock was set back by more than windows can wait: nothing is open, and
    /// what is pending stays so.
    pub(crate) fn next_epoch(
        &mut self,
        sealer: &Sealer<'_>,
        epoch: u32,
        gap: Window,
        segment: &Segment,
    ) -> Result<(), ExportError> {
        self.checked("beginning an epoch", |transaction, sums| {
            transaction.execute_batch("DELETE FROM counter; DELETE FROM total")?;
            sums.totals = Sum::default();
            transaction.execute("UPDATE node SET epoch = ?1, next_record_seq = 1", params![epoch])?;
            write_segment(transaction, segment)?;
            write_gap(transaction, sealer, gap, Flags::from(Flag::ClockStep), segment, sums)
        })
    }

    /// Writes the row of `node` for a first start or a new epoch: running totals begin at 0, what was open or pending
    /// is set aside (it may have been exported by the state that was lost), a start is pending. Returns the bytes set aside.
    pub(crate) fn begin_epoch(
        &mut self,
        sealer: &Sealer<'_>,
        byte_basis: ByteBasis,
        state: &NewState<'_>,
        start_id: &str,
        witness: &str,
    ) -> Result<Volume, ExportError> {
        let mut set_aside = Volume::ZERO;
        self.checked("beginning an epoch", |transaction, sums| {
            if transaction.query_row("SELECT count(*) FROM node", [], |row| row.get::<_, i64>(0))? == 0 {
                sums.spent = node_row::sum_of(transaction, "spent")?;
            }
            set_aside = set_counters_aside(transaction, state.now, state.why)?;
            sums.totals = Sum::default();
            transaction.execute_batch(
                "DELETE FROM counter; DELETE FROM total;
                 UPDATE delivery SET phase = 'sealed' WHERE phase <> 'published' AND kept IS NULL",
            )?;
            let file_seq = state.file_seq.checked_add(1).ok_or(rusqlite::Error::ExecuteReturnedResults)?;
            transaction.execute(
                "REPLACE INTO node (only, node_id, epoch, next_record_seq, next_file_seq, byte_basis, start_id,
                    pending_start_id, pending_witness, boot_id, running, tick_sequence)
                 VALUES (1, ?1, ?2, 1, ?3, ?4, NULL, ?5, ?6, ?7, 1, 0)",
                params![
                    sealer.node_id.as_str(),
                    state.epoch,
                    integer(file_seq)?,
                    byte_basis.label(),
                    start_id,
                    witness,
                    state.boot_id
                ],
            )?;
            write_segment(transaction, &state.segment)?;
            if let Some(window) = state.gap {
                write_gap(transaction, sealer, window, Flags::NONE, &state.segment, sums)?;
            }
            Ok(())
        })?;
        Ok(set_aside)
    }
}

/// Writes the gap record that begins an epoch, in a file of its own: what is pending passes through it to `next`.
fn write_gap(
    transaction: &Transaction<'_>,
    sealer: &Sealer<'_>,
    window: Window,
    flags: Flags,
    next: &Segment,
    sums: &mut Sums,
) -> rusqlite::Result<()> {
    let mut writer = FileWriter::new(transaction, sealer, read_numbers(transaction)?, sums);
    writer.begin(Split::new(next.figures), 1);
    writer.write(window, Some(Cause::Recovered), flags, Body::Gap)?;
    let numbers = writer.numbers;
    write_numbers(transaction, numbers)
}

/// The sum of the checks of all open counters; none where a row does not agree with its own.
fn rows_sum(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Sum>> {
    let mut statement = transaction.prepare_cached(COUNTERS)?;
    let mut rows = statement.query([])?;
    let mut sum = Sum::default();
    while let Some(row) = rows.next()? {
        let check = node_row::stored(row, "row_check")?;
        match check.filter(|check| counter_check(row).is_ok_and(|found| found == *check)) {
            Some(check) => sum.add(check),
            None => return Ok(None),
        }
    }
    Ok(Some(sum))
}

/// The numbers as the store has them.
pub(super) fn read_numbers(transaction: &Transaction<'_>) -> rusqlite::Result<Numbers> {
    transaction.query_row("SELECT * FROM node", [], |row| {
        Ok(Numbers {
            epoch: row.get("epoch")?,
            record_seq: super::row::count(row, "next_record_seq")?,
            file_seq: super::row::count(row, "next_file_seq")?,
            byte_basis: super::row::word(row, "byte_basis")?,
        })
    })
}

/// Keeps the numbers for the next seal.
pub(super) fn write_numbers(transaction: &Transaction<'_>, numbers: Numbers) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE node SET next_record_seq = ?1, next_file_seq = ?2",
        params![integer(numbers.record_seq)?, integer(numbers.file_seq)?],
    )?;
    Ok(())
}

/// Writes all rows of a seal; returns their number.
fn write_seal(
    writer: &mut FileWriter<'_, '_>,
    ledger: &Ledger,
    order: &SealOrder,
    step: &mut dyn FnMut(Step) -> rusqlite::Result<()>,
) -> rusqlite::Result<u64> {
    let segment = ledger.segment();
    let window = segment.window(order.end);
    let rows = ledger.in_order();
    let mismatch = segment.damaged || !segment.figures.conserved(segment.usage);
    let mut own = Flags::NONE;
    if segment.stepped {
        own = own.with(Flag::ClockStep);
    }
    if segment.recovered {
        own = own.with(Flag::Recovered);
    }
    let usage = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let extra = [rows.is_empty(), order.skipped_until.is_some(), mismatch];
    let extra = extra.into_iter().fold(0_u64, |count, is| count.saturating_add(u64::from(is)));
    let all = usage.saturating_add(extra);
    writer.begin(Split::new(segment.figures), all);
    let mut running: Option<(i64, Volume)> = None;
    let half = rows.len().div_ceil(2);
    for (at, (account, counter)) in rows.into_iter().enumerate() {
        let total_id = counter.total_id.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let before =
            running.filter(|(id, _)| *id == total_id).map_or(counter.total_before, |(_, total)| total);
        let total = before.checked_add(counter.volume).ok_or(rusqlite::Error::ExecuteReturnedResults)?;
        running = Some((total_id, total));
        let body = Body::Usage { account: account.clone(), volume: counter.volume, total };
        // The bytes end with the session or at the cap, not with the period.
        let cause = match order.cause {
            Cause::Period if ledger.has_ended(&account.session) => Cause::SessionEnd,
            Cause::Period if counter.capped => Cause::Cap,
            cause => cause,
        };
        let remarks = match cause {
            Cause::SessionEnd => ledger.remarks_on_end(&account.session),
            _ => Flags::NONE,
        };
        writer.write(window, Some(cause), counter.flags.union(remarks), body)?;
        writer.set_total(total_id, account, before, total)?;
        if at.saturating_add(1) == half {
            step(Step::MidSeal)?;
        }
    }
    if usage == 0 {
        writer.write(window, Some(order.cause), own, Body::Heartbeat)?;
        step(Step::MidSeal)?;
    }
    if mismatch {
        writer.write(window, Some(order.cause), own, Body::Gap)?;
    }
    if let Some(until) = order.skipped_until {
        let skipped = Window::clamped(window.end(), until);
        writer.write(skipped, Some(order.cause), own, Body::Heartbeat)?;
    }
    Ok(all)
}
