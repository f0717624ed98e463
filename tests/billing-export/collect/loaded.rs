//! What is delivered is in the ledger, once.

use std::fs;

use billing_export::*;

use crate::oracle::{Bench, data_of};
use crate::support::*;
use crate::{deliver, delivered, example};

#[test]
fn a_folder_is_loaded_and_every_total_is_the_sum_of_its_files() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let ran = bench.taken();
    let files = data_of(&bench.usage());
    let records: usize = files.iter().map(|path| rows(path).len()).sum();
    assert_eq!(ran.counts, [files.len() as u64, 0, 0, 0, records as u64]);
    bench.agrees_with(&files);
    let last = manifest(files.last().unwrap());
    assert_eq!(
        bench.watermark("zrgw-01"),
        serde_json::json!({"format": 1, "node_id": "zrgw-01", "epoch": 1, "record_seq": last["last_seq"],
            "file_seq": last["file_seq"]})
    );
    let (seq, file) = (last["last_seq"].as_str().unwrap(), last["file_seq"].as_str().unwrap());
    assert_eq!(bench.node("zrgw-01"), format!("{file}|1|{seq}|{seq}"));
    assert_eq!(
        bench.sql(
            "SELECT end_utc = (SELECT max(end_utc) FROM zrgw.record), holder, lease_until FROM zrgw.node"
        ),
        "t||"
    );
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.refusal"), "0");
}

#[test]
fn b4_a_folder_loaded_twice_changes_nothing() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    let first = bench.taken();
    let before = bench.dump();
    let second = bench.taken();
    assert_eq!(second.counts, [0, first.counts[0], 0, 0, 0]);
    assert_eq!(bench.dump(), before);
}

#[test]
fn b4_the_same_records_under_other_numbers_of_files_change_nothing() {
    let (node, bench) = (delivered(), Bench::new());
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let before = bench.dump();
    // Cut in another way, and under numbers that the ledger has not seen.
    let mut one = Node::new();
    one.settings.file_records_max = 1_000;
    let files = data_of(&node.settings.pickup_dir);
    let other = tempfile::tempdir().unwrap();
    for (index, data) in files.iter().enumerate() {
        crate::forge::renumbered(data, other.path(), 100 + index as u64);
    }
    copy_dir(other.path(), &bench.usage());
    let ran = bench.taken();
    assert_eq!(ran.counts, [0, 2 * files.len() as u64, 0, 0, 0]);
    assert_eq!(bench.dump(), before);
}

#[test]
fn b4_half_a_file_is_waited_for_and_not_refused() {
    let (node, bench) = (delivered(), Bench::new());
    let files = node.data_files();
    deliver(&files[0], &bench.usage());
    fs::copy(&files[1], bench.usage().join(files[1].file_name().unwrap())).unwrap();
    let ran = bench.taken();
    assert_eq!(ran.counts, [1, 0, 0, 1, 3]);
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.refusal"), "0");
    deliver(&files[1], &bench.usage());
    assert_eq!(bench.taken().counts, [1, 1, 0, 0, rows(&files[1]).len() as u64]);
    bench.agrees_with(&files[..2]);
}

#[test]
fn b12_counters_up_to_sixty_four_bits_are_exact_in_the_ledger() {
    let bench = Bench::new();
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let counts = [u64::from(u32::MAX), 1 << 32, (1 << 53) + 1, i64::MAX.unsigned_abs()];
    for (index, count) in counts.into_iter().enumerate() {
        let id = format!("7701000000{index}");
        let one = tick(index as u64 + 1, at(0), &[(exempt(&id, "a"), volume(count, 0))]);
        exporter.checkpoint(&one).unwrap();
        exporter.seal_now(at(1_000 * (i64::try_from(index).unwrap() + 1)), Cause::Volume).unwrap();
    }
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let mut forge = crate::forge::Forge::new("edge");
    for _ in 0..2 {
        forge.usage("1", u64::MAX, u64::MAX);
        forge.write(&bench.usage());
    }
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    bench.agrees_with(&data_of(&bench.usage()));
    let sum = u128::from(u64::MAX) * 2;
    assert_eq!(bench.sql("SELECT up_bytes FROM zrgw.total WHERE subscriber_id = '1'"), sum.to_string());
}

#[test]
fn many_nodes_stand_side_by_side() {
    let bench = Bench::new();
    for name in ["zrgw-01", "zrgw-02", "zrgw-03"] {
        let mut node = Node::new();
        node.settings.node_id = name.parse().unwrap();
        example(&mut node);
        copy_dir(&node.settings.pickup_dir, &bench.usage());
    }
    bench.taken();
    bench.agrees_with(&data_of(&bench.usage()));
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.node WHERE file_seq > 0"), "3");
}

#[test]
fn b26_a_file_whose_gateway_says_that_bytes_are_not_conserved_is_taken() {
    let bench = Bench::new();
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let mut one = tick(1, at(0), &[(exempt("1", "a"), volume(100, 100))]);
    one.seen.up = 99;
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let files = node.data_files();
    assert_eq!(manifest(&files[0])["conserved"], false);
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    bench.agrees_with(&files);
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.record WHERE kind = 'gap'"), "1");
}
