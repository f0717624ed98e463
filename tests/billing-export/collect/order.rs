//! The order of arrival does not matter; holes hold the watermark; epochs that say they begin after a loss do not.

use std::fs;

use billing_export::record::Body;
use jiff::SignedDuration;

use crate::forge::Forge;
use crate::oracle::{Bench, data_of};
use crate::support::*;
use crate::{deliver, delivered};

#[test]
fn b4_any_order_of_arrival_comes_to_the_same() {
    let node = delivered();
    let files = node.data_files();
    let straight = Bench::new();
    copy_dir(&node.settings.pickup_dir, &straight.usage());
    straight.taken();
    for seed in 1..=5 {
        println!("seed {seed}");
        let mut random = Seeded(seed);
        let bench = Bench::new();
        let mut left = files.clone();
        while !left.is_empty() {
            let at = usize::try_from(random.below(left.len() as u64)).unwrap();
            deliver(&left.swap_remove(at), &bench.usage());
            bench.taken();
        }
        assert_eq!(bench.dump(), straight.dump(), "seed {seed}");
    }
}

#[test]
fn a_hole_holds_the_watermark_until_it_is_filled() {
    let node = delivered();
    let files = node.data_files();
    assert!(files.len() >= 5);
    let bench = Bench::new();
    let seq = |index: usize, key: &str| manifest(&files[index])[key].as_str().unwrap().to_owned();
    deliver(&files[2], &bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-01"), format!("0|0|0|{}", seq(2, "last_seq")));
    assert!(!bench.root.path().join("watermarks/zrgw-01.json").exists(), "nothing may be forgotten yet");
    deliver(&files[0], &bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-01"), format!("1|1|{}|{}", seq(0, "last_seq"), seq(2, "last_seq")));
    assert_eq!(bench.watermark("zrgw-01")["file_seq"], "1");
    deliver(&files[1], &bench.usage());
    deliver(&files[4], &bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-01"), format!("3|1|{}|{}", seq(2, "last_seq"), seq(4, "last_seq")));
    assert_eq!(bench.watermark("zrgw-01")["record_seq"], seq(2, "last_seq"));
}

#[test]
fn b3_a_hole_before_an_epoch_that_begins_with_a_gap_breaks_nothing() {
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-07");
    forge.usage("1", 10, 10);
    forge.write(&bench.usage());
    // Files 2 and 3 are lost with the state; it goes on in epoch 2, and says so.
    (forge.epoch, forge.seq, forge.file_seq) = (2, 1, 4);
    forge.start += SignedDuration::from_mins(60);
    forge.add(Body::Gap);
    forge.usage("1", 5, 5);
    forge.write(&bench.usage());
    forge.usage("2", 7, 7);
    forge.write(&bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-07"), "5|2|3|3");
    assert_eq!(
        bench.watermark("zrgw-07"),
        serde_json::json!({"format": 1, "node_id": "zrgw-07", "epoch": 2, "record_seq": "3", "file_seq": "5"})
    );
    bench.agrees_with(&data_of(&bench.usage()));

    // Without the gap record the hole is a hole.
    let bench = Bench::new();
    let mut forge = Forge::new("zrgw-07");
    forge.usage("1", 10, 10);
    forge.write(&bench.usage());
    (forge.epoch, forge.seq, forge.file_seq) = (2, 1, 4);
    forge.usage("1", 5, 5);
    forge.write(&bench.usage());
    bench.taken();
    assert_eq!(bench.node("zrgw-07"), "1|1|1|1");
}

#[test]
fn b3_a_restored_gateway_goes_on_in_the_ledger() {
    let mut node = delivered();
    let bench = Bench::new();
    let copy = tempfile::tempdir().unwrap();
    copy_dir(&node.settings.state_dir, copy.path());
    let mut exporter = node.open(at(60 * MINUTE));
    let one = tick(1, at(60 * MINUTE), &[(exempt("77010000009", "a"), volume(3, 4))]);
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(75 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    restore(copy.path(), &node.settings.state_dir);
    let mut exporter = node.open(at(90 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    let one = tick(1, at(90 * MINUTE), &[(exempt("77010000009", "a"), volume(30, 40))]);
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(105 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    copy_dir(&node.settings.pickup_dir, &bench.usage());
    bench.taken();
    let files = data_of(&bench.usage());
    bench.agrees_with(&files);
    let last = manifest(files.last().unwrap());
    assert_eq!(last["epoch"], 2);
    assert_eq!(bench.watermark("zrgw-01")["file_seq"], last["file_seq"]);
    assert_eq!(bench.sql("SELECT count(*) FROM zrgw.record WHERE kind = 'gap'"), "1");
}

#[test]
fn two_collectors_at_once_come_to_the_same() {
    let bench = Bench::new();
    for name in ["zrgw-01", "zrgw-02"] {
        let mut node = Node::new();
        node.settings.node_id = name.parse().unwrap();
        crate::example(&mut node);
        copy_dir(&node.settings.pickup_dir, &bench.usage());
    }
    let files = data_of(&bench.usage());
    let running: Vec<_> = (0..3).map(|_| bench.command(true).spawn().unwrap()).collect();
    let ran: Vec<_> =
        running.into_iter().map(|one| crate::oracle::ran(one.wait_with_output().unwrap())).collect();
    assert!(ran.iter().all(|ran| ran.code == 0), "{ran:?}");
    assert_eq!(
        ran.iter().map(|ran| ran.counts[0]).sum::<u64>(),
        files.len() as u64,
        "each file by one of them"
    );
    assert_eq!(ran.iter().map(|ran| ran.counts[0] + ran.counts[1]).min(), Some(files.len() as u64));
    bench.agrees_with(&files);
}

#[test]
fn two_collectors_that_move_the_files_away_lose_none() {
    let mut bench = Bench::new();
    bench.done = "taken".into();
    for number in 0..4 {
        let mut node = Node::new();
        node.settings.node_id = format!("zrgw-{number}").parse().unwrap();
        crate::example(&mut node);
        copy_dir(&node.settings.pickup_dir, &bench.usage());
    }
    let count = data_of(&bench.usage()).len();
    let running: Vec<_> = (0..3).map(|_| bench.command(true).spawn().unwrap()).collect();
    for one in running {
        let ran = crate::oracle::ran(one.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.errors);
    }
    assert_eq!(fs::read_dir(bench.usage()).unwrap().count(), 0);
    let taken = data_of(&bench.root.path().join("taken"));
    assert_eq!(taken.len(), count);
    bench.agrees_with(&taken);
}

#[test]
fn the_database_itself_refuses_a_number_twice() {
    let bench = Bench::new();
    copy_dir(&delivered().settings.pickup_dir, &bench.usage());
    bench.taken();
    let (done, text) = bench.cluster.try_sql(
        &bench.database,
        "INSERT INTO zrgw.span SELECT number, epoch, int8range(upper(seqs) - 1, upper(seqs) + 5), first_day, last_day
         FROM zrgw.span LIMIT 1",
    );
    assert!(!done && text.contains("span_once"), "{text}");
}

#[test]
fn b30_collectors_of_many_nodes_meet_in_the_same_totals() {
    const NODES: u64 = 4;
    let bench = Bench::new();
    let mut sums: std::collections::BTreeMap<String, [i128; 3]> = std::collections::BTreeMap::new();
    for node in 0..NODES {
        let folder = bench.root.path().join(format!("usage-{node}"));
        fs::create_dir(&folder).unwrap();
        let mut random = Seeded(node);
        let mut forge = Forge::new(&format!("zrgw-{node}"));
        let mut last = Vec::new();
        for _ in 0..25 {
            // The subscribers of all nodes are the same, in an order of each file's own.
            for _ in 0..20 {
                let id = format!("{:02}", random.below(30));
                let sum = sums.entry(id.clone()).or_default();
                last.push((forge.usage(&id, 100, 1_000), id));
                *sum = [sum[0] + 100, sum[1] + 1_000, sum[2] + 1];
            }
            for (reference, id) in last.drain(..).filter(|_| random.below(3) == 0).collect::<Vec<_>>() {
                forge.adjust(&id, reference, -7, -70);
                let sum = sums.entry(id).or_default();
                *sum = [sum[0] - 7, sum[1] - 70, sum[2]];
            }
            forge.write(&folder);
        }
    }
    let running: Vec<_> = (0..NODES)
        .map(|node| {
            let text = fs::read_to_string(bench.config()).unwrap();
            let path = bench.root.path().join(format!("collect-{node}.toml"));
            fs::write(&path, text.replace("dir = \"usage\"", &format!("dir = \"usage-{node}\""))).unwrap();
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_billing-export"));
            command.args(["collect", "--once", "--format", "json", "--config"]).arg(path);
            let piped = std::process::Stdio::piped;
            command.stdout(piped()).stderr(piped()).spawn().unwrap()
        })
        .collect();
    for one in running {
        let ran = crate::oracle::ran(one.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.counts[0]), (0, 25), "{}", ran.errors);
    }
    let wanted: Vec<_> =
        sums.iter().map(|(id, [up, down, count])| format!("{id}|{up}|{down}|{count}")).collect();
    let found = bench.sql("SELECT subscriber_id, up_bytes, down_bytes, records FROM zrgw.total ORDER BY 1");
    assert_eq!(found, wanted.join("\n"));
}
