//! One file into the tables that others read, in one transaction: records, totals, file, watermark.
//!
//! The row of the node is locked first, so that files of one node are taken one after another however many collectors there
//! are; rows of `total` are locked in the order of their key. What still meets (a deadlock through another client's transaction,
//! a partition that is not there) is tried again from the beginning.
//!
//! The rows are judged while they are copied into `record`: what is wrong takes them out again with the transaction. A file that
//! has numbers which are taken is copied into a table of this connection alone, and held against what has them.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use postgres::{Client, Transaction};

use super::super::check::Summary;
use super::super::refusal::{Reason, Refusal};
use super::copy::{STAGED, copy};
use super::error::Fault;
use super::spans::{self, Span};
use super::{Waiting, Watermark};
use super::{adjust, chain, watermark};
use crate::manifest::{Hash, Manifest};

/// One file, as its transaction needs it.
pub(super) struct File<'f> {
    /// The schema of the ledger.
    pub(super) schema: &'f str,
    /// The folder it came from, for refusals.
    pub(super) source: &'f str,
    /// Its data.
    pub(super) data: &'f Path,
    /// Its manifest.
    pub(super) manifest: &'f Manifest,
    /// The hash of its manifest.
    pub(super) manifest_hash: Hash,
    /// Zone of local days.
    pub(super) zone: &'f TimeZone,
}

/// What a file brings that was not there before.
pub(super) struct Brought {
    /// What its rows come to.
    pub(super) summary: Summary,
    /// SQL: the new rows, as a relation with the columns of `record`.
    pub(super) rows: String,
    /// How many there are.
    records: u64,
    /// Their numbers, as ranges.
    ranges: Vec<(u64, u64)>,
}

/// What became of a file.
#[derive(Debug)]
pub(in crate::collect) enum Loaded {
    /// It is in the ledger.
    Taken {
        /// Records that were not there before.
        records: u64,
        /// How far the node is.
        watermark: Watermark,
        /// Corrections that wait although what they correct is there: they would take a total below 0.
        waiting: Vec<Waiting>,
    },
    /// Each of its records was there before with the same content; nothing changed.
    Known,
}

/// A number of a file as the tables have it; what is larger was refused before.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// First and last of some days, as text.
fn ends(days: &BTreeSet<Date>) -> (String, String) {
    let text = |day: Option<&Date>| day.map_or_else(String::new, ToString::to_string);
    (text(days.first()), text(days.last()))
}

impl File<'_> {
    /// Takes the file in. `days` are told as soon as they are known, also where there are no partitions for them yet.
    ///
    /// # Errors
    /// Why it is refused, or the ledger's own word; then nothing changed.
    pub(super) fn load(&self, client: &mut Client, days: &mut BTreeSet<Date>) -> Result<Loaded, Fault> {
        let mut work = client.transaction()?;
        let gateway = self.lock_node(&mut work)?;
        let known = spans::overlapping(&mut work, self.schema, gateway, self.manifest)?;
        let brought = if known.is_empty() {
            chain::judge(&mut work, self.schema, self.manifest, self.manifest_hash)?;
            self.bring(&mut work, days)?
        } else {
            match self.bring_rest(&mut work, gateway, &known, days)? {
                Some(brought) => brought,
                None => return Ok(Loaded::Known),
            }
        };
        let epoch = i64::from(self.manifest.epoch);
        let (from, to) = ends(&brought.summary.days);
        let add = format!(
            "INSERT INTO {}.span (number, epoch, seqs, first_day, last_day)
             VALUES ($1, $2, int8range($3, $4, '[]'), $5::text::date, $6::text::date)",
            self.schema
        );
        for (first, last) in &brought.ranges {
            work.execute(&add, &[&gateway, &epoch, &number(*first), &number(*last), &from, &to])?;
        }
        let waiting = adjust::add(&mut work, self, &brought)?;
        self.add_file(&mut work, &brought.summary)?;
        chain::forget_stranger(&mut work, self.schema, &self.manifest.node_id, self.manifest_hash)?;
        let watermark = watermark::advance(&mut work, self.schema, self.manifest)?;
        work.commit()?;
        Ok(Loaded::Taken { records: brought.records, watermark, waiting })
    }

    /// Copies the rows of a file of which nothing is there.
    fn bring(&self, work: &mut Transaction<'_>, days: &mut BTreeSet<Date>) -> Result<Brought, Fault> {
        let Manifest { node_id, epoch, first_seq, last_seq, records, .. } = self.manifest;
        let target = format!("{}.record", self.schema);
        let summary = copy(work, &target, self, days)?;
        let (from, to) = ends(&summary.days);
        // The node's name is of letters, digits and hyphens alone.
        let rows = format!(
            "(SELECT * FROM {target} WHERE node_id = '{node_id}' AND epoch = {epoch} AND record_seq BETWEEN {first_seq} AND {last_seq}
              AND local_day BETWEEN '{from}' AND '{to}') AS brought"
        );
        Ok(Brought { summary, rows, records: *records, ranges: vec![(*first_seq, *last_seq)] })
    }

    /// Holds the rows of a file against what has their numbers, and copies those that are new. None where nothing is.
    fn bring_rest(
        &self,
        work: &mut Transaction<'_>,
        gateway: i64,
        known: &[Span],
        days: &mut BTreeSet<Date>,
    ) -> Result<Option<Brought>, Fault> {
        work.batch_execute(&format!("TRUNCATE {STAGED}"))?;
        let summary = copy(work, STAGED, self, days)?;
        self.compare(work, gateway, known)?;
        let ranges = spans::without(known, self.manifest.first_seq, self.manifest.last_seq);
        if ranges.is_empty() {
            return Ok(None);
        }
        chain::judge(work, self.schema, self.manifest, self.manifest_hash)?;
        let taken = spans::taken(self.schema, "s");
        work.execute(&format!("DELETE FROM {STAGED} s WHERE {taken}"), &[&gateway])?;
        let records =
            work.execute(&format!("INSERT INTO {}.record SELECT * FROM {STAGED}", self.schema), &[])?;
        Ok(Some(Brought { summary, rows: STAGED.to_owned(), records, ranges }))
    }

    /// Locks the node's row, which is made with its first file, and gives the node's number.
    fn lock_node(&self, work: &mut Transaction<'_>) -> Result<i64, Fault> {
        let Self { schema, manifest, .. } = self;
        let node = &manifest.node_id;
        let locked = format!("SELECT 1 FROM {schema}.node WHERE node_id = $1 FOR UPDATE");
        if work.query_opt(&locked, &[node])?.is_none() {
            work.execute(
                &format!(
                    "INSERT INTO {schema}.node (node_id, file_seq, epoch, record_seq, record_seq_seen)
                     VALUES ($1, 0, 0, 0, 0) ON CONFLICT DO NOTHING"
                ),
                &[node],
            )?;
            work.query_one(&locked, &[node])?;
            work.execute(
                &format!("INSERT INTO {schema}.gateway (node_id) VALUES ($1) ON CONFLICT DO NOTHING"),
                &[node],
            )?;
        }
        let text = format!("SELECT number FROM {schema}.gateway WHERE node_id = $1");
        Ok(work.query_one(&text, &[node])?.try_get(0)?)
    }

    /// Holds every staged record whose number is taken against the one that has it. One whose partition was dropped is the same
    /// as far as anybody can tell, if its day was dropped.
    fn compare(&self, work: &mut Transaction<'_>, gateway: i64, known: &[Span]) -> Result<(), Fault> {
        const VALUES: [&str; 22] = [
            "kind",
            "ref_epoch",
            "ref_seq",
            "class",
            "reason",
            "subscriber_type",
            "subscriber_id",
            "session_id",
            "service_id",
            "rating_group",
            "list_id",
            "list_serial",
            "start_utc",
            "end_utc",
            "up_bytes",
            "down_bytes",
            "up_bytes_total",
            "down_bytes_total",
            "byte_basis",
            "disposition",
            "cause",
            "flags",
        ];
        let row = |table: &str| VALUES.map(|column| format!("{table}.{column}")).join(", ");
        let from = known.iter().map(|span| span.first_day.as_str()).min().unwrap_or_default();
        let to = known.iter().map(|span| span.last_day.as_str()).max().unwrap_or_default();
        work.batch_execute(&format!("ANALYZE {STAGED}"))?;
        let text = format!(
            "SELECT s.record_seq, r.record_seq IS NULL FROM {STAGED} s
             LEFT JOIN {schema}.record r ON r.node_id = s.node_id AND r.epoch = s.epoch AND r.record_seq = s.record_seq
                 AND r.local_day BETWEEN $2::text::date AND $3::text::date
             WHERE {taken} AND CASE WHEN r.record_seq IS NULL
                 THEN s.local_day >= coalesce((SELECT dropped_before FROM {schema}.setting), '-infinity')
                 ELSE ({ours}) IS DISTINCT FROM ({theirs}) END
             ORDER BY 1 LIMIT 1",
            schema = self.schema,
            taken = spans::taken(self.schema, "s"),
            ours = row("s"),
            theirs = row("r"),
        );
        let Some(found) = work.query_opt(&text, &[&gateway, &from, &to])? else { return Ok(()) };
        let seq: i64 = found.try_get(0)?;
        let Manifest { epoch, node_id, .. } = self.manifest;
        Err(Fault::Refused(Refusal::new(
            Reason::Identity,
            format!(
                "record_seq {seq} of epoch {epoch}: found another content than the ledger has under this identity, wanted the same. \
                 What the ledger has stays. Two gateways that are both called {node_id} make this: give one of them another name; \
                 a gateway whose state was restored goes on in an epoch of its own"
            ),
        )))
    }

    /// Adds the rows of the file itself.
    fn add_file(&self, work: &mut Transaction<'_>, summary: &Summary) -> Result<(), Fault> {
        let Self { schema, manifest, .. } = self;
        let (seq, epoch) = (number(manifest.file_seq), i64::from(manifest.epoch));
        let (first, last) = (number(manifest.first_seq), number(manifest.last_seq));
        work.execute(
            &format!(
                "INSERT INTO {schema}.file (node_id, file_seq, epoch, first_seq, last_seq, name, sha256)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)"
            ),
            &[&manifest.node_id, &seq, &epoch, &first, &last, &manifest.file, &manifest.sha256.to_string()],
        )?;
        work.execute(
            &format!(
                "INSERT INTO {schema}.link VALUES ($1, $2, $3, $4, $5, $6, $7::text::timestamptz, $8, $9)"
            ),
            &[
                &manifest.node_id,
                &seq,
                &epoch,
                &first,
                &last,
                &summary.begins_with_gap,
                &summary.end.to_string(),
                &self.manifest_hash.to_string(),
                &manifest.previous_manifest_sha256.map(|hash| hash.to_string()),
            ],
        )?;
        Ok(())
    }
}
