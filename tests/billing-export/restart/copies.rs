//! Restored copies, lost state and damaged witnesses: each begins a new epoch.

use std::fs;
use std::path::Path;

use billing_export::*;

use super::clone_of;
use crate::support::*;

/// One period with these bytes for one subscriber, sealed and published.
fn one_period(exporter: &mut Exporter, sequence: u64, minute: i64, bytes: u64) {
    let usage = [(exempt("77010000001", "bilimland"), volume(bytes, 2 * bytes))];
    exporter.checkpoint(&tick(sequence, at(minute * MINUTE), &usage)).unwrap();
    exporter.seal_due(at((minute + 15) * MINUTE)).unwrap();
    exporter.publish().unwrap();
}

#[test]
fn b3_a_restored_copy_begins_a_new_epoch_with_a_gap_record() {
    let mut node = Node::new();
    let copy = node.root.path().join("yesterday");
    let mut exporter = node.open(at(0));
    one_period(&mut exporter, 1, 0, 100);
    exporter.close().unwrap();
    copy_dir(&node.settings.state_dir, &copy);
    let mut exporter = node.open(at(15 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (1, None));
    one_period(&mut exporter, 1, 15, 10);
    one_period(&mut exporter, 2, 30, 10);
    exporter.close().unwrap();

    restore(&copy, &node.settings.state_dir);
    let mut exporter = node.open(at(60 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    assert!(exporter.opened().new_epoch.is_some());
    one_period(&mut exporter, 1, 60, 7);
    let rows = node.rows();
    let identity = |row: &Row| (number(row, "epoch"), number(row, "record_seq"));
    let identities: Vec<_> = rows.iter().map(identity).collect();
    assert_eq!(identities, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]);
    assert_eq!((rows[3]["kind"].as_str(), rows[3]["cause"].as_str()), ("gap", "recovered"));
    assert_eq!(rows[3]["start_utc"], "2020-04-06T12:00:01.000Z", "from what the copy knew");
    assert_eq!(rows[3]["end_utc"], "2020-04-06T13:00:00.000Z");
    assert_eq!(number(&rows[4], "up_bytes_total"), 7, "totals begin again");
    let files: Vec<_> = node.data_files().iter().map(|path| number_in(path)).collect();
    assert_eq!(files, [1, 2, 3, 4, 5], "file numbers go on above all that billing saw");
    let report = node.verify();
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    exporter.close().unwrap();
    let exporter = node.open(at(80 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (2, None), "once");
}

/// `file_seq` of a name.
fn number_in(path: &Path) -> u64 {
    name::FileName::of_file(path.file_name().unwrap().to_str().unwrap()).unwrap().file_seq()
}

#[test]
fn b3_a_copy_of_the_same_run_is_told_by_the_files_it_does_not_know() {
    let mut node = Node::new();
    let copy = node.root.path().join("copy");
    let mut exporter = node.open(at(0));
    one_period(&mut exporter, 1, 0, 100);
    copy_dir(&node.settings.state_dir, &copy);
    one_period(&mut exporter, 2, 15, 100);
    drop(exporter);
    for file in files_ending(&node.settings.pickup_dir, "") {
        fs::remove_file(file).unwrap();
    }
    restore(&copy, &node.settings.state_dir);
    let exporter = node.open(at(31 * MINUTE));
    assert_eq!(exporter.epoch(), 2, "billing took the files away; the witness remembers them");
}

#[test]
fn b3_open_counters_of_a_restored_copy_are_not_claimed_a_second_time() {
    let mut node = Node::new();
    let copy = node.root.path().join("copy");
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(5, 5))])).unwrap();
    copy_dir(&node.settings.state_dir, &copy);
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    drop(exporter);
    restore(&copy, &node.settings.state_dir);
    let mut exporter = node.open(at(20 * MINUTE));
    exporter.seal_now(at(21 * MINUTE), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    let sum: u64 =
        node.rows().iter().filter(|row| row["kind"] == "usage").map(|row| number(row, "up_bytes")).sum();
    assert_eq!(sum, 5);
    node.verify();
}

#[test]
fn b3_sealed_files_of_a_copy_that_were_not_published_are() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(5, 5))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.close().unwrap();
    fs::remove_file(node.settings.staging_dir.join("zrgw-01.witness")).unwrap();
    let mut exporter = node.open(at(20 * MINUTE));
    assert_eq!(exporter.epoch(), 2, "without a witness nobody can tell");
    assert_eq!(exporter.backlog_records(), 2);
    assert_eq!(exporter.publish().unwrap(), 2);
    assert_eq!(exporter.backlog_records(), 0);
    assert_eq!(node.verify().records, 2);
}

#[test]
fn b3_lost_state_and_damaged_witness_each_begin_a_new_epoch() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    one_period(&mut exporter, 1, 0, 100);
    exporter.close().unwrap();
    fs::remove_dir_all(&node.settings.state_dir).unwrap();
    let exporter = node.open(at(20 * MINUTE));
    assert_eq!(exporter.epoch(), 2, "the ledger is gone");
    exporter.close().unwrap();
    let witness = node.settings.staging_dir.join("zrgw-01.witness");
    let whole = fs::read(&witness).unwrap();
    for at_byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at_byte] ^= 1;
        fs::write(&witness, &damaged).unwrap();
        let mut node = clone_of(&node);
        let exporter = node.open(at(30 * MINUTE));
        // The last byte is the line end, which says nothing.
        assert!(
            exporter.epoch() == 3 || at_byte + 1 == whole.len(),
            "byte {at_byte}: {:?}",
            exporter.opened()
        );
    }
    fs::write(&witness, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(node.open(at(30 * MINUTE)).epoch(), 3);
}
