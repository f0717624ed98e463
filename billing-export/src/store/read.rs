//! Sealed files read back: rows for rendering, figures for manifests.

use rusqlite::{OptionalExtension as _, Row, params};

use super::Store;
use super::row::{account, count, instant, integer, unreadable, volume, word, word_or_none};
use crate::codec::Format;
use crate::error::{ExportError, UnknownLabel};
use crate::manifest::{Hash, Manifest};
use crate::name::{FileName, STREAM_USAGE};
use crate::record::{Body, Change, Kind, Record, Reference, Window};
use crate::unit::{ByteBasis, Flags, NodeId};

/// A sealed file: name, columns, manifest and its hash.
#[derive(Debug, Clone)]
pub(crate) struct FileRow {
    /// Its name.
    pub(crate) name: FileName,
    /// Whose columns it has.
    pub(crate) format: Format,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// Hash of the manifest's text as it was sealed.
    pub(crate) manifest_hash: Hash,
}

/// Most records read at once: a query does not stay open while somebody works on what it found.
const RECORDS_AT_ONCE: usize = 1_000;

impl Store {
    /// A sealed file by its number.
    pub(crate) fn file(&self, file_seq: u64) -> Result<FileRow, ExportError> {
        let found = self.ask("reading a sealed file", |connection| {
            // No sealed file has a number that the store cannot hold.
            let Ok(file_seq) = integer(file_seq) else { return Ok(None) };
            connection
                .query_row("SELECT * FROM file WHERE file_seq = ?1", params![file_seq], file_row)
                .optional()
        })?;
        if let Some(file) = found {
            return Ok(file);
        }
        let wanted = self.ask("reading the sealed files", |connection| {
            connection.query_row("SELECT min(file_seq), max(file_seq) FROM file", [], |row| {
                let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
                Ok(match (first, last) {
                    (Some(first), Some(last)) => format!("one from {first} to {last}"),
                    _ => "one after the first seal: nothing is sealed yet".to_owned(),
                })
            })
        })?;
        Err(ExportError::NoSuchFile { path: self.path.clone(), file_seq, wanted })
    }

    /// Sealed files whose bytes are not conserved.
    pub(crate) fn mismatches(&self) -> Result<u64, ExportError> {
        self.ask("reading the files that are not conserved", |connection| {
            let query = "SELECT count(*) AS mismatches FROM file WHERE conserved = 0";
            connection.prepare_cached(query)?.query_row([], |row| count(row, "mismatches"))
        })
    }

    /// Calls `each` for every record of a file, in order. Memory does not grow with the file.
    pub(crate) fn each_record(
        &self,
        file: &FileRow,
        each: &mut dyn FnMut(&Record) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::store(&self.path, "reading sealed records", source);
        let manifest = &file.manifest;
        let byte_basis: ByteBasis =
            manifest.byte_basis.parse().map_err(|error| failed(unreadable("byte_basis", error)))?;
        let (mut next, last) = (manifest.first_seq, manifest.last_seq);
        let mut records = Vec::new();
        while next <= last {
            let read = self.records(file, byte_basis, next, &mut records);
            read.map_err(failed)?;
            let Some(end) = records.last().map(|record| record.seq) else { break };
            records.iter().try_for_each(&mut *each)?;
            next = end.saturating_add(1);
        }
        Ok(())
    }

    /// Reads the records of a file from `next` on, as many as are read at once.
    fn records(
        &self,
        file: &FileRow,
        byte_basis: ByteBasis,
        next: u64,
        records: &mut Vec<Record>,
    ) -> rusqlite::Result<()> {
        records.clear();
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM record WHERE epoch = ?1 AND record_seq BETWEEN ?2 AND ?3 ORDER BY record_seq LIMIT ?4",
        )?;
        let limit = i64::try_from(RECORDS_AT_ONCE).unwrap_or(i64::MAX);
        let range = params![file.manifest.epoch, integer(next)?, integer(file.manifest.last_seq)?, limit];
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            records.push(record(row, file.name.node_id(), byte_basis)?);
        }
        if records.is_empty() {
            // A file has corrections alone, or none.
            let mut statement = self.connection.prepare_cached(
                "SELECT * FROM adjust WHERE epoch = ?1 AND record_seq BETWEEN ?2 AND ?3 ORDER BY record_seq LIMIT ?4",
            )?;
            let mut rows = statement.query(range)?;
            while let Some(row) = rows.next()? {
                records.push(correction(row, file.name.node_id(), byte_basis)?);
            }
        }
        Ok(())
    }
}

/// The window of a row.
fn window(row: &Row<'_>) -> rusqlite::Result<Window> {
    let (start, end) = (instant(row, "start_utc")?, instant(row, "end_utc")?);
    Window::new(start, end).ok_or_else(|| {
        let error = UnknownLabel::new("end_utc", "an instant before start_utc", "one not before it");
        unreadable("end_utc", error)
    })
}

/// A correction from its row: without cause and flags.
fn correction(row: &Row<'_>, node_id: &NodeId, byte_basis: ByteBasis) -> rusqlite::Result<Record> {
    // 64 bits with their sign are always a change.
    let change = |column: &str| {
        Change::new(row.get::<_, i64>(column)?.into()).ok_or(rusqlite::Error::ExecuteReturnedResults)
    };
    Ok(Record {
        node_id: node_id.clone(),
        epoch: row.get("epoch")?,
        seq: count(row, "record_seq")?,
        window: window(row)?,
        byte_basis,
        cause: None,
        flags: Flags::NONE,
        body: Body::Adjust {
            reference: Reference { epoch: row.get("ref_epoch")?, seq: count(row, "ref_seq")? },
            account: account(row)?,
            up: change("up_bytes")?,
            down: change("down_bytes")?,
            total: volume(row, "up_bytes_total", "down_bytes_total")?,
        },
    })
}

/// A record from its row.
fn record(row: &Row<'_>, node_id: &NodeId, byte_basis: ByteBasis) -> rusqlite::Result<Record> {
    let body = match word::<Kind>(row, "kind")? {
        Kind::Usage => Body::Usage {
            account: account(row)?,
            volume: volume(row, "up_bytes", "down_bytes")?,
            total: volume(row, "up_bytes_total", "down_bytes_total")?,
        },
        Kind::Heartbeat => Body::Heartbeat,
        Kind::Gap => Body::Gap,
        // They have a table of their own, and this one's check admits none.
        Kind::Adjust => {
            return Err(unreadable("kind", UnknownLabel::new("kind", "adjust", "usage, heartbeat or gap")));
        }
    };
    Ok(Record {
        node_id: node_id.clone(),
        epoch: row.get("epoch")?,
        seq: count(row, "record_seq")?,
        window: window(row)?,
        byte_basis,
        cause: word_or_none(row, "cause")?,
        flags: word(row, "flags")?,
        body,
    })
}

/// A file from its row.
pub(super) fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    let name: FileName = word(row, "name")?;
    let format = format(row)?;
    let manifest = Manifest {
        format: format.number(),
        file: name.data(),
        node_id: name.node_id().to_string(),
        epoch: row.get("epoch")?,
        file_seq: count(row, "file_seq")?,
        stream: STREAM_USAGE.into(),
        records: count(row, "records")?,
        first_seq: count(row, "first_seq")?,
        last_seq: count(row, "last_seq")?,
        up_bytes: count(row, "up_bytes")?,
        down_bytes: count(row, "down_bytes")?,
        sha256: word(row, "sha256")?,
        previous_manifest_sha256: word_or_none(row, "previous_manifest_sha256")?,
        byte_basis: row.get("byte_basis")?,
        seen_up_bytes: count(row, "seen_up")?,
        seen_down_bytes: count(row, "seen_down")?,
        pending_before_up_bytes: count(row, "pending_before_up")?,
        pending_before_down_bytes: count(row, "pending_before_down")?,
        pending_after_up_bytes: count(row, "pending_after_up")?,
        pending_after_down_bytes: count(row, "pending_after_down")?,
        conserved: row.get("conserved")?,
    };
    Ok(FileRow { name, format, manifest, manifest_hash: word(row, "manifest_sha256")? })
}

/// The version of a file's columns: the first in a ledger that is read as a program before versions left it.
fn format(row: &Row<'_>) -> rusqlite::Result<Format> {
    if row.as_ref().column_index("format").is_err() {
        return Ok(Format::FIRST);
    }
    let number: u32 = row.get("format")?;
    Format::of_number(number).ok_or_else(|| {
        unreadable("format", UnknownLabel::new("format", &number.to_string(), "one that is known here"))
    })
}
