//! One staged file into the tables that others read, in one transaction: records, totals, file, watermark.
//!
//! The row of the node is locked first, so that files of one node are taken one after another however many collectors there
//! are; rows of `total` are locked in the order of their key. What still meets (a new partition, a deadlock through another
//! client's transaction) is tried again from the beginning.

use std::collections::BTreeSet;

use jiff::civil::Date;
use postgres::{Client, Transaction};

use super::super::check::Summary;
use super::super::refusal::{Reason, Refusal};
use super::error::Fault;
use super::spans::{self, Span};
use super::stage::STAGED;
use super::{Waiting, Watermark};
use super::{adjust, chain, watermark};
use crate::manifest::{Hash, Manifest};

/// One file, as its transaction needs it.
pub(super) struct File<'f> {
    /// The schema of the ledger.
    pub(super) schema: &'f str,
    /// The folder it came from, for refusals.
    pub(super) source: &'f str,
    /// Its manifest.
    pub(super) manifest: &'f Manifest,
    /// The hash of its manifest.
    pub(super) manifest_hash: Hash,
    /// What its rows come to.
    pub(super) summary: &'f Summary,
}

/// What became of a staged file.
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

impl File<'_> {
    /// Takes the file in.
    ///
    /// # Errors
    /// Why it is refused, or the ledger's own word; then nothing changed.
    pub(super) fn load(&self, client: &mut Client) -> Result<Loaded, Fault> {
        let mut work = client.transaction()?;
        let gateway = self.lock_node(&mut work)?;
        let Manifest { first_seq, last_seq, epoch, .. } = *self.manifest;
        let known = spans::overlapping(&mut work, self.schema, gateway, self.manifest)?;
        if !known.is_empty() {
            self.compare(&mut work, gateway, &known)?;
        }
        let fresh = spans::without(&known, first_seq, last_seq);
        if fresh.is_empty() {
            return Ok(Loaded::Known);
        }
        chain::judge(&mut work, self.schema, self.manifest, self.manifest_hash)?;
        if !known.is_empty() {
            self.unstage(&mut work, gateway)?;
        }
        for (first, last) in &fresh {
            let (from, to) = self.days();
            work.execute(
                &format!(
                    "INSERT INTO {}.span (number, epoch, seqs, first_day, last_day)
                     VALUES ($1, $2, int8range($3, $4, '[]'), $5::text::date, $6::text::date)",
                    self.schema
                ),
                &[&gateway, &i64::from(epoch), &number(*first), &number(*last), &from, &to],
            )?;
        }
        let records =
            work.execute(&format!("INSERT INTO {}.record SELECT * FROM {STAGED}", self.schema), &[])?;
        let waiting = adjust::add(&mut work, self)?;
        self.add_file(&mut work)?;
        let watermark = watermark::advance(&mut work, self.schema, self.manifest)?;
        work.commit()?;
        Ok(Loaded::Taken { records, watermark, waiting })
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

    /// First and last local day of the file, as text.
    fn days(&self) -> (String, String) {
        let days: &BTreeSet<Date> = &self.summary.days;
        let text = |day: Option<&Date>| day.map_or_else(String::new, ToString::to_string);
        (text(days.first()), text(days.last()))
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

    /// Takes what the ledger has out of the stage.
    fn unstage(&self, work: &mut Transaction<'_>, gateway: i64) -> Result<(), Fault> {
        let taken = spans::taken(self.schema, "s");
        work.execute(&format!("DELETE FROM {STAGED} s WHERE {taken}"), &[&gateway])?;
        Ok(())
    }

    /// Adds the rows of the file itself.
    fn add_file(&self, work: &mut Transaction<'_>) -> Result<(), Fault> {
        let Self { schema, manifest, summary, .. } = self;
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
