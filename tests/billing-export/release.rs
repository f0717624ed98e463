//! Records that leave the state: what billing has, what every sink has, what is old, and nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use billing_export::correction::{Amount, Correction, Refusal};
use billing_export::record::{Change, Reference};
use billing_export::sink::{Phase, Progress, SealedFile, Since, Sink};
use billing_export::*;
use support::*;

/// How long records stay in these tests.
const RETENTION: Duration = Duration::from_secs(3_600);

/// Four periods of three accounts each, published: files 1 to 4, records 1 to 12.
fn four_periods(node: &mut Node) -> Exporter {
    let mut exporter = node.open(at(0));
    for period in 0..4_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [
            (exempt("77010000001", "bilimland"), volume(100, 2_000)),
            (exempt("77010000002", "daryn-online"), volume(10, 20)),
            (charged("77010000001", Reason::NotListed), volume(5, 6)),
        ];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
    }
    exporter.seal_due(at(60 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter
}

/// Billing's ledger has so many of the files.
fn watermark(files: u64) -> Watermark {
    let (epoch, record_seq) = (u32::from(files > 0), 3 * files);
    Watermark { node_id: "zrgw-01".parse().unwrap(), epoch, record_seq, file_seq: files }
}

/// Releases by a watermark so many minutes after noon, as often as there is something.
fn release(
    exporter: &mut Exporter,
    watermark: &Watermark,
    minutes: i64,
    sinks: Option<&[String]>,
) -> Released {
    let mut all = Released::default();
    loop {
        let order = Release { watermark, retention: RETENTION, sinks };
        let one = exporter.release(at(minutes * MINUTE), order).unwrap();
        if one == Released::default() {
            return all;
        }
        all = Released { files: all.files + one.files, records: all.records + one.records };
    }
}

/// Records in the state.
fn kept(node: &Node) -> Vec<(u32, u64)> {
    let ledger = rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let mut statement = ledger.prepare("SELECT epoch, record_seq FROM record ORDER BY 1, 2").unwrap();
    let rows =
        statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn only_what_billing_has_and_is_old_leaves_and_its_proof_stays() {
    let mut node = Node::new();
    let mut exporter = four_periods(&mut node);
    assert_eq!(exporter.outbox_records(), Some(12));
    // Billing has nothing; it has two files of which one is old enough to the millisecond; it has both.
    assert_eq!(release(&mut exporter, &watermark(0), 600, None), Released::default());
    assert_eq!(release(&mut exporter, &watermark(2), 75, None), Released::default());
    let order = Release { watermark: &watermark(2), retention: RETENTION, sinks: None };
    let left = exporter.release(at(75 * MINUTE + 1), order).unwrap();
    assert_eq!(left, Released { files: 1, records: 3 });
    assert_eq!(release(&mut exporter, &watermark(2), 600, None), Released { files: 1, records: 3 });
    assert_eq!((kept(&node).first(), exporter.outbox_records()), (Some(&(1, 7)), Some(6)));
    // What is there goes on, and so does the chain.
    let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
    exporter.checkpoint(&tick(5, at(61 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(75 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let report = node.verify();
    assert_eq!((report.records, report.up_bytes), (13, 4 * 115 + 1));
    let state = &node.settings.state_dir;
    let again = node.root.path().join("again");
    let refused = render(state, 2, &again).unwrap_err().to_string();
    assert!(refused.contains("have left the state") && refused.contains("file_seq 2"), "{refused}");
    render(state, 3, &again).unwrap();
    let ledger = rusqlite::Connection::open(state.join(STORE_NAME)).unwrap();
    let proof: Vec<String> = ledger
        .prepare(
            "SELECT name || sha256 || watermark FROM file JOIN released USING (file_seq) ORDER BY file_seq",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (path, proof) in node.data_files().iter().zip(&proof) {
        let hash = manifest::Hash::of(&fs::read(path).unwrap());
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(*proof, format!("{name}{hash}2"));
    }
    assert_eq!(proof.len(), 2);
    // No other hand takes more, or hides what left.
    for change in ["DELETE FROM record", "DELETE FROM released", "UPDATE released SET watermark = 9"] {
        assert!(ledger.execute(change, []).unwrap_err().to_string().contains("never"), "{change}");
    }
    drop(ledger);
    let mut exporter = node.open(at(80 * MINUTE));
    assert_eq!((exporter.opened().new_epoch, exporter.opened().found), (None, None));
    assert_eq!(exporter.publish().unwrap(), 0, "nothing of it is published again");
}

/// A sink that takes files as long as it is not told otherwise.
struct Other {
    id: &'static str,
    taken: std::sync::Arc<std::sync::Mutex<Vec<u64>>>,
}

impl Sink for Other {
    fn id(&self) -> &str {
        self.id
    }

    fn advance(&mut self, file: &SealedFile<'_>, _: Phase, _: &SharedSteps) -> Result<Progress, ExportError> {
        self.taken.lock().unwrap().push(file.manifest().file_seq);
        Ok(Phase::Published.into())
    }
}

#[test]
fn a_sink_that_does_not_have_a_file_keeps_it_and_a_new_one_begins_behind_what_left() {
    let mut node = Node::new();
    let mut exporter = four_periods(&mut node);
    let taken = std::sync::Arc::default();
    let other = |id| Box::new(Other { id, taken: std::sync::Arc::clone(&taken) });
    let mut slow = exporter.courier_to(other("slow"), Since::Oldest).unwrap();
    let named = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    // One that is named and has not begun, then one that has a file.
    assert_eq!(release(&mut exporter, &watermark(4), 600, Some(&named(&["slow"]))), Released::default());
    assert!(slow.deliver_next().unwrap());
    assert_eq!(release(&mut exporter, &watermark(4), 600, Some(&named(&["slow"]))).files, 1);
    assert_eq!(release(&mut exporter, &watermark(4), 600, None).files, 0, "the ledger has heard of it");
    // It is not among those there are any more: what it does not have may leave.
    assert_eq!(release(&mut exporter, &watermark(3), 600, Some(&[])), Released { files: 2, records: 6 });
    taken.lock().unwrap().clear();
    // Configured again it misses what left, and says so instead of passing over it.
    let missed = slow.deliver().unwrap_err().to_string();
    assert!(missed.contains("file_seq 2") && missed.contains("another id"), "{missed}");
    assert_eq!(exporter.sink_standing("slow").unwrap().watermark, 1);
    let mut new = exporter.courier_to(other("new"), Since::Oldest).unwrap();
    assert_eq!(exporter.sink_standing("new").unwrap().backlog_records, 3);
    assert_eq!(new.deliver().unwrap(), 1);
    assert_eq!(*taken.lock().unwrap(), [4], "the oldest that is there");
}

#[test]
fn a_watermark_that_is_not_of_this_ledger_frees_nothing() {
    let mut node = Node::new();
    let mut exporter = four_periods(&mut node);
    let before = kept(&node);
    let other = |change: &dyn Fn(&mut Watermark)| {
        let mut mark = watermark(4);
        change(&mut mark);
        mark
    };
    for mark in [
        other(&|mark| mark.node_id = "zrgw-02".parse().unwrap()),
        other(&|mark| mark.epoch = 2),
        other(&|mark| mark.record_seq = 11),
        other(&|mark| mark.file_seq = 5),
        other(&|mark| mark.file_seq = u64::MAX),
    ] {
        let order = Release { watermark: &mark, retention: RETENTION, sinks: None };
        let refused = exporter.release(at(600 * MINUTE), order).unwrap_err().to_string();
        assert!(refused.contains("Nothing leaves the state"), "{refused}");
    }
    assert_eq!(kept(&node), before);
    let order = Release { watermark: &watermark(4), retention: Duration::MAX, sinks: None };
    assert_eq!(exporter.release(at(600 * MINUTE), order).unwrap(), Released::default());
    exporter.checkpoint(&tick(5, at(61 * MINUTE), &[])).unwrap();
}

#[test]
fn a_file_of_many_records_leaves_in_parts_over_stops() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage: Vec<_> =
        (0..30_000).map(|number| (charged(&number.to_string(), Reason::Port), volume(1, 1))).collect();
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let last = kept(&node).len() as u64;
    assert_eq!(last, 30_001, "and a heartbeat for the period after");
    let mark = Watermark { record_seq: last, epoch: 1, file_seq: 1, ..watermark(0) };
    let order = Release { watermark: &mark, retention: RETENTION, sinks: None };
    assert_eq!(exporter.release(at(600 * MINUTE), order).unwrap(), Released { files: 1, records: 20_000 });
    drop(exporter);
    let mut exporter = node.open(at(601 * MINUTE));
    assert!(
        render(&node.settings.state_dir, 1, &node.root.path().join("again")).is_err(),
        "half a file is none"
    );
    assert_eq!(release(&mut exporter, &mark, 602, None), Released { files: 0, records: 10_001 });
    assert_eq!((exporter.outbox_records(), kept(&node).len()), (Some(0), 0));
}

#[test]
fn b30_what_has_left_is_not_corrected_and_corrections_stay() {
    let mut node = Node::new();
    four_periods(&mut node).close().unwrap();
    let mut number = 90;
    let mut correct = |node: &Node, seq: u64, up: i128| {
        number += 1;
        let change = |bytes| Change::new(bytes).unwrap();
        let amount = Amount::By(change(up), change(0));
        let correction = Correction::new(Reference { epoch: 1, seq }, amount, "a test").unwrap();
        let made =
            adjust(&node.settings.state_dir, &correction, [number; 16], at(61 * MINUTE), None).unwrap();
        let Adjusting::Here(made) = made else { panic!("nobody has the ledger") };
        made
    };
    let made = correct(&node, 1, -5).unwrap();
    assert_eq!(made.seq, 13);
    let mut exporter = node.open(at(62 * MINUTE));
    exporter.publish().unwrap();
    let mark = Watermark { record_seq: 13, epoch: 1, file_seq: 5, ..watermark(0) };
    assert_eq!(release(&mut exporter, &mark, 600, None), Released { files: 5, records: 12 });
    exporter.close().unwrap();
    for seq in [1, 13] {
        let refused = correct(&node, seq, -1).unwrap_err();
        assert_eq!(refused, Refusal::Released(Reference { epoch: 1, seq }));
    }
    let ledger = rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let corrections: i64 = ledger.query_row("SELECT count(*) FROM adjust", [], |row| row.get(0)).unwrap();
    assert_eq!(corrections, 1);
}

#[test]
fn the_command_prunes_where_no_gateway_runs() {
    let mut node = Node::new();
    let exporter = four_periods(&mut node);
    let path = node.root.path().join("zrgw-01.json");
    fs::write(&path, watermark(3).to_text().unwrap()).unwrap();
    let prune = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_billing-export"))
            .args(["prune", "--state"])
            .arg(&node.settings.state_dir)
            .arg("--watermark")
            .arg(&path)
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = prune(&[]);
    assert!(code == 74 && said.contains("locked by another process"), "{code}: {said}");
    exporter.close().unwrap();
    for (retention, wanted) in [("5", "with a unit"), ("5 y", "with a unit"), ("x d", "with a unit")] {
        let (code, _, said) = prune(&["--retention", retention]);
        assert!(code == 2 && said.contains(wanted), "{code}: {said}");
    }
    // The records are of April 2020: old by any clock.
    assert_eq!(
        prune(&["--format", "json"]),
        (0, "{\"files\":\"3\",\"records\":\"9\"}\n".into(), String::new())
    );
    assert_eq!(prune(&[]).1, "0 records of 0 files have left the state\n");
    assert_eq!(kept(&node).len(), 3);
    fs::write(&path, "{}").unwrap();
    let (code, _, said) = prune(&[]);
    assert!(code == 1 && said.contains("zrgw-01.json: line 1"), "{code}: {said}");
    fs::remove_file(&path).unwrap();
    assert_eq!(prune(&[]).0, 74);
}
