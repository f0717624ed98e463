//! `gateway demo`: its figures as an independent CSV reader finds them in the exported files, its report, its folder,
//! and how it ends when it is interrupted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

/// Flows of the shared run: every visit of every subscriber several times.
const FLOWS: &str = "120";
/// Bytes of the first visit's body.
const DOWNLOAD_BYTES: u64 = 10 << 20;
/// How the report calls the forger.
const FORGER: &str = "msisdn 77010000666";

/// Subscriber, class, service or reason → bytes up and down.
type Sums = BTreeMap<(String, String, String), (u64, u64)>;

/// One run whose folder is kept.
struct Run {
    output: Output,
    folder: PathBuf,
    _root: TempDir,
}

/// A run that several tests look at.
static SHARED: LazyLock<Run> = LazyLock::new(|| Run::new(FLOWS));

impl Run {
    /// Runs the command in a new folder.
    fn new(flows: &str) -> Self {
        let root = TempDir::new().unwrap();
        let folder = root.path().join("new/folder");
        let output = demo(&["--flows", flows, "--dir", folder.to_str().unwrap()]);
        Self { output, folder, _root: root }
    }

    /// Standard output.
    fn stdout(&self) -> &str {
        std::str::from_utf8(&self.output.stdout).unwrap()
    }

    /// Names in the pickup folder that end so.
    fn published(&self, ending: &str) -> Vec<PathBuf> {
        let names = std::fs::read_dir(self.folder.join("usage")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = names.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
        files.sort();
        files
    }

    /// Sums of the exported rows, read by column names.
    fn exported(&self) -> Sums {
        let mut sums = Sums::new();
        for file in self.published(".csv") {
            for row in rows(&file) {
                if row["kind"] == "heartbeat" {
                    continue;
                }
                assert_eq!(row["kind"], "usage", "{row:?}");
                assert_eq!(row["byte_basis"], "payload");
                let who = format!("{} {}", row["subscriber_type"], row["subscriber_id"]);
                let what = format!("{}{}", row["service_id"], row["reason"]);
                let sum = sums.entry((who, row["class"].clone(), what)).or_default();
                sum.0 += row["up_bytes"].parse::<u64>().unwrap();
                sum.1 += row["down_bytes"].parse::<u64>().unwrap();
            }
        }
        sums
    }

    /// What the clients counted.
    fn counted(&self) -> Sums {
        let line = |row: HashMap<String, String>| {
            let key = (row["subscriber"].clone(), row["class"].clone(), row["service_or_reason"].clone());
            (key, (row["up_bytes"].parse().unwrap(), row["down_bytes"].parse().unwrap()))
        };
        rows(&self.folder.join("expected.csv")).into_iter().map(line).collect()
    }
}

/// Runs the command.
fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).arg("demo").args(arguments).output().unwrap()
}

/// The rows of a CSV file by column name.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    csv::Reader::from_path(path).unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

#[test]
fn demo_ends_well_and_prints_every_part_and_no_log() {
    let run = &*SHARED;
    let stdout = run.stdout();
    let stderr = String::from_utf8_lossy(&run.output.stderr);
    assert_eq!(run.output.status.code(), Some(0), "{stdout}\n{stderr}");
    assert_eq!(stderr, "");
    for part in [
        "Bytes by subscriber, from the exported files",
        "Exported files",
        "Verification",
        " 0 faults",
        "Expected (counted by the clients) = exported",
        "figures are as expected.",
        &format!("billing-export verify {}/usage", run.folder.display()),
        &format!("billing-export totals {}/usage --by service", run.folder.display()),
    ] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
    assert!(!stdout.contains("DIFFERS"));
    for (who, class, what) in run.exported().keys() {
        let figure = format!("{who}, {class} {what}, down");
        assert!(stdout.lines().any(|line| line.starts_with("  ok") && line.contains(&figure)), "{figure}");
    }
}

#[test]
fn demo_publishes_more_than_one_file_each_with_its_manifest() {
    let run = &*SHARED;
    let (data, manifests) = (run.published(".csv"), run.published(".manifest.json"));
    assert!(data.len() >= 2, "{data:?}");
    let of = |path: &PathBuf| path.to_str().unwrap().replace(".csv", ".manifest.json");
    assert_eq!(
        data.iter().map(of).collect::<Vec<_>>(),
        manifests.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>()
    );
}

#[test]
fn the_kept_configuration_has_no_problem_and_answers_what_the_report_suggests() {
    let run = &*SHARED;
    let file = run.folder.join("gateway.toml");
    let gateway = |arguments: &[&str]| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).arg(&file).output().unwrap();
        (command.status.code(), String::from_utf8(command.stdout).unwrap())
    };
    assert_eq!(gateway(&["check", "--config"]).0, Some(0));
    assert!(
        run.stdout().contains(&format!("gateway explain video.school.example --config {}", file.display()))
    );
    let (code, answer) = gateway(&["explain", "video.school.example", "--config"]);
    assert_eq!(code, Some(0), "{answer}");
    assert!(answer.contains("open-school"), "{answer}");
}

#[test]
fn t23_a_listed_name_at_a_foreign_address_and_a_listed_address_with_another_name_are_charged() {
    let exported = SHARED.exported();
    let own: Vec<_> = exported.iter().filter(|((who, _, _), _)| who == FORGER).collect();
    let words: Vec<_> = own.iter().map(|((_, class, what), _)| (class.as_str(), what.as_str())).collect();
    assert_eq!(words, [("charged", "address_mismatch"), ("charged", "not_listed")]);
    assert!(own.iter().all(|(_, (up, down))| *up > 0 && *down > 0), "{own:?}");
}

#[test]
fn t26_exempt_and_charged_bytes_equal_what_the_clients_counted() {
    let (exported, counted) = (SHARED.exported(), SHARED.counted());
    assert_eq!(exported, counted);
    let classes = |wanted: &str| exported.iter().filter(|((_, class, _), _)| class == wanted).count();
    assert_eq!((classes("exempt"), classes("charged"), classes("unattributed")), (5, 9, 0));
}

#[test]
fn t27_a_long_exempt_download_leaves_no_charged_byte() {
    let run = Run::new("1");
    assert_eq!(run.output.status.code(), Some(0), "{}", run.stdout());
    let exported = run.exported();
    let only = ("msisdn 77010000001".to_owned(), "exempt".to_owned(), "open-school".to_owned());
    assert_eq!(exported.keys().collect::<Vec<_>>(), [&only]);
    let (up, down) = exported[&only];
    assert!(up > 0 && down > DOWNLOAD_BYTES, "{up} {down}");
    assert_eq!(exported, run.counted());
}

#[test]
fn a_folder_that_is_not_empty_is_refused_and_left_alone() {
    let run = Run::new("1");
    let before = std::fs::read(run.folder.join("expected.csv")).unwrap();
    let files = run.published("").len();
    let again = demo(&["--flows", "1", "--dir", run.folder.to_str().unwrap()]);
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(2), "{stderr}");
    assert_eq!(again.stdout, b"");
    assert!(stderr.contains(run.folder.to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("wanted an empty or new folder"), "{stderr}");
    assert_eq!(std::fs::read(run.folder.join("expected.csv")).unwrap(), before);
    assert_eq!(run.published("").len(), files);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_of_input_and_output() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = demo(&["--flows", "1", "--dir", file.join("below").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(74));
}

#[test]
fn an_interrupted_demo_leaves_no_folder_behind() {
    let temporary = TempDir::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(["demo", "--flows", "100000"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line comes when everything is set up.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert!(stdout.read_line(&mut String::new()).unwrap() > 0);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn help_has_examples_and_bounds_the_number_of_flows() {
    let help = demo(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("gateway demo --dir"));
    for wrong in ["0", "100001", "many"] {
        assert_eq!(demo(&["--flows", wrong]).status.code(), Some(2), "{wrong}");
    }
}
