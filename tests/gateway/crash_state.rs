//! What is found at a start that is not what was left: a damaged ledger, damaged files on their way, a restored copy, a
//! ledger that somebody else has
//! (traps B2, B3, B8).

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
#[path = "crash_state/locked.rs"]
mod locked;
#[path = "crash_state/restored.rs"]
mod restored;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use crash::{Kind, Lab, Load, Shape, Sums, seed, sum_where, wait_for};

/// Lets subscribers browse until so many exchanges were whole.
fn some_traffic(load: &Load, exchanges: u64) {
    let whole = load.books.whole.load(Ordering::Relaxed);
    wait_for("traffic", || (load.books.whole.load(Ordering::Relaxed) >= whole + exchanges).then_some(()));
}

/// One run with some traffic and a clean stop; what was carried in it.
fn one_run(lab: &Lab, seed: u64) -> Sums {
    let daemon = lab.start(None);
    lab.wait_ready();
    let load = Load::start(lab, seed);
    some_traffic(&load, 40);
    let books = load.end();
    daemon.stop(lab);
    books.rows()
}

/// Copies a folder of files; a socket has nothing to copy.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Sums of two books.
fn both(one: &Sums, other: &Sums) -> Sums {
    let mut sums = one.clone();
    other.iter().for_each(|(row, bytes)| sums.entry(row.clone()).or_default().add(*bytes));
    sums
}

/// A node with this ledger carries traffic, exempts none of it, and says what is wrong and what to do.
fn refused_ledger(lab: &Lab, seed: u64) {
    let files = lab.pickup();
    let mut daemon = lab.start(None);
    let reasons = lab.wait_not_ready("ledger.db");
    assert!(reasons.contains("overload"), "{reasons}");
    let load = Load::start(lab, seed);
    some_traffic(&load, 40);
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    assert!(!lab.get("/metrics").unwrap().1.contains("class=\"exempt\""));
    assert_eq!(lab.get("/readyz").unwrap().0, 503);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(74), "it ends as asked, and its exit code tells\n{}", lab.log());
    let log = lab.log();
    let line = log.lines().rfind(|line| line.contains("ledger.db") && line.contains("ERROR"));
    let line = line.unwrap_or_else(|| panic!("the ledger in the log:\n{log}"));
    assert!(line.contains(&lab.state.join("ledger.db").display().to_string()), "place: {line}");
    assert!(line.contains("Move the state directory away") || line.contains("Restore"), "remedy: {line}");
    assert_eq!(lab.pickup(), files, "files of billing");
}

/// Something done to a file's content.
type Damage = dyn Fn(&mut Vec<u8>);

#[test]
fn b2_a_damaged_ledger_is_refused_with_its_remedy_and_traffic_flows_charged() {
    let seed = seed();
    let garbled = |content: &mut Vec<u8>| content.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x55);
    let headless = |content: &mut Vec<u8>| content.iter_mut().take(100).for_each(|byte| *byte = b'x');
    let cut = |content: &mut Vec<u8>| content.truncate(content.len() / 2 + 100);
    let damages: [(&str, &Damage); 3] = [("garbled", &garbled), ("headless", &headless), ("cut", &cut)];
    for (name, damage) in damages {
        println!("{name}");
        let lab = Lab::new(&Shape::default());
        let first = one_run(&lab, seed);
        let ledger = lab.state.join("ledger.db");
        let whole = fs::read(&ledger).unwrap();
        let mut damaged = whole.clone();
        damage(&mut damaged);
        fs::write(&ledger, &damaged).unwrap();
        refused_ledger(&lab, seed);
        // The remedy that the message names: away with it. The node goes on in a new epoch, and says that there is a gap.
        fs::rename(&lab.state, lab.folder().join("state.damaged")).unwrap();
        let second = one_run(&lab, seed);
        assert!(lab.log().contains("gap") || lab.log().contains("epoch"), "{}", lab.log());
        lab.verify();
        assert_eq!(lab.totals(), both(&first, &second), "{name}");
        assert!(lab.pickup().keys().any(|file| file.contains("_00002_")), "a second epoch");
    }
}

/// The write-ahead log torn after a kill: back to the last whole commit, or refused; never a total that is too great.
#[test]
fn b2_a_torn_write_ahead_log_never_gives_a_wrong_total() {
    let seed = seed();
    let lab = Lab::new(&Shape { period: "60 s", ..Shape::default() });
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed);
    some_traffic(&load, 60);
    wait_for("several saved ticks", || {
        (sum_where(&lab.ledger().sums, |_| true).down > 300_000).then_some(())
    });
    daemon.kill();
    let books = load.end();
    let whole = fs::read(lab.state.join("ledger.db-wal")).unwrap();
    assert!(whole.len() > 10_000, "a write-ahead log of {} bytes", whole.len());
    let safe = tempfile::tempdir().unwrap();
    copy_folder(&lab.state, safe.path());
    for (name, cut, flip) in [
        ("the last frame cut", whole.len() - 500, None),
        ("cut to a third", whole.len() / 3, None),
        ("a bit of the last frame flipped", whole.len(), Some(whole.len() - 2_000)),
        ("a bit in the middle flipped", whole.len(), Some(whole.len() / 2)),
    ] {
        println!("{name}");
        for entry in fs::read_dir(&lab.state).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        copy_folder(safe.path(), &lab.state);
        // The index of the log would vouch for frames that are gone; a power cut leaves none.
        let _ = fs::remove_file(lab.state.join("ledger.db-shm"));
        let mut torn = whole.clone();
        torn.truncate(cut);
        if let Some(place) = flip {
            torn[place] ^= 1;
        }
        fs::write(lab.state.join("ledger.db-wal"), torn).unwrap();
        let daemon = lab.start(None);
        let ready = lab.get("/readyz").unwrap().0 == 200;
        daemon.stop(&lab);
        let totals = lab.ledger().sums;
        assert!(ready || lab.log().contains("Move the state directory away"), "{name}: {}", lab.log());
        for kind in Kind::ALL {
            let found = totals.get(&kind.row()).copied().unwrap_or_default();
            assert!(found.at_most(books.carried(kind)), "{name}: {kind:?}: {found:?}");
        }
    }
}

/// Damage to what lies in the staging folder: it is written again from the ledger.
#[test]
fn b2_damaged_files_in_the_staging_folder_are_written_again() {
    let seed = seed();
    for (step, phase, ending) in [
        ("during_part", None, ".csv.part"),
        ("after_part_sync", None, ".csv.part"),
        // As a kill right after the store noted how far it was.
        ("after_part_sync", Some("data_ready"), ".csv.part"),
        ("during_manifest_part", None, ".manifest.json.part"),
        ("during_manifest_part", Some("manifest_ready"), ".manifest.json.part"),
    ] {
        println!("{step} {phase:?}");
        let lab = Lab::new(&Shape::default());
        let load = Load::start(&lab, seed);
        let mut daemon = lab.spawn(Some(&format!("{step}:2")));
        daemon.wait();
        let before = lab.ledger().sums;
        if let Some(phase) = phase {
            let connection = rusqlite::Connection::open(lab.state.join("ledger.db")).unwrap();
            let changed = connection.execute(
                "INSERT INTO delivery (sink, file_seq, phase, attempts)
                 SELECT 'files', min(file_seq), ?1, 0 FROM file WHERE file_seq NOT IN
                    (SELECT file_seq FROM delivery WHERE sink = 'files' AND phase = 'published')
                 ON CONFLICT DO UPDATE SET phase = excluded.phase",
                [phase],
            );
            assert_eq!(changed.unwrap(), 1);
        }
        let parts: Vec<_> = fs::read_dir(&lab.staging)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        assert_eq!(parts.len(), 1, "{parts:?}");
        let mut content = fs::read(&parts[0]).unwrap();
        content.iter_mut().for_each(|byte| *byte ^= 0x20);
        fs::write(&parts[0], content).unwrap();
        let daemon = lab.start(None);
        lab.wait_ready();
        some_traffic(&load, 20);
        let books = load.end();
        daemon.stop(&lab);
        lab.verify();
        lab.render_again();
        let totals = lab.totals();
        for (row, bytes) in &before {
            assert!(bytes.at_most(totals[row]), "{row:?}");
        }
        for kind in Kind::ALL {
            assert!(totals.get(&kind.row()).copied().unwrap_or_default().at_most(books.carried(kind)));
        }
        let left = fs::read_dir(&lab.staging).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.filter(|name| name.to_str().unwrap().ends_with(".part")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Rows changed between a kill and a start: told in log, readiness page and records, never published.
#[test]
fn f64_a_counter_changed_in_the_ledger_is_told_and_never_published() {
    let lab = Lab::new(&Shape { period: "900 s", ..Shape::default() });
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    some_traffic(&load, 40);
    wait_for("a saved tick", || (sum_where(&lab.ledger().sums, |_| true).down > 100_000).then_some(()));
    daemon.kill();
    load.end();
    let ledger = rusqlite::Connection::open(lab.state.join("ledger.db")).unwrap();
    let changed = ledger.execute("UPDATE counter SET list_serial = 777777 WHERE id = 1", []).unwrap();
    assert_eq!(changed, 1);
    drop(ledger);
    let daemon = lab.start(None);
    lab.wait_ready();
    let told = lab.get("/readyz").unwrap().1;
    assert!(told.contains("ledger_changed: "), "{told}");
    let metrics = lab.get("/metrics").unwrap().1;
    assert!(metrics.contains("zrgw_attention{reason=\"ledger_changed\"} 1"), "{metrics}");
    daemon.stop(&lab);
    let log = lab.log();
    assert!(
        log.lines().any(|line| line.contains("ERROR") && line.contains("not as they were written")),
        "{log}"
    );
    let files = lab.pickup();
    assert!(files.values().all(|content| !String::from_utf8_lossy(content).contains("777777")));
    let unbalanced = |content: &Vec<u8>| String::from_utf8_lossy(content).contains("\"conserved\":false");
    assert_eq!(
        files.values().filter(|content| unbalanced(content)).count(),
        1,
        "told, and not made to add up"
    );
}
