//! The collector that follows: new files, a ledger that goes and comes, health and figures, an orderly end.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, PATIENCE};
use crate::oracle::{Bench, data_of, ran};
use crate::support::*;
use crate::{deliver, delivered};

/// A collector that follows; killed if the test ends before it.
struct Follower {
    /// The process; none once it ended.
    child: Option<Child>,
    /// Its admin address.
    address: String,
}

impl Follower {
    /// Starts one over a bench, with an admin address of its own.
    fn start(bench: &mut Bench<'_>) -> Follower {
        // The port is free again when the collector takes it.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        bench.more = format!("[admin]\naddress = \"{address}\"\n");
        Follower { child: Some(bench.command(false).spawn().unwrap()), address }
    }

    /// Status and body of a path.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        reader.read_line(&mut head).ok()?;
        let mut rest = String::new();
        reader.read_to_string(&mut rest).ok()?;
        let body = rest.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
        Some((head.split(' ').nth(1)?.parse().ok()?, body))
    }

    /// Ends it with SIGTERM; its exit code and summary.
    fn end(mut self) -> crate::oracle::Ran {
        let child = self.child.take().unwrap();
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        ran(child.wait_with_output().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits for a state.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn files_are_taken_as_they_come_and_the_figures_say_so() {
    let (node, mut bench) = (delivered(), Bench::new());
    let files = node.data_files();
    let follower = Follower::start(&mut bench);
    until("ready", || follower.get("/readyz").is_some_and(|(status, _)| status == 200));
    assert_eq!(follower.get("/readyz").unwrap().1, r#"{"attention":[],"ready":true,"reasons":[]}"#);
    assert_eq!(follower.get("/healthz").unwrap().0, 200);
    assert_eq!(follower.get("/nothing").unwrap().0, 404);
    for (index, file) in files.iter().enumerate() {
        deliver(file, &bench.usage());
        until("the file", || bench.node("zrgw-01").starts_with(&format!("{}|", index + 1)));
    }
    // A file that is not right, and then is.
    let spoilt = crate::forge::renumbered(&files[0], &bench.usage(), 50);
    crate::put(&spoilt, b"x");
    let figure = |line: &str| follower.get("/metrics").unwrap().1.lines().any(|found| found == line);
    until("the refusal", || figure("zrgw_collect_refused_total{reason=\"sha256\"} 1"));
    let records: usize = files.iter().map(|path| rows(path).len()).sum();
    until("the records", || figure(&format!("zrgw_collect_records_total{{node=\"zrgw-01\"}} {records}")));
    assert!(figure(&format!("zrgw_collect_watermark{{node=\"zrgw-01\"}} {}", files.len())));
    let text = follower.get("/metrics").unwrap().1;
    let lag = text.lines().find_map(|line| line.strip_prefix("zrgw_collect_lag_seconds{node=\"zrgw-01\"} "));
    assert!(lag.unwrap().parse::<f64>().unwrap() > 1e8, "files of 2020: {text}");
    assert!(!text.contains("7701"), "no subscriber in a label");
    // Delivered again under the same name as it was sealed: looked at again, and known.
    crate::forge::renumbered(&files[0], &bench.usage(), 50);
    deliver(&files[1], &bench.usage());
    let mut forge = crate::forge::Forge::new("zrgw-09");
    forge.usage("1", 1, 1);
    let last = forge.write(&bench.usage());
    until("a file of another node", || bench.node("zrgw-09").starts_with("1|"));
    let ran = follower.end();
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(ran.counts[0], files.len() as u64 + 1);
    assert!(ran.counts[1] >= 1, "{ran:?}");
    assert_eq!(ran.errors.matches("refused: ").count(), 1, "said once: {}", ran.errors);
    let all: Vec<_> = files.iter().cloned().chain([last]).collect();
    bench.agrees_with(&all);
    assert_eq!(bench.watermark("zrgw-01")["file_seq"], files.len().to_string());
}

#[test]
fn a_ledger_that_is_away_is_waited_for() {
    let mut cluster = Cluster::own();
    let database = cluster.database();
    let node = delivered();
    let files = node.data_files();
    let root;
    let follower;
    {
        let mut bench = Bench::on(&cluster);
        bench.database.clone_from(&database);
        follower = Follower::start(&mut bench);
        deliver(&files[0], &bench.usage());
        until("the first file", || {
            bench.cluster.try_sql(&database, "SELECT 1 FROM zrgw.file").1.trim() == "1"
        });
        root = bench.root;
    }
    cluster.stop();
    deliver(&files[1], &root.path().join("usage"));
    until("not ready", || follower.get("/readyz").is_some_and(|(status, _)| status == 503));
    assert!(follower.get("/readyz").unwrap().1.contains("ledger_or_source_away"));
    assert_eq!(follower.get("/healthz").unwrap().0, 200, "it lives all the same");
    cluster.start();
    until("the second file", || cluster.try_sql(&database, "SELECT count(*) FROM zrgw.file").1.trim() == "2");
    until("ready again", || follower.get("/readyz").is_some_and(|(status, _)| status == 200));
    let ran = follower.end();
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert!(ran.errors.contains("trying again in"), "{}", ran.errors);
}

#[test]
fn connections_that_drip_keep_nobody_out_for_long() {
    let mut bench = Bench::new();
    let follower = Follower::start(&mut bench);
    until("ready", || follower.get("/readyz").is_some_and(|(status, _)| status == 200));
    let idle: Vec<_> = (0..64).map(|_| TcpStream::connect(&follower.address).unwrap()).collect();
    assert_eq!(follower.get("/healthz").unwrap().0, 200);
    drop(idle);
    assert_eq!(follower.end().code, 0);
}

#[test]
fn what_waits_for_other_files_is_looked_at_again() {
    let mut bench = Bench::new();
    let mut forge = crate::forge::Forge::new("zrgw-06");
    let all = bench.root.path().join("all");
    fs::create_dir(&all).unwrap();
    let usage = forge.usage("1", 100, 100);
    let first = forge.write(&all);
    forge.adjust("1", usage, -150, 0);
    let second = forge.write(&all);
    forge.usage("1", 60, 60);
    let third = forge.write(&all);
    let follower = Follower::start(&mut bench);
    deliver(&first, &bench.usage());
    deliver(&second, &bench.usage());
    until("the refusal", || {
        let text = "SELECT count(*) FROM zrgw.refusal WHERE reason LIKE 'below_zero%'";
        bench.cluster.try_sql(&bench.database, text).1.trim() == "1"
    });
    deliver(&third, &bench.usage());
    until("all three", || bench.node("zrgw-06").starts_with("3|"));
    assert_eq!(follower.end().code, 0);
    assert_eq!(bench.sql("SELECT up_bytes, down_bytes, records FROM zrgw.total"), "10|160|2");
    assert_eq!(data_of(&bench.usage()).len(), 3);
}
