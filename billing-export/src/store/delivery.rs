//! How far sealed files are at each sink: what couriers read and write, each by a connection of its own.

use rusqlite::{OptionalExtension as _, Row, params};

use super::Store;
use super::read::{FileRow, file_row};
use super::row::{count, integer, word_or_none};
use crate::error::ExportError;
use crate::sink::{FILES, Phase, Progress};

/// The next file of a sink.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    /// The file.
    pub(crate) file: FileRow,
    /// How far it is.
    pub(crate) phase: Phase,
    /// What the sink keeps.
    pub(crate) kept: Kept,
}

/// What a sink keeps of its files, in words of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    /// Of the last file that it has.
    pub(crate) before: Option<String>,
    /// Of the next one, with its phase.
    pub(crate) here: Option<String>,
}

/// How far one sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkStanding {
    /// The last file it has, and all before it; 0 for none.
    pub watermark: u64,
    /// Records sealed after that.
    pub backlog_records: u64,
}

/// Longest error kept beside a file, in characters.
const ERROR_LEN_MAX: usize = 500;

/// The last file a sink (`?1`) has. It takes files in order, so it has all before it.
const WATERMARK: &str = "coalesce((SELECT file_seq FROM delivery WHERE sink = ?1 AND phase = 'published'
    ORDER BY file_seq DESC LIMIT 1), 0)";

/// The file behind which a sink (`?1`) goes on: the last it has. One that has not begun begins behind what has left the state.
const BEHIND: &str =
    "coalesce((SELECT max(CASE WHEN phase = 'published' THEN file_seq ELSE 0 END) FROM delivery
    WHERE sink = ?1 HAVING count(*) > 0), (SELECT max(file_seq) FROM released), 0)";

/// Holds for as long as the start that a courier belongs to has the ledger (`?1`).
const IS_OURS: &str = "EXISTS (SELECT 1 FROM node WHERE start_id = ?1 AND pending_start_id IS NULL)";

impl Store {
    /// Refuses a ledger that another start has.
    pub(crate) fn check_start(&self, start_id: &str) -> Result<(), ExportError> {
        let is_ours = self.ask("reading who writes the ledger", |connection| {
            let mut statement = connection.prepare_cached(&format!("SELECT {IS_OURS}"))?;
            statement.query_row(params![start_id], |row| row.get(0))
        })?;
        if is_ours { Ok(()) } else { Err(self.of_another_start()) }
    }

    /// The first file that a sink does not have, how far it is there, and what the sink keeps.
    pub(crate) fn next_for(&self, sink: &str) -> Result<Option<Next>, ExportError> {
        self.ask("reading the next file to deliver", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT file.*, delivery.phase AS phase, delivery.kept AS kept, (SELECT kept FROM delivery
                        WHERE sink = ?1 AND phase = 'published' ORDER BY file_seq DESC LIMIT 1) AS kept_before
                     FROM file LEFT JOIN delivery ON delivery.sink = ?1 AND delivery.file_seq = file.file_seq
                     WHERE file.file_seq > {BEHIND} ORDER BY file.file_seq LIMIT 1"
                ))?
                .query_row(params![sink], |row| {
                    let phase = word_or_none(row, "phase")?.unwrap_or(Phase::Sealed);
                    let kept = Kept { before: row.get("kept_before")?, here: row.get("kept")? };
                    Ok(Next { file: file_row(row)?, phase, kept })
                })
                .optional()
        })
    }

    /// How far a sink is.
    pub(crate) fn sink_standing(&self, sink: &str) -> Result<SinkStanding, ExportError> {
        let read = |row: &Row<'_>| {
            Ok(SinkStanding { watermark: count(row, "watermark")?, backlog_records: count(row, "backlog")? })
        };
        self.ask("reading how far a sink is", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {WATERMARK} AS watermark,
                        (SELECT coalesce(sum(records), 0) FROM file WHERE file_seq > {BEHIND}) AS backlog"
                ))?
                .query_row(params![sink], read)
        })
    }

    /// The highest file that billing may have seen; 0 for none.
    pub(crate) fn highest_begun(&self) -> Result<u64, ExportError> {
        self.ask("reading the published files", |connection| {
            let query = "SELECT coalesce(max(file_seq), 0) AS file_seq FROM delivery
                WHERE sink = ?1 AND phase <> 'sealed'";
            connection.query_row(query, params![FILES], |row| count(row, "file_seq"))
        })
    }

    /// A sink that the ledger has not heard of begins with the next file that is sealed.
    pub(crate) fn begin_sink(&mut self, sink: &str) -> Result<(), ExportError> {
        self.transaction("writing where a sink begins", |transaction| {
            transaction.execute(
                "INSERT INTO delivery (sink, file_seq, phase, attempts)
                 SELECT ?1, coalesce((SELECT max(file_seq) FROM file), 0), 'published', 0
                 WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE sink = ?1)",
                params![sink],
            )?;
            Ok(())
        })
    }

    /// Notes how far a file is at a sink, and what the sink keeps of it; what it kept stays where it has nothing new.
    pub(crate) fn note_phase(
        &mut self,
        sink: &str,
        file_seq: u64,
        progress: &Progress,
        start_id: &str,
    ) -> Result<(), ExportError> {
        let Progress { phase, kept } = progress;
        let attempts = i64::from(*phase == Phase::Published);
        self.note(
            start_id,
            &format!(
                "INSERT INTO delivery (sink, file_seq, phase, attempts, kept) SELECT ?2, ?3, ?4, ?5, ?6 WHERE {IS_OURS}
             ON CONFLICT (sink, file_seq) DO UPDATE
             SET phase = excluded.phase, attempts = attempts + excluded.attempts, last_error = NULL,
                kept = coalesce(excluded.kept, kept)"
            ),
            (sink, file_seq, phase.label(), attempts, kept.as_deref()),
        )
    }

    /// Notes that a try ended with an error; how far the file is stays.
    pub(crate) fn note_failure(
        &mut self,
        sink: &str,
        file_seq: u64,
        error: &str,
        start_id: &str,
    ) -> Result<(), ExportError> {
        let error: String = error.chars().take(ERROR_LEN_MAX).collect();
        self.note(
            start_id,
            &format!(
                "INSERT INTO delivery (sink, file_seq, phase, attempts, last_error, kept)
             SELECT ?2, ?3, 'sealed', ?5, ?4, ?6 WHERE {IS_OURS}
             ON CONFLICT (sink, file_seq) DO UPDATE
             SET attempts = attempts + excluded.attempts, last_error = excluded.last_error"
            ),
            (sink, file_seq, &error, 1, None),
        )
    }

    /// Writes a row of `delivery`, unless another start has the ledger.
    fn note(
        &mut self,
        start_id: &str,
        sql: &str,
        (sink, file_seq, text, attempts, kept): (&str, u64, &str, i64, Option<&str>),
    ) -> Result<(), ExportError> {
        let mut is_ours = false;
        self.transaction("writing how far a file is delivered", |transaction| {
            let values = params![start_id, sink, integer(file_seq)?, text, attempts, kept];
            is_ours = transaction.prepare_cached(sql)?.execute(values)? == 1;
            Ok(())
        })?;
        if is_ours { Ok(()) } else { Err(self.of_another_start()) }
    }
}
