//! Changes made so as not to be seen: any column, sums put right, rows put back.

use billing_export::*;
use rusqlite::Connection;

use super::{change, counted, ledger, spent};
use crate::support::*;

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
