//! The process is killed at each point that a file of charging records passes, in a real child: afterwards the files are those
//! that a sink makes of the same sealed records in one go.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use billing_export::sink::Since;
use billing_export::sink::tdf::Tdf;
use billing_export::*;
use jiff::{SignedDuration, Timestamp};

use super::{cdr_files, profile};
use crate::support::*;

/// Tells the child what to do: directory, run, step, how often the step is passed before the kill.
const CHILD: &str = "BILLING_EXPORT_TDF_CHILD";
/// The points that a file passes.
const POINTS: [Step; 5] = [
    Step::DuringPart,
    Step::AfterPartSync,
    Step::AfterDataRename,
    Step::BeforePublishedMark,
    Step::AfterPublishedMark,
];
/// Ticks of a run that is not killed, one in each period.
const TICKS: u64 = 5;

/// Kills this process at one point.
struct KillAt(Option<Step>, u64);

impl Steps for KillAt {
    fn at(&mut self, step: Step) -> io::Result<()> {
        if self.0 == Some(step) {
            if self.1 == 0 {
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
                unreachable!("a killed process does not go on");
            }
            self.1 -= 1;
        }
        Ok(())
    }
}

/// Start of a run, after anything the run before can have reached.
fn begins(run: u8) -> Timestamp {
    at(0) + SignedDuration::from_mins(i64::from(run) * 15 * 8)
}

/// The sink of an id under `root`.
fn sink(root: &Path, id: &str) -> Box<Tdf> {
    Box::new(Tdf::new(id.to_owned(), root.join(id), root.join(format!("{id}.staging")), profile()))
}

/// The child: counts, seals and delivers. Does nothing in an ordinary run.
#[test]
fn child_of_the_kills() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = order.split('|').collect();
    let [root, run, step, passes] = words[..] else { panic!("{order}") };
    let (root, run): (&Path, u8) = (Path::new(root), run.parse().unwrap());
    let steps = KillAt(step.parse().ok(), passes.parse().unwrap());
    let mut exporter = Exporter::open(settings(root), begins(run), [run; 16], Box::new(steps)).unwrap();
    let mut courier = exporter.courier_to(sink(root, "mediation"), Since::Oldest).unwrap();
    for sequence in 1..=TICKS {
        let from = begins(run) + SignedDuration::from_mins(i64::try_from(sequence - 1).unwrap() * 15);
        let name = format!("77{run:02}{sequence:05}");
        let usage = [
            (exempt(&name, "bilimland"), volume(sequence, 1)),
            (exempt("77000000000", "daryn"), volume(1, sequence)),
            (charged(&name, Reason::NotListed), volume(7, 7)),
        ];
        // Every third period has no row that is wanted.
        let usage = if sequence % 3 == 0 { &usage[2..] } else { &usage[..] };
        exporter.checkpoint(&tick(sequence, from, usage)).unwrap();
        exporter.seal_due(from + SignedDuration::from_mins(15)).unwrap();
        courier.deliver().unwrap();
    }
    drop(courier);
    exporter.close().unwrap();
}

/// Runs a child; whether it was killed.
fn run_child(root: &Path, run: u8, step: Option<Step>, passes: u64) -> bool {
    let step = step.map_or("none", Step::label);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child_of_the_kills", "--test-threads", "1"])
        .env(CHILD, format!("{}|{run}|{step}|{passes}", root.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    assert!(
        killed || output.status.success(),
        "{step}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    killed
}

/// Takes the receiver's files away, and remembers them; none comes twice.
fn take(dir: &Path, taken: &mut BTreeMap<String, Vec<u8>>) {
    for path in cdr_files(dir) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(taken.insert(name.clone(), bytes).is_none(), "{name} came a second time");
    }
}

#[test]
fn b1_t33_killed_at_each_point_of_a_file_of_charging_records() {
    for step in POINTS {
        for taking in [true, false] {
            let node = Node::new();
            let root = node.root.path();
            let mut taken = BTreeMap::new();
            for run in 1..=3 {
                assert!(run_child(root, run, Some(step), u64::from(run) % 3), "{step} is not passed");
                if taking {
                    take(&root.join("mediation"), &mut taken);
                }
            }
            assert!(!run_child(root, 4, None, 0));
            take(&root.join("mediation"), &mut taken);
            assert!(files_ending(&root.join("mediation.staging"), ".part").is_empty(), "{step}");
            // All of it again, in one go.
            let mut exporter = Exporter::open(settings(root), begins(5), [5; 16], Box::new(NoFault)).unwrap();
            exporter.courier_to(sink(root, "again"), Since::Oldest).unwrap().deliver().unwrap();
            let mut again = BTreeMap::new();
            take(&root.join("again"), &mut again);
            assert_eq!(taken, again, "{step}");
            assert!(taken.len() >= 4, "{step}");
        }
    }
}

#[test]
fn an_operation_that_fails_at_a_point_is_done_again_and_comes_to_the_same() {
    for step in POINTS {
        let mut node = Node::new();
        let mut exporter = node.try_open(at(0), Box::new(FailAt::once(step))).unwrap();
        let root = node.root.path().to_owned();
        let usage = [(exempt("77010000001", "bilimland"), volume(1, 2))];
        exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        let mut courier = exporter.courier_to(sink(&root, "mediation"), Since::Oldest).unwrap();
        courier.deliver().unwrap_err();
        courier.deliver().unwrap();
        exporter.courier_to(sink(&root, "again"), Since::Oldest).unwrap().deliver().unwrap();
        let (mut first, mut again) = (BTreeMap::new(), BTreeMap::new());
        take(&root.join("mediation"), &mut first);
        take(&root.join("again"), &mut again);
        assert_eq!((first.len(), &first), (1, &again), "{step}");
    }
}
