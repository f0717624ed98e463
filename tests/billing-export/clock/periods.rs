//! Periods and their heartbeats: what falls into which, at late ticks, at the ends of days and years, at seals in the middle.

use billing_export::*;
use jiff::SignedDuration;

use super::{check_order, window, windows};
use crate::support::*;

#[test]
fn empty_periods_have_one_heartbeat_each() {
    let mut node = Node::new();
    let mut exporter = node.open(at(5 * MINUTE));
    for minute in [15, 30, 45] {
        assert_eq!(exporter.seal_due(at(minute * MINUTE - 1)).unwrap(), 0);
        assert_eq!(exporter.seal_due(at(minute * MINUTE)).unwrap(), 1);
    }
    exporter.publish().unwrap();
    assert_eq!(
        windows(&node),
        [
            window("heartbeat", "06T12:05:00", "06T12:15:00", ""),
            window("heartbeat", "06T12:15:00", "06T12:30:00", ""),
            window("heartbeat", "06T12:30:00", "06T12:45:00", ""),
        ]
    );
    let row = &node.rows()[0];
    for (column, value) in row {
        let used = ["node_id", "epoch", "record_seq", "kind", "start_utc", "end_utc", "byte_basis", "cause"];
        assert_eq!(value.is_empty(), !used.contains(&column.as_str()), "{column}: {value:?}");
    }
    node.verify();
}

#[test]
fn a_late_tick_goes_to_the_open_period_and_one_across_the_boundary_to_where_it_began() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let mut across = tick(1, at(15 * MINUTE - 500), &[(exempt("across", "a"), volume(1, 1))]);
    across.at = at(15 * MINUTE + 500);
    exporter.checkpoint(&across).unwrap();
    exporter.seal_due(across.at).unwrap();
    exporter.checkpoint(&tick(2, at(15 * MINUTE - 400), &[(exempt("late", "a"), volume(1, 1))])).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let rows = node.rows();
    let seen: Vec<_> =
        rows.iter().map(|row| (row["subscriber_id"].as_str(), row["start_utc"].as_str())).collect();
    assert_eq!(seen, [("across", "2020-04-06T12:00:00.000Z"), ("late", "2020-04-06T12:15:00.000Z")]);
}

#[test]
fn a_tick_of_a_later_period_seals_the_open_one() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    exporter.checkpoint(&tick(2, at(16 * MINUTE), &[(exempt("1", "a"), volume(2, 2))])).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let sums: Vec<_> = node.rows().iter().map(|row| number(row, "up_bytes")).collect();
    assert_eq!(sums, [1, 2]);
}

#[test]
fn b11_the_end_of_a_leap_day_and_of_a_year_fall_into_their_last_period() {
    for (last, name) in
        [("2028-02-29T23:59:59.999Z", "20280301T000000Z"), ("2026-12-31T23:59:59.999Z", "20270101T000000Z")]
    {
        let mut node = Node::new();
        let last: jiff::Timestamp = last.parse().unwrap();
        let mut exporter = node.open(last - SignedDuration::from_secs(60));
        let mut one = tick(1, last, &[(exempt("1", "a"), volume(1, 1))]);
        one.at = last + SignedDuration::from_secs(1);
        exporter.checkpoint(&one).unwrap();
        exporter.seal_due(one.at).unwrap();
        exporter.publish().unwrap();
        let path = &node.data_files()[0];
        assert!(path.to_str().unwrap().contains(name), "{}", path.display());
        node.verify();
    }
}

#[test]
fn a_seal_in_the_middle_cuts_the_window_and_an_empty_one_says_nothing() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    assert_eq!(exporter.seal_now(at(MINUTE), Cause::ListChange).unwrap(), 0, "nothing to tell");
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    assert_eq!(exporter.seal_now(at(5 * MINUTE), Cause::ListChange).unwrap(), 1);
    assert_eq!(exporter.seal_now(at(6 * MINUTE), Cause::Shutdown).unwrap(), 1, "a shutdown is told");
    assert_eq!(exporter.seal_now(at(6 * MINUTE), Cause::Shutdown).unwrap(), 0, "once");
    assert_eq!(exporter.seal_now(at(20 * MINUTE), Cause::ListChange).unwrap(), 1, "the period had ended");
    exporter.publish().unwrap();
    assert_eq!(
        windows(&node),
        [
            window("usage", "06T12:00:00", "06T12:05:00", ""),
            window("heartbeat", "06T12:05:00", "06T12:06:00", ""),
            window("heartbeat", "06T12:06:00", "06T12:15:00", ""),
        ]
    );
    let causes: Vec<_> = node.rows().iter().map(|row| row["cause"].clone()).collect();
    assert_eq!(causes, ["list_change", "shutdown", "period"]);
    check_order(&node, 1);
}
