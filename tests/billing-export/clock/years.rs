//! A clock that was years ahead or behind, and is right again.

use billing_export::*;
use jiff::SignedDuration;

use super::{check_order, window, windows};
use crate::support::*;

/// A clock that was 400 days ahead wrote a tick, a seal and a file, and is right again.
fn was_ahead(node: &mut Node) -> Exporter {
    let ahead = SignedDuration::from_hours(400 * 24);
    let mut exporter = node.open(at(0));
    let mut wrong = tick(1, at(MINUTE), &[(exempt("1", "a"), volume(5, 5))]);
    wrong.at += ahead;
    wrong.stepped = true;
    wrong.pending_after = volume(2, 2);
    wrong.seen = volume(7, 7);
    exporter.checkpoint(&wrong).unwrap();
    exporter.seal_due(wrong.at).unwrap();
    exporter.publish().unwrap();
    exporter
}

/// Epoch, kind, start and end of the rows from the first one of the second epoch on.
fn second_epoch(node: &Node) -> Vec<String> {
    let columns = ["kind", "start_utc", "end_utc", "up_bytes", "up_bytes_total"];
    let line = |row: &Row| columns.map(|column| row[column].as_str()).join(" ");
    node.rows().iter().filter(|row| row["epoch"] == "2").map(line).collect()
}

#[test]
fn f13_a_clock_that_was_years_ahead_is_not_borrowed_from_when_it_is_right_again() {
    let mut node = Node::new();
    let mut exporter = was_ahead(&mut node);
    // Right again, in the same run: the bytes without a verdict get theirs.
    let mut right = tick(2, at(2 * MINUTE), &[(exempt("1", "a"), volume(3, 3))]);
    (right.stepped, right.seen) = (true, volume(1, 1));
    exporter.checkpoint(&right).unwrap();
    exporter.seal_due(right.at).unwrap();
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch.is_some()), (2, true));
    exporter.checkpoint(&tick(3, at(3 * MINUTE), &[(exempt("1", "a"), volume(10, 10))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let wanted = [
        "gap 2020-04-06T12:02:01.000Z 2020-04-06T12:02:01.000Z  ",
        "usage 2020-04-06T12:02:01.000Z 2020-04-06T12:15:00.000Z 10 10",
    ];
    assert_eq!(second_epoch(&node), wanted);
    assert_eq!(node.verify().up_bytes, 18);
    exporter.close().unwrap();
    let exporter = node.open(at(16 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch), (2, None), "once");
}

#[test]
fn f13_what_has_no_verdict_when_the_clock_is_right_again_gets_it_in_the_new_epoch() {
    let mut node = Node::new();
    let mut exporter = was_ahead(&mut node);
    exporter.seal_due(at(2 * MINUTE)).unwrap();
    assert_eq!(exporter.epoch(), 2);
    let mut verdict = tick(2, at(3 * MINUTE), &[(exempt("1", "a"), volume(12, 12))]);
    verdict.seen = volume(10, 10);
    exporter.checkpoint(&verdict).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 5 + 12, "and all files add up");
}

#[test]
fn f13_nor_after_a_restart_in_the_middle_of_it() {
    let mut node = Node::new();
    drop(was_ahead(&mut node));
    let mut exporter = node.open(at(2 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().new_epoch.is_some()), (2, true));
    exporter.checkpoint(&tick(1, at(3 * MINUTE), &[(exempt("1", "a"), volume(10, 10))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let wanted = [
        "gap 2020-04-06T12:02:00.000Z 2020-04-06T12:02:00.000Z  ",
        "usage 2020-04-06T12:02:00.000Z 2020-04-06T12:15:00.000Z 10 10",
    ];
    assert_eq!(second_epoch(&node), wanted);
    assert_eq!(node.verify().up_bytes, 5 + 2 + 10, "what was pending at the kill is nobody's");
}

#[test]
fn f13_a_clock_that_starts_years_behind_and_is_put_right_is_followed_at_once() {
    let mut node = Node::new();
    let years = SignedDuration::from_hours(20 * 365 * 24);
    let mut exporter = node.open(at(0) - years);
    exporter.checkpoint(&tick(1, at(0) - years, &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    let mut put_right = tick(2, at(MINUTE) - years, &[(exempt("1", "a"), volume(2, 2))]);
    (put_right.at, put_right.stepped) = (at(MINUTE), true);
    exporter.checkpoint(&put_right).unwrap();
    exporter.seal_due(put_right.at).unwrap();
    exporter.checkpoint(&tick(3, at(2 * MINUTE), &[(exempt("1", "a"), volume(4, 4))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(exporter.epoch(), 1);
    let last = windows(&node).pop().unwrap();
    assert_eq!(last, window("usage", "06T12:00:00", "06T12:15:00", ""));
    check_order(&node, 7);
}

#[test]
fn f13_a_day_is_waited_for_and_a_millisecond_more_begins_an_epoch() {
    for (millis, epoch) in [(24 * 60 * MINUTE, 1), (24 * 60 * MINUTE + 1, 2)] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.seal_due(at(-millis)).unwrap();
        assert_eq!(exporter.epoch(), epoch, "{millis}");
        drop(exporter);
        let mut node = Node::new();
        node.open(at(0)).close().unwrap();
        assert_eq!(node.open(at(-millis)).epoch(), epoch, "{millis}, over a start");
    }
}
