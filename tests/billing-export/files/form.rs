//! The form of the files: golden bytes, lines, names, rights, and a ledger that any SQLite reads.

use std::fs;
use std::path::Path;

use billing_export::*;

use crate::support::*;

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, found: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/billing-export/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(&wanted), "{}", path.display());
}

/// Every kind of row the gateway writes.
fn example(node: &mut Node) {
    let mut exporter = node.open(at(0));
    let mut one = tick(
        1,
        at(1_000),
        &[
            (exempt("77010000001", "bilimland"), volume(1_200, 48_000)),
            (exempt("77010000002", "daryn-online"), volume(10, 20)),
            (charged("77010000001", Reason::NotListed), volume(5, 6)),
            (charged("77010000001", Reason::AddressMismatch), volume(7, 8)),
        ],
    );
    one.usage[1].flags = Flags::from(Flag::StaleBinding).with(Flag::StopLost);
    one.usage[2].flags = Flag::FreeInCore.into();
    one.usage.push(Usage {
        account: Account {
            session: Session::none(),
            list: None,
            entry: Entry::because(Reason::NoSubscriber),
        },
        flags: Flags::NONE,
        volume: volume(1, 2),
    });
    let quoted = Session::new(SubscriberType::Account, "School \"No. 7\", Semey", "").unwrap();
    one.usage.push(Usage {
        account: Account { session: quoted, ..charged("x", Reason::NoName) },
        flags: Flags::NONE,
        volume: volume(3, 0),
    });
    one.pending_after = volume(100, 0);
    one.seen = volume(1_200 + 10 + 5 + 7 + 1 + 3 + 100, 48_000 + 20 + 6 + 8 + 2);
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let mut two = tick(2, at(16 * MINUTE), &[(exempt("77010000001", "bilimland"), volume(100, 4))]);
    two.seen = volume(0, 4);
    exporter.checkpoint(&two).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
}

#[test]
fn golden_files_of_the_contract() {
    let mut node = Node::new();
    example(&mut node);
    let names: Vec<_> = files_ending(&node.settings.pickup_dir, "");
    let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "zrgw-01_usage_20200406T121500Z_00001_0000000001.csv",
            "zrgw-01_usage_20200406T121500Z_00001_0000000001.manifest.json",
            "zrgw-01_usage_20200406T123000Z_00001_0000000002.csv",
            "zrgw-01_usage_20200406T123000Z_00001_0000000002.manifest.json",
            "zrgw-01_usage_20200406T124500Z_00001_0000000003.csv",
            "zrgw-01_usage_20200406T124500Z_00001_0000000003.manifest.json",
        ]
    );
    for name in names {
        golden(name, &fs::read(node.settings.pickup_dir.join(name)).unwrap());
    }
    node.verify();
    node.render_all_again();
}

#[test]
fn lines_end_with_cr_lf_and_the_header_is_that_of_the_contract() {
    let mut node = Node::new();
    example(&mut node);
    let text = fs::read_to_string(&node.data_files()[0]).unwrap();
    let header = "node_id,epoch,record_seq,kind,ref_epoch,ref_seq,class,reason,subscriber_type,subscriber_id,session_id,\
        service_id,rating_group,list_id,list_serial,start_utc,end_utc,up_bytes,down_bytes,up_bytes_total,\
        down_bytes_total,byte_basis,disposition,cause,flags\r\n";
    assert!(text.starts_with(header));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let staging = files_ending(&node.settings.staging_dir, ".part");
    assert!(staging.is_empty(), "{staging:?}");
}

#[test]
fn the_ledger_is_read_by_any_sqlite() {
    let mut node = Node::new();
    example(&mut node);
    let auditor = rusqlite::Connection::open(node.settings.state_dir.join(STORE_NAME)).unwrap();
    let ask = |sql: &str| auditor.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(ask("SELECT sum(up_bytes) FROM record WHERE class = 'exempt'"), 1_310);
    assert_eq!(ask("SELECT count(*) FROM delivery WHERE sink = 'files' AND phase = 'published'"), 3);
    assert_eq!(ask("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%STRICT%'"), 0);
}

#[test]
fn subscribers_stay_out_of_debug_output_and_files_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut node = Node::new();
    example(&mut node);
    let one = tick(1, at(0), &[(exempt("77010000001", "a"), volume(1, 1))]);
    assert!(!format!("{one:?} {:?}", node.open(at(60 * MINUTE))).contains("7701"));
    for directory in [&node.settings.pickup_dir, &node.settings.staging_dir, &node.settings.state_dir] {
        assert_eq!(
            fs::metadata(directory).unwrap().permissions().mode() & 0o007,
            0,
            "{}",
            directory.display()
        );
    }
    for file in node.data_files() {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
    }
    for entry in fs::read_dir(&node.settings.state_dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0, "{}", path.display());
    }
}
