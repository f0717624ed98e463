//! The collector against a real PostgreSQL: what a folder of usage files comes to in the ledger, whatever happens on the way.
//!
//! The ledger is read by `psql`, and held against sums that the tests make of the files themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "collect/asked.rs"]
mod asked;
#[path = "collect/cluster.rs"]
mod cluster;
#[path = "collect/corrections.rs"]
mod corrections;
#[path = "collect/days.rs"]
mod days;
#[path = "collect/followed.rs"]
mod followed;
#[path = "collect/forge.rs"]
mod forge;
#[path = "collect/killed.rs"]
mod killed;
#[path = "collect/loaded.rs"]
mod loaded;
#[path = "collect/oracle.rs"]
mod oracle;
#[path = "collect/order.rs"]
mod order;
#[path = "collect/refused.rs"]
mod refused;
#[path = "collect/settled.rs"]
mod settled;
#[path = "collect/setup.rs"]
mod setup;

use std::path::Path;

use billing_export::*;
use support::*;

/// Three periods of two subscribers on a node, in files of three records.
fn example(node: &mut Node) {
    node.settings.file_records_max = 3;
    let mut exporter = node.open(at(0));
    for period in 0..3_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [
            (exempt("77010000001", "bilimland"), volume(100, 2_000)),
            (exempt("77010000002", "daryn-online"), volume(10, 20)),
            (charged("77010000001", Reason::NotListed), volume(5, u64::from(u32::MAX))),
            (charged("77010000002", Reason::NoSubscriber), volume(1, 1)),
        ];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
        exporter.seal_due(at(15 * MINUTE * (i64::try_from(period).unwrap() + 1))).unwrap();
    }
    exporter.publish().unwrap();
    exporter.close().unwrap();
}

/// A node with [`example`] in its pickup folder.
fn delivered() -> Node {
    let mut node = Node::new();
    example(&mut node);
    node
}

/// Copies one data file and its manifest into a folder, the manifest last.
fn deliver(data: &Path, to: &Path) {
    let manifest = data.to_str().unwrap().replace(".csv", ".manifest.json");
    for file in [data, Path::new(&manifest)] {
        put(&to.join(file.file_name().unwrap()), &std::fs::read(file).unwrap());
    }
}

/// Writes a file that is there whole or not at all: a collector may be looking.
fn put(path: &Path, bytes: &[u8]) {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(&part, path).unwrap();
}
