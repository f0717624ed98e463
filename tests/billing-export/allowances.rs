//! What was spent of allowances stands with the bytes in the ledger, and records say when a cap was reached (trap T31).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use billing_export::*;
use support::*;

const TODAY: &str = "day 2020-04-06";
const MONTH: &str = "month 2020-04-01";

/// What a subscriber has had exempt.
fn spent(id: &str, allowance: &str, span: &str, bytes: u64) -> Spent {
    let subscriber = Session::new(SubscriberType::Msisdn, id, "").unwrap();
    Spent { subscriber, allowance: allowance.to_owned(), span: span.to_owned(), bytes }
}

/// A tick with bytes of one subscriber and what it spent.
fn spending(sequence: u64, bytes: u64, spent: &[Spent]) -> Tick {
    Tick { spent: spent.to_vec(), ..tick(sequence, at(0), &[(exempt("1", "a"), volume(0, bytes))]) }
}

/// What the ledger says was spent in a span or two.
fn read(exporter: &mut Exporter, words: &[&str]) -> Vec<Spent> {
    let mut all = Vec::new();
    exporter.each_spent(&spans(words), &mut |spent| all.push(spent)).unwrap();
    all
}

/// Spans of the ledger's words.
fn spans(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn t31_what_was_spent_survives_a_kill_with_the_bytes_it_was_spent_on() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter
        .checkpoint(&spending(
            1,
            100,
            &[spent("1", "overall", TODAY, 100), spent("1", "overall", MONTH, 700)],
        ))
        .unwrap();
    exporter.checkpoint(&spending(2, 50, &[spent("1", "overall", TODAY, 150)])).unwrap();
    // Killed: dropped without a close.
    drop(exporter);
    let mut exporter = node.open(at(10_000));
    assert!(exporter.opened().unclean);
    let today = read(&mut exporter, &[TODAY, MONTH]);
    assert_eq!(today, [spent("1", "overall", TODAY, 150), spent("1", "overall", MONTH, 700)]);
}

#[test]
fn t31_a_sum_never_falls_and_spans_that_are_over_are_forgotten() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let yesterday = "day 2020-04-05";
    let all = [
        spent("1", "overall", yesterday, 5),
        spent("1", "overall", TODAY, 9),
        spent("1", "group:dns", TODAY, 4),
        spent("2", "overall", TODAY, 1),
    ];
    exporter.checkpoint(&spending(1, 9, &all)).unwrap();
    exporter.checkpoint(&spending(2, 1, &[spent("1", "overall", TODAY, 3)])).unwrap();
    let mut found = read(&mut exporter, &[TODAY]);
    found.sort_by_key(|spent| spent.bytes);
    assert_eq!(found, [all[3].clone(), all[2].clone(), all[1].clone()]);
    let before = |from: &str, to: &str| from.to_owned()..to.to_owned();
    exporter.forget_spent(&[before("day ", TODAY), before("month ", MONTH)]).unwrap();
    assert_eq!(read(&mut exporter, &[yesterday]), []);
    assert_eq!(read(&mut exporter, &[TODAY]).len(), 3);
    exporter.forget_spent(&[before("day ", "day 2020-04-07")]).unwrap();
    assert_eq!(read(&mut exporter, &[TODAY]), []);
}

#[test]
fn t31_a_refused_tick_spends_nothing() {
    let mut node = Node::new();
    node.settings.accounts_max = 1;
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&spending(1, 9, &[spent("1", "overall", TODAY, 9)])).unwrap();
    let mut over = tick(2, at(0), &[(exempt("2", "a"), volume(1, 1))]);
    over.spent = vec![spent("2", "overall", TODAY, 2)];
    exporter.checkpoint(&over).unwrap_err();
    assert_eq!(read(&mut exporter, &[TODAY]), [spent("1", "overall", TODAY, 9)]);
}

/// Causes of the rows of each subscriber and class.
fn causes(node: &Node) -> Vec<String> {
    let rows = node.rows();
    let usage = rows.iter().filter(|row| row["kind"] == "usage");
    let text = |row: &Row| format!("{} {} {}", row["subscriber_id"], row["class"], row["cause"]);
    let mut causes: Vec<_> = usage.map(text).collect();
    causes.sort();
    causes
}

#[test]
fn t31_the_record_of_bytes_that_reached_a_cap_says_so_and_no_other() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage = [
        (exempt("1", "a"), volume(1, 1)),
        (charged("1", Reason::CapReached), volume(1, 1)),
        (exempt("2", "a"), volume(1, 1)),
    ];
    exporter.checkpoint(&Tick { capped: vec![exempt("1", "a")], ..tick(1, at(0), &usage) }).unwrap();
    // Of the second one nothing more is counted in the tick that says so; of the third nothing at all.
    let late = Tick { capped: vec![exempt("2", "a"), exempt("3", "a")], ..tick(2, at(0), &[]) };
    exporter.checkpoint(&late).unwrap();
    drop(exporter);
    let mut exporter = node.open(at(2_000));
    exporter.checkpoint(&tick(1, at(2_000), &[(exempt("4", "a"), volume(1, 1))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(causes(&node), ["1 charged period", "1 exempt cap", "2 exempt cap", "4 exempt period"]);
    // In the next period nothing is over any more, and a seal for another cause says that one.
    exporter.checkpoint(&tick(2, at(16 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    let capped = Tick { capped: vec![exempt("1", "a")], ..tick(3, at(31 * MINUTE), &usage[..1]) };
    exporter.checkpoint(&capped).unwrap();
    exporter.seal_now(at(31 * MINUTE + 1_000), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    let later: Vec<_> = causes(&node).into_iter().filter(|text| text.starts_with("1 exempt")).collect();
    assert_eq!(later, ["1 exempt cap", "1 exempt period", "1 exempt shutdown"]);
    node.verify();
    node.render_all_again();
}
