//! The PostgreSQL ledger: each record once, totals in the same transaction, the watermark of each node.
//!
//! **Identity.** PostgreSQL keeps a unique key of a partitioned table within the partition only, and `record` is partitioned by
//! day. So the numbers that each file brings stand as a range in `span`, and an exclusion constraint says that no two ranges of a
//! node's epoch meet: the database itself refuses a record twice, whoever writes. The constraint is over ranges alone (the
//! node's number and the epoch as ranges of length one), so that it wants no extension and no more rights than tables do.
//! Before it can speak, the row of the node is locked, and the numbers are looked up.
//!
//! **Order.** A file is taken in one transaction, which is tried again, a bounded number of times, where it met others. So are the
//! partitions of its days: they are made in a transaction of their own, once a try finds one missing.

mod adjust;
mod ask;
mod chain;
mod copy;
mod error;
mod load;
mod migrate;
mod partition;
mod schema;
mod spans;
mod watermark;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use postgres::{Client, NoTls};

use super::refusal::{Reason, Refusal};
use crate::manifest::{Hash, Manifest};

pub(in crate::collect) use error::Fault;
pub(in crate::collect) use load::Loaded;

/// Most tries of one file's transaction that meets others.
const TRIES_MAX: u32 = 8;
/// Pause before another try; as much longer with each.
const TRY_PAUSE: Duration = Duration::from_millis(20);
/// Time to reach the ledger, where the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which the ledger's machine counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// What every connection begins with: waits have an end, what was committed is on the disk whatever the server's default, times
/// are read back as they were written, and a file of 100,000 records is sorted in memory.
const SESSION: &str =
    "SET lock_timeout = '5min'; SET idle_in_transaction_session_timeout = '10min'; SET TimeZone = 'UTC';
    SET DateStyle = 'ISO'; SET client_min_messages = 'warning'; SET work_mem = '64MB';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// How far a node is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The node.
    pub node_id: String,
    /// The last file of the unbroken run from 1; 0 before the first.
    pub file_seq: u64,
    /// The epoch of that file.
    pub epoch: u64,
    /// Its last record.
    pub record_seq: u64,
    /// The end of that record in Unix seconds.
    pub end_seconds: Option<i64>,
}

/// A correction that waits in the ledger and cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Folder of the file it came with.
    pub(super) source: String,
    /// That file.
    pub(super) name: String,
    /// Why.
    pub(super) refusal: Refusal,
}

/// A file to be taken.
pub(super) struct Candidate<'f> {
    /// The folder, as the table `refusal` names it.
    pub(super) source: &'f str,
    /// Its data file.
    pub(super) data: &'f Path,
    /// Its manifest.
    pub(super) manifest: &'f Manifest,
    /// The hash of its manifest.
    pub(super) hash: Hash,
}

/// A connection to the ledger, whose tables are ours.
pub(super) struct Ledger {
    /// The connection.
    client: Client,
    /// The schema, in quotes: a word of SQL may be its name.
    schema: String,
    /// Zone of local days.
    zone: TimeZone,
}

impl Ledger {
    /// Connects, and makes the tables that are missing.
    ///
    /// # Errors
    /// The ledger cannot be reached, or is not what the configuration says.
    pub(super) fn open(config: &super::config::Ledger, password: Option<&str>) -> Result<Ledger, Fault> {
        let mut ledger = Ledger::reach(config, password)?;
        ledger.again(|ledger| migrate::migrate(&mut ledger.client, config, &ledger.schema))?;
        copy::prepare(&mut ledger.client, &ledger.schema)?;
        Ok(ledger)
    }

    /// Connects, and nothing more.
    fn reach(config: &super::config::Ledger, password: Option<&str>) -> Result<Ledger, Fault> {
        let mut connection = (*config.connection).clone();
        connection.application_name("billing-export collect").tcp_user_timeout(SILENCE_MAX);
        connection.keepalives_idle(SILENCE_MAX);
        if connection.get_connect_timeout().is_none() {
            connection.connect_timeout(CONNECT_TIMEOUT);
        }
        if let Some(password) = password {
            connection.password(password);
        }
        let mut client = connection.connect(NoTls)?;
        client.batch_execute(SESSION)?;
        let schema = format!("\"{}\"", config.schema);
        Ok(Ledger { client, schema, zone: config.zone.clone() })
    }

    /// Whether nothing can be asked of this connection any more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The hashes of the manifests that the ledger has of these files, by node and number.
    pub(super) fn known(&mut self, files: &[(String, u64)]) -> Result<HashMap<(String, u64), String>, Fault> {
        let (nodes, numbers): (Vec<&str>, Vec<i64>) =
            files.iter().map(|(node, seq)| (node.as_str(), load::number(*seq))).unzip();
        let text = format!(
            "SELECT node_id, file_seq, manifest_sha256 FROM {}.link
             JOIN unnest($1::text[], $2::bigint[]) AS asked (node, number) ON node_id = node AND file_seq = number",
            self.schema
        );
        let mut known = HashMap::new();
        for row in self.client.query(&text, &[&nodes, &numbers])? {
            let seq: i64 = row.try_get(1)?;
            known.insert((row.try_get(0)?, seq.unsigned_abs()), row.try_get(2)?);
        }
        Ok(known)
    }

    /// Judges a file and takes it in.
    ///
    /// # Errors
    /// Why it is refused, or why that cannot be told; then nothing changed.
    pub(super) fn take(&mut self, file: &Candidate<'_>) -> Result<Loaded, Fault> {
        let schema = self.schema.clone();
        let zone = self.zone.clone();
        let Candidate { source, data, manifest, hash } = *file;
        let loading =
            load::File { schema: &schema, source, data, manifest, manifest_hash: hash, zone: &zone };
        let mut days = BTreeSet::new();
        let loaded = self.again(|ledger| {
            // Known from the second try on: the first of a day finds no partition.
            if !days.is_empty() {
                partition::ensure(&mut ledger.client, &schema, &days)?;
            }
            loading.load(&mut ledger.client, &mut days)
        });
        match loaded {
            Err(Fault::Refused(refusal)) if matches!(refusal.reason, Reason::Identity | Reason::Chain) => {
                chain::note_stranger(&mut self.client, &schema, &manifest.node_id, hash)?;
                Err(Fault::Refused(refusal))
            }
            Err(fault) => Err(fault.is_about_a_value().map_or(fault, |text| {
                Fault::Refused(Refusal::new(
                    Reason::TooLarge,
                    format!("the ledger cannot keep a sum: {text}"),
                ))
            })),
            Ok(loaded) => Ok(loaded),
        }
    }

    /// Does something again while it meets others, a bounded number of times.
    fn again<T>(&mut self, mut work: impl FnMut(&mut Ledger) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut tries = 0_u32;
        loop {
            let outcome = work(self);
            tries = tries.saturating_add(1);
            match outcome {
                Err(fault) if fault.may_be_tried_again() && tries < TRIES_MAX => {
                    thread::sleep(TRY_PAUSE.saturating_mul(tries));
                }
                outcome => return outcome,
            }
        }
    }

    /// Notes that a file, or a correction in it, was refused: once for the same file and reason. Whether it is the first time.
    pub(super) fn note_refusal(
        &mut self,
        source: &str,
        name: &str,
        refusal: &Refusal,
    ) -> Result<bool, Fault> {
        let text = format!(
            "INSERT INTO {}.refusal (source, name, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            self.schema
        );
        Ok(self.client.execute(&text, &[&source, &name, &refusal.to_string()])? > 0)
    }

    /// How far every node is.
    pub(super) fn watermarks(&mut self) -> Result<Vec<Watermark>, Fault> {
        let text = format!(
            "SELECT node_id, file_seq, epoch, record_seq, extract(epoch FROM end_utc)::bigint FROM {}.node ORDER BY 1",
            self.schema
        );
        let rows = self.client.query(&text, &[])?;
        let watermarks = rows.iter().map(|row| {
            let (file_seq, epoch, record_seq): (i64, i64, i64) =
                (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            Ok(Watermark {
                node_id: row.try_get(0)?,
                file_seq: file_seq.unsigned_abs(),
                epoch: epoch.unsigned_abs(),
                record_seq: record_seq.unsigned_abs(),
                end_seconds: row.try_get(4)?,
            })
        });
        watermarks.collect()
    }

    /// Drops the records that are older than the retention; returns their days.
    pub(super) fn drop_old(&mut self, today: Date, retention_days: u32) -> Result<Vec<Date>, Fault> {
        self.again(|ledger| partition::drop_old(&mut ledger.client, &ledger.schema, today, retention_days))
    }
}
