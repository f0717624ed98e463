//! What stands in the files: golden bytes, identities, sums, conservation, the greatest numbers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use billing_export::*;
use support::*;

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
fn b12_the_edges_of_the_numbers_are_exact_through_ledger_file_and_manifest_or_refused() {
    for bytes in [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, (1 << 53) + 1, (1 << 63) - 1] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(bytes, 0))])).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        let path = &node.data_files()[0];
        assert_eq!(rows(path)[0]["up_bytes"], bytes.to_string());
        assert_eq!(rows(path)[0]["up_bytes_total"], bytes.to_string());
        assert_eq!(manifest(path)["up_bytes"], bytes.to_string());
        assert_eq!(manifest(path)["seen_up_bytes"], bytes.to_string());
        assert_eq!(node.verify().up_bytes, i128::from(bytes));
    }
    for bytes in [1 << 63, u64::MAX] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
        let error =
            exporter.checkpoint(&tick(2, at(1_000), &[(exempt("1", "a"), volume(bytes, 0))])).unwrap_err();
        assert!(error.to_string().contains("wanted at most"), "{error}");
        exporter.checkpoint(&tick(2, at(1_000), &[(exempt("1", "a"), volume(1, 1))])).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        assert_eq!(node.verify().up_bytes, 2, "the refused tick changed nothing");
    }
}

#[test]
fn b12_a_running_total_beyond_the_store_is_refused_and_never_wraps() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    exporter.checkpoint(&tick(1, at(0), &[(exempt("1", "a"), volume((1 << 63) - 1, 0))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let error =
        exporter.checkpoint(&tick(2, at(15 * MINUTE), &[(exempt("1", "a"), volume(1, 0))])).unwrap_err();
    assert!(error.to_string().contains("running total"), "{error}");
    exporter.checkpoint(&tick(3, at(15 * MINUTE), &[(exempt("2", "a"), volume(1, 0))])).unwrap();
}

#[test]
fn t29_more_than_four_gibibytes_in_one_period_and_over_many() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let five_gib = 5 << 30;
    for period in 0..3_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        exporter.checkpoint(&tick(period + 1, from, &[(exempt("1", "a"), volume(9, five_gib))])).unwrap();
    }
    exporter.seal_due(at(45 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let totals: Vec<_> = node.rows().iter().map(|row| number(row, "down_bytes_total")).collect();
    assert_eq!(totals, [five_gib, 2 * five_gib, 3 * five_gib], "monotone, exact");
    node.verify();
}

#[test]
fn b24_a_list_change_in_mid_period_makes_two_records_with_their_own_serial() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let old = exempt("1", "a");
    let new = Account { list: list(4), ..old.clone() };
    exporter.checkpoint(&tick(1, at(0), &[(old.clone(), volume(10, 100))])).unwrap();
    exporter.checkpoint(&tick(2, at(1_000), &[(new.clone(), volume(1, 5)), (old, volume(2, 0))])).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.checkpoint(&tick(3, at(15 * MINUTE), &[(new, volume(1, 1))])).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let seen: Vec<_> = node
        .rows()
        .iter()
        .map(|row| (number(row, "list_serial"), number(row, "up_bytes"), number(row, "up_bytes_total")))
        .collect();
    assert_eq!(seen, [(3, 12, 12), (4, 1, 13), (4, 1, 14)], "the total runs over list versions and periods");
    node.verify();
}

#[test]
fn b28_equal_volumes_of_two_subscribers_and_two_periods_are_four_different_rows() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    for period in 0..2_u64 {
        let from = at(i64::try_from(period).unwrap() * 15 * MINUTE);
        let usage = [(exempt("1", "a"), volume(5, 5)), (exempt("2", "a"), volume(5, 5))];
        exporter.checkpoint(&tick(period + 1, from, &usage)).unwrap();
    }
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    // As BillRun keys rows: by the hash of the row's own fields.
    let keys: BTreeSet<_> = node
        .data_files()
        .iter()
        .flat_map(|path| {
            fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|line| manifest::Hash::of(line.as_bytes()).to_string())
        .collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn b26_a_seal_over_several_files_is_conserved_in_each_and_chained() {
    let mut node = Node::new();
    node.settings.file_records_max = 3;
    let mut exporter = node.open(at(0));
    let usage: Vec<_> = (0..8).map(|id| (exempt(&id.to_string(), "a"), volume(10, 1))).collect();
    let mut one = tick(1, at(0), &usage);
    one.pending_after = volume(7, 7);
    one.seen = volume(87, 15);
    exporter.checkpoint(&one).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    let files = node.data_files();
    let records: Vec<_> = files.iter().map(|path| rows(path).len()).collect();
    assert_eq!(records, [3, 3, 2]);
    let figure = |path: &Path, key: &str| manifest(path)[key].as_str().unwrap().parse::<u64>().unwrap();
    let seen: Vec<_> = files.iter().map(|path| figure(path, "seen_up_bytes")).collect();
    assert_eq!(seen, [87, 0, 0]);
    let after: Vec<_> = files.iter().map(|path| figure(path, "pending_after_up_bytes")).collect();
    assert_eq!(after, [57, 27, 7]);
    node.verify();
    node.render_all_again();
}

#[test]
fn file_records_at_the_limit_and_one_over() {
    for (rows_wanted, files) in [(3, 1), (4, 2)] {
        let mut node = Node::new();
        node.settings.file_records_max = 3;
        let mut exporter = node.open(at(0));
        let usage: Vec<_> =
            (0..rows_wanted).map(|id| (exempt(&id.to_string(), "a"), volume(10, 1))).collect();
        exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
        exporter.seal_due(at(15 * MINUTE)).unwrap();
        assert_eq!(exporter.publish().unwrap(), files);
        node.verify();
    }
}

#[test]
fn b26_bytes_that_do_not_add_up_are_an_alarm_and_a_gap_record_and_never_mended() {
    for (seen, up) in [(99, "too few seen"), (101, "too many seen")] {
        let mut node = Node::new();
        let mut exporter = node.open(at(0));
        let mut one = tick(1, at(0), &[(exempt("1", "a"), volume(100, 100))]);
        one.seen.up = seen;
        exporter.checkpoint(&one).unwrap();
        assert_eq!(exporter.seal_due(at(15 * MINUTE)).unwrap(), 2);
        assert_eq!(exporter.conservation_mismatches(), 1, "{up}");
        exporter.seal_due(at(30 * MINUTE)).unwrap();
        exporter.publish().unwrap();
        let files = node.data_files();
        assert_eq!(manifest(&files[0])["conserved"], false);
        assert_eq!(manifest(&files[0])["seen_up_bytes"], seen.to_string(), "as counted");
        assert_eq!(manifest(&files[1])["conserved"], true, "the next period is judged by itself");
        assert_eq!(rows(&files[0])[1]["kind"], "gap");
        let report = verify_paths(std::slice::from_ref(&node.settings.pickup_dir));
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert!(report.faults[0].text.contains("not conserved"));
        exporter.close().unwrap();
        assert_eq!(node.open(at(31 * MINUTE)).conservation_mismatches(), 1, "kept over a restart");
    }
}

#[test]
fn accounts_max_refuses_the_tick_and_names_the_key_until_the_seal() {
    let mut node = Node::new();
    node.settings.accounts_max = 2;
    let mut exporter = node.open(at(0));
    let usage: Vec<_> = (0..3).map(|id| (exempt(&id.to_string(), "a"), volume(1, 1))).collect();
    exporter.checkpoint(&tick(1, at(0), &usage[..2])).unwrap();
    let refused = tick(2, at(1_000), &usage[2..]);
    let error = exporter.checkpoint(&refused).unwrap_err().to_string();
    assert!(error.contains("export.accounts_max"), "{error}");
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.checkpoint(&refused).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    assert_eq!(node.verify().up_bytes, 3);
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

#[test]
fn f61_a_remark_that_comes_without_bytes_stands_on_what_was_counted_and_makes_no_record_of_its_own() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let counted = charged("77010000001", Reason::NotListed);
    exporter.checkpoint(&tick(1, at(1_000), &[(counted.clone(), volume(5, 6))])).unwrap();
    let remark = |account| Usage { account, flags: Flag::LowerBound.into(), volume: volume(0, 0) };
    let mut two = tick(2, at(2_000), &[]);
    two.usage = vec![remark(counted), remark(charged("77010000002", Reason::NotListed))];
    exporter.checkpoint(&two).unwrap();
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    exporter.publish().unwrap();
    exporter.close().unwrap();
    let text = fs::read_to_string(&node.data_files()[0]).unwrap();
    let rows: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert!(rows[0].ends_with(",period,lower_bound"), "{text}");
    node.verify();
}

#[test]
fn b19_the_record_of_a_session_that_ended_says_so_and_nobody_elses_is_sealed_for_it() {
    let mut node = Node::new();
    let mut exporter = node.open(at(0));
    let usage = [(exempt("1", "a"), volume(1, 1)), (exempt("2", "a"), volume(1, 1))];
    exporter.checkpoint(&tick(1, at(0), &usage)).unwrap();
    let ended = |id: &str| exempt(id, "a").session;
    // Of the third nothing is counted: it has no record to say so.
    exporter.end_sessions(&[ended("1"), ended("3")]).unwrap();
    // What was on its way is counted where it belongs.
    exporter.checkpoint(&tick(2, at(1_000), &usage[..1])).unwrap();
    assert_eq!(exporter.seal_due(at(2_000)).unwrap(), 0, "nobody's period ends for it");
    exporter.seal_due(at(15 * MINUTE)).unwrap();
    let causes = |node: &Node| {
        let rows = node.rows();
        let usage = rows.iter().filter(|row| row["kind"] == "usage");
        usage
            .map(|row| format!("{} {} {}", row["subscriber_id"], row["cause"], row["up_bytes"]))
            .collect::<Vec<_>>()
    };
    exporter.publish().unwrap();
    assert_eq!(causes(&node), ["1 session_end 2", "2 period 1"]);
    // The next period knows nothing of it; a seal for another cause says that one.
    exporter.checkpoint(&tick(3, at(16 * MINUTE), &usage)).unwrap();
    exporter.seal_due(at(30 * MINUTE)).unwrap();
    exporter.checkpoint(&tick(4, at(31 * MINUTE), &usage)).unwrap();
    exporter.end_sessions(&[ended("2")]).unwrap();
    exporter.seal_now(at(31 * MINUTE + 1_000), Cause::Shutdown).unwrap();
    exporter.publish().unwrap();
    let later = ["1 period 1", "2 period 1", "1 shutdown 1", "2 shutdown 1"];
    assert_eq!(causes(&node)[2..], later);
    node.verify();
    node.render_all_again();
}
