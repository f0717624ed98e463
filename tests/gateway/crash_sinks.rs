//! The folder of usage files stands still under load: what is counted is saved and sealed all the same, and the folder has
//! every byte once when it goes on. It really stands still: its thread is blocked in open(2) of a pipe that nobody reads.

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

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crash::{Lab, Load, Shape, seed, wait_for};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

/// Where the folder's thread stands still: the witness is written there before each new file.
struct Pipe(PathBuf);

impl Pipe {
    /// Puts the pipe where the next witness is written.
    fn put(lab: &Lab) -> Pipe {
        let path = lab.staging.join("crash-1.witness.part");
        // The name is free but for the moment in which a witness is written.
        wait_for("the name of the witness", || {
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).ok()
        });
        Pipe(path)
    }

    /// Lets who stands there go on, into an error: a pipe cannot be synced. The name is free then.
    fn open(self) -> JoinHandle<()> {
        std::thread::spawn(move || {
            let mut end = File::open(&self.0).unwrap();
            std::fs::remove_file(&self.0).unwrap();
            let mut rest = Vec::new();
            end.read_to_end(&mut rest).unwrap();
        })
    }
}

/// Waits for more traffic.
fn more_traffic(load: &Load, exchanges: u64) {
    let whole = || load.books.whole.load(Ordering::Relaxed);
    let before = whole();
    wait_for("traffic", || (whole() >= before + exchanges).then_some(()));
}

/// Waits until the folder is at one file for longer than it may.
fn wait_behind(lab: &Lab) {
    wait_for("attention", || {
        let (code, body) = lab.get("/readyz").ok()?;
        (code == 200 && body.contains("sink_behind: ") && body.contains("at one file")).then_some(())
    });
}

fn shape(delivery_max: &'static str) -> Shape {
    Shape { unsaved_max: "8 s", delivery_max, ..Shape::default() }
}

#[test]
fn a_sink_that_hangs_stops_neither_saving_nor_sealing_and_has_all_of_it_afterwards() {
    // Long enough for a healthy folder on a busy disk: at the stop it is to be waited for.
    let lab = Lab::new(&shape("5 s"));
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let pipe = Pipe::put(&lab);
    wait_behind(&lab);
    let published = lab.pickup().len();
    let has = lab.metric("zrgw_sink_watermark");
    // Periods are sealed, seconds are saved, and exemption goes on, for longer than counts may go unsaved.
    let backlog = lab.metric("zrgw_sink_backlog_records");
    wait_for("a backlog that grows", || {
        more_traffic(&load, 10);
        (lab.metric("zrgw_sink_backlog_records") >= backlog + 24.0).then_some(())
    });
    assert!(lab.metric("zrgw_export_backlog_records") >= backlog + 24.0);
    assert_eq!(lab.metric("zrgw_sink_watermark"), has);
    assert_eq!(lab.metric("zrgw_exemption_suspended"), 0.0, "{}", lab.log());
    let saved = lab.metric("zrgw_export_last_success_timestamp_seconds");
    wait_for("counts saved", || {
        (lab.metric("zrgw_export_last_success_timestamp_seconds") >= saved + 2.0).then_some(())
    });
    assert!(lab.metric("zrgw_sink_last_success_timestamp_seconds") < saved);
    assert_eq!(lab.pickup().len(), published, "nothing half is to be seen");
    let reader = pipe.open();
    wait_for("no backlog", || (lab.metric("zrgw_sink_backlog_records") < 8.0).then_some(()));
    assert!(lab.metric("zrgw_sink_errors_total") >= 1.0, "a pipe cannot be synced");
    assert!(lab.metric("zrgw_sink_watermark") > has);
    lab.wait_ready();
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    daemon.stop(&lab);
    reader.join().unwrap();
    lab.verify();
    lab.render_again();
    assert_eq!(lab.totals(), books.rows());
}

#[test]
fn a_stop_waits_for_no_sink_that_stands_still_and_the_next_start_publishes_what_was_counted() {
    let lab = Lab::new(&shape("1 s"));
    let mut daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let pipe = Pipe::put(&lab);
    wait_behind(&lab);
    more_traffic(&load, 10);
    let books = load.end();
    daemon.signal(Signal::TERM);
    daemon.wait();
    // Sealed and not published, and nothing else is open.
    assert_eq!(lab.ledger().sums, books.rows());
    std::fs::remove_file(&pipe.0).unwrap();
    let daemon = lab.start(None);
    wait_for("no backlog", || (lab.metric("zrgw_sink_backlog_records") == 0.0).then_some(()));
    daemon.stop(&lab);
    lab.verify();
    lab.render_again();
    assert_eq!(lab.totals(), books.rows());
}

#[test]
fn while_a_sink_stands_still_no_process_takes_over_and_the_old_one_goes_on() {
    let lab = Lab::new(&shape("1 s"));
    let daemon = lab.start(None);
    let load = Load::start(&lab, seed());
    more_traffic(&load, 30);
    wait_for("a first file", || (!lab.pickup().is_empty()).then_some(()));
    let pipe = Pipe::put(&lab);
    wait_behind(&lab);
    // It makes files in the staging folder as soon as it goes on: two must not do that at once.
    let mut successor = lab.spawn_successor();
    assert!(!successor.wait().success(), "{}", lab.log());
    more_traffic(&load, 30);
    assert_eq!(lab.metric("zrgw_exemption_suspended"), 0.0, "{}", lab.log());
    let reader = pipe.open();
    wait_for("no backlog", || (lab.metric("zrgw_sink_backlog_records") < 8.0).then_some(()));
    let books = load.end();
    assert_eq!(books.broken.load(Ordering::Relaxed), 0, "{}", lab.log());
    daemon.signal(Signal::TERM);
    let mut daemon = daemon;
    daemon.wait();
    reader.join().unwrap();
    // A stop on a busy disk may leave the last file to the next start.
    lab.start(None).stop(&lab);
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}
