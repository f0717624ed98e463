//! Ledgers that were stored by the versions before, and by one after.
//!
//! `golden/ledger-N.sql` is the ledger of a gateway whose tables had version N, killed while it ran: a file that billing has,
//! one that is sealed and not published, and open counters. A new version of the tables keeps the one before here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::fs;
use std::path::PathBuf;

use billing_export::*;
use rusqlite::Connection;
use support::*;

/// A stored ledger.
struct Stored {
    /// Version of its tables.
    version: i64,
    /// The tables and their content.
    sql: &'static str,
    /// Id of the start that wrote it, in hex.
    start_id: &'static str,
    /// All bytes up of its records and open counters, those without a verdict among them.
    up: i128,
    /// What the subscribers of its allowances had on the day.
    spent: u64,
}

/// Every version before the present one, each as it was stored.
const STORED: [Stored; 4] = [
    Stored {
        version: 1,
        sql: include_str!("golden/ledger-1.sql"),
        start_id: "09090909090909090909090909090909",
        up: 10 + 1 + 7 + 5 + 9,
        spent: 333 + 15,
    },
    Stored {
        version: 2,
        sql: include_str!("golden/ledger-2.sql"),
        start_id: "01010101010101010101010101010101",
        up: 1_510 + 1_221 + 1,
        spent: 11,
    },
    Stored {
        version: 3,
        sql: include_str!("golden/ledger-3.sql"),
        start_id: "01010101010101010101010101010101",
        up: 1_510 + 1_221 + 1,
        spent: 11,
    },
    Stored {
        version: 4,
        sql: include_str!("golden/ledger-4.sql"),
        start_id: "01010101010101010101010101010101",
        up: 1_510 + 1_221 + 1,
        spent: 11,
    },
];

fn ledger(node: &Node) -> PathBuf {
    node.settings.state_dir.join(STORE_NAME)
}

/// A node with this ledger, and the witness that belongs to it: billing has the first file.
fn put(sql: &str, start_id: &str) -> Node {
    let node = Node::new();
    for directory in [&node.settings.state_dir, &node.settings.staging_dir, &node.settings.pickup_dir] {
        fs::create_dir_all(directory).unwrap();
    }
    let connection = Connection::open(ledger(&node)).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
    connection.close().unwrap();
    let check = manifest::Hash::of(format!("zrgw-01\n{start_id}\n1\n1\n").as_bytes());
    let said = format!(
        "{{\"node_id\":\"zrgw-01\",\"start_id\":\"{start_id}\",\"epoch\":1,\"file_seq\":1,\"check\":\"{check}\"}}\n"
    );
    fs::write(node.settings.staging_dir.join("zrgw-01.witness"), said).unwrap();
    node
}

/// A node with a stored ledger.
fn stored(stored: &Stored) -> Node {
    put(stored.sql, stored.start_id)
}

fn version(node: &Node) -> i64 {
    Connection::open(ledger(node)).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// The version of a ledger that is new.
fn present() -> i64 {
    let mut node = Node::new();
    node.open(at(0)).close().unwrap();
    version(&node)
}

#[test]
fn every_version_before_the_present_one_is_kept() {
    let kept: Vec<i64> = STORED.iter().map(|stored| stored.version).collect();
    assert_eq!(
        kept,
        (1..present()).collect::<Vec<_>>(),
        "golden/ledger-N.sql of the version before is missing"
    );
    for one in &STORED {
        assert_eq!(version(&stored(one)), one.version);
    }
}

#[test]
fn f64_a_ledger_of_a_version_before_is_read_as_it_is_and_goes_on_where_it_stood() {
    for one in &STORED {
        let mut node = stored(one);
        // A reader takes it as it is, and changes nothing.
        let before = fs::read(ledger(&node)).unwrap();
        render(&node.settings.state_dir, 2, &node.root.path().join("again")).unwrap();
        assert_eq!(fs::read(ledger(&node)).unwrap(), before);
        let mut exporter = node.open(at(32 * MINUTE));
        assert_eq!((exporter.epoch(), exporter.opened().found), (1, None));
        assert!(exporter.opened().unclean);
        let mut known = 0;
        exporter.each_spent(&["day 2020-04-06".to_owned()], &mut |spent| known += spent.bytes).unwrap();
        assert_eq!(known, one.spent);
        let usage = [(exempt("77010000001", "bilimland"), volume(1, 1))];
        exporter.checkpoint(&tick(1, at(33 * MINUTE), &usage)).unwrap();
        exporter.seal_due(at(45 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        assert_eq!(exporter.backlog_records(), 0);
        exporter.close().unwrap();
        // The first file belongs to billing, which took it away; what was sealed then is what was sealed.
        assert_eq!(node.verify().up_bytes, one.up + 1, "version {}", one.version);
        assert_eq!(node.data_files().len(), 2);
        for copy in files_ending(&node.root.path().join("again"), "") {
            let published = node.settings.pickup_dir.join(copy.file_name().unwrap());
            assert_eq!(fs::read(&copy).unwrap(), fs::read(published).unwrap(), "version {}", one.version);
        }
        assert_eq!(version(&node), present());
        Connection::open(ledger(&node))
            .unwrap()
            .execute("UPDATE total SET up_bytes = 0 WHERE id = 1", [])
            .unwrap();
        assert_eq!(node.open(at(46 * MINUTE)).opened().found.map(|found| found.totals), Some(1));
    }
}

#[test]
fn a_ledger_from_before_allowances_is_completed_with_all_it_holds() {
    let mut node = stored(&STORED[0]);
    // Version 1 as it was before `spent`.
    Connection::open(ledger(&node))
        .unwrap()
        .execute_batch("DROP TABLE spent; ALTER TABLE counter DROP COLUMN capped")
        .unwrap();
    render(&node.settings.state_dir, 2, &node.root.path().join("again")).unwrap();
    let mut exporter = node.open(at(32 * MINUTE));
    assert_eq!((exporter.epoch(), exporter.opened().found), (1, None));
    let mut one = tick(1, at(33 * MINUTE), &[(exempt("77010000001", "bilimland"), volume(1, 1))]);
    let (allowance, span) = ("overall".to_owned(), "day 2020-04-06".to_owned());
    one.spent = vec![Spent { subscriber: session("77010000001"), allowance, span, bytes: 2 }];
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    assert_eq!(node.verify().up_bytes, STORED[0].up + 1);
    assert_eq!(shape(&node), shape(&stored_and_opened(&STORED[1])));
    node.render_all_again();
}

/// A node with a stored ledger that was brought to the present.
fn stored_and_opened(one: &Stored) -> Node {
    let mut node = stored(one);
    node.open(at(32 * MINUTE)).close().unwrap();
    node
}

/// Columns, indexes and triggers of a ledger.
fn shape(node: &Node) -> Vec<String> {
    let connection = Connection::open(ledger(node)).unwrap();
    let ask = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut shape = ask("SELECT m.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || c.pk
                         FROM sqlite_schema AS m, pragma_table_info(m.name) AS c WHERE m.type = 'table'");
    shape.extend(ask(
        "SELECT name || ' ' || sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql NOT NULL",
    ));
    shape.sort();
    shape
}

#[test]
fn b30_a_ledger_of_a_version_before_is_not_corrected_by_the_command_but_by_the_gateway() {
    use billing_export::correction::{Amount, Correction};
    let correction = Correction::new(record::Reference { epoch: 1, seq: 1 }, Amount::Void, "a test").unwrap();
    for one in &STORED {
        let mut node = stored(one);
        let ask =
            |node: &Node| adjust(&node.settings.state_dir, &correction, [77; 16], at(32 * MINUTE), None);
        let refused = ask(&node).unwrap_err().to_string();
        assert!(refused.contains("version before") && refused.contains("Start the gateway"), "{refused}");
        assert_eq!(version(&node), one.version, "it stays as it is");
        let mut exporter = node.open(at(32 * MINUTE));
        let Ok(Adjusting::Asked(request)) = ask(&node) else { panic!("the exporter has the ledger") };
        assert_eq!(exporter.make_corrections(at(32 * MINUTE)).unwrap().len(), 1);
        assert!(request.outcome().unwrap().unwrap().is_ok());
    }
}

#[test]
fn a_ledger_brought_to_the_present_has_the_tables_of_a_new_one() {
    let mut new = Node::new();
    new.open(at(0)).close().unwrap();
    for one in &STORED {
        assert_eq!(shape(&stored_and_opened(one)), shape(&new), "version {}", one.version);
    }
}

#[test]
fn what_the_version_before_published_is_rendered_again_byte_for_byte() {
    let node = stored_and_opened(&STORED[1]);
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/billing-export/golden/ledger-2");
    let again = node.root.path().join("again");
    for copy in render(&node.settings.state_dir, 1, &again).unwrap() {
        let published = fs::read(golden.join(copy.file_name().unwrap())).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), published, "{}", copy.display());
    }
}

#[test]
fn a_ledger_of_a_later_version_is_told_with_its_remedy_and_stays_as_it_is() {
    let later = present() + 1;
    for (change, found) in [
        (format!("PRAGMA user_version = {later}"), format!("version {later}")),
        ("INSERT INTO file SELECT file_seq + 5, epoch, name || '9', byte_basis, records, first_seq, last_seq, up_bytes, \
          down_bytes, seen_up, seen_down, pending_before_up, pending_before_down, pending_after_up, pending_after_down, \
          conserved, sha256, previous_manifest_sha256, manifest_sha256, 7 FROM file LIMIT 1"
            .to_owned(), "format 7".to_owned()),
    ] {
        let mut node = stored_and_opened(&STORED[1]);
        Connection::open(ledger(&node)).unwrap().execute_batch(&change).unwrap();
        let files = |node: &Node| -> Vec<(PathBuf, Vec<u8>)> {
            let found = [&node.settings.state_dir, &node.settings.staging_dir, &node.settings.pickup_dir];
            let all = found.into_iter().flat_map(|folder| files_ending(folder, ""));
            all.filter(|path| !path.to_string_lossy().ends_with("-shm"))
                .map(|path| (path.clone(), fs::read(path).unwrap()))
                .filter(|(path, bytes)| !(path.to_string_lossy().ends_with("-wal") && bytes.is_empty()))
                .collect()
        };
        let before = files(&node);
        let error = node.try_open(at(33 * MINUTE), Box::new(NoFault)).unwrap_err();
        assert!(matches!(error, ExportError::Newer { .. }), "{error}");
        let text = error.to_string();
        for part in ["ledger.db", &found, "later version of the gateway", "run that version"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(files(&node), before, "{change}");
    }
}
