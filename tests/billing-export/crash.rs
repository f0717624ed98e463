//! The process is killed with SIGKILL at each named point of the export cycle, again and again, in a real child.
//!
//! What must hold afterwards: every tick whose commit returned is in the published files exactly once, a tick that was
//! being committed is there once or not at all, numbers have no gap and no repeat, every file is conserved and renders
//! again byte for byte, and no file that billing took away came back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use billing_export::*;
use jiff::{SignedDuration, Timestamp};
use support::*;

/// Tells the child what to do: directory, seed, run, step, how often the step is passed before the kill.
const CHILD: &str = "BILLING_EXPORT_CRASH_CHILD";
/// Number of seeds for each step, where another number is wanted than the one here.
const SEEDS: &str = "BILLING_EXPORT_CRASH_SEEDS";
/// Ticks of one run, if it is not killed.
const TICKS: u64 = 14;
/// Runs that are killed, per seed.
const KILLED_RUNS: u64 = 3;
/// A tick stands for this many seconds, so that a run passes several periods.
const TICK_SECONDS: i64 = 200;

/// Kills this process at one point.
struct KillAt {
    step: Option<Step>,
    passes: u64,
}

impl Steps for KillAt {
    fn at(&mut self, step: Step) -> io::Result<()> {
        if self.step == Some(step) {
            if self.passes == 0 {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
                unreachable!("a killed process does not go on");
            }
            self.passes -= 1;
        }
        Ok(())
    }
}

/// Start of a run: after anything the run before can have reached.
fn begins(run: u64) -> Timestamp {
    at(0) + SignedDuration::from_secs(i64::try_from(run * (TICKS + 3)).unwrap() * TICK_SECONDS)
}

/// The tick of a run: one account of its own, two shared ones, and bytes that stay pending.
fn scripted(seed: u64, run: u64, sequence: u64) -> Tick {
    let mut random = Seeded(seed ^ (run << 32) ^ (sequence << 48));
    let mut before = Seeded(seed ^ (run << 32) ^ ((sequence - 1) << 48));
    let pending = |random: &mut Seeded| volume(random.below(500), random.below(500));
    let pending_before = if sequence == 1 { Volume::ZERO } else { pending(&mut before) };
    let pending_after = pending(&mut random);
    let own = volume(1_000 + random.below(9_000), 1_000 + random.below(9_000));
    let shared = volume(random.below(100), random.below(100));
    let name = format!("7{run:03}{sequence:05}");
    let usage = [
        (exempt(&name, "bilimland"), own),
        (exempt("shared", "bilimland"), shared),
        (charged("shared", Reason::NotListed), shared),
    ];
    let mut tick = tick(sequence, at(0), &usage);
    tick.from = begins(run) + SignedDuration::from_secs(i64::try_from(sequence).unwrap() * TICK_SECONDS);
    tick.at = tick.from + SignedDuration::from_secs(TICK_SECONDS);
    tick.pending_after = pending_after;
    tick.seen = tick.seen.checked_add(pending_after).unwrap().checked_sub(pending_before).unwrap();
    tick
}

/// The child: drives an exporter and says on standard output what was committed. Does nothing in an ordinary run.
#[test]
fn child_of_the_crash_tests() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = order.split('|').collect();
    let [root, seed, run, step, passes] = words[..] else { panic!("{order}") };
    let (seed, run): (u64, u64) = (seed.parse().unwrap(), run.parse().unwrap());
    let steps = KillAt { step: step.parse().ok(), passes: passes.parse().unwrap() };
    let mut id = [0_u8; 16];
    id[..8].copy_from_slice(&seed.to_be_bytes());
    id[8..].copy_from_slice(&run.to_be_bytes());
    let mut settings = settings(Path::new(root));
    settings.file_records_max = 5;
    let say = |word: String| {
        let mut out = io::stdout().lock();
        writeln!(out, "crash-child {word}").unwrap();
        out.flush().unwrap();
    };
    let mut exporter = Exporter::open(settings, begins(run), id, Box::new(steps)).unwrap();
    for sequence in 1..=TICKS {
        let tick = scripted(seed, run, sequence);
        say(format!("offered {sequence}"));
        exporter.checkpoint(&tick).unwrap();
        say(format!("committed {sequence}"));
        exporter.seal_due(tick.at).unwrap();
        if sequence % 4 == 0 {
            exporter.publish().unwrap();
        }
    }
    exporter.seal_now(scripted(seed, run, TICKS).at, Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    assert_eq!(exporter.backlog_records(), 0);
    exporter.close().unwrap();
    say("done 0".into());
}

/// What the parent knows of one seed's ticks.
#[derive(Default)]
struct Known {
    /// Committed for certain.
    committed: BTreeSet<(u64, u64)>,
    /// Offered, fate unknown.
    in_flight: BTreeSet<(u64, u64)>,
}

/// Runs a child; true if it was done, false if it was killed.
fn run_child(root: &Path, seed: u64, run: u64, step: Option<Step>, passes: u64, known: &mut Known) -> bool {
    let step = step.map_or("none", Step::label);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_of_the_crash_tests", "--nocapture", "--test-threads", "1"])
        .env(CHILD, format!("{}|{seed}|{run}|{step}|{passes}", root.display()))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let mut done = false;
    // The harness prints the test's name before the first line without ending its own.
    let text = String::from_utf8(output.stdout).unwrap();
    for words in text.split("crash-child ").skip(1) {
        let words: Vec<&str> = words.lines().next().unwrap().split(' ').collect();
        let tick = (run, words[1].parse().unwrap());
        match words[0] {
            "offered" => known.in_flight.insert(tick),
            "committed" => known.in_flight.remove(&tick) && known.committed.insert(tick),
            "done" => {
                done = true;
                true
            }
            other => panic!("{other}"),
        };
    }
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        done == output.status.success() && (done || killed),
        "seed {seed} run {run} {step}: {text}{errors}"
    );
    done
}

/// Billing takes away the pairs whose manifest is there, sometimes.
fn take_away(pickup: &Path, taken: &Path, random: &mut Seeded) {
    for manifest in files_ending(pickup, ".manifest.json") {
        if random.below(2) == 0 {
            let data = PathBuf::from(manifest.to_str().unwrap().replace(".manifest.json", ".csv"));
            for file in [data, manifest] {
                let target = taken.join(file.file_name().unwrap());
                assert!(!target.exists(), "{} was written a second time", target.display());
                fs::rename(file, target).unwrap();
            }
        }
    }
}

/// One seed: runs killed at the step, one run to the end, then the checks. Returns the number of kills.
fn survive(step: Step, seed: u64) -> u64 {
    let node = Node::new();
    let root = node.root.path();
    let (pickup, taken) = (node.settings.pickup_dir.clone(), root.join("taken"));
    fs::create_dir(&taken).unwrap();
    let mut random = Seeded(seed);
    let mut known = Known::default();
    let mut kills = 0;
    let mut run = 0;
    for _ in 0..KILLED_RUNS {
        run += 1;
        let passes = random.below(4);
        kills += u64::from(!run_child(root, seed, run, Some(step), passes, &mut known));
        take_away(&pickup, &taken, &mut random);
    }
    assert!(run_child(root, seed, run + 1, None, 0, &mut known), "the last run is not killed");
    for file in files_ending(&pickup, "") {
        let name = file.file_name().unwrap();
        assert!(!taken.join(name).exists(), "{name:?} came back");
        fs::rename(&file, taken.join(name)).unwrap();
    }
    let report = verified(std::slice::from_ref(&taken));
    assert!(report.notes.is_empty(), "a crash is not a restored copy: {:?}", report.notes);
    check_ticks(&taken, seed, run + 1, &known);
    let again = root.join("again");
    for data in files_ending(&taken, ".csv") {
        let name = name::FileName::of_file(data.file_name().unwrap().to_str().unwrap()).unwrap();
        for copy in render(&node.settings.state_dir, name.file_seq(), &again).unwrap() {
            let first = taken.join(copy.file_name().unwrap());
            assert_eq!(fs::read(&copy).unwrap(), fs::read(first).unwrap(), "seed {seed}: {}", copy.display());
        }
    }
    kills
}

/// Every committed tick once, every other at most once, nothing else but what was pending at a kill.
fn check_ticks(taken: &Path, seed: u64, runs: u64, known: &Known) {
    let mut by_subscriber: BTreeMap<String, (u64, Volume)> = BTreeMap::new();
    for row in files_ending(taken, ".csv").iter().flat_map(|path| rows(path)) {
        if row["kind"] == "usage" {
            let key = format!("{}/{}", row["subscriber_id"], row["class"]);
            let (rows, sum) = by_subscriber.entry(key).or_default();
            *rows += 1;
            *sum = sum.checked_add(volume(number(&row, "up_bytes"), number(&row, "down_bytes"))).unwrap();
        }
    }
    let mut shared = Volume::ZERO;
    for run in 1..=runs {
        for sequence in 1..=TICKS {
            let tick = scripted(seed, run, sequence);
            let own = by_subscriber.remove(&format!("7{run:03}{sequence:05}/exempt"));
            let committed = known.committed.contains(&(run, sequence));
            let possible = committed || known.in_flight.contains(&(run, sequence));
            let context = format!("seed {seed}: tick {sequence} of run {run}");
            assert!(own.is_some() || !committed, "{context} was committed and is lost");
            if let Some((rows, sum)) = own {
                assert!(possible, "{context} was never offered");
                assert_eq!((rows, sum), (1, tick.usage[0].volume), "{context}");
                shared = shared.checked_add(tick.usage[1].volume).unwrap();
            }
        }
    }
    for class in ["exempt", "charged"] {
        let sum = by_subscriber.remove(&format!("shared/{class}")).map_or(Volume::ZERO, |(_, sum)| sum);
        assert_eq!(sum, shared, "seed {seed}: {class}");
    }
    // Pending bytes of killed runs; that they are the right number is what conservation says.
    by_subscriber.remove("/unattributed");
    assert!(by_subscriber.is_empty(), "seed {seed}: {by_subscriber:?}");
}

/// All seeds of one step.
fn survive_all(step: Step) {
    let seeds = std::env::var(SEEDS).ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(6_u64);
    let kills: u64 = (0..seeds)
        .map(|seed| {
            let seed = seed * 1_000 + Step::ALL.iter().position(|other| *other == step).unwrap() as u64;
            println!("{step}: seed {seed}");
            survive(step, seed)
        })
        .sum();
    println!("{step}: {seeds} seeds, {kills} kills");
    assert!(kills >= seeds, "{step}: {kills} kills with {seeds} seeds: the point is not reached");
}

/// One test per step, so that they run side by side.
macro_rules! kill_at {
    ($($name:ident => $step:expr;)*) => {
        $(#[test] fn $name() { survive_all($step); })*

        /// A new step has its test.
        #[test]
        fn every_step_has_its_crash_test() {
            assert_eq!([$($step),*], Step::ALL);
        }
    };
}

kill_at! {
    b1_t33_killed_before_checkpoint_commit => Step::BeforeCheckpointCommit;
    b1_t33_killed_after_checkpoint_commit => Step::AfterCheckpointCommit;
    b1_t33_killed_mid_seal => Step::MidSeal;
    b1_t33_killed_after_seal => Step::AfterSeal;
    b1_t33_killed_during_part => Step::DuringPart;
    b1_t33_killed_after_part_sync => Step::AfterPartSync;
    b1_t33_killed_after_data_rename => Step::AfterDataRename;
    b1_t33_killed_after_data => Step::AfterData;
    b1_t33_killed_during_manifest_part => Step::DuringManifestPart;
    b1_t33_killed_after_manifest_rename => Step::AfterManifestRename;
    b1_t33_killed_before_published_mark => Step::BeforePublishedMark;
    b1_t33_killed_after_published_mark => Step::AfterPublishedMark;
}
