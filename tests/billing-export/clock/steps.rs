//! A clock that is set forward or back, and what is no step: the records of its own period are flagged, and none overlap.

use billing_export::*;
use jiff::SignedDuration;

use super::{check_order, window, windows};
use crate::support::*;

/// Seconds in milliseconds.
const SECOND: i64 = 1_000;

#[test]
fn b9_a_clock_set_forward_by_a_day_gives_one_heartbeat_and_not_ninety_six() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let mut one = tick(1, at(0), &[(exempt("1", "a"), volume(7, 7))]);
    one.at += SignedDuration::from_hours(24);
    one.stepped = true;
    exporter.checkpoint(&one).unwrap();
    assert_eq!(exporter.seal_due(one.at).unwrap(), 2);
    exporter.publish().unwrap();
    assert_eq!(
        windows(&node),
        [
            window("usage", "06T12:00:00", "06T12:15:00", "clock_step"),
            window("heartbeat", "06T12:15:00", "07T12:00:00", "clock_step"),
        ]
    );
    check_order(&node, 7);
}

#[test]
fn b9_a_clock_set_back_keeps_the_period_open_flags_its_records_and_goes_on_sealing() {
    for hours in [1, 24] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        let mut sequence = 0;
        let mut count = |exporter: &mut Exporter, from| {
            sequence += 1;
            exporter.checkpoint(&tick(sequence, from, &[(exempt("1", "a"), volume(1, 1))])).unwrap();
            exporter.seal_due(from + SignedDuration::from_secs(1)).unwrap()
        };
        assert_eq!(count(&mut exporter, at(SECOND)), 0);
        let set_back = |millis| at(millis) - SignedDuration::from_hours(hours);
        // Forty minutes of a clock that is behind: two boundaries of its quarters of an hour, so two seals.
        let sealed: u64 =
            (0..40).map(|minute| count(&mut exporter, set_back(minute * MINUTE + 2 * SECOND))).sum();
        assert_eq!(sealed, 2, "{hours} h");
        exporter.publish().unwrap();
        for row in node.rows() {
            assert_eq!(row["flags"], "clock_step", "{hours} h");
            assert_eq!(row["start_utc"], "2020-04-06T12:00:00.000Z");
            assert_eq!(
                row["end_utc"], "2020-04-06T12:00:00.000Z",
                "no time passed that billing has not seen"
            );
        }
        // The clock is right again.
        count(&mut exporter, at(41 * MINUTE));
        exporter.seal_due(at(45 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        check_order(&node, 42);
        assert_eq!(node.rows().last().unwrap()["flags"], "");
    }
}

#[test]
fn b9_a_start_with_the_clock_behind_what_is_sealed_never_overlaps() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.close().unwrap();
    let mut exporter = node.open(at(-60 * MINUTE));
    exporter.checkpoint(&tick(1, at(-60 * MINUTE), &[(exempt("1", "a"), volume(2, 2))])).unwrap();
    exporter.seal_now(at(-59 * MINUTE), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    assert_eq!(windows(&node)[1], window("usage", "06T12:15:00", "06T12:15:00", "clock_step"));
    check_order(&node, 3);
}

#[test]
fn f66_a_disk_that_was_full_for_longer_than_a_period_flags_nothing() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    // What was counted while nothing could be saved comes in one long tick.
    let mut long = tick(1, at(MINUTE), &[(exempt("1", "a"), volume(7, 7))]);
    long.at = at(48 * MINUTE);
    exporter.checkpoint(&long).unwrap();
    assert_eq!(exporter.seal_due(long.at).unwrap(), 2);
    exporter.checkpoint(&tick(2, at(48 * MINUTE), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
    exporter.seal_due(at(60 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(
        windows(&node),
        [
            window("usage", "06T12:00:00", "06T12:15:00", ""),
            window("heartbeat", "06T12:15:00", "06T12:45:00", ""),
            window("usage", "06T12:45:00", "06T13:00:00", ""),
        ]
    );
    check_order(&node, 8);
}

#[test]
fn f66_a_step_is_told_of_its_own_period_alone() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let mut stepped = tick(1, at(MINUTE), &[(exempt("1", "a"), volume(7, 7))]);
    stepped.stepped = true;
    exporter.checkpoint(&stepped).unwrap();
    for minutes in [15, 30] {
        exporter.seal_due(at(minutes * MINUTE)).unwrap();
    }
    exporter.publish().unwrap();
    let wanted = [
        window("usage", "06T12:00:00", "06T12:15:00", "clock_step"),
        window("heartbeat", "06T12:15:00", "06T12:30:00", ""),
    ];
    assert_eq!(windows(&node), wanted);
}
