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

/// Something done to a node's witness.
type Harm = dyn Fn(&Node);

#[test]
fn f65_a_witness_that_is_gone_or_strange_costs_no_committed_byte() {
    let harms: [(&str, &Harm); 4] = [
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
    drop(exporter);
    // Of the new ledger no file was handed out; of the one before there was.
    let said: serde_json::Value = serde_json::from_slice(&fs::read(witness(&node)).unwrap()).unwrap();
    assert_eq!((said["epoch"].as_u64(), said["file_seq"].as_u64()), (Some(3), Some(1)));
}

/// A node whose second witness is in memory, with two published periods; a copy of state and staging after the first.
fn copied() -> (Node, [PathBuf; 2]) {
    let mut node = Node::new();
    node.settings.memory_dir = Some(node.root.path().join("memory"));
    node.settings.boot_id = Some("boot-1".into());
    let copies = ["state.copy", "staging.copy"].map(|name| node.root.path().join(name));
    let mut exporter = node.open(at(0));
    let usage = [(exempt("1", "a"), volume(100, 200))];
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.checkpoint(&tick(2, at(16 * MINUTE), &[(exempt("1", "a"), volume(5, 5))])).unwrap();
    copy_dir(&node.settings.state_dir, &copies[0]);
    copy_dir(&node.settings.staging_dir, &copies[1]);
    exporter.checkpoint(&tick(3, at(17 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    drop(exporter);
    (node, copies)
}

/// Puts both copies back; billing has taken its files away.
fn put_back(node: &Node, copies: &[PathBuf; 2]) -> PathBuf {
    let billing = node.root.path().join("billing");
    fs::create_dir_all(&billing).unwrap();
    for file in files_ending(&node.settings.pickup_dir, "") {
        fs::rename(&file, billing.join(file.file_name().unwrap())).unwrap();
    }
    restore(&copies[0], &node.settings.state_dir);
    restore(&copies[1], &node.settings.staging_dir);
    billing
}

/// Counts another period, publishes it, and wants no name twice in what billing has of both.
fn goes_on(node: &mut Node, billing: &Path, minute: i64) -> verify::Report {
    let mut exporter = node.open(at(minute * MINUTE));
    exporter.checkpoint(&tick(1, at(minute * MINUTE), &[(exempt("2", "b"), volume(7, 7))])).unwrap();
    exporter.seal_due(at((minute + 15) * MINUTE)).unwrap();
    exporter.publish().unwrap();
    drop(exporter);
    verify_paths(&[billing.to_owned(), node.settings.pickup_dir.clone()])
}

#[test]
fn f63_state_and_staging_put_back_together_within_one_boot_begin_an_epoch() {
    let (mut node, copies) = copied();
    let billing = put_back(&node, &copies);
    let report = goes_on(&mut node, &billing, 45);
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
    let epochs: Vec<_> = node.rows().iter().map(|row| number(row, "epoch")).collect();
    assert!(epochs.iter().all(|epoch| *epoch == 2), "{epochs:?}");
    assert_eq!(report.up_bytes, 100 + 105 + 7, "what was open in the copy had been exported");
    let exporter = node.open(at(61 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (2, None), "an ordinary start is none");
}

#[test]
fn f63_after_a_boot_nobody_vouches_for_the_disk_and_no_name_is_used_twice() {
    let (mut node, copies) = copied();
    put_back(&node, &copies);
    fs::remove_dir_all(node.settings.memory_dir.as_ref().unwrap()).unwrap();
    node.settings.boot_id = Some("boot-2".into());
    let mut exporter = node.open(at(45 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    assert!(exporter.opened().new_epoch.unwrap().contains("started anew"));
    // What was open at a power cut is sealed in its own epoch; of a disk put back, billing has that name already, and is told.
    exporter.publish().unwrap();
    drop(exporter);
    let report = verify_paths(&[node.root.path().join("billing"), node.settings.pickup_dir.clone()]);
    assert!(!report.faults.is_empty(), "the receiver is told");
    assert!(node.rows().iter().all(|row| number(row, "epoch") == 2 || row["flags"] == "recovered"));
    let exporter = node.open(at(46 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (2, None), "once for each boot");
}

#[test]
fn f63_a_boot_after_a_clean_stop_uses_no_name_twice_even_on_a_disk_put_back() {
    let mut node = Node::new();
    node.settings.boot_id = Some("boot-1".into());
    let copies = ["state.copy", "staging.copy"].map(|name| node.root.path().join(name));
    for round in 0..2 {
        let mut exporter = node.open(at(round * 15 * MINUTE));
        let usage = [(exempt("1", "a"), volume(10, 10))];
        exporter.checkpoint(&tick(1, at(round * 15 * MINUTE), &usage)).unwrap();
        exporter.seal_now(at((round * 15 + 14) * MINUTE), Cause::Shutdown).unwrap();
        exporter.publish().unwrap();
        exporter.close().unwrap();
        if round == 0 {
            copy_dir(&node.settings.state_dir, &copies[0]);
            copy_dir(&node.settings.staging_dir, &copies[1]);
        }
    }
    let billing = put_back(&node, &copies);
    node.settings.boot_id = Some("boot-2".into());
    let report = goes_on(&mut node, &billing, 45);
    // The number of a file is there again under another name and epoch: the receiver is told that the disk was put back.
    assert!(report.faults.iter().all(|fault| fault.text.starts_with("file_seq")), "{:#?}", report.faults);
    assert_eq!((report.faults.len(), report.up_bytes), (1, 27));
}

#[test]
fn f63_without_boot_and_memory_the_receiver_is_told_at_the_latest() {
    let (mut node, copies) = copied();
    node.settings.memory_dir = None;
    node.settings.boot_id = None;
    let billing = put_back(&node, &copies);
    let report = goes_on(&mut node, &billing, 45);
    let told = |words: &str| report.faults.iter().any(|fault| fault.text.contains(words));
    assert!(told("record") && told("file_seq"), "{:#?}", report.faults);
}

#[test]
fn f63_everything_made_anew_at_the_same_place_is_a_first_start() {
    let (mut node, _) = copied();
    for directory in [&node.settings.state_dir, &node.settings.staging_dir, &node.settings.pickup_dir] {
        fs::remove_dir_all(directory).unwrap();
    }
    let exporter = node.open(at(45 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (1, None));
    drop(exporter);
    // State and staging alone are not: the pickup directory is the one that billing knows.
    for directory in [&node.settings.state_dir, &node.settings.staging_dir] {
        fs::remove_dir_all(directory).unwrap();
    }
    assert_eq!(node.open(at(46 * MINUTE)).epoch(), 2);
}

#[test]
fn f63_witnesses_in_memory_of_nodes_that_are_gone_are_removed_and_garbage_says_nothing() {
    let (mut node, _) = copied();
    let memory = node.settings.memory_dir.clone().unwrap();
    let mut other = Node::new();
    other.settings.memory_dir = Some(memory.clone());
    other.open(at(0)).close().unwrap();
    assert_eq!(files_ending(&memory, ".witness").len(), 2);
    drop(other);
    let exporter = node.open(at(45 * MINUTE));
    let left = files_ending(&memory, ".witness");
    assert_eq!(left.len(), 1, "{left:?}");
    drop(exporter);
    fs::write(&left[0], [0xff; 20_000]).unwrap();
    assert_eq!(node.open(at(46 * MINUTE)).epoch(), 1);
}
