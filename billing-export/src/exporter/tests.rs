//! What only this crate can bring about: words and columns of a version that is not written yet.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::account::{Account, Entry, ListVersion, Usage};
use crate::codec::Format;
use crate::steps::NoFault;
use crate::subscriber::{Session, SubscriberType};
use crate::unit::{ByteBasis, Disposition, Flags, Volume};

/// A minute of the first school day.
fn at(minute: u32) -> Timestamp {
    format!("2020-04-06T12:{minute:02}:00Z").parse().unwrap()
}

/// A node under `root` that seals in this format.
fn open(root: &Path, format: Format, now: Timestamp) -> Result<Exporter, ExportError> {
    let folder = |name: &str| root.join(name);
    let node_id = "zrgw-01".parse().unwrap();
    let settings = Settings {
        format,
        ..Settings::new(node_id, folder("state"), folder("pickup"), folder("staging"), ByteBasis::Ip)
    };
    Exporter::open(settings, now, [u8::try_from(now.as_second() % 251).unwrap(); 16], Box::new(NoFault))
}

/// One second of one exempt account.
fn tick(sequence: u64, from: Timestamp) -> Tick {
    let entry =
        Entry::Exempt { service: "study".into(), rating_group: 9, disposition: Disposition::Reported };
    let session = Session::new(SubscriberType::Msisdn, "77010000001", "s-1").unwrap();
    let account = Account { session, list: Some(ListVersion { id: "kz".into(), serial: 3 }), entry };
    let volume = Volume { up: 30, down: 12 };
    Tick {
        sequence,
        from,
        at: from,
        seen: volume,
        pending_after: Volume::ZERO,
        usage: vec![Usage { account, flags: Flags::NONE, volume }],
        capped: Vec::new(),
        spent: vec![Spent {
            subscriber: Session::new(SubscriberType::Msisdn, "77010000001", "").unwrap(),
            allowance: "overall".into(),
            span: "day 2020-04-06".into(),
            bytes: 42,
        }],
        stepped: false,
    }
}

/// The usage files in a folder, by name.
fn data_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "csv"));
    files.sort();
    files
}

#[test]
fn files_sealed_by_an_older_version_are_published_rendered_and_verified_with_its_columns() {
    let root = tempfile::tempdir().unwrap();
    let pickup = root.path().join("pickup");
    let mut exporter = open(root.path(), Format::NEWEST, at(0)).unwrap();
    exporter.checkpoint(&tick(1, at(1))).unwrap();
    exporter.seal_due(at(15)).unwrap();
    exporter.courier().deliver().unwrap();
    exporter.checkpoint(&tick(2, at(16))).unwrap();
    exporter.seal_due(at(30)).unwrap();
    exporter.checkpoint(&tick(3, at(31))).unwrap();
    exporter.close().unwrap();
    // A program of a later version finds a file that is published, one that is sealed, and open counters.
    let mut exporter = open(root.path(), Format::OF_TESTS, at(32)).unwrap();
    exporter.seal_due(at(45)).unwrap();
    exporter.courier().deliver().unwrap();
    exporter.close().unwrap();
    let files = data_files(&pickup);
    let headers: Vec<bool> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap().lines().next().unwrap().ends_with(",both_bytes"))
        .collect();
    assert_eq!(headers, [false, false, true]);
    assert!(fs::read_to_string(&files[2]).unwrap().contains(",period,,42\r\n"));
    let pairs = crate::pickup::pairs(std::slice::from_ref(&pickup)).unwrap();
    let report = crate::verify::verify(&pairs, &mut |_| ()).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    let again = root.path().join("again");
    for (file_seq, file) in (1..).zip(&files) {
        for copy in crate::render(&root.path().join("state"), file_seq, &again).unwrap() {
            let first = file.with_file_name(copy.file_name().unwrap());
            assert_eq!(fs::read(&copy).unwrap(), fs::read(first).unwrap(), "{}", copy.display());
        }
    }
    // Each in the columns of the other is none of ours.
    let manifest = |file: &Path| fs::read_to_string(file.with_extension("manifest.json")).unwrap();
    let exchanged = manifest(&files[2]).replace("\"format\":1000", "\"format\":1");
    assert_ne!(exchanged, manifest(&files[2]));
    fs::write(files[2].with_extension("manifest.json"), exchanged).unwrap();
    let report = crate::verify::verify(&pairs, &mut |_| ()).unwrap();
    assert!(report.faults.iter().any(|fault| fault.text.starts_with("columns: ")), "{:?}", report.faults);
}

/// Everything the tables hold.
fn content(ledger: &Path) -> String {
    let connection = Connection::open(ledger).unwrap();
    let mut all = String::new();
    for table in ["node", "segment", "counter", "total", "spent", "record", "file", "set_aside"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<_> = (0..columns).map(|at| row.get_ref(at).unwrap()).collect();
            all.push_str(&format!("{table} {values:?}\n"));
        }
    }
    all
}

#[test]
fn a_word_of_a_later_version_in_an_open_row_is_told_with_its_remedy_and_nothing_is_touched() {
    for (change, told) in [
        (
            "UPDATE total SET class = 'charged', service_id = '', reason = 'of_tomorrow';
             UPDATE counter SET rating_group = NULL, disposition = NULL",
            "reason: found \"of_tomorrow\"",
        ),
        ("UPDATE total SET class = 'of_tomorrow'", "of_tomorrow"),
        ("UPDATE total SET subscriber_type = 'of_tomorrow'", "of_tomorrow"),
        ("UPDATE counter SET disposition = 'of_tomorrow'", "of_tomorrow"),
        ("UPDATE counter SET flags = 'of_tomorrow'", "of_tomorrow"),
        ("UPDATE spent SET subscriber_type = 'of_tomorrow'", "of_tomorrow"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let ledger = root.path().join("state").join(STORE_NAME);
        let mut exporter = open(root.path(), Format::NEWEST, at(0)).unwrap();
        exporter.checkpoint(&tick(1, at(1))).unwrap();
        exporter.close().unwrap();
        // As the later version would have written it: under its check.
        crate::store::write_as_it_stands(&ledger, change);
        let (before, bytes) = (content(&ledger), fs::read(&ledger).unwrap());
        let error = open(root.path(), Format::NEWEST, at(2)).unwrap_err();
        assert!(matches!(error, ExportError::Newer { .. }), "{change}: {error}");
        let text = error.to_string();
        for part in ["ledger.db", told, "later version of the gateway", "run that version"] {
            assert!(text.contains(part), "{change}: {text}");
        }
        assert_eq!(content(&ledger), before, "{change}");
        assert_eq!(fs::read(&ledger).unwrap(), bytes, "{change}");
        // The same word by another hand, which knows nothing of checks, is set aside as ever.
        Connection::open(&ledger).unwrap().execute_batch(&change.replace("of_tomorrow", "by_hand")).unwrap();
        assert!(open(root.path(), Format::NEWEST, at(3)).unwrap().opened().found.is_some(), "{change}");
    }
}
