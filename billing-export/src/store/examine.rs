//! Every row that is not sealed, held against its check: at a start, and when the ledger is read again after an error.

use rusqlite::Row;

use super::Store;
use super::node_row::{self, stored, sum_of};
use super::row::{account, count, volume};
use crate::check::{Check, CounterFields, Identity, Sum, of_spent, of_total};
use crate::error::ExportError;
use crate::subscriber::SubscriberType;
use crate::unit::{Flags, Volume};

/// Rows that are not as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Findings {
    /// The row of `node`.
    pub(super) node: bool,
    /// The row of `segment`, or it does not speak of the counters there are.
    pub(super) segment: bool,
    /// The row of `segment` is of a time before the last seal: so may be the counters, and then they are in a record.
    pub(super) sealed_already: bool,
    /// Open counters.
    pub(super) counters: Vec<i64>,
    /// Running totals.
    pub(super) totals: Vec<i64>,
    /// Running totals came or went.
    pub(super) totals_gone: bool,
    /// What was spent, by key.
    pub(super) spent: Vec<[String; 4]>,
    /// Rows of what was spent came or went.
    pub(super) spent_gone: bool,
    /// A row that is as it was written, with a word that is not known here: a later program wrote it.
    unknown: Option<String>,
}

impl Findings {
    /// Whether everything is as it was written.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Findings::default()
    }

    /// Whether numbers or running totals cannot go on where they stood.
    pub(super) fn ends_epoch(&self) -> bool {
        self.node || self.totals_gone || !self.totals.is_empty()
    }
}

/// Open counters with the identity of their accounts; those whose total is gone too.
pub(super) const COUNTERS: &str = "
    SELECT counter.*, total.up_bytes AS total_up, total.down_bytes AS total_down, subscriber_type, subscriber_id,
           session_id, class, service_id, reason
    FROM counter LEFT JOIN total ON total.id = total_id";

/// The columns of an account's identity.
fn identity<'r>(row: &'r Row<'_>) -> rusqlite::Result<Identity<'r>> {
    let mut identity: Identity<'r> = [b""; 6];
    let columns = ["subscriber_type", "subscriber_id", "session_id", "class", "service_id", "reason"];
    for (column, place) in columns.into_iter().zip(&mut identity) {
        *place = row.get_ref(column)?.as_bytes()?;
    }
    Ok(identity)
}

/// What the check of a counter's row should be.
pub(super) fn counter_check(row: &Row<'_>) -> rusqlite::Result<Check> {
    let fields = CounterFields {
        list_id: row.get_ref("list_id")?.as_bytes_or_null()?,
        list_serial: row.get("list_serial")?,
        rating_group: row.get("rating_group")?,
        disposition: row.get_ref("disposition")?.as_bytes_or_null()?,
        volume: volume(row, "up_bytes", "down_bytes")?,
        flags: row.get_ref("flags")?.as_bytes()?,
        capped: row.get("capped")?,
    };
    Ok(fields.check(identity(row)?))
}

/// What the check of a running total's row should be.
pub(super) fn total_check(row: &Row<'_>) -> rusqlite::Result<Check> {
    Ok(of_total(identity(row)?, volume(row, "up_bytes", "down_bytes")?))
}

/// The key of a row of `spent`.
pub(super) const SPENT_KEY: [&str; 4] = ["subscriber_type", "subscriber_id", "allowance", "span"];

/// What the check of a row of `spent` should be.
pub(super) fn spent_check(row: &Row<'_>) -> rusqlite::Result<Check> {
    let mut key: [&[u8]; 4] = [b""; 4];
    for (column, place) in SPENT_KEY.into_iter().zip(&mut key) {
        *place = row.get_ref(column)?.as_bytes()?;
    }
    Ok(of_spent(key, count(row, "bytes")?))
}

/// What is said of a row that is as it was written and does not read.
fn unknown(table: &str, error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::FromSqlConversionFailure(_, _, word) => format!("a row of {table} with {word}"),
        other => format!("a row of {table}: {other}"),
    }
}

/// Whether a row agrees with its check; one that cannot be read does not.
fn agrees(row: &Row<'_>, check: rusqlite::Result<Check>) -> rusqlite::Result<bool> {
    Ok(check.ok() == stored(row, "row_check")? && stored(row, "row_check")?.is_some())
}

impl Store {
    /// Holds every row that is not sealed against its check. A ledger that no start has reached has none.
    ///
    /// # Errors
    /// A row that is as it was written and does not read: a later program wrote it, so it is not set aside.
    pub(crate) fn examine(&self) -> Result<Findings, ExportError> {
        let findings = self.look_for_changes()?;
        match findings.unknown {
            Some(found) => Err(self.newer(found, "words that are known here".into())),
            None => Ok(findings),
        }
    }

    /// Every row that is not sealed, against its check.
    fn look_for_changes(&self) -> Result<Findings, ExportError> {
        self.ask("checking the rows of the ledger", |connection| {
            let mut findings = Findings::default();
            let sums = match node_row::sums(connection)? {
                None => return Ok(findings),
                Some(sums) => sums,
            };
            findings.node = sums.is_err();
            findings.segment = !node_row::segment_agrees(connection)?;
            // Only the row of `node` says which of the segments that we wrote is the last.
            findings.sealed_already = findings.node && node_row::segment_is_before_last_seal(connection)?;
            let mut bad_totals = connection.prepare("SELECT * FROM total")?;
            let mut rows = bad_totals.query([])?;
            while let Some(row) = rows.next()? {
                if !agrees(row, total_check(row))? {
                    findings.totals.push(row.get("id")?);
                }
            }
            findings.totals_gone =
                sums.is_ok_and(|sums| sum_of(connection, "total").ok() != Some(sums.totals));
            self.examine_spent(connection, &mut findings)?;
            findings.spent_gone = sums.is_ok_and(|sums| sum_of(connection, "spent").ok() != Some(sums.spent));
            self.examine_counters(connection, &mut findings)?;
            Ok(findings)
        })
    }

    /// The rows of `spent`.
    fn examine_spent(
        &self,
        connection: &rusqlite::Connection,
        findings: &mut Findings,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT * FROM spent")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !agrees(row, spent_check(row))? {
                let mut key: [String; 4] = Default::default();
                for (column, place) in SPENT_KEY.into_iter().zip(&mut key) {
                    *place = row.get(column)?;
                }
                findings.spent.push(key);
            } else if let Err(error) = super::row::word::<SubscriberType>(row, "subscriber_type") {
                findings.unknown = Some(unknown("spent", &error));
            }
        }
        Ok(())
    }

    /// Open counters, and whether the segment speaks of those that are there.
    fn examine_counters(
        &self,
        connection: &rusqlite::Connection,
        findings: &mut Findings,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(COUNTERS)?;
        let mut rows = statement.query([])?;
        let (mut sum, mut usage) = (Sum::default(), Some(Volume::ZERO));
        while let Some(row) = rows.next()? {
            if let Some(check) = stored(row, "row_check")? {
                sum.add(check);
            }
            let bytes = volume(row, "up_bytes", "down_bytes").ok();
            usage = usage.zip(bytes).and_then(|(usage, bytes)| usage.checked_add(bytes));
            let has_total = volume(row, "total_up", "total_down").is_ok();
            if findings.sealed_already || !has_total || !agrees(row, counter_check(row))? {
                findings.counters.push(row.get("id")?);
                continue;
            }
            let words = account(row).and_then(|_| super::row::word::<Flags>(row, "flags"));
            if let Err(error) = words {
                findings.unknown = Some(unknown("counter", &error));
            }
        }
        let told = connection.query_row("SELECT * FROM segment", [], node_row::segment);
        findings.segment |= told.is_ok_and(|told| told.sum != sum || Some(told.usage) != usage);
        Ok(())
    }
}
