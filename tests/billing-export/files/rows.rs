//! Which rows stand in the files, how many in each, and what each says of its cause and flags.

use std::collections::BTreeSet;
use std::fs;

use billing_export::*;

use crate::support::*;

#[test]
fn b24_a_list_change_in_mid_period_makes_two_records_with_their_own_serial() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let old = exempt("1", "a");
    let new = Account { list: list(4), ..old.clone() };
    exporter.checkpoint(&tick(1, at(0), &[(old.clone(), volume(10, 100))])).unwrap();
    exporter.checkpoint(&tick(2, at(1_000), &[(new.clone(), volume(1, 5)), (old, volume(2, 0))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.checkpoint(&tick(3, at(15 * MINUTE), &[(new, volume(1, 1))])).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let seen: Vec<_> = node
        .rows()
        .iter()
        .map(|row| (number(row, "list_serial"), number(row, "up_bytes"), number(row, "up_bytes_total")))
        .collect();
    assert_eq!(seen, [(3, 12, 12), (4, 1, 13), (4, 1, 14)], "the total runs over list versions and periods");
    node.verify();
}

#[test]
fn b28_equal_volumes_of_two_subscribers_and_two_periods_are_four_different_rows() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    for period in 0..2_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [(exempt("1", "a"), volume(5, 5)), (exempt("2", "a"), volume(5, 5))];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
    }
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    // As BillRun keys rows: by the hash of the row's own fields.
    let keys: BTreeSet<_> = node
        .data_files()
        .iter()
        .flat_map(|path| {
            fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|line| manifest::Hash::of(line.as_bytes()).to_string())
        .collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn file_records_at_the_limit_and_one_over() {
    for (rows_wanted, files) in [(3, 1), (4, 2)] {
        let mut node = Node::new();
        node.settings.file_records_max = 3;
        let mut exporter = node.open(at(0));
        let usage: Vec<_> =
            (0..rows_wanted).map(|id| (exempt(&id.to_string(), "a"), volume(10, 1))).collect();
        exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        assert_eq!(exporter.publish().unwrap(), files);
        node.verify();
    }
}

#[test]
fn accounts_max_refuses_the_tick_and_names_the_key_until_the_seal() {
    let mut node = Node::new();
    node.settings.accounts_max = 2;
    let mut exporter = node.open(at(0));
    let usage: Vec<_> = (0..3).map(|id| (exempt(&id.to_string(), "a"), volume(1, 1))).collect();
    exporter.checkpoint(&tick(1, at(0), &usage[..2])).unwrap();
    let refused = tick(2, at(1_000), &usage[2..]);
    let error = exporter.checkpoint(&refused).unwrap_err().to_string();
    assert!(error.contains("export.accounts_max"), "{error}");
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.checkpoint(&refused).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 3);
}

#[test]
fn f61_a_remark_that_comes_without_bytes_stands_on_what_was_counted_and_makes_no_record_of_its_own() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let counted = charged("77010000001", Reason::NotListed);
    exporter.checkpoint(&tick(1, at(1_000), &[(counted.clone(), volume(5, 6))])).unwrap();
    let remark = |account| Usage { account, flags: Flag::LowerBound.into(), volume: volume(0, 0) };
    let mut two = tick(2, at(2_000), &[]);
    two.usage = vec![remark(counted), remark(charged("77010000002", Reason::NotListed))];
    exporter.checkpoint(&two).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let text = fs::read_to_string(&node.data_files()[0]).unwrap();
    let rows: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert!(rows[0].ends_with(",period,lower_bound"), "{text}");
    node.verify();
}

#[test]
fn b19_the_record_of_a_session_that_ended_says_so_and_nobody_elses_is_sealed_for_it() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage = [(exempt("1", "a"), volume(1, 1)), (exempt("2", "a"), volume(1, 1))];
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    let ended = |id: &str| exempt(id, "a").session;
    // Of the third nothing is counted: it has no record to say so.
    exporter.end_sessions(&[ended("1"), ended("3")]).unwrap();
    // What was on its way is counted where it belongs.
    exporter.checkpoint(&tick(2, at(1_000), &usage[..1])).unwrap();
    assert_eq!(exporter.seal_due(at(2_000)).unwrap(), 0, "nobody's period ends for it");
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let causes = |node: &Node| {
        let rows = node.rows();
        let usage = rows.iter().filter(|row| row["kind"] == "usage");
        usage
            .map(|row| format!("{} {} {}", row["subscriber_id"], row["cause"], row["up_bytes"]))
            .collect::<Vec<_>>()
    };
    exporter.publish().unwrap();
    assert_eq!(causes(&node), ["1 session_end 2", "2 period 1"]);
    // The next period knows nothing of it; a seal for another cause says that one.
    exporter.checkpoint(&tick(3, at(16 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.checkpoint(&tick(4, at(31 * MINUTE), &usage)).unwrap();
    exporter.end_sessions(&[ended("2")]).unwrap();
    exporter.seal_now(at(31 * MINUTE + 1_000), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    let later = ["1 period 1", "2 period 1", "1 shutdown 1", "2 shutdown 1"];
    assert_eq!(causes(&node)[2..], later);
    node.verify();
    node.render_all_again();
}

#[test]
fn t34_the_last_record_of_a_session_of_whose_end_nobody_told_says_so_and_no_other() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage = ["1", "2", "3"].map(|id| (exempt(id, "a"), volume(1, 1)));
    let session = |id: &str| exempt(id, "a").session;
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    exporter.end_sessions(&[session("1"), session("2")]).unwrap();
    // The third goes on: heard of again.
    exporter.lose_sessions(&[session("2"), session("3")]).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.checkpoint(&tick(2, at(16 * MINUTE), &usage)).unwrap();
    exporter.end_sessions(&[session("2")]).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let rows = node.rows();
    let told: Vec<_> = rows
        .iter()
        .filter(|row| row["kind"] == "usage")
        .map(|row| format!("{} {} {}", row["subscriber_id"], row["cause"], row["flags"]))
        .collect();
    let first = ["1 session_end ", "2 session_end stop_lost", "3 period "];
    assert_eq!(told, [first, ["1 period ", "2 session_end ", "3 period "]].concat());
    node.verify();
}
