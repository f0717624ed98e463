//! Corrections: each sealed by itself, in a file of its own, while the open counters stay as they are.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Row, Transaction, named_params, params};

use super::Store;
use super::file_writer::FileWriter;
use super::node_row::{self, Sums};
use super::row::{account, count, instant, instant_text, integer, volume, word};
use super::seal::{Sealer, read_numbers, write_numbers};
use super::write::opening;
use crate::account::Account;
use crate::audit::{Figures, Split};
use crate::codec::account::AccountWords;
use crate::correction::{Adjusted, Correction, Net, Refusal, difference};
use crate::error::ExportError;
use crate::ledger::Opening;
use crate::record::{Body, Change, Record, Reference, Window};
use crate::unit::{ByteBasis, Flags, NodeId, Volume};

/// Tables that a reference may lead to.
const USAGE: &str = "SELECT * FROM record WHERE epoch = ?1 AND record_seq = ?2 AND kind = 'usage'";
const CORRECTION: &str = "SELECT * FROM adjust WHERE epoch = ?1 AND record_seq = ?2";
/// What corrects a usage record, whatever it refers to.
const OF_USAGE: &str = "SELECT up_bytes, down_bytes FROM adjust WHERE usage_epoch = ?1 AND usage_seq = ?2";
/// A correction, and what refers to it, by others or not. References lead to earlier records only, so this ends.
const OF_CORRECTION: &str = "
    WITH RECURSIVE tree (epoch, seq) AS (
        VALUES (?1, ?2)
        UNION SELECT adjust.epoch, adjust.record_seq FROM adjust JOIN tree ON ref_epoch = tree.epoch AND ref_seq = tree.seq
        WHERE usage_epoch = ?3 AND usage_seq = ?4
    )
    SELECT up_bytes, down_bytes FROM tree JOIN adjust ON adjust.epoch = tree.epoch AND adjust.record_seq = tree.seq";

/// Where the directories of a node are, as it was told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Usage files.
    pub(crate) pickup_dir: PathBuf,
    /// The witness.
    pub(crate) staging_dir: PathBuf,
    /// The second witness; none where there is no such place.
    pub(crate) memory_dir: Option<PathBuf>,
}

/// A correction to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// What is to be corrected.
    pub(crate) correction: &'a Correction,
    /// Who asks: the same twice is made once.
    pub(crate) request: &'a str,
    /// The present.
    pub(crate) now: Timestamp,
}

/// The usage record at the end of the references, and what it and the record to correct come to by now.
struct Target {
    usage: Reference,
    account: Account,
    start: Timestamp,
    of_usage: Net,
    of_record: Net,
}

impl Store {
    /// Seals a correction, or says why there is none; one that was made for the same request is not made again.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn adjust(
        &mut self,
        sealer: &Sealer<'_>,
        asked: Asked<'_>,
    ) -> Result<Result<Adjusted, Refusal>, ExportError> {
        let mut outcome = None;
        self.checked("sealing a correction", |transaction, sums| {
            outcome = Some(adjust(transaction, sealer, asked, sums)?);
            Ok(())
        })?;
        Ok(outcome.unwrap_or(Err(Refusal::Nothing)))
    }

    /// The correction that was made for a request; none where there is none yet.
    pub(crate) fn adjusted(&self, request: &str) -> Result<Option<Adjusted>, ExportError> {
        self.ask("reading a correction", |connection| {
            let query = "SELECT adjust.*, node_id FROM adjust, node WHERE request = ?1";
            let made = |row: &Row<'_>| made(row, &word(row, "node_id")?);
            connection.prepare_cached(query)?.query_row(params![request], made).optional()
        })
    }

    /// Notes where the node's directories are.
    pub(crate) fn set_place(&mut self, place: &Place) -> Result<(), ExportError> {
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        let Place { pickup_dir, staging_dir, memory_dir } = place;
        let values = (bytes(pickup_dir), bytes(staging_dir), memory_dir.as_ref().map(bytes));
        self.transaction("writing where the node's directories are", |transaction| {
            let query =
                "REPLACE INTO place (only, pickup_dir, staging_dir, memory_dir) VALUES (1, ?1, ?2, ?3)";
            transaction.execute(query, values)?;
            Ok(())
        })
    }

    /// Where the node's directories were at its last start; none before the first.
    pub(crate) fn place(&self) -> Result<Option<Place>, ExportError> {
        self.ask("reading where the node's directories are", |connection| {
            let path = |bytes: Vec<u8>| PathBuf::from(OsString::from_vec(bytes));
            let read = |row: &Row<'_>| {
                Ok(Place {
                    pickup_dir: path(row.get("pickup_dir")?),
                    staging_dir: path(row.get("staging_dir")?),
                    memory_dir: row.get::<_, Option<Vec<u8>>>("memory_dir")?.map(path),
                })
            };
            connection.query_row("SELECT * FROM place", [], read).optional()
        })
    }
}

/// A correction as its row has it.
fn made(row: &Row<'_>, node_id: &NodeId) -> rusqlite::Result<Adjusted> {
    let (up, down) = signed(row)?;
    let change = |bytes| Change::new(bytes).ok_or(rusqlite::Error::ExecuteReturnedResults);
    Ok(Adjusted {
        node_id: node_id.clone(),
        epoch: row.get("epoch")?,
        seq: count(row, "record_seq")?,
        reference: Reference { epoch: row.get("ref_epoch")?, seq: count(row, "ref_seq")? },
        up: change(up)?,
        down: change(down)?,
    })
}

/// The signed bytes of a row.
fn signed(row: &Row<'_>) -> rusqlite::Result<Net> {
    Ok((row.get::<_, i64>("up_bytes")?.into(), row.get::<_, i64>("down_bytes")?.into()))
}

/// Makes the correction, in a transaction that ends unchanged where it is refused.
fn adjust(
    transaction: &Transaction<'_>,
    sealer: &Sealer<'_>,
    asked: Asked<'_>,
    sums: &mut Sums,
) -> rusqlite::Result<Result<Adjusted, Refusal>> {
    let before = transaction
        .prepare_cached("SELECT * FROM adjust WHERE request = ?1")?
        .query_row(params![asked.request], |row| made(row, sealer.node_id))
        .optional()?;
    if let Some(before) = before {
        return Ok(Ok(before));
    }
    let reference = asked.correction.reference();
    let Some(target) = target(transaction, reference)? else {
        let refusal =
            if is_released(transaction, reference)? { Refusal::Released } else { Refusal::NoSuchRecord };
        return Ok(Err(refusal(reference)));
    };
    let Target { usage, of_usage, of_record, .. } = target;
    let (up, down) = match difference(asked.correction.amount(), usage, of_usage, of_record) {
        Ok(change) => change,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut numbers = read_numbers(transaction)?;
    let (epoch, seq) = (numbers.epoch, numbers.record_seq);
    // It counts what the record counted, whatever is counted now.
    numbers.byte_basis = basis(transaction, usage)?;
    let segment = transaction.query_row("SELECT * FROM segment", [], node_row::segment)?;
    // What is pending passes through its file to the next one.
    let pending = segment.figures.pending_before;
    let figures = Figures { seen: Volume::ZERO, pending_before: pending, pending_after: pending };
    // It ends where the records before it do: whoever has it does not have what is open.
    let window = Window::clamped(target.start, segment.start);
    // A total that another hand has changed goes into no record.
    let Some(Opening { total, .. }) = opening(transaction, &target.account)? else {
        return Err(rusqlite::Error::StatementChangedRows(0));
    };
    let account = target.account;
    let record = Record {
        node_id: sealer.node_id.clone(),
        epoch,
        seq,
        window,
        byte_basis: numbers.byte_basis,
        cause: None,
        flags: Flags::NONE,
        body: Body::Adjust { reference, account, up, down, total },
    };
    insert(transaction, &record, usage, asked)?;
    let mut writer = FileWriter::new(transaction, sealer, numbers, sums);
    writer.begin(Split::new(figures), 1);
    writer.write(record.window, record.cause, record.flags, record.body)?;
    let numbers = writer.numbers;
    write_numbers(transaction, numbers)?;
    Ok(Ok(Adjusted { node_id: sealer.node_id.clone(), epoch, seq, reference, up, down }))
}

/// Whether the record, or the usage record of a correction, has left the state.
fn is_released(transaction: &Transaction<'_>, reference: Reference) -> rusqlite::Result<bool> {
    let Ok(seq) = integer(reference.seq) else { return Ok(false) };
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM adjust WHERE epoch = ?1 AND record_seq = ?2)
                 OR EXISTS (SELECT 1 FROM released WHERE epoch = ?1 AND ?2 BETWEEN first_seq AND last_seq)",
        )?
        .query_row(params![reference.epoch, seq], |row| row.get(0))
}

/// Where a reference leads; none where there is no such record.
fn target(transaction: &Transaction<'_>, reference: Reference) -> rusqlite::Result<Option<Target>> {
    // No record has a number that the store cannot hold.
    let Ok(seq) = integer(reference.seq) else { return Ok(None) };
    let correction = transaction
        .prepare_cached(CORRECTION)?
        .query_row(params![reference.epoch, seq], |row| {
            Ok(Reference { epoch: row.get("usage_epoch")?, seq: count(row, "usage_seq")? })
        })
        .optional()?;
    let usage = correction.unwrap_or(reference);
    let found = transaction
        .prepare_cached(USAGE)?
        .query_row(params![usage.epoch, integer(usage.seq)?], |row| {
            let own = volume(row, "up_bytes", "down_bytes")?;
            Ok((account(row)?, instant(row, "start_utc")?, (i128::from(own.up), i128::from(own.down))))
        })
        .optional()?;
    let Some((account, start, own)) = found else { return Ok(None) };
    let corrections = sum(transaction, OF_USAGE, params![usage.epoch, integer(usage.seq)?])?;
    let of_usage = added(own, corrections)?;
    let of_record = match correction {
        None => of_usage,
        Some(_) => {
            sum(transaction, OF_CORRECTION, params![reference.epoch, seq, usage.epoch, integer(usage.seq)?])?
        }
    };
    Ok(Some(Target { usage, account, start, of_usage, of_record }))
}

/// The sum of what a query finds.
fn sum(
    transaction: &Transaction<'_>,
    query: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Net> {
    let mut statement = transaction.prepare_cached(query)?;
    let mut rows = statement.query(parameters)?;
    let mut net = (0, 0);
    while let Some(row) = rows.next()? {
        net = added(net, signed(row)?)?;
    }
    Ok(net)
}

/// Both sums; 2^63 corrections of 2^63 bytes fit 127 bits.
fn added(one: Net, other: Net) -> rusqlite::Result<Net> {
    let add = |one: i128, other: i128| one.checked_add(other);
    add(one.0, other.0).zip(add(one.1, other.1)).ok_or(rusqlite::Error::ExecuteReturnedResults)
}

/// What the file of a record counts.
fn basis(transaction: &Transaction<'_>, usage: Reference) -> rusqlite::Result<ByteBasis> {
    transaction
        .prepare_cached("SELECT byte_basis FROM file WHERE epoch = ?1 AND ?2 BETWEEN first_seq AND last_seq")?
        .query_row(params![usage.epoch, integer(usage.seq)?], |row| word(row, "byte_basis"))
}

/// Writes the row of a correction.
fn insert(
    transaction: &Transaction<'_>,
    record: &Record,
    usage: Reference,
    asked: Asked<'_>,
) -> rusqlite::Result<()> {
    let Body::Adjust { reference, account, up, down, total } = &record.body else { return Ok(()) };
    let words = AccountWords::of(account);
    let stored = |change: &Change| {
        i64::try_from(change.bytes())
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    };
    transaction
        .prepare_cached(
            "INSERT INTO adjust (epoch, record_seq, ref_epoch, ref_seq, usage_epoch, usage_seq, class, reason,
                subscriber_type, subscriber_id, session_id, service_id, rating_group, list_id, list_serial, start_utc,
                end_utc, up_bytes, down_bytes, up_bytes_total, down_bytes_total, disposition, request, at_utc, note)
             VALUES (:epoch, :seq, :ref_epoch, :ref_seq, :usage_epoch, :usage_seq, :class, :reason, :subscriber_type,
                :subscriber_id, :session_id, :service_id, :rating_group, :list_id, :list_serial, :start, :end, :up,
                :down, :up_total, :down_total, :disposition, :request, :at, :note)",
        )?
        .execute(named_params! {
            ":epoch": record.epoch,
            ":seq": integer(record.seq)?,
            ":ref_epoch": reference.epoch,
            ":ref_seq": integer(reference.seq)?,
            ":usage_epoch": usage.epoch,
            ":usage_seq": integer(usage.seq)?,
            ":class": words.class,
            ":reason": words.reason,
            ":subscriber_type": words.subscriber_type,
            ":subscriber_id": words.subscriber_id,
            ":session_id": words.session_id,
            ":service_id": words.service_id,
            ":rating_group": words.rating_group,
            ":list_id": words.list_id,
            ":list_serial": words.list_serial.map(integer).transpose()?,
            ":start": instant_text(record.window.start()),
            ":end": instant_text(record.window.end()),
            ":up": stored(up)?,
            ":down": stored(down)?,
            ":up_total": integer(total.up)?,
            ":down_total": integer(total.down)?,
            ":disposition": words.disposition,
            ":request": asked.request,
            ":at": instant_text(asked.now),
            ":note": asked.correction.note(),
        })?;
    Ok(())
}
