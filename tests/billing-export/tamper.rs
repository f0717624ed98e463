//! Rows of the ledger changed by another hand between a tick and a seal (trap F64), and the ledger of the version before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "tamper/at_start.rs"]
mod at_start;
#[path = "tamper/running.rs"]
mod running;
#[path = "tamper/unseen.rs"]
mod unseen;
#[path = "tamper/used_up.rs"]
mod used_up;

use std::path::PathBuf;

use billing_export::*;
use rusqlite::Connection;
use support::*;

/// The ledger.
fn ledger(node: &Node) -> PathBuf {
    node.settings.state_dir.join(STORE_NAME)
}

/// Changes the ledger as an auditor's tool would.
fn change(node: &Node, statements: &str) {
    let connection = Connection::open(ledger(node)).unwrap();
    connection.execute_batch(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// What a subscriber has spent.
fn spent(id: &str, bytes: u64) -> Spent {
    Spent { subscriber: session(id), allowance: "overall".into(), span: "day 2020-04-06".into(), bytes }
}

/// A published period of three subscribers, and a second one that is open: 1 has 10 + 20 bytes, 2 has 40 + 50, 3 has 7 + 8
/// charged ones.
fn counted(node: &mut Node) -> Exporter {
    let mut exporter = node.open(at(0));
    let usage = |base: u64| {
        [
            (exempt("1", "a"), volume(base + 10, base + 20)),
            (exempt("2", "a"), volume(base + 40, base + 50)),
            (charged("3", Reason::NotListed), volume(base + 7, base + 8)),
        ]
    };
    let mut first = tick(1, at(0), &usage(1_000));
    first.spent = vec![spent("1", 2_030), spent("2", 2_090)];
    exporter.checkpoint(&first).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let mut second = tick(2, at(16 * MINUTE), &usage(0));
    second.spent = vec![spent("1", 2_060)];
    exporter.checkpoint(&second).unwrap();
    exporter
}

/// Starts, seals and publishes; kind, epoch, subscriber, service, serial, bytes up and total of the rows of the second period.
fn told_after(node: &mut Node) -> (Opened, Vec<String>) {
    let mut exporter = node.open(at(17 * MINUTE));
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let opened = exporter.opened().clone();
    drop(exporter);
    let columns =
        ["kind", "epoch", "subscriber_id", "service_id", "list_serial", "up_bytes", "up_bytes_total"];
    let line = |row: &Row| columns.map(|column| row[column].as_str()).join(" ");
    (opened, node.rows().iter().skip(3).map(line).collect())
}

/// The rows of the second period as they were counted.
const TRUE_ROWS: [&str; 3] = ["usage 1 1 a 3 10 1020", "usage 1 2 a 3 40 1080", "usage 1 3  3 7 1014"];
