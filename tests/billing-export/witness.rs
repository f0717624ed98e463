//! What a start makes of its state when the witness is gone, damaged or somebody else's (traps F63, F65).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use billing_export::*;
use support::*;

/// Copies a directory's files.
fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files_ending(from, "") {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Puts a copy in the place of a directory.
fn restore(copy: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy_dir(copy, to);
}

/// The node's witness.
fn witness(node: &Node) -> PathBuf {
    node.settings.staging_dir.join("zrgw-01.witness")
}

/// One published period, then counters that are open, and bytes without a verdict, at a kill.
fn killed() -> Node {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(100, 200))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let mut open = tick(2, at(16 * MINUTE), &[(exempt("1", "a"), volume(10, 20))]);
    (open.pending_after, open.seen) = (volume(3, 4), volume(13, 24));
    exporter.checkpoint(&open).unwrap();
    node
}

/// Kind, epoch, number, class, upward bytes, running total and flags of each row.
fn told(node: &Node) -> Vec<String> {
    let columns = ["kind", "epoch", "record_seq", "class", "up_bytes", "up_bytes_total", "flags"];
    let line = |row: &Row| columns.map(|column| row[column].as_str()).join(" ");
    node.rows().iter().map(line).collect()
}

#[test]
fn f65_a_witness_that_is_gone_or_strange_costs_no_committed_byte() {
    let harms: [(&str, &dyn Fn(&Node)); 4] = [
        ("gone", &|node| fs::remove_file(witness(node)).unwrap()),
        ("cut", &|node| fs::write(witness(node), &fs::read(witness(node)).unwrap()[..40]).unwrap()),
        ("garbage", &|node| fs::write(witness(node), [0xff; 9_000]).unwrap()),
        ("another node's", &|node| {
            let mut other = Node::new();
            other.settings.node_id = "zrgw-02".parse().unwrap();
            other.open(at(0)).close().unwrap();
            fs::copy(other.settings.staging_dir.join("zrgw-02.witness"), witness(node)).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let mut node = killed();
        harm(&node);
        let mut exporter = node.open(at(17 * MINUTE));
        assert_eq!(exporter.epoch(), 2, "{name}: nobody vouches for the ledger");
        let Opened { sealed, orphaned, set_aside, .. } = *exporter.opened();
        assert_eq!((sealed, orphaned, set_aside), (3, volume(3, 4), Volume::ZERO), "{name}");
        exporter.checkpoint(&tick(1, at(17 * MINUTE), &[(exempt("1", "a"), volume(1, 2))])).unwrap();
        exporter.seal_due(at(30 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        let wanted = [
            "usage 1 1 exempt 100 100 ",
            "usage 1 2 exempt 10 110 recovered",
            "usage 1 3 unattributed 3 3 recovered",
            "gap 2 1    ",
            "usage 2 2 exempt 1 1 ",
        ];
        assert_eq!(told(&node), wanted, "{name}");
        let gap = &node.rows()[3];
        assert_eq!(gap["start_utc"], "2020-04-06T12:16:01.000Z", "{name}: from the last tick");
        assert_eq!(node.verify().up_bytes, 114, "{name}");
        exporter.close().unwrap();
        assert_eq!(node.open(at(31 * MINUTE)).epoch(), 2, "{name}: once");
    }
}

#[test]
fn f65_a_start_that_is_interrupted_while_it_seals_goes_on_where_it_was() {
    for step in [Step::BeforeCheckpointCommit, Step::AfterCheckpointCommit, Step::MidSeal, Step::AfterSeal] {
        let mut node = killed();
        fs::remove_file(witness(&node)).unwrap();
        let error = node.try_open(at(17 * MINUTE), Box::new(FailAt::once(step))).map(drop);
        assert!(error.is_err(), "{step}");
        let mut exporter = node.open(at(18 * MINUTE));
        assert_eq!(exporter.epoch(), 2, "{step}");
        exporter.publish().unwrap();
        assert_eq!(node.verify().up_bytes, 113, "{step}");
    }
}

#[test]
fn f65_what_may_have_been_exported_before_is_set_aside_and_told() {
    let mut node = Node::new();
    let copy = node.root.path().join("copy");
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(5, 6))])).unwrap();
    copy_dir(&node.settings.state_dir, &copy);
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    drop(exporter);
    // With the witness gone, the names in the pickup directory speak.
    restore(&copy, &node.settings.state_dir);
    fs::remove_file(witness(&node)).unwrap();
    let exporter = node.open(at(20 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().set_aside), (2, volume(5, 6)));
    drop(exporter);
    assert_eq!(node.verify().up_bytes, 5);
}

#[test]
fn f65_a_copy_of_which_no_later_file_was_handed_out_keeps_its_open_counters() {
    let mut node = killed();
    let copy = node.root.path().join("copy");
    copy_dir(&node.settings.state_dir, &copy);
    // Another start counts, and hands out nothing.
    let mut exporter = node.open(at(17 * MINUTE));
    exporter.checkpoint(&tick(1, at(17 * MINUTE), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    drop(exporter);
    restore(&copy, &node.settings.state_dir);
    let mut exporter = node.open(at(18 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().set_aside), (2, Volume::ZERO));
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 113);
}

#[test]
fn f65_a_lost_ledger_is_told_by_a_new_epoch_and_a_new_witness_knows_what_the_old_one_knew() {
    let mut node = killed();
    fs::remove_file(witness(&node)).unwrap();
    let exporter = node.open(at(17 * MINUTE));
    exporter.close().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&fs::read(witness(&node)).unwrap()).unwrap();
    assert_eq!((said["epoch"].as_u64(), said["file_seq"].as_u64()), (Some(2), Some(1)));
    fs::remove_dir_all(&node.settings.state_dir).unwrap();
    let exporter = node.open(at(18 * MINUTE));
    assert_eq!(exporter.epoch(), 3);
    assert!(exporter.opened().new_epoch.unwrap().contains("gone"), "{:?}", exporter.opened());
}
