//! Collector and database are killed again and again: what is in the ledger at the end is what the files say, to the byte.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::oracle::{Bench, data_of};
use crate::support::*;

/// Kills of the collector.
const COLLECTOR_KILLS: u64 = 20;
/// Kills of the database.
const DATABASE_KILLS: u64 = 4;

/// Many small files of three nodes, in a folder.
fn many_files(folder: &std::path::Path) -> Vec<PathBuf> {
    for number in 1..=3_u64 {
        let mut node = Node::new();
        node.settings.node_id = format!("zrgw-{number}").parse().unwrap();
        node.settings.file_records_max = 20;
        let mut exporter = node.open(at(0));
        for period in 0..12_u64 {
            let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
            let usage: Vec<_> = (0..60)
                .map(|id| {
                    (exempt(&format!("770{id:05}"), "bilimland"), volume(number * 100 + period, 1_000 + id))
                })
                .collect();
            exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
            exporter.seal_due(at(15 * MINUTE * (i64::try_from(period).unwrap() + 1))).unwrap();
        }
        exporter.publish().unwrap();
        exporter.close().unwrap();
        copy_dir(&node.settings.pickup_dir, folder);
    }
    data_of(folder)
}

#[test]
fn b1_the_collector_is_killed_in_loops() {
    let seed = 0x0c01_1ec7;
    println!("seed {seed:#x}");
    let mut random = Seeded(seed);
    let mut bench = Bench::new();
    bench.done = "taken".into();
    let all = bench.root.path().join("all");
    fs::create_dir(&all).unwrap();
    let files = many_files(&all);
    copy_dir(&all, &bench.usage());
    let mut cut_short = 0;
    for kill in 0..COLLECTOR_KILLS {
        let mut child = bench.command(true).spawn().unwrap();
        // The first before it has done anything, the others anywhere.
        thread::sleep(Duration::from_millis(random.below(200) * kill.min(1)));
        cut_short += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{cut_short} of {COLLECTOR_KILLS} were at work");
    assert!(cut_short > 0, "none was at work when it was killed");
    bench.taken();
    bench.agrees_with(&files);
    assert_eq!(fs::read_dir(bench.usage()).unwrap().count(), 0);
    let taken = bench.root.path().join("taken");
    assert_eq!(data_of(&taken).len(), files.len());
    for file in &files {
        assert_eq!(fs::read(taken.join(file.file_name().unwrap())).unwrap(), fs::read(file).unwrap());
    }
    for node in ["zrgw-1", "zrgw-2", "zrgw-3"] {
        let last = bench.sql(&format!("SELECT max(file_seq) FROM zrgw.file WHERE node_id = '{node}'"));
        assert_eq!(bench.watermark(node)["file_seq"], last);
    }
}

#[test]
fn b1_the_database_is_killed_under_the_collector() {
    let seed = 0xdead_db01;
    println!("seed {seed:#x}");
    let mut random = Seeded(seed);
    let mut cluster = Cluster::own();
    let database = cluster.database();
    let root = tempfile::tempdir().unwrap();
    let all = root.path().join("all");
    fs::create_dir(&all).unwrap();
    let files = many_files(&all);
    let mut cut_short = 0;
    for round in 0..DATABASE_KILLS {
        let child = {
            let mut bench = Bench::on(&cluster);
            bench.database.clone_from(&database);
            copy_dir(&all, &bench.usage());
            let mut child = bench.command(true).spawn().unwrap();
            let enough = round * 20 + 1 + random.below(15);
            let count = || cluster.try_sql(&database, "SELECT count(*) FROM zrgw.file").1;
            while child.try_wait().unwrap().is_none() && count().trim().parse::<u64>().unwrap_or(0) < enough {
                thread::sleep(Duration::from_millis(2));
            }
            (child, bench.root)
        };
        cluster.kill();
        let (child, _root) = child;
        let ran = crate::oracle::ran(child.wait_with_output().unwrap());
        assert!([0, 74].contains(&ran.code), "round {round}: {} {}", ran.code, ran.errors);
        cut_short += u64::from(ran.code == 74);
        cluster.start();
    }
    println!("{cut_short} of {DATABASE_KILLS} were at work");
    assert!(cut_short > 0, "none was at work when the database was killed");
    let mut bench = Bench::on(&cluster);
    bench.database = database;
    copy_dir(&all, &bench.usage());
    bench.taken();
    bench.agrees_with(&files);
}
