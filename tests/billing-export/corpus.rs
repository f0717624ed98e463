//! Every file of the corpora through the fuzz targets' own bodies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/csv_reader.rs"]
mod csv_reader;
#[path = "../fuzz/targets/ledger_recovery.rs"]
mod ledger_recovery;
#[path = "../fuzz/targets/tdf_reader.rs"]
mod tdf_reader;

/// Runs every file of a corpus; there are at least this many.
fn replay(name: &str, least: usize, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= least, "{}: found {count} files, wanted {least} or more", folder.display());
}

#[test]
fn b29_csv_reader_corpus_replays() {
    replay("csv_reader", 13, csv_reader::run);
}

#[test]
fn b29_tdf_reader_corpus_replays() {
    replay("tdf_reader", 12, tdf_reader::run);
}

#[test]
fn b26_ledger_recovery_corpus_replays() {
    replay("ledger_recovery", 20, ledger_recovery::run);
}
