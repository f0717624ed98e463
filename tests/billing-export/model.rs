//! Random scripts against an independent model, and random bytes against the reader. A failure prints the script, which
//! proptest has made as short as it can; it is then kept under `tests/corpus/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "../fuzz/targets/csv_reader.rs"]
mod csv_reader;
#[path = "../fuzz/targets/ledger_recovery.rs"]
mod ledger_recovery;

use billing_export::codec::Format;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

/// Cases, and where failing ones are kept.
fn config(cases: u32) -> Config {
    let regressions =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/billing-export/model.proptest-regressions");
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn b26_any_script_of_ticks_seals_crashes_and_failures_equals_the_model(
        script in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        ledger_recovery::run(&script);
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn b29_any_bytes_below_the_header_read_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        csv_reader::run(&bytes);
    }

    #[test]
    fn b29_a_row_with_any_field_replaced_reads_back_equal_or_is_refused(
        column in 0..Format::NEWEST.columns().len(),
        value in "[ -~]{0,24}",
        cut in 0_usize..400,
    ) {
        let row = "n,1,1,usage,,,exempt,,msisdn,77010000001,s-1,bilimland,100,kz,3,2020-04-06T12:00:00.000Z,\
                   2020-04-06T12:15:00.000Z,1200,48000,1200,48000,payload,reported,period,";
        let mut values: Vec<&str> = row.split(',').collect();
        values[column] = &value;
        let mut text = values.join(",");
        csv_reader::run(format!("{text}\r\n{row}\r\n").as_bytes());
        text.truncate(cut);
        csv_reader::run(text.as_bytes());
    }
}
