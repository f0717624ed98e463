//! The command: verify, show, render and totals as a script uses them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "command/called.rs"]
mod called;
#[path = "command/day.rs"]
mod day;
#[path = "command/delivered.rs"]
mod delivered;
#[path = "command/shown.rs"]
mod shown;
#[path = "command/sums.rs"]
mod sums;

use std::process::Command;

use billing_export::*;
use support::*;

/// Exit code, standard output, standard error.
fn command(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Three periods of two subscribers, published.
fn example() -> Node {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    for period in 0..3_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [
            (exempt("77010000001", "bilimland"), volume(100, 2_000)),
            (exempt("77010000002", "daryn-online"), volume(10, 20)),
            (charged("77010000001", Reason::NotListed), volume(5, 6)),
            (charged("77010000002", Reason::NoSubscriber), volume(1, 1)),
        ];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
    }
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    node
}

/// The pickup directory as an argument.
fn pickup(node: &Node) -> String {
    node.settings.pickup_dir.display().to_string()
}
