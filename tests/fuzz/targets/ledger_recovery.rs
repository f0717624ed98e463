//! The exporter under a script of ticks, seals, publications, crashes, clean stops, clock steps and failures: the files
//! together equal an independent model, every file is conserved, every number is there once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use billing_export::record::{Body, Record};
use billing_export::*;

/// Operations of one script, so that a run takes milliseconds.
const OPERATIONS_MAX: usize = 48;

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    /// In memory where there is such a file system.
    fn new() -> Directory {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("ledger-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Directory(base.join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Fails once at the step that was set.
#[derive(Clone, Default)]
struct FailOnce(Arc<Mutex<Option<Step>>>);

impl Steps for FailOnce {
    fn at(&mut self, step: Step) -> std::io::Result<()> {
        let mut wanted = self.0.lock().unwrap();
        if *wanted == Some(step) {
            *wanted = None;
            return Err(std::io::Error::other("injected"));
        }
        Ok(())
    }
}

/// What the files have to add up to: bytes by subscriber, class and service or reason.
type Sums = BTreeMap<String, (u128, u128)>;

/// The script's world.
struct World {
    directory: Directory,
    exporter: Option<Exporter>,
    fail: FailOnce,
    starts: u8,
    /// The clock, in milliseconds from an evening.
    clock: i64,
    /// The latest it has shown.
    latest: i64,
    sequence: u64,
    serial: u64,
    pending: Volume,
    sums: Sums,
    /// What each subscriber has had exempt in all.
    spent: BTreeMap<String, u64>,
}

/// How far the clock goes back, in milliseconds.
const BEHIND_MAX: i64 = 20 * 3_600_000;

/// The one span that allowances have here.
const SPAN: &str = "month 2020-04-01";

/// Adds bytes to a model's sum.
fn add(sums: &mut Sums, key: String, volume: Volume) {
    let sum = sums.entry(key).or_default();
    *sum = (sum.0 + u128::from(volume.up), sum.1 + u128::from(volume.down));
}

/// The key of an account in the model.
fn key(account: &Account) -> String {
    let service = account.entry.service().map_or("", |service| service);
    let reason = account.entry.reason().map_or("", Reason::label);
    format!("{}|{}|{service}|{reason}", account.session.subscriber_id(), account.entry.class())
}

/// The n-th of eight accounts.
fn account(number: u8, serial: u64) -> Account {
    let session = |id| Session::new(SubscriberType::Imsi, id, "s").unwrap();
    let exempt = |service: &str, rating_group| Entry::Exempt {
        service: service.into(),
        rating_group,
        disposition: Disposition::Tagged,
    };
    let (session, entry) = match number % 8 {
        0 => (session("1"), exempt("a", 1)),
        1 => (session("1"), exempt("a", 2)),
        2 => (session("1"), exempt("b", 1)),
        3 => (session("1"), Entry::because(Reason::NotListed)),
        4 => (session("2"), exempt("a", 1)),
        5 => (session("2"), Entry::because(Reason::Timeout)),
        6 => (session("2"), Entry::because(Reason::StaleSubscriber)),
        _ => (Session::none(), Entry::because(Reason::NoSubscriber)),
    };
    let list = (!serial.is_multiple_of(5)).then(|| ListVersion { id: "list".into(), serial });
    Account { session, list, entry }
}

impl World {
    /// A fresh node, started.
    fn new() -> World {
        let mut world = World {
            directory: Directory::new(),
            exporter: None,
            fail: FailOnce::default(),
            starts: 0,
            clock: 0,
            latest: 0,
            sequence: 0,
            serial: 1,
            pending: Volume::ZERO,
            sums: Sums::new(),
            spent: BTreeMap::new(),
        };
        world.start();
        world
    }

    /// The clock.
    fn now(&self, plus: u64) -> Timestamp {
        let evening = parse_instant("2020-04-06T23:40:00.000Z").unwrap();
        let shift = Duration::from_millis(self.clock.unsigned_abs());
        let now = if self.clock < 0 { evening - shift } else { evening + shift };
        now + Duration::from_millis(plus)
    }

    /// Starts the exporter; an injected failure is met by starting once more.
    fn start(&mut self) {
        let mut settings = Settings::new(
            "fuzz".parse().unwrap(),
            self.directory.0.join("state"),
            self.directory.0.join("pickup"),
            self.directory.0.join("staging"),
            ByteBasis::Payload,
        );
        settings.file_records_max = 3;
        for _ in 0..2 {
            self.starts = self.starts.wrapping_add(1);
            let steps = Box::new(self.fail.clone());
            match Exporter::open(settings.clone(), self.now(0), [self.starts; 16], steps) {
                Ok(exporter) => {
                    assert_eq!(exporter.epoch(), 1, "no script restores a copy");
                    self.exporter = Some(exporter);
                    break;
                }
                Err(error) => assert!(error.to_string().contains("injected"), "{error}"),
            }
        }
        self.sequence = 0;
        // What was pending at the stop is nobody's.
        let lost = std::mem::take(&mut self.pending);
        if !lost.is_zero() {
            add(&mut self.sums, "|unattributed||undecided".into(), lost);
        }
    }

    /// Does something until it is not met by the injected failure.
    fn insist(&mut self, work: impl Fn(&mut Exporter) -> Result<(), ExportError>) {
        for _ in 0..2 {
            match work(self.exporter.as_mut().unwrap()) {
                Ok(()) => return,
                Err(error) => assert!(error.to_string().contains("injected"), "{error}"),
            }
        }
        panic!("one failure was injected, two were met");
    }

    /// One tick from these bytes.
    fn tick(&mut self, next: &mut dyn FnMut() -> u8) {
        let before = self.pending;
        let usage: Vec<Usage> = (0..next() % 4)
            .map(|_| Usage {
                account: account(next(), self.serial),
                flags: if next().is_multiple_of(8) { Flag::StaleBinding.into() } else { Flags::NONE },
                volume: Volume { up: u64::from(next()), down: u64::from(next()) << 20 },
            })
            .collect();
        let sum = usage.iter().fold(Volume::ZERO, |sum, usage| sum.checked_add(usage.volume).unwrap());
        // Pending bytes are given a verdict as far as there is usage for them; others may come.
        let kept =
            Volume { up: before.up.saturating_sub(sum.up), down: before.down.saturating_sub(sum.down) };
        let new = Volume { up: u64::from(next() % 16), down: u64::from(next() % 16) };
        let pending_after = kept.checked_add(new).unwrap();
        let seen = sum.checked_add(pending_after).unwrap().checked_sub(before).unwrap();
        let length = 1 + 4 * u64::from(next());
        self.sequence += 1;
        let tick = Tick {
            sequence: self.sequence,
            from: self.now(0),
            at: self.now(length * 1_000),
            seen,
            pending_after,
            capped: usage.iter().map(|usage| usage.account.clone()).take(1).collect(),
            spent: self.spend(&usage),
            stepped: false,
            usage,
        };
        self.insist(|exporter| exporter.checkpoint(&tick));
        self.clock += i64::try_from(length).unwrap() * 1_000;
        self.latest = self.latest.max(self.clock);
        self.pending = pending_after;
        for usage in &tick.usage {
            if !usage.volume.is_zero() {
                add(&mut self.sums, key(&usage.account), usage.volume);
            }
        }
    }

    /// Adds the exempt bytes to what the subscribers have spent; the new sums.
    fn spend(&mut self, usage: &[Usage]) -> Vec<Spent> {
        let exempt = usage.iter().filter(|usage| usage.account.entry.class() == Class::Exempt);
        let spent = exempt.map(|usage| {
            let subscriber = usage.account.session.clone();
            let sum = self.spent.entry(subscriber.subscriber_id().to_owned()).or_default();
            *sum += usage.volume.up + usage.volume.down;
            Spent { subscriber, allowance: "overall".to_owned(), span: SPAN.to_owned(), bytes: *sum }
        });
        spent.collect()
    }

    /// One operation.
    fn step(&mut self, operation: u8, next: &mut dyn FnMut() -> u8) {
        let now = self.now(0);
        match operation % 12 {
            0..=3 => self.tick(next),
            4 => self.insist(|exporter| exporter.seal_due(now).map(drop)),
            5 => {
                let cause = Cause::ALL[usize::from(next()) % Cause::ALL.len()];
                self.insist(|exporter| exporter.seal_now(now, cause).map(drop));
            }
            6 => self.insist(|exporter| exporter.courier().deliver().map(drop)),
            7 => {
                self.exporter = None;
                self.start();
            }
            8 => {
                self.exporter.take().unwrap().close().unwrap();
                self.start();
            }
            9 => {
                let minutes = i64::from(next()) * 60_000;
                self.clock += if next().is_multiple_of(2) { minutes } else { -minutes };
                // Further back an epoch would begin, which the model does not know.
                self.latest = self.latest.max(self.clock);
                self.clock = self.clock.max(self.latest - BEHIND_MAX);
            }
            10 => {
                let step = Step::ALL[usize::from(next()) % Step::ALL.len()];
                *self.fail.0.lock().unwrap() = Some(step);
            }
            _ => self.serial += 1,
        }
    }

    /// Seals and publishes everything, and compares the files with the model.
    fn finish(mut self) {
        *self.fail.0.lock().unwrap() = None;
        self.exporter = None;
        self.start();
        let now = self.now(1_000);
        self.insist(|exporter| exporter.seal_now(now, Cause::Shutdown).map(drop));
        self.insist(|exporter| exporter.courier().deliver().map(drop));
        let exporter = self.exporter.as_mut().unwrap();
        assert_eq!(exporter.conservation_mismatches(), 0);
        let mut spent = BTreeMap::new();
        let mut each = |row: Spent| {
            spent.insert(row.subscriber.subscriber_id().to_owned(), row.bytes);
        };
        exporter.each_spent(&[SPAN.to_owned()], &mut each).unwrap();
        assert_eq!(spent, self.spent, "what was spent is what was exempt, whatever came between");
        let pickup = self.directory.0.join("pickup");
        let pairs = pickup::pairs(std::slice::from_ref(&pickup)).unwrap();
        let report = verify::verify(&pairs, &mut |_| ()).unwrap();
        assert!(report.faults.is_empty(), "{:#?}", report.faults);
        let mut sums = Sums::new();
        let mut totals = Sums::new();
        let mut each = |record: Record| {
            if let Body::Usage { account, volume, total } = &record.body {
                add(&mut sums, key(account), *volume);
                totals.insert(key(account), (total.up.into(), total.down.into()));
            }
        };
        for pair in &pairs {
            pickup::read_data(pair.data.as_ref().unwrap(), &mut |record| each(record.unwrap())).unwrap();
        }
        assert_eq!(sums, self.sums, "the files equal the model");
        assert_eq!(totals, self.sums, "and so do the last running totals");
    }
}

/// Runs the script that the bytes spell.
pub fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new();
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = bytes.next() else { break };
        world.step(operation, &mut || bytes.next().unwrap_or(0));
    }
    world.finish();
}
