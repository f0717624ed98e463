//! Rows of the ledger changed by another hand between a tick and a seal (trap F64), and the ledger of the version before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::path::PathBuf;

use billing_export::*;
use rusqlite::Connection;
use support::*;

/// The ledger.
fn ledger(node: &Node) -> PathBuf {
    node.settings.state_dir.join(STORE_NAME)
}

/// Changes the ledger as an auditor's tool would.
fn change(node: &Node, statements: &str) {
    let connection = Connection::open(ledger(node)).unwrap();
    connection.execute_batch(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
}

/// What was set aside: table and content.
fn set_aside(node: &Node) -> Vec<(String, String)> {
    let connection = Connection::open(ledger(node)).unwrap();
    let mut statement = connection.prepare("SELECT source, content FROM set_aside ORDER BY id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// What a subscriber has spent.
fn spent(id: &str, bytes: u64) -> Spent {
    Spent { subscriber: session(id), allowance: "overall".into(), span: "day 2020-04-06".into(), bytes }
}

/// A published period of three subscribers, and a second one that is open: 1 has 10 + 20 bytes, 2 has 40 + 50, 3 has 7 + 8
/// charged ones.
fn counted(node: &mut Node) -> Exporter {
    let mut exporter = node.open(at(0));
    let usage = |base: u64| {
        [
            (exempt("1", "a"), volume(base + 10, base + 20)),
            (exempt("2", "a"), volume(base + 40, base + 50)),
            (charged("3", Reason::NotListed), volume(base + 7, base + 8)),
        ]
    };
    let mut first = tick(1, at(0), &usage(1_000));
    first.spent = vec![spent("1", 2_030), spent("2", 2_090)];
    exporter.checkpoint(&first).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let mut second = tick(2, at(16 * MINUTE), &usage(0));
    second.spent = vec![spent("1", 2_060)];
    exporter.checkpoint(&second).unwrap();
    exporter
}

/// Starts, seals and publishes; kind, epoch, subscriber, service, serial, bytes up and total of the rows of the second period.
fn told_after(node: &mut Node) -> (Opened, Vec<String>) {
    let mut exporter = node.open(at(17 * MINUTE));
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let opened = exporter.opened().clone();
    drop(exporter);
    let columns =
        ["kind", "epoch", "subscriber_id", "service_id", "list_serial", "up_bytes", "up_bytes_total"];
    let line = |row: &Row| columns.map(|column| row[column].as_str()).join(" ");
    (opened, node.rows().iter().skip(3).map(line).collect())
}

/// The rows of the second period as they were counted.
const TRUE_ROWS: [&str; 3] = ["usage 1 1 a 3 10 1020", "usage 1 2 a 3 40 1080", "usage 1 3  3 7 1014"];

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

#[test]
fn f64_what_was_spent_and_then_changed_counts_as_used_up() {
    for (statement, used_up) in [
        ("UPDATE spent SET bytes = 0 WHERE subscriber_id = '1'", true),
        ("UPDATE spent SET bytes = bytes + 1 WHERE subscriber_id = '1'", true),
        ("UPDATE spent SET row_check = x'' WHERE subscriber_id = '1'", true),
        ("DELETE FROM spent WHERE subscriber_id = '1'", false),
    ] {
        let mut node = Node::new();
        drop(counted(&mut node));
        change(&node, statement);
        let mut exporter = node.open(at(17 * MINUTE));
        let found = exporter.opened().found.unwrap_or_else(|| panic!("{statement}: not found"));
        assert_eq!(found.spent, u64::from(used_up), "{statement}");
        assert!(used_up || found.other, "{statement}");
        let mut known = std::collections::BTreeMap::new();
        let spans = ["day 2020-04-06".to_owned()];
        let mut each = |spent: Spent| {
            known.insert(spent.subscriber.subscriber_id().to_owned(), spent.bytes);
        };
        exporter.each_spent(&spans, &mut each).unwrap();
        assert_eq!(known.get("1").copied(), used_up.then_some(i64::MAX.unsigned_abs()), "{statement}");
        assert_eq!(known.get("2"), Some(&2_090), "{statement}: nobody else's");
        exporter
            .checkpoint(&Tick { spent: vec![spent("2", 3_000)], ..tick(1, at(17 * MINUTE), &[]) })
            .unwrap();
        exporter.close().unwrap();
        assert_eq!(node.open(at(18 * MINUTE)).opened().found, None, "{statement}: once");
    }
}

#[test]
fn f64_a_change_while_the_exporter_runs_is_found_at_the_next_tick_or_seal() {
    let usage = [(exempt("1", "a"), volume(1, 1))];
    for (name, statement, at_seal) in [
        ("dirty", "UPDATE counter SET list_serial = 9, row_check = zeroblob(16) WHERE id = 1", false),
        ("still", "UPDATE counter SET list_serial = 9 WHERE id = 2", true),
        ("gone", "DELETE FROM counter WHERE id = 2", true),
        ("total", "UPDATE total SET up_bytes = 0 WHERE id = 2", true),
        ("numbers", "UPDATE node SET next_record_seq = 1", false),
        ("segment", "UPDATE segment SET seen_up = 0", false),
    ] {
        let mut node = Node::new();
        let mut exporter = counted(&mut node);
        change(&node, statement);
        let ticked =
            exporter.checkpoint(&tick(3, at(17 * MINUTE), &usage)).map_err(|error| error.to_string());
        assert_eq!(ticked.is_ok(), at_seal, "{name}: {ticked:?}");
        let error = exporter.seal_due(at(30 * MINUTE)).unwrap_err();
        assert!(matches!(error, ExportError::Changed { .. }), "{name}: {error}");
        // What was sealed before the change has gone out already, and nothing of the change is sealed.
        assert_eq!(exporter.courier().deliver().unwrap(), 0, "{name}");
        drop(exporter);
        let (opened, rows) = told_after(&mut node);
        assert!(opened.found.is_some(), "{name}");
        assert!(!rows.iter().any(|row| row.contains(" 9 ")), "{name}: {rows:?}");
    }
}

#[test]
fn f64_a_total_changed_while_its_account_has_no_counter_is_not_gone_on_from() {
    let mut node = Node::new();
    let mut exporter = counted(&mut node);
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    change(&node, "UPDATE total SET up_bytes = 0 WHERE id = 1");
    let error =
        exporter.checkpoint(&tick(3, at(31 * MINUTE), &[(exempt("1", "a"), volume(1, 1))])).unwrap_err();
    assert!(matches!(error, ExportError::Changed { .. }), "{error}");
    drop(exporter);
    let exporter = node.open(at(32 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().found.map(|found| found.totals)), (2, Some(1)));
}

/// The columns of a table whose change means something: all but its own numbers, and the node's name, which is refused.
fn columns(connection: &Connection, table: &str) -> Vec<(String, String)> {
    let query = "SELECT name, type FROM pragma_table_info(?1) WHERE name NOT IN ('id', 'only', 'node_id')";
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Another value of a column, such as we could have written.
fn another(column: &str, kind: &str) -> String {
    match (kind, column) {
        ("BLOB", _) => "zeroblob(16)".into(),
        ("INTEGER", "capped" | "stepped" | "recovered" | "damaged" | "running") => format!("1 - {column}"),
        ("INTEGER", _) => format!("coalesce({column}, 0) + 1"),
        (_, "subscriber_type") => "'imsi'".into(),
        (_, "class") => "'charged'".into(),
        (_, "reason") => "'port'".into(),
        (_, "disposition") => "'tagged'".into(),
        (_, "byte_basis") => "'ip'".into(),
        (_, "flags") => "'stale_binding'".into(),
        (_, column) if column.ends_with("_utc") => "'2020-04-06T12:03:00.000Z'".into(),
        (_, column) => format!("coalesce({column}, '') || 'x'"),
    }
}

#[test]
fn f64_no_column_of_what_is_not_sealed_is_changed_unseen() {
    let mut node = Node::new();
    drop(counted(&mut node));
    let folders = [node.settings.state_dir.clone(), node.settings.staging_dir.clone()];
    let copies = ["state.copy", "staging.copy"].map(|name| node.root.path().join(name));
    folders.iter().zip(&copies).for_each(|(folder, copy)| copy_dir(folder, copy));
    let mut seen = 0;
    for table in ["counter", "total", "spent", "segment", "node"] {
        for (column, kind) in columns(&Connection::open(ledger(&node)).unwrap(), table) {
            folders.iter().zip(&copies).for_each(|(folder, copy)| restore(copy, folder));
            let value = another(&column, &kind);
            let first = if table == "spent" { "subscriber_id = '1'" } else { "rowid = 1" };
            change(&node, &format!("UPDATE {table} SET {column} = {value} WHERE {first}"));
            let found = node.open(at(17 * MINUTE)).opened().found;
            assert!(found.is_some(), "{table}.{column} = {value}");
            assert_eq!(node.open(at(17 * MINUTE)).opened().found, None, "{table}.{column}: once");
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} columns");
}

/// Sums the checks of a table's rows, as anybody can who reads the ledger.
fn put_sum_right(node: &Node, table: &str, place: &str) {
    let connection = Connection::open(ledger(node)).unwrap();
    let mut statement = connection.prepare(&format!("SELECT row_check FROM {table}")).unwrap();
    let checks = statement.query_map([], |row| row.get::<_, [u8; 16]>(0)).unwrap();
    let sum = checks.map(|check| u128::from_be_bytes(check.unwrap())).fold(0, u128::wrapping_add);
    let changed = connection.execute(&format!("UPDATE {place}"), [sum.to_be_bytes()]).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn f64_rows_that_came_or_went_are_found_also_where_the_sum_was_put_right() {
    // Two counters of the same bytes: one takes the other's place, and all figures add up.
    let replaced = "DELETE FROM counter WHERE id = 1;
        INSERT INTO counter SELECT 1, total_id, list_id, list_serial, rating_group, disposition, up_bytes, down_bytes,
            flags, capped, row_check FROM counter WHERE id = 2";
    for (statement, sum, put_right) in [
        (replaced, ("counter", "segment SET counters_sum = ?1"), false),
        (replaced, ("counter", "segment SET counters_sum = ?1"), true),
        ("DELETE FROM spent WHERE subscriber_id = '1'", ("spent", "node SET spent_sum = ?1"), true),
        ("DELETE FROM total WHERE subscriber_id = '4'", ("total", "node SET totals_sum = ?1"), true),
    ] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.checkpoint(&tick(1, at(0), &[(exempt("4", "a"), volume(1, 1))])).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        let usage = [(exempt("1", "a"), volume(10, 20)), (exempt("2", "a"), volume(10, 20))];
        let mut second = tick(2, at(16 * MINUTE), &usage);
        second.spent = vec![spent("1", 30), spent("2", 30)];
        exporter.checkpoint(&second).unwrap();
        drop(exporter);
        change(&node, statement);
        if put_right {
            put_sum_right(&node, sum.0, sum.1);
        }
        let found = node.open(at(17 * MINUTE)).opened().found;
        assert!(found.is_some_and(|found| found.other), "{statement}, {put_right}: {found:?}");
    }
}

#[test]
fn f64_counters_of_before_a_seal_put_back_are_not_sealed_again() {
    let mut node = Node::new();
    let mut exporter = counted(&mut node);
    let pending = Tick { seen: volume(2, 2), pending_after: volume(2, 2), ..tick(3, at(17 * MINUTE), &[]) };
    exporter.checkpoint(&pending).unwrap();
    let copy = node.root.path().join("copy.db");
    change(
        &node,
        &format!(
            "ATTACH '{}' AS copy; CREATE TABLE copy.counter AS SELECT * FROM counter;
             CREATE TABLE copy.segment AS SELECT * FROM segment",
            copy.display()
        ),
    );
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    let verdict = tick(4, at(31 * MINUTE), &[(exempt("1", "a"), volume(2, 2))]);
    exporter.checkpoint(&Tick { seen: Volume::ZERO, ..verdict }).unwrap();
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    drop(exporter);
    change(
        &node,
        &format!(
            "ATTACH '{}' AS copy; INSERT INTO counter SELECT * FROM copy.counter;
             REPLACE INTO segment SELECT * FROM copy.segment",
            copy.display()
        ),
    );
    let mut exporter = node.open(at(46 * MINUTE));
    assert!(exporter.opened().found.is_some_and(|found| found.other), "{:?}", exporter.opened());
    exporter.seal_due(at(60 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let rows = node.rows();
    let up: u64 = rows.iter().filter(|row| row["kind"] == "usage").map(|row| number(row, "up_bytes")).sum();
    assert_eq!(up, 3_057 + 57 + 2, "{rows:#?}");
}

#[test]
fn f64_what_was_spent_and_changed_while_the_exporter_runs_is_not_gone_on_from() {
    let mut node = Node::new();
    let mut exporter = counted(&mut node);
    change(&node, "UPDATE spent SET bytes = 0 WHERE subscriber_id = '1'");
    let next = Tick { spent: vec![spent("1", 2_070)], ..tick(3, at(17 * MINUTE), &[]) };
    let error = exporter.checkpoint(&next).unwrap_err();
    assert!(matches!(error, ExportError::Changed { .. }), "{error}");
    drop(exporter);
    assert_eq!(node.open(at(18 * MINUTE)).opened().found.map(|found| found.spent), Some(1));
}
