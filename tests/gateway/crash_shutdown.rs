//! SIGTERM while subscribers are in the middle of something, and while counts cannot be saved.

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

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crash::{Books, Bytes, Kind, Lab, PIECE, Shape, Visit, wait_for};
use rustix::process::Signal;

/// How much longer than its deadline a behaviour may take in a test (a key of `config/examples/full.toml`).
const DEADLINE_FACTOR: u32 = 3;
/// Time that cut flows are given to leave, beyond the deadlines of the configuration.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// Opens a flow whose answer of so many bytes comes in pieces, and reads the first of them.
fn slow<'a>(lab: &Lab, books: &'a Books, length: u64, pause_ms: u64) -> Visit<'a> {
    let mut visit = Visit::open(lab, books, Kind::FirstListed).unwrap();
    let request = visit.request(length, Some(pause_ms));
    visit.send(request.as_bytes()).unwrap();
    assert!(visit.read(&mut [0; 64]).unwrap() > 0);
    visit
}

/// Waits until the node takes no new connections.
fn wait_closed(lab: &Lab) {
    wait_for("the listener to close", || TcpStream::connect(lab.listener).err());
}

#[test]
fn t25_a_drain_waits_for_an_open_flow_and_its_bytes_are_in_the_files() {
    let lab = Lab::new(&Shape::default());
    let books = Books::default();
    let mut daemon = lab.start(None);
    let length = 40 * PIECE as u64;
    let mut visit = slow(&lab, &books, length, 50);
    daemon.signal(Signal::TERM);
    wait_closed(&lab);
    lab.wait_not_ready("draining");
    let mut block = [0; 4096];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").len() as u64;
    while books.carried(Kind::FirstListed).down < head + length {
        assert!(daemon.ended().is_none(), "{}", lab.log());
        assert!(visit.read(&mut block).unwrap() > 0, "{}", lab.log());
    }
    visit.end().unwrap();
    assert!(daemon.wait().success());
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}

#[test]
fn t33_a_drain_ends_at_drain_hard_and_the_cut_flow_is_counted() {
    let shape = Shape { drain: "1 s", drain_hard: "2 s", ..Shape::default() };
    let drain_hard = Duration::from_secs(2);
    let lab = Lab::new(&shape);
    let books = Books::default();
    let mut daemon = lab.start(None);
    let mut visit = slow(&lab, &books, 100_000_000, 20);
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let mut block = [0; 4096];
    while visit.read(&mut block).is_ok_and(|count| count > 0) {
        assert!(asked.elapsed() < (drain_hard + CUT_GRACE) * DEADLINE_FACTOR, "{}", lab.log());
    }
    assert!(asked.elapsed() >= drain_hard, "cut after {:?}\n{}", asked.elapsed(), lab.log());
    assert!(daemon.wait().success());
    assert!(asked.elapsed() < (drain_hard + CUT_GRACE) * DEADLINE_FACTOR, "{}", lab.log());
    lab.verify();
    let totals = lab.totals();
    let carried = books.carried(Kind::FirstListed);
    assert_eq!(totals.keys().collect::<Vec<_>>(), [&Kind::FirstListed.row()]);
    let found = totals[&Kind::FirstListed.row()];
    assert!(found.at_most(carried), "{found:?} {carried:?}");
    // What was read and not yet acknowledged when the flow was cut is not claimed: a delayed acknowledgement, a few pieces.
    let slack = Bytes { up: 0, down: 10 * PIECE as u64 };
    assert!(carried.at_most(found.plus(slack)), "{found:?} {carried:?}");
}

/// Signals that come before the node is complete wait for it; their default action would be the end without a seal.
#[test]
fn t33_asked_to_reload_and_to_stop_while_it_starts_it_ends_as_asked() {
    let lab = Lab::new(&Shape::default());
    lab.start(None).stop(&lab);
    // Somebody's lock on the ledger makes the start last.
    let connection = rusqlite::Connection::open(lab.state.join("ledger.db")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut daemon = lab.spawn(None);
    wait_for("the listener", || TcpStream::connect(lab.listener).ok());
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    drop(connection);
    let status = daemon.wait();
    assert!(status.success(), "{status}\n{}", lab.log());
    lab.start(None).stop(&lab);
    lab.verify();
}

/// A flow in which nobody says anything is not waited for to the end.
#[test]
fn t33_after_drain_an_idle_flow_is_ended() {
    let shape = Shape { drain: "1 s", drain_hard: "1 h", ..Shape::default() };
    let (drain, idle) = (Duration::from_secs(1), Duration::from_secs(5));
    let lab = Lab::new(&shape);
    let books = Books::default();
    let mut daemon = lab.start(None);
    let mut visit = Visit::open(&lab, &books, Kind::SecondListed).unwrap();
    visit.exchange(1_000, Duration::ZERO).unwrap();
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    wait_closed(&lab);
    assert!(visit.read(&mut [0; 64]).map_or(true, |count| count == 0));
    assert!(asked.elapsed() >= drain, "cut after {:?}", asked.elapsed());
    assert!(daemon.wait().success());
    assert!(asked.elapsed() < (drain + idle + CUT_GRACE) * DEADLINE_FACTOR, "{}", lab.log());
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}

#[test]
fn t33_asked_a_second_time_it_ends_at_once() {
    let shape = Shape { drain: "1 h", drain_hard: "1 h", ..Shape::default() };
    let lab = Lab::new(&shape);
    let books = Books::default();
    let mut daemon = lab.start(None);
    let mut visit = slow(&lab, &books, 100_000_000, 20);
    daemon.signal(Signal::TERM);
    lab.wait_not_ready("draining");
    wait_closed(&lab);
    assert!(daemon.ended().is_none(), "{}", lab.log());
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let mut block = [0; 4096];
    while visit.read(&mut block).is_ok_and(|count| count > 0) {
        assert!(asked.elapsed() < CUT_GRACE * DEADLINE_FACTOR, "{}", lab.log());
    }
    assert!(daemon.wait().success());
    assert!(asked.elapsed() < CUT_GRACE * DEADLINE_FACTOR, "{}", lab.log());
    lab.verify();
    let totals = lab.totals();
    assert!(totals[&Kind::FirstListed.row()].at_most(books.carried(Kind::FirstListed)));
}

/// Counts that cannot be saved must neither hold a stopping node back nor cut the flows it waits for.
#[test]
fn b16_a_stop_while_the_ledger_cannot_be_used_drains_as_usual_and_ends() {
    let shape = Shape { drain: "1 h", drain_hard: "1 h", ..Shape::default() };
    let lab = Lab::new(&shape);
    fs::create_dir_all(&lab.state).unwrap();
    fs::write(lab.state.join("ledger.db"), "no database").unwrap();
    let books = Books::default();
    let mut daemon = lab.start(None);
    lab.wait_not_ready("ledger.db");
    let length = 30 * PIECE as u64;
    let mut visit = slow(&lab, &books, length, 50);
    daemon.signal(Signal::TERM);
    wait_closed(&lab);
    visit.read_answer(length - PIECE as u64).unwrap();
    assert!(daemon.ended().is_none(), "{}", lab.log());
    let _ = visit.end();
    assert_eq!(daemon.wait().code(), Some(74), "{}", lab.log());
    assert!(lab.log().contains("the last counts are lost"), "{}", lab.log());
    assert!(lab.pickup().is_empty());
}

/// The same with the flow open at the last tick that was taken: the node notices that it has ended.
#[test]
fn b16_a_stop_after_the_ledger_was_taken_away_ends_when_the_flows_have() {
    let shape = Shape { drain: "1 h", drain_hard: "1 h", ..Shape::default() };
    let lab = Lab::new(&shape);
    let books = Books::default();
    let mut daemon = lab.start(Some("before_checkpoint_commit:10:error"));
    let mut visit = slow(&lab, &books, 100_000_000, 20);
    wait_for("the flow to be counted", || (lab.metric("zrgw_flows_open") > 0.0).then_some(()));
    // After the error the ledger is read again, and is not the one it was.
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = fs::remove_file(lab.state.join(name));
    }
    lab.wait_not_ready("ledger.db");
    daemon.signal(Signal::TERM);
    wait_closed(&lab);
    assert!(visit.read(&mut [0; 4096]).unwrap() > 0, "{}", lab.log());
    drop(visit);
    assert_eq!(daemon.wait().code(), Some(74), "{}", lab.log());
}
