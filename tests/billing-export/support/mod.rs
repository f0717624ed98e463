//! What the tests of the exporter share: a node in a directory of its own, ticks, and an independent reading of files.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(unreachable_pub, reason = "a module of several test programs")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use billing_export::*;
use jiff::{SignedDuration, Timestamp};

/// A node and its directories, removed at the end.
pub struct Node {
    pub root: tempfile::TempDir,
    pub settings: Settings,
    pub starts: u8,
}

impl Node {
    /// A node with empty directories. In memory where there is such a file system: what is tested survives a kill, not
    /// a power cut.
    pub fn new() -> Node {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.unwrap();
        let settings = settings(root.path());
        Node { root, settings, starts: 0 }
    }

    /// Opens it with a fresh start id.
    pub fn open(&mut self, now: Timestamp) -> Exporter {
        self.try_open(now, Box::new(NoFault)).unwrap()
    }

    /// Opens it with a fresh start id and these steps.
    pub fn try_open(&mut self, now: Timestamp, steps: Box<dyn Steps>) -> Result<Exporter, ExportError> {
        self.starts += 1;
        Exporter::open(self.settings.clone(), now, [self.starts; 16], steps)
    }

    /// Data files in the pickup directory, by name.
    pub fn data_files(&self) -> Vec<PathBuf> {
        files_ending(&self.settings.pickup_dir, ".csv")
    }

    /// All rows in the pickup directory, in order.
    pub fn rows(&self) -> Vec<Row> {
        self.data_files().iter().flat_map(|path| rows(path)).collect()
    }

    /// Verifies the pickup directory and wants no fault.
    pub fn verify(&self) -> verify::Report {
        verified(std::slice::from_ref(&self.settings.pickup_dir))
    }

    /// Renders every file in the pickup directory again and wants the same bytes.
    pub fn render_all_again(&self) {
        let again = tempfile::tempdir().unwrap();
        for path in self.data_files() {
            let name = name::FileName::of_file(path.file_name().unwrap().to_str().unwrap()).unwrap();
            for copy in render(&self.settings.state_dir, name.file_seq(), again.path()).unwrap() {
                let first = self.settings.pickup_dir.join(copy.file_name().unwrap());
                assert_eq!(fs::read(&copy).unwrap(), fs::read(&first).unwrap(), "{}", first.display());
            }
        }
    }
}

/// The folder of usage files by a courier of the moment, where a gateway has one on a thread of its own.
pub trait Publish {
    /// Hands sealed files to billing, in order. Returns the files published.
    fn publish(&mut self) -> Result<u64, ExportError>;

    /// Records sealed and not yet published.
    fn backlog_records(&self) -> u64;
}

impl Publish for Exporter {
    fn publish(&mut self) -> Result<u64, ExportError> {
        self.courier().deliver()
    }

    fn backlog_records(&self) -> u64 {
        self.sink_standing(sink::FILES).unwrap().backlog_records
    }
}

/// Verifies directories and wants no fault.
pub fn verified(paths: &[PathBuf]) -> verify::Report {
    let report = verify_paths(paths);
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    report
}

/// Verifies directories.
pub fn verify_paths(paths: &[PathBuf]) -> verify::Report {
    verify::verify(&pickup::pairs(paths).unwrap(), &mut |_| ()).unwrap()
}

/// The settings of a node under `root`.
pub fn settings(root: &Path) -> Settings {
    Settings::new(
        "zrgw-01".parse().unwrap(),
        root.join("state"),
        root.join("pickup"),
        root.join("staging"),
        ByteBasis::Payload,
    )
}

/// Files in a directory with this ending, by name.
pub fn files_ending(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

/// Copies a directory's files.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files_ending(from, "") {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Puts a copy in the place of a directory.
pub fn restore(copy: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy_dir(copy, to);
}

/// Noon of the first school day, and milliseconds after.
pub fn at(millis: i64) -> Timestamp {
    let noon: Timestamp = "2020-04-06T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_millis(millis)
}

/// Whole minutes in milliseconds.
pub const MINUTE: i64 = 60_000;

/// A subscriber's session.
pub fn session(id: &str) -> Session {
    Session::new(SubscriberType::Msisdn, id, "s-1").unwrap()
}

/// A list version.
pub fn list(serial: u64) -> Option<ListVersion> {
    Some(ListVersion { id: "kz-education".into(), serial })
}

/// An exempt account.
pub fn exempt(id: &str, service: &str) -> Account {
    let entry =
        Entry::Exempt { service: service.into(), rating_group: 100, disposition: Disposition::Reported };
    Account { session: session(id), list: list(3), entry }
}

/// A charged account.
pub fn charged(id: &str, reason: Reason) -> Account {
    Account { session: session(id), list: list(3), entry: Entry::because(reason) }
}

/// Bytes both ways.
pub fn volume(up: u64, down: u64) -> Volume {
    Volume { up, down }
}

/// A tick of one second in which everything seen was attributed.
pub fn tick(sequence: u64, from: Timestamp, usage: &[(Account, Volume)]) -> Tick {
    let sum = |pick: fn(&Volume) -> u64| usage.iter().map(|(_, volume)| pick(volume)).sum();
    Tick {
        sequence,
        from,
        at: from + SignedDuration::from_secs(1),
        seen: Volume { up: sum(|volume| volume.up), down: sum(|volume| volume.down) },
        pending_after: Volume::ZERO,
        usage: usage
            .iter()
            .map(|(account, volume)| Usage { account: account.clone(), flags: Flags::NONE, volume: *volume })
            .collect(),
        capped: Vec::new(),
        spent: Vec::new(),
        stepped: false,
    }
}

/// A row as another program would read it: column name → text.
pub type Row = BTreeMap<String, String>;

/// The rows of a data file, read without our reader.
pub fn rows(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let head = reader.headers().unwrap().clone();
    reader
        .records()
        .map(|row| head.iter().map(str::to_owned).zip(row.unwrap().iter().map(str::to_owned)).collect())
        .collect()
}

/// The manifest beside a data file, as any JSON reader sees it.
pub fn manifest(path: &Path) -> serde_json::Value {
    let path = path.to_str().unwrap().replace(".csv", ".manifest.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A column of a row as a number.
pub fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

/// A small generator of numbers from a seed (splitmix64): tests print the seed and repeat exactly.
pub struct Seeded(pub u64);

impl Seeded {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Fails once at a point with an I/O error.
pub struct FailAt {
    step: Option<Step>,
}

impl FailAt {
    /// EIO at this point, once.
    pub fn once(step: Step) -> FailAt {
        FailAt { step: Some(step) }
    }
}

impl Steps for FailAt {
    fn at(&mut self, step: Step) -> io::Result<()> {
        if self.step == Some(step) {
            self.step = None;
            return Err(io::ErrorKind::Other.into());
        }
        Ok(())
    }
}
