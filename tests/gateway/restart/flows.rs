//! Open flows over a restart, and a gateway that starts itself anew by a signal.

use std::time::Duration;

use rustix::process::Signal;

use super::crash::{Books, Bytes, Kind, Lab, PIECE, Row, Visit, wait_for};
use super::{SHORT, assert_counted_once, patient, said, slow, take_over};

#[test]
fn s_a_flow_goes_on_over_a_restart_to_its_end_and_is_whole_in_the_records() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let length = 60 * PIECE as u64;
    let mut visit = slow(&lab, &books, Kind::SecondListed, length, 20);
    let new = take_over(&lab);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").len() as u64;
    let mut block = [0; 4096];
    while books.carried(Kind::SecondListed).down < head + length {
        assert!(visit.read(&mut block).unwrap() > 0, "{}", lab.log());
    }
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    assert_counted_once(&lab, &books);
    // Its verdict stood before the restart.
    assert_eq!(lab.totals(), books.rows());
}

/// The ledger changes hands in the middle of a request: its first half is nobody's, the rest has its verdict.
#[test]
fn s_bytes_without_a_verdict_at_a_restart_are_nobodys_and_counted_once() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    let request = visit.request(SHORT, None);
    let (first, second) = request.as_bytes().split_at(request.len() / 2);
    visit.send(first).unwrap();
    wait_for("them to be pending", || (lab.ledger().pending.up == first.len() as u64).then_some(()));
    let new = take_over(&lab);
    visit.send(second).unwrap();
    visit.read_answer(SHORT).unwrap();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    new.stop(&lab);
    lab.verify();
    let totals = lab.totals();
    assert_eq!(totals[&Row::orphaned()], Bytes { up: first.len() as u64, down: 0 });
    let carried = books.carried(Kind::FirstListed);
    let rest = Bytes { up: second.len() as u64, down: carried.down };
    assert_eq!(totals[&Kind::FirstListed.row()], rest);
}

#[test]
fn s_by_signal_the_gateway_starts_itself_anew() {
    let lab = Lab::new(&patient());
    let books = Books::default();
    let mut old = lab.start(None);
    old.signal(Signal::USR2);
    wait_for("the new process", || (said(&lab, "another process accepts") == 1).then_some(()));
    let mut visit = Visit::open(&lab, &books, Kind::FirstListed).unwrap();
    visit.exchange(SHORT, Duration::ZERO).unwrap();
    visit.end().unwrap();
    assert!(old.wait().success(), "{}", lab.log());
    // The process id stands in the old one's word of it.
    let log = lab.log();
    let line = log.lines().find(|line| line.contains("another process accepts")).unwrap();
    let process = line.split("process=").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let process = rustix::process::Pid::from_raw(process.parse().unwrap()).unwrap();
    rustix::process::kill_process(process, Signal::TERM).unwrap();
    wait_for("its end", || said(&lab, "stopped: what was counted is sealed").ge(&2).then_some(()));
    lab.verify();
    assert_eq!(lab.totals(), books.rows());
}
