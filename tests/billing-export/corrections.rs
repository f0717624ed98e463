//! Corrections of sealed records, by a running exporter and by the command where none runs: what is published adds up to what
//! was asked for, and never below nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "corrections/chaos.rs"]
mod chaos;
#[path = "corrections/command.rs"]
mod command;

use std::fs;

use billing_export::correction::{Adjusted, Amount, Correction, Refusal};
use billing_export::record::{Change, Reference};
use billing_export::*;
use support::*;

fn by(up: i128, down: i128) -> Amount {
    Amount::By(Change::new(up).unwrap(), Change::new(down).unwrap())
}

fn of(epoch: u32, seq: u64) -> Reference {
    Reference { epoch, seq }
}

/// A correction that is asked for with a request of its own.
fn ask(node: &mut Node, reference: Reference, amount: Amount) -> Result<Adjusting, ExportError> {
    node.starts += 1;
    let correction = Correction::new(reference, amount, "a test").unwrap();
    adjust(&node.settings.state_dir, &correction, [node.starts; 16], at(21 * MINUTE), None)
}

/// The same where no exporter runs.
fn make(node: &mut Node, reference: Reference, amount: Amount) -> Made {
    match ask(node, reference, amount).unwrap() {
        Adjusting::Here(made) => made,
        Adjusting::Asked(_) => panic!("nobody has the ledger"),
    }
}

/// The same while this exporter runs, which makes it.
fn make_by(
    node: &mut Node,
    exporter: &mut Exporter,
    reference: Reference,
    amount: Amount,
) -> Result<Adjusted, String> {
    let Adjusting::Asked(request) = ask(node, reference, amount).unwrap() else {
        panic!("the exporter has the ledger");
    };
    assert!(request.outcome().unwrap().is_none());
    let made = exporter.make_corrections(at(21 * MINUTE)).unwrap();
    let outcome = request.outcome().unwrap().unwrap();
    assert_eq!(made, Vec::from_iter(outcome.clone().ok()));
    outcome
}

/// Bytes of a correction's own record.
fn bytes(made: &Adjusted) -> (i128, i128) {
    (made.up.bytes(), made.down.bytes())
}

/// One period of three accounts, sealed and published: records 1 to 3 of epoch 1.
fn one_period(node: &mut Node) -> Exporter {
    let mut exporter = node.open(at(0));
    let usage = [
        (exempt("77010000001", "bilimland"), volume(100, 2_000)),
        (exempt("77010000002", "daryn-online"), volume(10, 20)),
        (charged("77010000002", Reason::NotListed), volume(7, 9)),
    ];
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter
}

/// The signed bytes of the published rows of a subscriber: usage and corrections together.
fn net(node: &Node, subscriber: &str) -> (i128, i128) {
    let own = |row: &Row| row["subscriber_id"] == subscriber;
    let number = |row: &Row, column: &str| row[column].parse::<i128>().unwrap();
    node.rows()
        .iter()
        .filter(|row| own(row))
        .fold((0, 0), |(up, down), row| (up + number(row, "up_bytes"), down + number(row, "down_bytes")))
}

#[test]
fn b30_a_running_exporter_seals_a_correction_that_names_its_record_and_has_its_account_and_day() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let made = make_by(&mut node, &mut exporter, of(1, 1), by(-30, 5)).unwrap();
    assert_eq!((made.epoch, made.seq, made.reference, bytes(&made)), (1, 4, of(1, 1), (-30, 5)));
    exporter.publish().unwrap();
    let rows = node.rows();
    let (usage, row) = (&rows[0], rows.last().unwrap());
    for (column, wanted) in [
        ("kind", "adjust"),
        ("record_seq", "4"),
        ("ref_epoch", "1"),
        ("ref_seq", "1"),
        ("up_bytes", "-30"),
        ("down_bytes", "5"),
        // What was counted is what was counted.
        ("up_bytes_total", "100"),
        ("down_bytes_total", "2000"),
        ("cause", ""),
        ("flags", ""),
        ("end_utc", "2020-04-06T12:15:00.000Z"),
    ] {
        assert_eq!(row[column], wanted, "{column}");
    }
    for same in
        ["class", "reason", "subscriber_type", "subscriber_id", "session_id", "service_id", "rating_group"]
            .into_iter()
            .chain(["list_id", "list_serial", "start_utc", "byte_basis", "disposition"])
    {
        assert_eq!(row[same], usage[same], "{same}");
    }
    let manifest = manifest(node.data_files().last().unwrap());
    for (key, wanted) in [("up_bytes", "0"), ("down_bytes", "0"), ("records", "1"), ("seen_up_bytes", "0")] {
        assert_eq!(manifest[key], wanted, "{key}: usage rows only");
    }
    assert_eq!(manifest["conserved"], true);
    assert!(!serde_json::to_string(&rows).unwrap().contains("a test"), "the note stays in the state");
    // The next period goes on as if nothing had been.
    let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
    exporter.checkpoint(&tick(2, at(22 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let report = node.verify();
    assert_eq!((report.records, report.up_bytes, report.down_bytes), (5, 118 - 30, 2_030 + 5));
    assert_eq!(net(&node, "77010000001"), (71, 2_006));
    assert_eq!(node.rows().last().unwrap()["up_bytes_total"], "101");
    node.render_all_again();
}

#[test]
fn b30_a_correction_of_a_correction_and_void_add_up_and_never_below_nothing() {
    let mut node = Node::new();
    let exporter = one_period(&mut node);
    exporter.close().unwrap();
    let first = make(&mut node, of(1, 1), by(-100, -1_000)).unwrap();
    let below = |up, down| Err(Refusal::BelowZero { usage: of(1, 1), up, down });
    assert_eq!(make(&mut node, of(1, 1), by(-1, 0)), below(-1, 1_000));
    assert_eq!(make(&mut node, of(1, first.seq), by(0, -1_001)), below(0, -1));
    // Half of what the first took away is given back, by its own correction.
    let second = make(&mut node, of(1, first.seq), by(50, 500)).unwrap();
    assert_eq!((second.seq, second.reference), (first.seq + 1, of(1, first.seq)));
    // The first with the second was a correction of -50 and -500: so much comes back.
    let third = make(&mut node, of(1, first.seq), Amount::Void).unwrap();
    assert_eq!(bytes(&third), (50, 500));
    assert_eq!(make(&mut node, of(1, first.seq), Amount::Void), Err(Refusal::Nothing));
    let fourth = make(&mut node, of(1, 1), Amount::Void).unwrap();
    assert_eq!(bytes(&fourth), (-100, -2_000));
    assert_eq!(make(&mut node, of(1, 1), Amount::Void), Err(Refusal::Nothing));
    // What was taken away by the void is given back by its correction.
    assert_eq!(bytes(&make(&mut node, of(1, fourth.seq), Amount::Void).unwrap()), (100, 2_000));
    let last = make(&mut node, of(1, 2), by(0, 1)).unwrap();
    let mut exporter = node.open(at(30 * MINUTE));
    exporter.publish().unwrap();
    assert_eq!((exporter.opened().unclean, exporter.opened().new_epoch), (false, None));
    exporter.close().unwrap();
    assert_eq!(net(&node, "77010000001"), (100, 2_000));
    assert_eq!(net(&node, "77010000002"), (17, 30));
    assert_eq!(node.verify().records, last.seq);
    node.render_all_again();
}

#[test]
fn b30_what_is_no_usage_and_no_correction_is_refused_and_nothing_is_written() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    // Record 4 is the heartbeat of a silent period.
    for reference in [of(1, 4), of(1, 5), of(2, 1), of(0, 0), of(1, u64::MAX), of(u32::MAX, 1)] {
        let refusal = make_by(&mut node, &mut exporter, reference, by(1, 1)).unwrap_err();
        assert!(refusal.contains(&format!("record_seq {}", reference.seq)), "{refusal}");
        assert!(refusal.contains("no usage or adjust record"), "{refusal}");
    }
    let before = exporter.backlog_records();
    assert!(make_by(&mut node, &mut exporter, of(1, 3), by(-8, 0)).unwrap_err().contains("0 or more"));
    assert_eq!(exporter.backlog_records(), before);
    let made = make_by(&mut node, &mut exporter, of(1, 3), by(-7, -9)).unwrap();
    assert_eq!(made.seq, 5, "no number was used up");
    assert_eq!(exporter.backlog_records(), before + 1);
    let left = files_ending(&node.settings.state_dir, "");
    let left = left.iter().filter(|path| path.to_string_lossy().contains("adjust-")).count();
    assert_eq!(left, 0, "requests and refusals are gone once they are answered and read");
}

#[test]
fn b30_the_same_request_is_made_once_whenever_the_process_ends() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let state = node.settings.state_dir.clone();
    let Adjusting::Asked(request) = ask(&mut node, of(1, 1), by(-1, -1)).unwrap() else { panic!() };
    let [waiting] = &files_ending(&state, ".request")[..] else { panic!("one request") };
    let text = fs::read(waiting).unwrap();
    let taken = waiting.with_extension("taken");
    let made = exporter.make_corrections(at(21 * MINUTE)).unwrap();
    assert_eq!(made.len(), 1);
    assert!(!waiting.exists() && !taken.exists());
    drop(exporter);
    // Ended behind the commit, before the request was removed.
    fs::write(&taken, &text).unwrap();
    let mut exporter = node.open(at(22 * MINUTE));
    assert_eq!(exporter.make_corrections(at(22 * MINUTE)).unwrap(), made);
    assert!(!taken.exists());
    assert_eq!(request.outcome().unwrap(), Some(Ok(made[0].clone())));
    // Ended before the commit, when it was taken.
    let Adjusting::Asked(request) = ask(&mut node, of(1, 2), by(-1, -1)).unwrap() else { panic!() };
    let [waiting] = &files_ending(&state, ".request")[..] else { panic!("one request") };
    fs::rename(waiting, waiting.with_extension("taken")).unwrap();
    assert!(!request.withdraw().unwrap(), "it is taken");
    drop(exporter);
    let mut exporter = node.open(at(22 * MINUTE));
    assert_eq!(exporter.make_corrections(at(21 * MINUTE + 15_000)).unwrap().len(), 1);
    assert_eq!(bytes(&request.outcome().unwrap().unwrap().unwrap()), (-1, -1));
    // Withdrawn: never made.
    let Adjusting::Asked(request) = ask(&mut node, of(1, 1), by(-1, -1)).unwrap() else { panic!() };
    assert!(request.withdraw().unwrap());
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap(), []);
    // Whoever asked was killed, and has asked again since: never made.
    let Adjusting::Asked(request) = ask(&mut node, of(1, 1), by(-1, -1)).unwrap() else { panic!() };
    assert_eq!(exporter.make_corrections(at(21 * MINUTE + 15_001)).unwrap(), []);
    let refused = request.outcome().unwrap().unwrap().unwrap_err();
    assert!(refused.contains("ask again"), "{refused}");
    exporter.publish().unwrap();
    exporter.close().unwrap();
    assert_eq!(net(&node, "77010000001"), (99, 1_999));
    assert_eq!(node.rows().iter().filter(|row| row["kind"] == "adjust").count(), 2);
    node.verify();
}

#[test]
fn a_request_that_cannot_be_read_is_refused_in_words() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let state = node.settings.state_dir.clone();
    let id = "0123456789abcdef0123456789abcdef";
    let note = "n".repeat(1_001);
    for (text, wanted) in [
        (String::new(), "EOF"),
        ("{}".into(), "missing field"),
        (
            r#"{"format":2,"asked_ms":ASKED,"ref_epoch":1,"ref_seq":1,"change":null,"note":"a"}"#.into(),
            "format: found 2",
        ),
        (
            r#"{"format":1,"asked_ms":ASKED,"ref_epoch":1,"ref_seq":1,"change":["1","x"],"note":"a"}"#.into(),
            "found \"x\"",
        ),
        (
            r#"{"format":1,"asked_ms":ASKED,"ref_epoch":1,"ref_seq":1,"change":null,"note":""}"#.into(),
            "found 0 bytes",
        ),
        (
            format!(
                r#"{{"format":1,"asked_ms":ASKED,"ref_epoch":1,"ref_seq":1,"change":null,"note":"{note}"}}"#
            ),
            "1001 bytes",
        ),
        ("[".repeat(100_000), "invalid type: sequence"),
    ] {
        let text = text.replace("ASKED", &at(21 * MINUTE).as_millisecond().to_string());
        fs::write(state.join(format!("adjust-{id}.request")), &text).unwrap();
        assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap(), []);
        let refused = state.join(format!("adjust-{id}.refused"));
        let said = fs::read_to_string(&refused).unwrap();
        assert!(said.contains(wanted), "{said}, wanted {wanted}");
        fs::remove_file(refused).unwrap();
    }
    // What is no request is left alone.
    for name in ["adjust-1.request", "adjust-0123456789abcdef0123456789abcdeg.request", "adjust-.taken"] {
        fs::write(state.join(name), "{}").unwrap();
    }
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap(), []);
    assert_eq!(files_ending(&state, ".request").len() + files_ending(&state, ".taken").len(), 3);
    assert_eq!(files_ending(&state, ".refused").len(), 0);
}

#[test]
fn b30_more_requests_than_are_seen_at_once_wait_and_none_is_lost() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let correction = Correction::new(of(1, 1), by(-1, -1), "one of many").unwrap();
    for number in 0..=100_u8 {
        let asked =
            adjust(&node.settings.state_dir, &correction, [number; 16], at(21 * MINUTE), None).unwrap();
        assert!(matches!(asked, Adjusting::Asked(_)));
    }
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap().len(), 100);
    // The hundred and first finds nothing left.
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap().len(), 0);
    assert_eq!(files_ending(&node.settings.state_dir, ".refused").len(), 1);
    exporter.publish().unwrap();
    assert_eq!(net(&node, "77010000001"), (0, 1_900));
    exporter.close().unwrap();
    node.verify();
}

#[test]
fn b30_a_record_of_an_epoch_before_is_corrected_in_the_present_one() {
    let mut node = Node::new();
    one_period(&mut node).close().unwrap();
    fs::remove_file(node.settings.staging_dir.join("zrgw-01.witness")).unwrap();
    let mut exporter = node.open(at(20 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    let made = make_by(&mut node, &mut exporter, of(1, 1), by(-60, 0)).unwrap();
    assert_eq!((made.epoch, made.seq), (2, 2), "behind the gap record");
    let again = make_by(&mut node, &mut exporter, of(2, 2), by(-50, 0)).unwrap_err();
    assert!(again.contains("epoch 1, record_seq 1") && again.contains("-10 bytes up"), "{again}");
    exporter.publish().unwrap();
    exporter.close().unwrap();
    assert_eq!(node.rows().last().unwrap()["up_bytes_total"], "0", "nothing was counted in this epoch");
    assert_eq!(net(&node, "77010000001"), (40, 2_000));
    node.verify();
}

#[test]
fn b30_a_state_that_a_start_would_not_go_on_with_is_not_corrected_by_the_command() {
    let mut node = Node::new();
    one_period(&mut node).close().unwrap();
    let state = node.settings.state_dir.clone();
    let copy = node.root.path().join("copy");
    copy_dir(&state, &copy);
    // The state goes on, and the copy is put back: its numbers are those of other records by now.
    let mut exporter = node.open(at(20 * MINUTE));
    let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
    exporter.checkpoint(&tick(1, at(20 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    restore(&copy, &state);
    let refused = ask(&mut node, of(1, 1), by(-1, -1)).unwrap_err();
    assert!(refused.to_string().contains("Start the gateway"), "{refused}");
    let mut exporter = node.open(at(31 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    make_by(&mut node, &mut exporter, of(1, 1), by(-1, -1)).unwrap();
    // Another machine's ledger, one of which rows were changed, and none at all.
    exporter.close().unwrap();
    fs::rename(&node.settings.staging_dir, node.root.path().join("elsewhere")).unwrap();
    assert!(ask(&mut node, of(1, 1), by(-1, -1)).unwrap_err().to_string().contains("witness is gone"));
    fs::rename(node.root.path().join("elsewhere"), &node.settings.staging_dir).unwrap();
    rusqlite::Connection::open(state.join(STORE_NAME))
        .unwrap()
        .execute("UPDATE segment SET seen_up = seen_up + 1", [])
        .unwrap();
    let refused = ask(&mut node, of(1, 1), by(-1, -1)).unwrap_err().to_string();
    assert!(refused.contains("not as they were written"), "{refused}");
    fs::remove_dir_all(&state).unwrap();
    assert!(ask(&mut node, of(1, 1), by(-1, -1)).is_err());
    assert!(!state.exists(), "nothing is made where no node is");
}

#[test]
fn b30_a_correction_ends_where_the_records_before_it_do_whatever_is_open() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    // Counted, and in no record yet: whoever has the correction does not have this.
    let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
    exporter.checkpoint(&tick(2, at(16 * MINUTE), &usage)).unwrap();
    make_by(&mut node, &mut exporter, of(1, 1), by(-1, 0)).unwrap();
    exporter.close().unwrap();
    make(&mut node, of(1, 1), by(-2, 0)).unwrap();
    let mut exporter = node.open(at(22 * MINUTE));
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let ends: Vec<_> =
        node.rows().iter().map(|row| (row["up_bytes"].clone(), row["end_utc"].clone())).collect();
    let end = "2020-04-06T12:15:00.000Z".to_owned();
    let open = ("1".into(), "2020-04-06T12:30:00.000Z".into());
    assert_eq!(ends[3..], [("-1".into(), end.clone()), ("-2".into(), end), open]);
    let ledger = rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let mut made = ledger.prepare("SELECT at_utc FROM adjust ORDER BY record_seq").unwrap();
    let made: Vec<String> = made.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(made, ["2020-04-06T12:21:00.000Z", "2020-04-06T12:21:00.000Z"]);
}

#[test]
fn b30_a_running_total_that_another_hand_has_changed_goes_into_no_correction() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let Adjusting::Asked(request) = ask(&mut node, of(1, 1), by(-1, -1)).unwrap() else { panic!() };
    rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME))
        .unwrap()
        .execute("UPDATE total SET up_bytes = up_bytes + 1 WHERE subscriber_id = '77010000001'", [])
        .unwrap();
    let error = exporter.make_corrections(at(21 * MINUTE)).unwrap_err();
    assert!(matches!(error, ExportError::Changed { .. }), "{error}");
    assert!(request.outcome().unwrap().is_none(), "nothing is sealed");
    drop(exporter);
    // The next start sets the total aside and begins an epoch; the request that was taken is made in it.
    let mut exporter = node.open(at(21 * MINUTE));
    assert_eq!(exporter.epoch(), 2);
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap().len(), 1);
    assert_eq!(request.outcome().unwrap().unwrap().unwrap().epoch, 2);
}

#[test]
fn the_longest_note_of_letters_that_are_escaped_goes_through_a_request() {
    let mut node = Node::new();
    let mut exporter = one_period(&mut node);
    let note = "\"".repeat(billing_export::correction::NOTE_LEN_MAX);
    let correction = Correction::new(of(1, 1), by(-1, -1), &note).unwrap();
    let state = &node.settings.state_dir;
    assert!(matches!(adjust(state, &correction, [9; 16], at(21 * MINUTE), None), Ok(Adjusting::Asked(_))));
    assert_eq!(exporter.make_corrections(at(21 * MINUTE)).unwrap().len(), 1);
}

#[test]
fn b30_a_sealed_correction_cannot_be_changed_in_the_ledger() {
    let mut node = Node::new();
    one_period(&mut node).close().unwrap();
    make(&mut node, of(1, 1), by(-1, -1)).unwrap();
    let ledger = rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    for change in ["UPDATE adjust SET up_bytes = 0", "DELETE FROM adjust"] {
        let error = ledger.execute(change, []).unwrap_err().to_string();
        assert!(error.contains("never"), "{error}");
    }
    let note: String = ledger.query_row("SELECT note FROM adjust", [], |row| row.get(0)).unwrap();
    assert_eq!(note, "a test");
}

#[test]
fn b30_a_correction_counts_what_its_record_counted() {
    let mut node = Node::new();
    one_period(&mut node).close().unwrap();
    node.settings.byte_basis = ByteBasis::Ip;
    let mut exporter = node.open(at(16 * MINUTE));
    make_by(&mut node, &mut exporter, of(1, 1), by(-1, -1)).unwrap();
    let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
    exporter.checkpoint(&tick(1, at(22 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let bases: Vec<_> = node.rows().iter().map(|row| row["byte_basis"].clone()).collect();
    assert_eq!(bases[bases.len() - 2..], ["payload", "ip"]);
    node.verify();
}

#[test]
fn b30_what_is_pending_passes_through_the_file_of_a_correction() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage = [(exempt("77010000001", "bilimland"), volume(100, 100))];
    let mut first = tick(1, at(0), &usage);
    (first.seen, first.pending_after) = (volume(130, 140), volume(30, 40));
    exporter.checkpoint(&first).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    make_by(&mut node, &mut exporter, of(1, 1), by(1, 1)).unwrap();
    let usage = [(exempt("77010000001", "bilimland"), volume(30, 40))];
    let mut second = tick(2, at(22 * MINUTE), &usage);
    second.seen = Volume::ZERO;
    exporter.checkpoint(&second).unwrap();
    make_by(&mut node, &mut exporter, of(1, 1), by(1, 1)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let pending: Vec<_> = node
        .data_files()
        .iter()
        .map(|path| manifest(path))
        .map(|file| (file["pending_before_up_bytes"].clone(), file["pending_after_down_bytes"].clone()))
        .collect();
    assert_eq!(
        pending,
        [("0", "40"), ("30", "40"), ("30", "40"), ("30", "0")].map(|(up, down)| (up.into(), down.into()))
    );
    node.verify();
}
