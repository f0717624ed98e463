//! Restarts without a gap: nobody is refused, no flow is cut, every byte is in the records once.

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
#[path = "restart/failed.rs"]
mod failed;
#[path = "restart/flows.rs"]
mod flows;
#[path = "restart/protocol.rs"]
mod protocol;
#[path = "restart/under_load.rs"]
mod under_load;

use crash::node::Daemon;
use crash::{Books, Bytes, Kind, Lab, PIECE, Row, Shape, Visit, sum_where, wait_for};

/// Bytes of a long answer: minutes, unless the origin hurries.
const LONG: u64 = 10_000 * PIECE as u64;
/// Bytes of a short answer.
const SHORT: u64 = 700;

/// A node whose flows may take long to drain.
fn patient() -> Shape {
    Shape { drain: "120 s", drain_hard: "120 s", ..Shape::default() }
}

/// How often the log says `text`.
fn said(lab: &Lab, text: &str) -> usize {
    lab.log().matches(text).count()
}

/// Starts a process that takes over, and waits until the one before drains.
fn take_over(lab: &Lab) -> Daemon {
    let before = said(lab, "another process accepts");
    let mut daemon = lab.spawn_successor();
    wait_for("the new process to take over", || {
        assert!(daemon.ended().is_none(), "{}", lab.log());
        (said(lab, "another process accepts") > before).then_some(())
    });
    daemon
}

/// An open flow whose answer of so many bytes comes in pieces; its first bytes are read.
fn slow<'b>(lab: &Lab, books: &'b Books, kind: Kind, length: u64, pause_ms: u64) -> Visit<'b> {
    let mut visit = Visit::open(lab, books, kind).unwrap();
    let request = visit.request(length, Some(pause_ms));
    visit.send(request.as_bytes()).unwrap();
    assert!(visit.read(&mut [0; 64]).unwrap() > 0);
    visit
}

/// Everything in the records, whoever's.
fn recorded(lab: &Lab) -> Bytes {
    sum_where(&lab.totals(), |_| true)
}

/// Everything that the subscribers sent and read.
fn carried(books: &Books) -> Bytes {
    Kind::ALL.into_iter().fold(Bytes::default(), |sum, kind| sum.plus(books.carried(kind)))
}

/// All bytes are in the records once: each row has at most what was carried of its kind, and what a restart found
/// without a verdict makes up the rest.
fn assert_counted_once(lab: &Lab, books: &Books) {
    lab.verify();
    let totals = lab.totals();
    for (row, found) in totals.iter().filter(|(row, _)| **row != Row::orphaned()) {
        let kind = Kind::ALL.into_iter().find(|kind| kind.row() == *row);
        let kind = kind.unwrap_or_else(|| panic!("{row:?} {found:?}\n{}", lab.log()));
        assert!(found.at_most(books.carried(kind)), "{row:?} {found:?} {:?}", books.carried(kind));
    }
    assert_eq!(recorded(lab), carried(books), "{totals:?}\n{}", lab.log());
    // Hellos of a moment, not flows.
    let orphaned = totals.get(&Row::orphaned()).copied().unwrap_or_default();
    println!("without a verdict at a restart: {orphaned:?} of {:?}", carried(books));
    assert!(orphaned.up * 10 <= carried(books).up, "{orphaned:?}");
}
