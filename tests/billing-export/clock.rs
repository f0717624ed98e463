//! Periods, heartbeats and a clock that is set (B9, B11).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use billing_export::*;
use jiff::SignedDuration;
use support::*;

/// Seconds in milliseconds.
const SECOND: i64 = 1_000;

/// Kind, start, end, flags of each published row.
fn windows(node: &Node) -> Vec<(String, String, String, String)> {
    let short = |text: &String| text.trim_start_matches("2020-04-").trim_end_matches(".000Z").to_owned();
    let pick = |row: &Row| {
        (row["kind"].clone(), short(&row["start_utc"]), short(&row["end_utc"]), row["flags"].clone())
    };
    node.rows().iter().map(pick).collect()
}

/// The tuple of [`windows`].
fn window(kind: &str, start: &str, end: &str, flags: &str) -> (String, String, String, String) {
    (kind.into(), start.into(), end.into(), flags.into())
}

/// No window ends before it starts, none overlaps the one of the seal before, and no byte is lost.
fn check_order(node: &Node, up_bytes: i128) {
    let rows = node.rows();
    for pair in rows.windows(2) {
        let same = pair[0]["start_utc"] == pair[1]["start_utc"] && pair[0]["end_utc"] == pair[1]["end_utc"];
        assert!(same || pair[0]["end_utc"] <= pair[1]["start_utc"], "{pair:#?}");
    }
    for row in &rows {
        assert!(row["start_utc"] <= row["end_utc"], "{row:#?}");
    }
    assert_eq!(node.verify().up_bytes, up_bytes);
}

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
