//! A ledger of one test, its collector, and what the ledger must hold by the files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cluster::{Cluster, shared};
use crate::support::*;

/// A database, a configuration, folders.
pub(crate) struct Bench<'c> {
    /// The server.
    pub(crate) cluster: &'c Cluster,
    /// The database in it.
    pub(crate) database: String,
    /// Configuration and folders, removed at the end.
    pub(crate) root: tempfile::TempDir,
    /// The zone of local days.
    pub(crate) zone: String,
    /// `done`.
    pub(crate) done: String,
    /// `retention`.
    pub(crate) retention: String,
    /// Further sections.
    pub(crate) more: String,
}

/// What one run of the command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: i32,
    /// Files taken, known, refused, not complete; records taken.
    pub(crate) counts: [u64; 5],
    /// Standard error.
    pub(crate) errors: String,
}

impl Bench<'static> {
    /// On the shared server.
    pub(crate) fn new() -> Bench<'static> {
        Bench::on(shared())
    }
}

impl<'c> Bench<'c> {
    /// On this server.
    pub(crate) fn on(cluster: &'c Cluster) -> Bench<'c> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("usage")).unwrap();
        Bench {
            cluster,
            database: cluster.database(),
            root,
            zone: "Asia/Almaty".into(),
            done: "keep".into(),
            retention: "400 d".into(),
            more: String::new(),
        }
    }

    /// The folder of the source.
    pub(crate) fn usage(&self) -> PathBuf {
        self.root.path().join("usage")
    }

    /// Writes the configuration and gives its path.
    pub(crate) fn config(&self) -> PathBuf {
        let path = self.root.path().join("collect.toml");
        let text = format!(
            "[ledger]\nurl = \"{} user=postgres dbname={}\"\nschema = \"zrgw\"\nzone = \"{}\"\nretention = \"{}\"\n\
             [[source]]\nkind = \"files\"\ndir = \"usage\"\ndone = \"{}\"\npoll = \"50 ms\"\n\
             [watermark]\ndir = \"watermarks\"\n[lease]\nduration = \"30 s\"\n{}",
            self.cluster.host(),
            self.database,
            self.zone,
            self.retention,
            self.done,
            self.more
        );
        // Whole at any moment: another collector of the test may be reading it.
        let part = tempfile::NamedTempFile::new_in(self.root.path()).unwrap();
        fs::write(part.path(), text).unwrap();
        part.persist(&path).unwrap();
        path
    }

    /// The command, ready to be started.
    pub(crate) fn command(&self, once: bool) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_billing-export"));
        command.args(["collect", "--format", "json", "--config"]).arg(self.config());
        if once {
            command.arg("--once");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `collect --once`.
    pub(crate) fn once(&self) -> Ran {
        ran(self.command(true).output().unwrap())
    }

    /// `collect --once`, which takes or knows everything.
    pub(crate) fn taken(&self) -> Ran {
        let ran = self.once();
        assert_eq!(ran.code, 0, "{}", ran.errors);
        ran
    }

    /// What SQL prints.
    pub(crate) fn sql(&self, text: &str) -> String {
        let (done, text) = self.cluster.try_sql(&self.database, text);
        assert!(done, "{text}");
        text.trim_end().to_owned()
    }

    /// Every row of every table that billing reads, but for the moments of loading.
    pub(crate) fn dump(&self) -> String {
        [
            "SELECT * FROM zrgw.record ORDER BY node_id, epoch, record_seq",
            "SELECT * FROM zrgw.total ORDER BY 1, 2, 3, 4, 5, 6, 7",
            "SELECT * FROM zrgw.node ORDER BY 1",
            "SELECT node_id, file_seq, epoch, first_seq, last_seq, name, sha256 FROM zrgw.file ORDER BY 1, 2",
        ]
        .map(|text| self.sql(text))
        .join("\n--\n")
    }

    /// Wants the ledger to be what these data files come to: each record once, the totals, the local days, the numbers of
    /// files. Adjust rows are left to the tests of corrections.
    pub(crate) fn agrees_with(&self, files: &[PathBuf]) {
        let mut records = BTreeSet::new();
        let mut totals: BTreeMap<Vec<String>, [u128; 3]> = BTreeMap::new();
        for row in files.iter().flat_map(|path| rows(path)) {
            let day = day_of(&row["start_utc"], &self.zone);
            if !records.insert(record_line(&row, &day)) || row["kind"] != "usage" {
                continue;
            }
            let key = ["subscriber_type", "subscriber_id", "class", "service_id", "reason", "disposition"];
            let key = [day].into_iter().chain(key.map(|column| row[column].clone())).collect();
            let sum = totals.entry(key).or_default();
            sum[0] += u128::from(number(&row, "up_bytes"));
            sum[1] += u128::from(number(&row, "down_bytes"));
            sum[2] += 1;
        }
        let found: BTreeSet<String> = self.sql(RECORDS).lines().map(str::to_owned).collect();
        assert_eq!(found, records);
        let wanted: Vec<String> = totals
            .into_iter()
            .map(|(key, sums)| {
                key.into_iter().chain(sums.map(|sum| sum.to_string())).collect::<Vec<_>>().join("|")
            })
            .collect();
        assert_eq!(self.sql("SELECT * FROM zrgw.total ORDER BY 1, 2, 3, 4, 5, 6, 7"), wanted.join("\n"));
        let days = self.sql(&format!(
            "SELECT count(*) FROM zrgw.record WHERE local_day <> (start_utc AT TIME ZONE '{}')::date",
            self.zone
        ));
        assert_eq!(days, "0", "days as PostgreSQL counts them");
    }

    /// The watermark file of a node.
    pub(crate) fn watermark(&self, node: &str) -> serde_json::Value {
        let path = self.root.path().join(format!("watermarks/{node}.json"));
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The node's row: file, epoch, record, highest record seen.
    pub(crate) fn node(&self, node: &str) -> String {
        self.sql(&format!(
            "SELECT file_seq, epoch, record_seq, record_seq_seen FROM zrgw.node WHERE node_id = '{node}'"
        ))
    }
}

/// What a finished command came to.
pub(crate) fn ran(output: std::process::Output) -> Ran {
    let errors = String::from_utf8(output.stderr).unwrap();
    let out: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let count = |key: &str| out[key].as_str().map_or(0, |count| count.parse().unwrap());
    let counts = ["taken", "known", "refused", "incomplete", "records"].map(count);
    Ran { code: output.status.code().unwrap_or(-1), counts, errors }
}

/// Every record in the words of a usage file, and its day.
const RECORDS: &str = "SELECT node_id, epoch, record_seq, kind, ref_epoch, ref_seq, class, reason, subscriber_type, subscriber_id,
    session_id, service_id, rating_group, list_id, list_serial,
    to_char(start_utc AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    to_char(end_utc AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    up_bytes, down_bytes, up_bytes_total, down_bytes_total, byte_basis, disposition, cause, flags, local_day FROM zrgw.record";

/// A row of a file as [`RECORDS`] prints it.
fn record_line(row: &Row, day: &str) -> String {
    const COLUMNS: [&str; 25] = [
        "node_id",
        "epoch",
        "record_seq",
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
    COLUMNS.map(|column| row[column].as_str()).into_iter().chain([day]).collect::<Vec<_>>().join("|")
}

/// The local day of a written instant.
pub(crate) fn day_of(instant: &str, zone: &str) -> String {
    let at: Timestamp = instant.parse().unwrap();
    TimeZone::get(zone).unwrap().to_datetime(at).date().to_string()
}

/// The data files of a folder.
pub(crate) fn data_of(folder: &Path) -> Vec<PathBuf> {
    files_ending(folder, ".csv")
}
