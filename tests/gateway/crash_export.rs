//! The export cycle interrupted under load: by SIGKILL at each of its steps and at any time, and by an error at each step
//! (traps T33, B1, B17, B26).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[allow(dead_code, unused_imports, reason = "each test uses a part of it")]
#[path = "crash/mod.rs"]
mod crash;

use std::collections::HashMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use billing_export::Step;
use crash::{
    Books, Bytes, Kind, Lab, Ledger, Load, Random, Row, Shape, micros_now, seed, sum_where, wait_for,
};

/// Kills at each step, of each of three nodes.
const KILLS_AT_STEPS: usize = 24;
/// Kills at any time, of each of three nodes: with those at steps 102 in all.
const KILLS_ANY_TIME: usize = 10;
/// Nodes that are killed side by side.
const NODES: usize = 3;
/// A worker that does not answer a tick in time is heard at the next one (`ANSWER_LIMIT` of the export task), and an
/// acknowledgement may take 40 ms: what is older than this is in the tick for certain.
const TICK_SLACK_MICROS: i64 = 600_000;

/// How one run of the node ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// At the so many-th time that a step is reached.
    At(Step, u32),
    /// So long after its process began.
    After(Duration),
    /// So long after it was asked to stop.
    Stopping(Duration),
}

/// Ends for one node: every step comes, the order and the counts follow from the seed.
fn ends(random: &mut Random, node: usize) -> Vec<End> {
    let mut ends: Vec<End> = (0..KILLS_AT_STEPS)
        .map(|index| {
            let step = Step::ALL[(index + node) % Step::ALL.len()];
            let most = match step {
                Step::BeforeCheckpointCommit | Step::AfterCheckpointCommit => 7,
                _ => 3,
            };
            End::At(step, u32::try_from(random.range(1, most)).unwrap())
        })
        .collect();
    for index in 0..KILLS_ANY_TIME {
        ends.push(match index % 3 {
            // While it starts, when nothing is certain but the ledger.
            0 => End::After(Duration::from_millis(random.range(0, 100))),
            1 => End::After(Duration::from_millis(random.range(0, 1_200))),
            _ => End::Stopping(Duration::from_millis(random.range(0, 60))),
        });
    }
    for index in (1..ends.len()).rev() {
        ends.swap(index, usize::try_from(random.range(0, index as u64 + 1)).unwrap());
    }
    ends
}

/// What one node's runs have left behind so far.
#[derive(Default)]
struct Before {
    ledger: Ledger,
    files: HashMap<String, Vec<u8>>,
    /// Kills after which there was something that had to be in the ledger.
    bounded: usize,
}

/// Compares what a kill left with what was there before and what was carried.
fn check_after_kill(lab: &Lab, books: &Books, started: i64, before: &mut Before, what: &str) {
    let files = lab.pickup();
    for (name, content) in &before.files {
        assert_eq!(files.get(name), Some(content), "{what}: {name} was there before");
    }
    assert!(files.keys().all(|name| name.contains("_00001_")), "{what}: a new epoch without need: {files:?}");
    let ledger = lab.ledger();
    for (row, bytes) in &before.ledger.sums {
        let found = ledger.sums.get(row).copied().unwrap_or_default();
        assert!(bytes.at_most(found), "{what}: {row:?} had {bytes:?}, has {found:?}");
    }
    never_more_than_carried(lab, books, &ledger, what);
    // What was carried in this run up to its last tick is in the ledger, whatever came after.
    if let Some(high_water) = ledger.high_water.filter(|at| *at > started) {
        let carried = books.between(started, high_water - TICK_SLACK_MICROS);
        let (safe, base) = (ledger.safe(), before.ledger.safe());
        let kept = Bytes { up: safe.up - base.up, down: safe.down - base.down };
        assert!(carried.at_most(kept), "{what}: {carried:?} before the last tick, {kept:?} kept");
        before.bounded += usize::from(carried != Bytes::default());
    }
    before.ledger = ledger;
    before.files = files;
}

/// No line of the ledger has more than the subscribers and the origin can have carried, and there are no other lines.
fn never_more_than_carried(lab: &Lab, books: &Books, ledger: &Ledger, what: &str) {
    let mut all = Bytes::default();
    for kind in Kind::ALL {
        let carried = books.at_most(&lab.origin, kind);
        all.add(carried);
        let found = ledger.sums.get(&kind.row()).copied().unwrap_or_default();
        assert!(found.at_most(carried), "{what}: {kind:?}: found {found:?}, carried {carried:?}");
    }
    let known = |row: &Row| *row == Row::orphaned() || Kind::ALL.iter().any(|kind| kind.row() == *row);
    let strange: Vec<_> = ledger.sums.keys().filter(|row| !known(row)).collect();
    assert!(strange.is_empty(), "{what}: {strange:?}");
    assert!(sum_where(&ledger.sums, |_| true).at_most(all), "{what}");
}

/// Kills one node as often as `ends` says, starts it again at once in the same folders, and stops it cleanly.
fn kill_one_node(node: usize, seed: u64) -> usize {
    let mut random = Random(seed.wrapping_add(node as u64));
    let lab = Lab::new(&Shape::default());
    let load = Load::start(&lab, random.next());
    let mut before = Before::default();
    let ends = ends(&mut random, node);
    for (turn, end) in ends.iter().enumerate() {
        let what = format!("node {node}, turn {turn}, {end:?}");
        let started = micros_now();
        match end {
            End::At(step, count) => {
                let mut daemon = lab.spawn(Some(&format!("{step}:{count}")));
                let status = daemon.wait();
                assert_eq!(status.signal(), Some(9), "{what}: {status}\n{}", lab.log());
            }
            End::After(pause) => {
                let daemon = lab.spawn(None);
                std::thread::sleep(*pause);
                daemon.kill();
            }
            End::Stopping(pause) => {
                let daemon = lab.start(None);
                std::thread::sleep(Duration::from_millis(300));
                daemon.signal(rustix::process::Signal::TERM);
                std::thread::sleep(*pause);
                daemon.kill();
            }
        }
        check_after_kill(&lab, &load.books, started, &mut before, &what);
        // The first commit may be the repair of the kill before; the next ones are ticks of this run.
        if matches!(end, End::At(Step::AfterCheckpointCommit, 2..)) {
            assert!(before.ledger.high_water.is_some_and(|at| at > started), "{what}: no tick was committed");
        }
    }
    let daemon = lab.start(None);
    lab.wait_ready();
    let whole = load.books.whole.load(std::sync::atomic::Ordering::Relaxed);
    wait_for("traffic after the last kill", || {
        (load.books.whole.load(std::sync::atomic::Ordering::Relaxed) > whole + 20).then_some(())
    });
    let books = load.end();
    assert!(lab.metric("zrgw_conservation_mismatch_total") == 0.0);
    daemon.stop(&lab);
    check_at_the_end(&lab, &books, &before);
    println!(
        "node {node}: {} kills, {} of them with a committed tick to hold them to",
        ends.len(),
        before.bounded
    );
    assert!(before.bounded > 0);
    ends.len()
}

/// After a clean stop: files and ledger agree, nothing is claimed that was not carried, nothing committed is missing.
fn check_at_the_end(lab: &Lab, books: &Books, before: &Before) {
    let files = lab.pickup();
    for (name, content) in &before.files {
        assert_eq!(files.get(name), Some(content), "{name} was there before");
    }
    lab.verify();
    lab.render_again();
    let totals = lab.totals();
    assert_eq!(totals, lab.ledger().sums, "files and ledger");
    for (row, bytes) in &before.ledger.sums {
        assert!(bytes.at_most(totals.get(row).copied().unwrap_or_default()), "{row:?} had {bytes:?}");
    }
    let mut all = Bytes::default();
    for kind in Kind::ALL {
        let carried = books.carried(kind);
        all.add(carried);
        let found = totals.get(&kind.row()).copied().unwrap_or_default();
        assert!(found.at_most(carried), "{kind:?}: found {found:?}, carried {carried:?}");
    }
    let found = sum_where(&totals, |_| true);
    assert!(found.at_most(all), "found {found:?}, carried {all:?}");
    println!(
        "carried {all:?}, in the files {found:?}, recovered as undecided {:?}, exchanges {:?}",
        totals.get(&Row::orphaned()).copied().unwrap_or_default(),
        books.whole,
    );
    assert!(!lab.log().contains("panicked"), "{}", lab.log());
}

/// Waits for all of them before the first that failed is told, so that none leaves its gateway behind.
fn all_of<T>(threads: Vec<std::thread::JoinHandle<T>>) -> Vec<T> {
    let outcomes: Vec<_> = threads.into_iter().map(std::thread::JoinHandle::join).collect();
    outcomes.into_iter().map(Result::unwrap).collect()
}

#[test]
fn t33_b1_b26_killed_at_every_step_and_at_any_time_a_hundred_times_under_load() {
    let seed = seed();
    let nodes: Vec<_> =
        (0..NODES).map(|node| std::thread::spawn(move || kill_one_node(node, seed))).collect();
    let kills: usize = all_of(nodes).into_iter().sum();
    assert!(kills >= 100, "{kills}");
}

/// One error at one step: told, got over without a restart, nothing lost and nothing doubled.
fn one_error(step: Step, seed: u64) {
    let lab = Lab::new(&Shape::default());
    let daemon = lab.start(Some(&format!("{step}:2:error")));
    let load = Load::start(&lab, seed);
    // The second time of a step of the seal is in the second period: it is well before that that we look.
    let reasons = lab.wait_not_ready("export: ");
    assert!(reasons.contains(step.label()) || reasons.contains("Input/output error"), "{step}: {reasons}");
    let whole = load.books.whole.load(std::sync::atomic::Ordering::Relaxed);
    wait_for("traffic after the error", || {
        (load.books.whole.load(std::sync::atomic::Ordering::Relaxed) > whole + 5).then_some(())
    });
    lab.wait_ready();
    let books = load.end();
    assert_eq!(books.broken.load(std::sync::atomic::Ordering::Relaxed), 0, "{step}: {}", lab.log());
    assert!(lab.metric("zrgw_conservation_mismatch_total") == 0.0);
    daemon.stop(&lab);
    lab.verify();
    lab.render_again();
    assert_eq!(lab.totals(), books.rows(), "{step}\n{}", lab.log());
    assert_eq!(lab.ledger().sums, books.rows(), "{step}");
}

#[test]
fn b17_an_error_at_any_step_is_told_and_got_over_and_the_totals_are_exact() {
    let seed = seed();
    for steps in Step::ALL.chunks(3) {
        let nodes: Vec<_> = steps
            .iter()
            .map(|step| {
                let step = *step;
                std::thread::spawn(move || one_error(step, seed))
            })
            .collect();
        all_of(nodes);
    }
}

/// An error in the repair of an unclean stop counts once as well, although the ledger is opened anew after it.
#[test]
fn b17_an_error_while_an_unclean_stop_is_repaired_is_got_over() {
    let seed = seed();
    let lab = Lab::new(&Shape::default());
    let load = Load::start(&lab, seed);
    let daemon = lab.start(None);
    wait_for("some traffic", || {
        (load.books.whole.load(std::sync::atomic::Ordering::Relaxed) > 20).then_some(())
    });
    wait_for("a saved tick", || lab.get("/api/v1/status").ok()?.1.contains("last_saved\":\"").then_some(()));
    daemon.kill();
    let daemon = lab.start(Some("before_checkpoint_commit:1:error"));
    lab.wait_ready();
    let books = load.end();
    daemon.stop(&lab);
    assert!(lab.log().contains("committing a checkpoint: Input/output error"), "{}", lab.log());
    lab.verify();
    let totals = lab.totals();
    let found = sum_where(&totals, |row| row.class == "exempt");
    let carried = books.carried(Kind::FirstListed).plus(books.carried(Kind::SecondListed));
    assert!(found.at_most(carried), "{found:?} {carried:?}");
}

/// Lists renewed over and over, flows that span it, and kills between: every file balances.
#[test]
fn b26_t32_conserved_over_random_flows_reloads_and_kills() {
    let seed = seed();
    let mut random = Random(seed);
    let lab = Lab::new(&Shape::default());
    let load = Load::start(&lab, random.next());
    let mut serial = 1;
    for _ in 0..6 {
        let daemon = lab.start(None);
        for _ in 0..random.range(2, 6) {
            std::thread::sleep(Duration::from_millis(random.range(20, 250)));
            serial += 1;
            lab.write_list(serial);
            daemon.signal(rustix::process::Signal::HUP);
        }
        assert!(lab.metric("zrgw_conservation_mismatch_total") == 0.0);
        daemon.kill();
    }
    let daemon = lab.start(None);
    wait_for("the last list", || {
        (lab.metric("zrgw_list_serial").to_string() == serial.to_string()).then_some(())
    });
    let whole = load.books.whole.load(std::sync::atomic::Ordering::Relaxed);
    wait_for("some traffic", || {
        (load.books.whole.load(std::sync::atomic::Ordering::Relaxed) > whole + 20).then_some(())
    });
    let books = load.end();
    assert!(lab.metric("zrgw_conservation_mismatch_total") == 0.0);
    daemon.stop(&lab);
    check_at_the_end(&lab, &books, &Before::default());
}

/// Requests cut off in the middle when the process is killed: nobody decided about them, so nobody is billed or freed for them.
#[test]
fn b1_bytes_without_a_verdict_at_a_kill_are_never_exempt() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let daemon = lab.start(None);
    let half = format!("GET /0/10 HTTP/1.1\r\nHost: {}\r\n", crash::LISTED);
    let mut visits = Vec::new();
    for kind in [Kind::FirstListed, Kind::SecondListed, Kind::StrangerListed] {
        let mut visit = crash::Visit::open(&lab, &books, kind).unwrap();
        visit.send(half.as_bytes()).unwrap();
        visits.push(visit);
    }
    let all = Bytes { up: 3 * half.len() as u64, down: 0 };
    wait_for("the bytes to be in a saved tick", || (lab.ledger().pending == all).then_some(()));
    daemon.kill();
    assert!(lab.ledger().sums.is_empty(), "{:?}", lab.ledger());
    drop(visits);
    let daemon = lab.start(None);
    daemon.stop(&lab);
    lab.verify();
    // `totals` itself wants the remark `recovered` on them.
    assert_eq!(lab.totals(), [(Row::orphaned(), all)].into());
}
