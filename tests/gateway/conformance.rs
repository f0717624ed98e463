//! `gateway conformance`: its answers against the exported files as an independent CSV reader finds them, what it says of a
//! list that is wrong, and that nothing of it stays on the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The longest anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user who may do nothing.
const NOBODY: u32 = 65_534;

/// One audit at a time: each carries some 270 MB, and a packet that a queue of an overloaded machine drops is more than its totals may
/// differ by.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether namespaces can be made here; says `SKIPPED:` when not.
fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("SKIPPED: only root makes network namespaces");
    }
    root
}

/// The command with these arguments, in a folder of its own.
fn conformance(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.arg("conformance").args(arguments).arg("--dir").arg(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end: its process id and what it printed.
fn run(folder: &Path, arguments: &[&str]) -> (u32, Output) {
    let child = conformance(folder, arguments).spawn().unwrap();
    (child.id(), child.wait_with_output().unwrap())
}

/// The namespaces of a run.
fn namespaces(process: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/run/netns") else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("zrgw-{process}-"))).collect()
}

/// Processes whose command line names the folder.
fn processes_of(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
    // A process that ends meanwhile has no file.
    entries.filter_map(|file| fs::read(file).ok()).filter(|line| contains(line, folder)).count()
}

/// Whether bytes contain a text.
fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Waits for a condition while the process runs.
fn await_while(child: &mut Child, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended first");
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one JSON object.
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// Bytes downward by subscriber and class in the usage files of a folder.
fn exported(folder: &Path) -> BTreeMap<(String, String), u64> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder.join("usage")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        let mut reader = csv::Reader::from_path(path).unwrap();
        let header = reader.headers().unwrap().clone();
        let column = |name: &str| header.iter().position(|known| known == name).unwrap();
        let [class, id, down] = ["class", "subscriber_id", "down_bytes"].map(column);
        for row in reader.records().map(Result::unwrap) {
            let Ok(bytes) = row[down].parse::<u64>() else { continue };
            *sums.entry((row[id].to_owned(), row[class].to_owned())).or_default() += bytes;
        }
    }
    sums
}

/// Whether a sum is that of the devices, but for what a QUIC client no longer counts when it has closed.
fn near(sum: u64, seen: u64) -> bool {
    sum > 0 && sum.abs_diff(seen) <= 4_096
}

/// Sum of the bytes that devices saw in probes of these tests, of those with this answer.
fn carried(outcome: &Value, tests: &[&str], found: &str) -> u64 {
    let probes = outcome["probes"].as_array().unwrap().iter();
    let chosen =
        probes.filter(|probe| probe["found"] == found && tests.contains(&probe["test"].as_str().unwrap()));
    chosen.map(|probe| probe["carried_bytes"].as_u64().unwrap()).sum()
}

#[test]
fn t23_t36_what_the_audit_answers_is_what_the_records_say_over_both_ip_versions() {
    audit("tproxy");
}

#[test]
fn t23_t36_packets_that_stay_in_the_kernel_get_the_same_answers() {
    if support::edge::has_programs() {
        audit("kernel");
    }
}

/// The whole audit of one interception, and its answers against the files.
fn audit(interception: &str) {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let root = TempDir::new().unwrap();
    let folder = root.path().join("new/folder");
    let (process, output) = run(&folder, &["--format", "json", "--interception", interception]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let outcome = json(&output);
    assert_eq!((&outcome["ok"], &outcome["faults"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    let answers: BTreeSet<String> = outcome["probes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|probe| {
            let [test, protocol, version, found, detail] =
                ["test", "protocol", "ip_version", "found", "detail"]
                    .map(|key| probe[key].as_str().unwrap_or("-"));
            format!("{test} {protocol} {version}: {found}, {detail}")
        })
        .collect();
    let mut wanted = BTreeSet::new();
    for version in ["ipv4", "ipv6"] {
        for protocol in ["tcp", "quic"] {
            wanted.insert(format!("validate {protocol} {version}: exempt, -"));
            wanted.insert(format!("CheckSni {protocol} {version}: not exempt, address_mismatch"));
            wanted.insert(format!("CheckIp {protocol} {version}: not exempt, not_listed"));
            wanted.insert(format!("zero-balance {protocol} {version}: exempt, -"));
            wanted.insert(format!("zero-balance {protocol} {version}: cut off, timed out"));
        }
    }
    assert_eq!(answers, wanted);
    let sums = exported(&folder);
    let exempt = |who: &str| sums[&(who.to_owned(), "exempt".to_owned())];
    assert!(near(exempt("paying"), carried(&outcome, &["validate"], "exempt")), "{sums:?}");
    assert!(near(exempt("without-credit"), carried(&outcome, &["zero-balance"], "exempt")), "{sums:?}");
    let charged = sums[&("paying".to_owned(), "charged".to_owned())];
    assert!(near(charged, carried(&outcome, &["CheckSni", "CheckIp"], "not exempt")), "{sums:?}");
    // What somebody who is cut off sends last may have no verdict when the node ends: it is nobody's then.
    let without_verdict =
        |who: &str, class: &str, bytes: u64| who.is_empty() && class == "unattributed" && bytes <= 4_096;
    let known = sums.iter().filter(|((who, class), bytes)| !without_verdict(who, class, **bytes));
    let subscribers: BTreeSet<&String> = known.map(|((who, _), _)| who).collect();
    assert_eq!(subscribers.len(), 2, "IPv4 and IPv6 are one subscriber: {subscribers:?}");
    assert_eq!(namespaces(process), [""; 0]);
    assert_eq!(processes_of(&folder), 0);
}

#[test]
fn t23_a_list_by_address_is_found_wanting() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let root = TempDir::new().unwrap();
    let (process, output) = run(root.path(), &["--by-address"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let wrong: Vec<&str> = table.lines().filter(|line| line.ends_with("WRONG")).collect();
    assert_eq!(wrong.len(), 8, "{table}");
    assert!(table.contains("16 of 24 probes as they must be"), "{table}");
    for version in ["ipv4", "ipv6"] {
        for line in [
            format!("CheckIp over tcp and {version}: found exempt, wanted not exempt"),
            format!("CheckIp over quic and {version}: found exempt, wanted not exempt"),
            format!("zero-balance over tcp and {version}: found exempt, wanted cut off"),
            format!("zero-balance over quic and {version}: found exempt, wanted cut off"),
        ] {
            assert!(said(&output).contains(&line), "{}", said(&output));
        }
    }
    assert_eq!(namespaces(process), [""; 0]);
}

#[test]
fn an_interrupted_audit_leaves_nothing() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let root = TempDir::new().unwrap();
        let folder = root.path();
        let mut child = conformance(folder, &["--protocol", "tcp"]).spawn().unwrap();
        let process = child.id();
        // The command itself, and the node that it started.
        await_while(&mut child, || namespaces(process).len() == 3 && processes_of(folder) >= 2);
        kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", said(&output));
        assert!(said(&output).contains("interrupted"), "{}", said(&output));
        assert_eq!(namespaces(process), [""; 0]);
        assert_eq!(processes_of(folder), 0);
    }
}

#[test]
fn what_is_to_be_kept_is_kept_and_named() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let root = TempDir::new().unwrap();
    let (process, output) = run(root.path(), &["--protocol", "tcp", "--keep"]);
    let kept = namespaces(process);
    for name in &kept {
        assert!(Command::new("ip").args(["netns", "delete", name]).status().unwrap().success());
    }
    assert_eq!((output.status.code(), kept.len()), (Some(0), 3), "{}", said(&output));
    assert!(kept.iter().all(|name| said(&output).contains(name)), "{}", said(&output));
    assert!(root.path().join("gateway.toml").exists());
}

#[test]
fn a_folder_in_use_and_a_user_without_rights_are_wrong_use() {
    if !is_root() {
        return;
    }
    let _turn = turn();
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("something"), "").unwrap();
    let (process, output) = run(root.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("something") && output.stdout.is_empty(), "{}", said(&output));
    assert_eq!(namespaces(process), [""; 0]);

    match conformance(root.path(), &[]).uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => {
            assert_eq!(output.status.code(), Some(2));
            assert!(said(&output).contains("found user id 65534, wanted root"), "{}", said(&output));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("SKIPPED: the program stands where another user cannot run it");
        }
        Err(error) => panic!("{error}"),
    }
}
