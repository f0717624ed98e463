//! Rows changed while nothing ran: set aside, told once, and never published.

use rusqlite::Connection;

use super::{TRUE_ROWS, change, counted, ledger, told_after};
use crate::support::*;

/// What was set aside: table and content.
fn set_aside(node: &Node) -> Vec<(String, String)> {
    let connection = Connection::open(ledger(node)).unwrap();
    let mut statement = connection.prepare("SELECT source, content FROM set_aside ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn f64_a_changed_counter_is_set_aside_told_and_never_published() {
    for (name, statement, columns) in [
        ("serial", "UPDATE counter SET list_serial = 999 WHERE id = 1", "\"list_serial\":999"),
        ("list", "UPDATE counter SET list_id = 'other' WHERE id = 1", "\"list_id\":\"other\""),
        ("group", "UPDATE counter SET rating_group = 7 WHERE id = 1", "\"rating_group\":7"),
        ("disposition", "UPDATE counter SET disposition = 'tagged' WHERE id = 1", "\"tagged\""),
        ("flags", "UPDATE counter SET flags = 'stale_binding' WHERE id = 1", "\"stale_binding\""),
        ("word", "UPDATE counter SET disposition = 'strange' WHERE id = 1", "\"strange\""),
        ("capped", "UPDATE counter SET capped = 1 WHERE id = 1", "\"capped\":1"),
        ("check", "UPDATE counter SET row_check = zeroblob(16) WHERE id = 1", "\"row_check\":\"00"),
        ("less", "UPDATE counter SET up_bytes = up_bytes - 1 WHERE id = 1", "\"up_bytes\":9"),
        ("account", "UPDATE counter SET total_id = 2 WHERE id = 1", "\"total_id\":2"),
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let (opened, rows) = told_after(&mut node);
        let found = opened.found.unwrap_or_else(|| panic!("{name}: not found"));
        assert_eq!((found.counters, found.totals, opened.epoch), (1, 0, 1), "{name}");
        assert_eq!(rows[..2], TRUE_ROWS[1..], "{name}");
        assert_eq!(rows[2..], ["gap 1     "], "{name}: what is missing is told");
        let manifest = manifest(&node.data_files()[1]);
        assert_eq!(manifest["conserved"], false, "{name}: and not made to add up");
        let aside = set_aside(&node);
        assert_eq!(aside.len(), 1, "{name}: {aside:?}");
        assert!(aside[0].0 == "counter" && aside[0].1.contains(columns), "{name}: {aside:?}");
        let exporter = node.open(at(31 * MINUTE));
        assert_eq!(exporter.opened().found, None, "{name}: once");
    }
}

#[test]
fn f64_bytes_moved_between_two_counters_are_in_neither() {
    let mut node = Node::new();
    drop(counted(&mut node));
    change(
        &node,
        "UPDATE counter SET up_bytes = up_bytes + 5 WHERE id = 1; UPDATE counter SET up_bytes = up_bytes - 5 WHERE id = 2",
    );
    let (opened, rows) = told_after(&mut node);
    assert_eq!(opened.found.map(|found| (found.counters, found.bytes)), Some((2, volume(50, 70))));
    assert_eq!(rows, [TRUE_ROWS[2], "gap 1     "]);
}

#[test]
fn f64_a_counter_that_came_or_went_is_told() {
    for statement in [
        "DELETE FROM counter WHERE id = 1",
        "INSERT INTO counter SELECT 9, total_id, list_id, list_serial + 1, rating_group, disposition, up_bytes, down_bytes,
            flags, capped, row_check FROM counter WHERE id = 1",
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let (opened, rows) = told_after(&mut node);
        assert!(opened.found.is_some_and(|found| found.other), "{statement}: {opened:?}");
        assert!(rows.iter().all(|row| row.starts_with("gap") || TRUE_ROWS.contains(&row.as_str())), "{rows:?}");
        assert!(rows.iter().any(|row| row.starts_with("gap")), "{statement}: {rows:?}");
    }
}

#[test]
fn f64_changed_totals_and_identities_begin_an_epoch_whose_totals_begin_anew() {
    for (name, statement, counters) in [
        ("total", "UPDATE total SET up_bytes = up_bytes + 1 WHERE id = 1", 1),
        ("service", "UPDATE total SET service_id = 'b' WHERE id = 1", 1),
        ("subscriber", "UPDATE total SET subscriber_id = '9' WHERE id = 1", 1),
        ("class", "UPDATE total SET class = 'charged', service_id = '', reason = 'port' WHERE id = 1", 1),
        ("word", "UPDATE total SET class = 'strange' WHERE id = 1", 1),
        ("swapped", "UPDATE total SET subscriber_id = 'x' WHERE id = 1;
            UPDATE total SET subscriber_id = '1' WHERE id = 2; UPDATE total SET subscriber_id = '2' WHERE id = 1", 2),
        ("gone", "PRAGMA foreign_keys = OFF; DELETE FROM total WHERE id = 1", 1),
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let mut exporter = node.open(at(17 * MINUTE));
        let opened = exporter.opened().clone();
        assert_eq!(opened.found.map(|found| found.counters), Some(counters), "{name}");
        assert_eq!(opened.epoch, 2, "{name}: {opened:?}");
        exporter.checkpoint(&tick(1, at(18 * MINUTE), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
        exporter.seal_due(at(30 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        drop(exporter);
        let rows = node.rows();
        let bad = rows.iter().any(|row| {
            ["9", "x"].contains(&row["subscriber_id"].as_str()) || row["service_id"] == "b" || row["reason"] == "port"
        });
        assert!(!bad, "{name}: {rows:#?}");
        let last = rows.last().unwrap();
        assert_eq!((last["epoch"].as_str(), last["up_bytes_total"].as_str()), ("2", "1"), "{name}");
        let faults = verify_paths(std::slice::from_ref(&node.settings.pickup_dir)).faults;
        assert!(faults.iter().all(|fault| fault.text.contains("conserved")), "{name}: {faults:#?}");
        assert!(!faults.is_empty(), "{name}: what is missing shows");
    }
}

#[test]
fn f64_changed_numbers_begin_an_epoch_and_no_record_has_the_name_of_another() {
    for statement in [
        "UPDATE node SET next_record_seq = 1",
        "UPDATE node SET next_record_seq = 900",
        "UPDATE node SET next_file_seq = 1",
        "UPDATE node SET epoch = 7",
        "UPDATE node SET epoch = 4294967295",
        "UPDATE node SET byte_basis = 'ip'",
        "UPDATE node SET running = 0",
        "UPDATE node SET totals_sum = zeroblob(16)",
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let (opened, _) = told_after(&mut node);
        assert!(opened.found.is_some_and(|found| found.other), "{statement}");
        assert_eq!(opened.epoch, 2, "{statement}");
        let rows = node.rows();
        let identities: std::collections::BTreeSet<_> =
            rows.iter().map(|row| (number(row, "epoch"), number(row, "record_seq"))).collect();
        assert_eq!(identities.len(), rows.len(), "{statement}");
        assert_eq!(
            node.verify().up_bytes,
            3_057 + 57,
            "{statement}: the counters themselves are as they were"
        );
    }
}

#[test]
fn f64_a_changed_segment_is_told_and_its_window_overlaps_no_other() {
    for statement in [
        "UPDATE segment SET seen_up = seen_up + 1",
        "UPDATE segment SET usage_up = usage_up + 1, seen_up = seen_up + 1",
        "UPDATE segment SET start_utc = '2020-04-06T11:00:00.000Z'",
        "UPDATE segment SET end_utc = '2020-04-06T19:00:00.000Z'",
        "UPDATE segment SET high_water_utc = 'noon'",
        "UPDATE segment SET stepped = 1",
        "DELETE FROM segment",
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let (opened, rows) = told_after(&mut node);
        assert!(opened.found.is_some_and(|found| found.other), "{statement}: {opened:?}");
        assert_eq!(rows[..3], TRUE_ROWS, "{statement}");
        assert!(rows[3].starts_with("gap"), "{statement}: {rows:?}");
        for row in &node.rows()[3..] {
            assert!(row["start_utc"].as_str() >= "2020-04-06T12:15:00.000Z", "{statement}: {row:?}");
            assert!(row["end_utc"].as_str() <= "2020-04-06T12:30:00.000Z", "{statement}: {row:?}");
        }
    }
}
