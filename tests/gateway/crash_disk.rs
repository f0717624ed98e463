//! A full disk under load: the ledger's, and the one of the usage files; and a ledger that another program
//! holds (trap B16). A small tmpfs is mounted, which needs root.

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

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use crash::{Bytes, Filler, Kind, Lab, Load, Row, Shape, seed, sum_where, wait_for};

/// A small file system in memory, gone with the value.
struct Small {
    folder: Option<tempfile::TempDir>,
}

impl Small {
    /// Mounts one of two MiB; none without the right to.
    fn mount() -> Option<Small> {
        let folder = tempfile::Builder::new().prefix("zrgw-small-").tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0755", "none"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small { folder: Some(folder) }),
            Ok(output) => {
                println!("SKIPPED: needs root to mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr));
                None
            }
            Err(error) => {
                println!("SKIPPED: needs mount(8): {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    fn text(&self, name: &str) -> String {
        self.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path: PathBuf = self.path().to_owned();
        let _ = Command::new("umount").arg("--lazy").arg(&path).status();
    }
}

/// Whole exchanges so far.
fn whole(load: &Load) -> u64 {
    load.books.whole.load(Ordering::Relaxed)
}

/// Waits for more traffic.
fn more_traffic(load: &Load, exchanges: u64) {
    let before = whole(load);
    wait_for("traffic", || (whole(load) >= before + exchanges).then_some(()));
}

#[test]
fn b16_a_full_disk_under_the_ledger_stops_exemption_and_nothing_is_lost() {
    let Some(small) = Small::mount() else { return };
    let shape = Shape { state_dir: small.text("state"), unsaved_max: "1 s", ..Shape::default() };
    let lab = Lab::new(&shape);
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    lab.wait_ready();
    let filler = Filler::fill(small.path());
    let reasons = lab.wait_not_ready("ledger.db");
    assert!(reasons.contains("Free space") || reasons.contains("full"), "{reasons}");
    let files = lab.pickup();
    lab.wait_not_ready("everything is charged as overload");
    more_traffic(&load, 60);
    assert_eq!(lab.pickup(), files, "nothing was published meanwhile");
    // A list of which no copy can be kept is in force all the same, and that is told.
    lab.write_list(2);
    daemon.signal(rustix::process::Signal::HUP);
    wait_for("the new list", || (lab.metric("zrgw_list_serial") == 2.0).then_some(()));
    wait_for("the word on the copy", || lab.log().contains("cannot be kept here").then_some(()));
    drop(filler);
    lab.wait_ready();
    let exempt_before = sum_where(&lab.ledger().sums, |row| row.class == "exempt");
    more_traffic(&load, 60);
    wait_for("exempt bytes again", || {
        (sum_where(&lab.ledger().sums, |row| row.class == "exempt").down > exempt_before.down).then_some(())
    });
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    assert!(lab.metric("zrgw_conservation_mismatch_total") == 0.0);
    daemon.stop(&lab);
    lab.verify();
    lab.render_again();
    let totals = lab.totals();
    for (first, kind) in [("77010000001", Kind::FirstListed), ("77010000002", Kind::SecondListed)] {
        let reason = |reason: &str| {
            sum_where(&totals, |row| {
                row.subscriber == first && row.class == "charged" && row.reason == reason
            })
        };
        assert!(reason("overload") != Bytes::default(), "{totals:?}");
        let exempt = totals[&kind.row()];
        // The process lived through it: every byte is in the files, under one of the two.
        assert_eq!(exempt.plus(reason("overload")), books.carried(kind), "{totals:?}");
    }
    for kind in [Kind::FirstUnlisted, Kind::SecondUnlisted, Kind::StrangerListed] {
        assert_eq!(totals[&kind.row()], books.carried(kind));
    }
}

#[test]
fn b16_a_full_disk_under_the_usage_files_holds_them_back_and_loses_nothing() {
    let Some(small) = Small::mount() else { return };
    let shape = Shape {
        usage_dir: small.text("usage"),
        staging_dir: small.text("staging"),
        unsaved_max: "1 s",
        ..Shape::default()
    };
    let lab = Lab::new(&shape);
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let filler = Filler::fill(small.path());
    let reasons = lab.wait_not_ready("export: ");
    assert!(reasons.contains(small.path().to_str().unwrap()), "{reasons}");
    assert!(reasons.contains("Free space"), "{reasons}");
    wait_for("a backlog", || (lab.metric("zrgw_export_backlog_records") >= 8.0).then_some(()));
    // Counts are saved all the while: exemption goes on.
    let (_, reasons) = lab.get("/readyz").unwrap();
    assert!(!reasons.contains("overload"), "{reasons}");
    lab.pickup();
    more_traffic(&load, 30);
    drop(filler);
    lab.wait_ready();
    wait_for("no backlog", || (lab.metric("zrgw_export_backlog_records") == 0.0).then_some(()));
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    daemon.stop(&lab);
    lab.verify();
    lab.render_again();
    assert_eq!(lab.totals(), books.rows());
}

/// Killed while the disk is full, and started on the full disk: what was committed is there when there is room again.
#[test]
fn b16_killed_and_started_on_a_full_disk_keeps_what_was_committed() {
    let Some(small) = Small::mount() else { return };
    let shape = Shape { state_dir: small.text("state"), ..Shape::default() };
    let lab = Lab::new(&shape);
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    lab.wait_ready();
    let filler = Filler::fill(small.path());
    lab.wait_not_ready("export: ");
    more_traffic(&load, 10);
    daemon.kill();
    let committed = lab.ledger().sums;
    let daemon = lab.start(None);
    lab.wait_not_ready("ledger.db");
    more_traffic(&load, 20);
    drop(filler);
    lab.wait_ready();
    more_traffic(&load, 20);
    let books = load.end();
    daemon.stop(&lab);
    lab.verify();
    lab.render_again();
    let totals = lab.totals();
    for (row, bytes) in &committed {
        assert!(bytes.at_most(totals.get(row).copied().unwrap_or_default()), "{row:?} had {bytes:?}");
    }
    for kind in Kind::ALL {
        assert!(
            totals.get(&kind.row()).copied().unwrap_or_default().at_most(books.carried(kind)),
            "{kind:?}"
        );
    }
    assert!(totals.keys().all(|row| {
        *row == Row::orphaned() || row.reason == "overload" || Kind::ALL.iter().any(|kind| kind.row() == *row)
    }));
}

/// Another program holds the ledger's write lock: named, got over, nothing lost.
#[test]
fn b16_a_ledger_locked_by_another_program_is_named_and_got_over() {
    let lab = Lab::new(&Shape { unsaved_max: "1 s", ..Shape::default() });
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let connection = rusqlite::Connection::open(lab.state.join("ledger.db")).unwrap();
    connection.busy_timeout(crash::PATIENCE).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let reasons = lab.wait_not_ready("ledger.db");
    assert!(reasons.contains("Close the other program"), "{reasons}");
    more_traffic(&load, 60);
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    lab.wait_ready();
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    daemon.stop(&lab);
    lab.verify();
    let totals = lab.totals();
    let all = Kind::ALL.into_iter().fold(Bytes::default(), |sum, kind| sum.plus(books.carried(kind)));
    assert_eq!(sum_where(&totals, |_| true), all, "{totals:?}");
}

/// SIGTERM while another program holds the ledger: the process ends, and what is in the ledger is published by the next.
#[test]
fn b16_a_stop_while_the_ledger_is_locked_ends() {
    let lab = Lab::new(&Shape::default());
    let mut daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let connection = rusqlite::Connection::open(lab.state.join("ledger.db")).unwrap();
    connection.busy_timeout(crash::PATIENCE).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let books = load.end();
    daemon.signal(rustix::process::Signal::TERM);
    // It ends, and its exit code tells.
    assert_eq!(daemon.wait().code(), Some(74), "{}", lab.log());
    assert!(lab.log().contains("the last counts are lost"), "{}", lab.log());
    drop(connection);
    let daemon = lab.start(None);
    daemon.stop(&lab);
    lab.verify();
    let totals = lab.totals();
    for kind in Kind::ALL {
        assert!(
            totals.get(&kind.row()).copied().unwrap_or_default().at_most(books.carried(kind)),
            "{kind:?}"
        );
    }
}
