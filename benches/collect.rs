//! The collector beside a plain COPY: records a second into PostgreSQL, with and without what makes a ledger of them.
//!
//! Files of [`SUBSCRIBERS`] records each, as a gateway seals them at the end of a period. In each round the same files go into a
//! database of their own twice: by one `COPY … FROM STDIN (FORMAT csv)` for each into a plain table without a key, and by the
//! collector, which reads, hashes and judges them, and adds each record to a total. Every record has a total of its own, and all
//! periods but the first of a round find it there: what a day of 15-minute periods does. Both sync to the disk.
//!
//! `cargo bench -p billing-export --bench collect`; the server is one of the bench, from Debian's package `postgresql`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench may panic"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/billing-export/collect/cluster.rs"]
mod cluster;
#[path = "../tests/billing-export/support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use billing_export::collect::config::Config;
use billing_export::collect::{Collector, Look, Refusal, Watch, Watermark};
use cluster::Cluster;
use support::*;

/// Records of one file.
const SUBSCRIBERS: u64 = 50_000;
/// Files of one round.
const PERIODS: u64 = 6;
/// Rounds; the middle one of each figure is printed.
const ROUNDS: usize = 3;

/// Wants every file to be taken.
struct Quiet;

impl Watch for Quiet {
    fn taken(&mut self, _: &Path, _: u64, _: &Watermark) {}
    fn known(&mut self, file: &Path) {
        panic!("{} is known", file.display());
    }
    fn refused(&mut self, file: &Path, refusal: &Refusal, _: bool) {
        panic!("{}: {refusal}", file.display());
    }
    fn stuck(&mut self, file: &Path, text: &str) {
        panic!("{}: {text}", file.display());
    }
    fn passes_over(&mut self, _: &Path) -> bool {
        false
    }
    fn is_stopping(&self) -> bool {
        false
    }
}

/// The files of a round, from a real exporter.
fn sealed() -> Node {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    for period in 0..PERIODS {
        let begin = 15 * MINUTE * i64::try_from(period).unwrap();
        let usage: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| (exempt(&format!("7701{number:07}"), "bilimland"), volume(100 + period, 10_000)))
            .collect();
        exporter.checkpoint(&tick(period + 1, at(begin), &usage)).unwrap();
        exporter.seal_due(at(begin + 15 * MINUTE)).unwrap();
    }
    exporter.publish().unwrap();
    exporter.close().unwrap();
    node
}

/// Copies the data files into a plain table.
fn plain(cluster: &Cluster, files: &[PathBuf]) -> Duration {
    let database = cluster.database();
    let url = format!("{} user=postgres dbname={database}", cluster.host());
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    client
        .batch_execute(
            "CREATE TABLE plain (node_id text, epoch bigint, record_seq bigint, kind text, ref_epoch bigint, ref_seq bigint,
             class text, reason text, subscriber_type text, subscriber_id text, session_id text, service_id text,
             rating_group bigint, list_id text, list_serial bigint, start_utc timestamptz, end_utc timestamptz,
             up_bytes numeric(20,0), down_bytes numeric(20,0), up_bytes_total numeric(20,0), down_bytes_total numeric(20,0),
             byte_basis text, disposition text, cause text, flags text)",
        )
        .unwrap();
    let begin = Instant::now();
    for file in files {
        let mut copy = client.copy_in("COPY plain FROM STDIN (FORMAT csv, HEADER true)").unwrap();
        io::copy(&mut io::BufReader::with_capacity(256 * 1024, File::open(file).unwrap()), &mut copy)
            .unwrap();
        assert_eq!(copy.finish().unwrap(), SUBSCRIBERS);
    }
    begin.elapsed()
}

/// Collects the folder.
fn collected(cluster: &Cluster, folder: &Path) -> Duration {
    let text = format!(
        "[ledger]\nurl = \"{} user=postgres dbname={}\"\nzone = \"Asia/Almaty\"\n[[source]]\nkind = \"files\"\ndir = \"{}\"\n",
        cluster.host(),
        cluster.database(),
        folder.display()
    );
    let mut collector = Collector::new(Config::parse(&text, Path::new("/")).unwrap());
    collector.connect().unwrap();
    let begin = Instant::now();
    let summary = collector.sweep(0, Look::Thorough, &mut Quiet).unwrap();
    let time = begin.elapsed();
    assert_eq!((summary.taken, summary.records), (PERIODS, PERIODS * SUBSCRIBERS));
    time
}

/// The middle one.
fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    // `cargo test --benches` only wants to know that it can be run.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let node = sealed();
    let files = node.data_files();
    let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let cluster = Cluster::own();
    let (mut plains, mut ledgers) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plains.push(plain(&cluster, &files));
        ledgers.push(collected(&cluster, &node.settings.pickup_dir));
    }
    let records = (PERIODS * SUBSCRIBERS) as f64;
    let (plain, ledger) = (middle(plains), middle(ledgers));
    println!("{PERIODS} files of {SUBSCRIBERS} records, {bytes} bytes; middle of {ROUNDS} rounds");
    println!("plain COPY  {:>9.0} records/s", records / plain);
    println!("collect     {:>9.0} records/s, totals with them", records / ledger);
    println!("ratio       {:>9.2}", plain / ledger);
}
