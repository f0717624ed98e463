//! Records on their way into the store: numbered, hashed as the file will have them, cut into files.

use rusqlite::{OptionalExtension as _, Transaction, named_params, params};
use sha2::{Digest as _, Sha256};

use super::as_written;
use super::node_row::Sums;
use super::row::{instant_text, integer, unreadable};
use super::seal::Sealer;
use crate::account::Account;
use crate::audit::Split;
use crate::check::{identity, of_total};
use crate::codec::account::AccountWords;
use crate::codec::csv;
use crate::manifest::{Hash, Manifest};
use crate::name::{FileName, STREAM_USAGE};
use crate::record::{Body, Kind, Record, Window};
use crate::unit::{ByteBasis, Cause, Flags, Volume};

/// The numbers of a seal in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Epoch of the records.
    pub(super) epoch: u32,
    /// Number of the next record.
    pub(super) record_seq: u64,
    /// Number of the next file.
    pub(super) file_seq: u64,
    /// What the bytes count.
    pub(super) byte_basis: ByteBasis,
}

/// Writes records and cuts them into files.
pub(super) struct FileWriter<'t, 'c> {
    /// The seal's transaction.
    transaction: &'t Transaction<'c>,
    /// Who seals.
    sealer: Sealer<'t>,
    /// The next numbers.
    pub(super) numbers: Numbers,
    /// Figures left for the files to come.
    split: Split,
    /// Rows left to be written.
    rest: u64,
    /// The file in progress.
    file: Option<OpenFile>,
    /// Sums of the checks of what the seal changes.
    sums: &'t mut Sums,
}

/// A file in progress: its content is hashed, not kept.
struct OpenFile {
    /// Its first record.
    first_seq: u64,
    /// Rows so far.
    records: u32,
    /// Sum of the rows so far.
    rows: Volume,
    /// Hash of the rows so far.
    content: csv::Writer<Hasher>,
}

/// A writer that only hashes.
struct Hasher(Sha256);

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An error of the CSV writer, which cannot fail above a hasher, inside a transaction.
fn encoding(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// A number that has no successor.
fn exhausted() -> rusqlite::Error {
    encoding(std::io::Error::other("the numbers of records or files are used up"))
}

impl<'t, 'c> FileWriter<'t, 'c> {
    /// A writer at these numbers.
    pub(super) fn new(
        transaction: &'t Transaction<'c>,
        sealer: &Sealer<'t>,
        numbers: Numbers,
        sums: &'t mut Sums,
    ) -> FileWriter<'t, 'c> {
        let split = Split::new(Default::default());
        FileWriter { transaction, sealer: sealer.clone(), numbers, split, rest: 0, file: None, sums }
    }

    /// Announces the number of rows and the figures they belong to.
    pub(super) fn begin(&mut self, split: Split, rows: u64) {
        self.split = split;
        self.rest = rows;
    }

    /// Writes the next record; the file ends with the last one announced, or when it is full.
    pub(super) fn write(
        &mut self,
        window: Window,
        cause: Option<Cause>,
        flags: Flags,
        body: Body,
    ) -> rusqlite::Result<()> {
        let seq = self.numbers.record_seq;
        let record = Record {
            node_id: self.sealer.node_id.clone(),
            epoch: self.numbers.epoch,
            seq,
            window,
            byte_basis: self.numbers.byte_basis,
            cause,
            flags,
            body,
        };
        // A correction is written by whoever makes it, with what is in no file.
        if record.kind() != Kind::Adjust {
            insert_record(self.transaction, &record)?;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenFile {
                first_seq: seq,
                records: 0,
                rows: Volume::ZERO,
                content: csv::Writer::new(Hasher(Sha256::new()), self.sealer.format).map_err(encoding)?,
            },
        };
        file.content.write(&record).map_err(encoding)?;
        file.records = file.records.checked_add(1).ok_or_else(exhausted)?;
        if let Body::Usage { volume, .. } = &record.body {
            file.rows = file.rows.checked_add(*volume).ok_or_else(exhausted)?;
        }
        self.numbers.record_seq = seq.checked_add(1).ok_or_else(exhausted)?;
        self.rest = self.rest.saturating_sub(1);
        if self.rest == 0 || file.records >= self.sealer.file_records_max {
            self.close(file, &record)
        } else {
            self.file = Some(file);
            Ok(())
        }
    }

    /// Ends a file: its row has name, figures and hashes.
    fn close(&mut self, file: OpenFile, last: &Record) -> rusqlite::Result<()> {
        let Numbers { epoch, file_seq, byte_basis, .. } = self.numbers;
        let figures = self.split.next_file(file.rows, self.rest == 0);
        let name = FileName::new(self.sealer.node_id.clone(), last.window.end(), epoch, file_seq);
        let previous: Option<String> = self
            .transaction
            .prepare_cached(
                "SELECT manifest_sha256 FROM file WHERE epoch = ?1 ORDER BY file_seq DESC LIMIT 1",
            )?
            .query_row(params![epoch], |row| row.get(0))
            .optional()?;
        let previous = previous.map(|text| text.parse::<Hash>()).transpose();
        let manifest = Manifest {
            format: self.sealer.format.number(),
            file: name.data(),
            node_id: self.sealer.node_id.to_string(),
            epoch,
            file_seq,
            stream: STREAM_USAGE.into(),
            records: file.records.into(),
            first_seq: file.first_seq,
            last_seq: last.seq,
            up_bytes: file.rows.up,
            down_bytes: file.rows.down,
            sha256: Hash::finish(file.content.finish().map_err(encoding)?.0),
            previous_manifest_sha256: previous.map_err(|error| unreadable("manifest_sha256", error))?,
            byte_basis: byte_basis.label().into(),
            seen_up_bytes: figures.seen.up,
            seen_down_bytes: figures.seen.down,
            pending_before_up_bytes: figures.pending_before.up,
            pending_before_down_bytes: figures.pending_before.down,
            pending_after_up_bytes: figures.pending_after.up,
            pending_after_down_bytes: figures.pending_after.down,
            conserved: figures.conserved(file.rows),
        };
        let text = manifest.to_text().map_err(|error| encoding(error.into()))?;
        insert_file(self.transaction, &name, &manifest, Hash::of(text.as_bytes()))?;
        self.numbers.file_seq = file_seq.checked_add(1).ok_or_else(exhausted)?;
        Ok(())
    }

    /// Keeps a running total for the next segment; one that is not what it was ends the transaction.
    pub(super) fn set_total(
        &mut self,
        total_id: i64,
        account: &Account,
        before: Volume,
        total: Volume,
    ) -> rusqlite::Result<()> {
        let (old, new) = (of_total(identity(account), before), of_total(identity(account), total));
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE total SET up_bytes = ?2, down_bytes = ?3, row_check = ?4 WHERE id = ?1 AND row_check = ?5
                 AND up_bytes = ?6 AND down_bytes = ?7",
            )?
            .execute(params![
                total_id,
                integer(total.up)?,
                integer(total.down)?,
                new.bytes(),
                old.bytes(),
                integer(before.up)?,
                integer(before.down)?
            ])?;
        self.sums.totals.remove(old);
        self.sums.totals.add(new);
        as_written(changed)
    }
}

/// Writes the row of a sealed record.
fn insert_record(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<()> {
    let account = record.account().map(AccountWords::of);
    let bytes = match &record.body {
        Body::Usage { volume, total, .. } => Some((volume, total)),
        Body::Adjust { .. } | Body::Heartbeat | Body::Gap => None,
    };
    let part = |pick: fn(&Volume, &Volume) -> u64| {
        bytes.map(|(volume, total)| integer(pick(volume, total))).transpose()
    };
    transaction
        .prepare_cached(
            "INSERT INTO record (epoch, record_seq, kind, class, reason, subscriber_type, subscriber_id, session_id,
                service_id, rating_group, list_id, list_serial, start_utc, end_utc, up_bytes, down_bytes,
                up_bytes_total, down_bytes_total, disposition, cause, flags)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            record.epoch,
            integer(record.seq)?,
            record.kind().label(),
            account.map(|words| words.class),
            account.and_then(|words| words.reason),
            account.map(|words| words.subscriber_type),
            account.map(|words| words.subscriber_id),
            account.map(|words| words.session_id),
            account.and_then(|words| words.service_id),
            account.and_then(|words| words.rating_group),
            account.and_then(|words| words.list_id),
            account.and_then(|words| words.list_serial).map(integer).transpose()?,
            instant_text(record.window.start()),
            instant_text(record.window.end()),
            part(|volume, _| volume.up)?,
            part(|volume, _| volume.down)?,
            part(|_, total| total.up)?,
            part(|_, total| total.down)?,
            account.and_then(|words| words.disposition),
            record.cause.map(|cause| cause.label()),
            record.flags.to_string(),
        ])?;
    Ok(())
}

/// Writes the row of a sealed file.
fn insert_file(
    transaction: &Transaction<'_>,
    name: &FileName,
    manifest: &Manifest,
    manifest_hash: Hash,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO file (file_seq, epoch, name, byte_basis, records, first_seq, last_seq, up_bytes, down_bytes,
                seen_up, seen_down, pending_before_up, pending_before_down, pending_after_up, pending_after_down,
                conserved, sha256, previous_manifest_sha256, manifest_sha256, format)
             VALUES (:file_seq, :epoch, :name, :byte_basis, :records, :first_seq, :last_seq, :up, :down, :seen_up,
                :seen_down, :before_up, :before_down, :after_up, :after_down, :conserved, :sha256, :previous,
                :manifest_sha256, :format)",
        )?
        .execute(named_params! {
            ":file_seq": integer(manifest.file_seq)?,
            ":epoch": manifest.epoch,
            ":name": name.to_string(),
            ":byte_basis": manifest.byte_basis,
            ":records": integer(manifest.records)?,
            ":first_seq": integer(manifest.first_seq)?,
            ":last_seq": integer(manifest.last_seq)?,
            ":up": integer(manifest.up_bytes)?,
            ":down": integer(manifest.down_bytes)?,
            ":seen_up": integer(manifest.seen_up_bytes)?,
            ":seen_down": integer(manifest.seen_down_bytes)?,
            ":before_up": integer(manifest.pending_before_up_bytes)?,
            ":before_down": integer(manifest.pending_before_down_bytes)?,
            ":after_up": integer(manifest.pending_after_up_bytes)?,
            ":after_down": integer(manifest.pending_after_down_bytes)?,
            ":conserved": manifest.conserved,
            ":sha256": manifest.sha256.to_string(),
            ":previous": manifest.previous_manifest_sha256.map(|hash| hash.to_string()),
            ":manifest_sha256": manifest_hash.to_string(),
            ":format": manifest.format,
        })?;
    Ok(())
}
