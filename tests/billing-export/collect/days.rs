//! Local days, over changes of a zone too, and what is dropped of them.

use jiff::SignedDuration;

use crate::forge::Forge;
use crate::oracle::{Bench, data_of};
use crate::support::*;

/// Usage of every quarter of an hour from one instant to another, a file each, and the totals by day.
fn quarters(zone: &str, from: &str, to: &str) -> String {
    let mut bench = Bench::new();
    bench.zone = zone.into();
    bench.retention = "36500 d".into();
    let mut forge = Forge::new("zrgw-04");
    forge.start = from.parse().unwrap();
    let end: jiff::Timestamp = to.parse().unwrap();
    while forge.start < end {
        for _ in 0..16 {
            if forge.start < end {
                forge.usage("1", 1, 1_000);
                forge.start += SignedDuration::from_mins(15);
            }
        }
        forge.write(&bench.usage());
    }
    bench.taken();
    bench.agrees_with(&data_of(&bench.usage()));
    bench.sql("SELECT local_day, records FROM zrgw.total ORDER BY 1").replace('\n', " ")
}

#[test]
fn b10_the_day_on_which_a_zone_changes_its_offset() {
    // Almaty went from +06 to +05 on 2024-03-01 at 00:00: 29 February has 25 hours.
    let days = quarters("Asia/Almaty", "2024-02-28T18:00:00Z", "2024-03-01T19:00:00Z");
    assert_eq!(days, "2024-02-29|100 2024-03-01|96");
}

#[test]
fn b10_days_of_summer_time_and_odd_offsets() {
    let days = quarters("America/New_York", "2024-03-10T05:00:00Z", "2024-03-12T04:00:00Z");
    assert_eq!(days, "2024-03-10|92 2024-03-11|96");
    let days = quarters("America/New_York", "2024-11-03T04:00:00Z", "2024-11-05T05:00:00Z");
    assert_eq!(days, "2024-11-03|100 2024-11-04|96");
    let days = quarters("Asia/Kathmandu", "2024-03-09T18:15:00Z", "2024-03-11T18:15:00Z");
    assert_eq!(days, "2024-03-10|96 2024-03-11|96");
    let days = quarters("Australia/Lord_Howe", "2024-04-06T13:00:00Z", "2024-04-07T13:30:00Z");
    assert_eq!(days, "2024-04-07|98");
}

#[test]
fn b11_the_last_millisecond_of_a_day_and_of_a_year() {
    let mut bench = Bench::new();
    bench.retention = "36500 d".into();
    bench.zone = "UTC".into();
    let mut forge = Forge::new("zrgw-04");
    for start in [
        "2023-12-31T23:59:59.999Z",
        "2024-01-01T00:00:00Z",
        "2024-02-29T23:59:59.999Z",
        "2024-03-01T00:00:00Z",
    ] {
        forge.start = start.parse().unwrap();
        forge.usage("1", 1, 1);
    }
    forge.write(&bench.usage());
    bench.taken();
    bench.agrees_with(&data_of(&bench.usage()));
    let days = bench.sql("SELECT DISTINCT local_day FROM zrgw.record ORDER BY 1").replace('\n', " ");
    assert_eq!(days, "2023-12-31 2024-01-01 2024-02-29 2024-03-01");
}

#[test]
fn old_days_are_dropped_their_totals_stay_and_their_records_are_still_known() {
    let mut bench = Bench::new();
    let mut forge = Forge::new("zrgw-04");
    let mut files = Vec::new();
    for day in 0..5 {
        forge.start = at(0) + SignedDuration::from_hours(24 * day);
        forge.usage("1", 10, 100);
        files.push(forge.write(&bench.usage()));
    }
    bench.taken();
    let totals = bench.sql("SELECT * FROM zrgw.total ORDER BY 1");
    let days =
        |bench: &Bench<'_>| bench.sql("SELECT local_day FROM zrgw.record ORDER BY 1").replace('\n', " ");
    assert_eq!(days(&bench).split(' ').count(), 5);
    bench.retention = "2 d".into();
    let ran = bench.taken();
    assert_eq!(days(&bench), "2020-04-08 2020-04-09 2020-04-10");
    assert!(
        ran.errors.contains("the records of 2020-04-06 are older than ledger.retention"),
        "{}",
        ran.errors
    );
    assert_eq!(bench.sql("SELECT * FROM zrgw.total ORDER BY 1"), totals);
    // Again, by the same files and by the same records under another number.
    assert_eq!(bench.taken().counts, [0, 5, 0, 0, 0]);
    crate::forge::renumbered(&files[0], &bench.usage(), 77);
    assert_eq!(bench.taken().counts, [0, 6, 0, 0, 0]);
    assert_eq!(bench.sql("SELECT * FROM zrgw.total ORDER BY 1"), totals);
    assert_eq!(days(&bench), "2020-04-08 2020-04-09 2020-04-10");
    // A day that is there still is held against what comes.
    let mut other = Forge::new("zrgw-04");
    (other.seq, other.file_seq, other.start) = (5, 78, forge.start);
    other.previous = forge.previous;
    other.usage("1", 10, 101);
    other.write(&bench.usage());
    let ran = bench.once();
    assert!(ran.code == 1 && ran.errors.contains(": identity: "), "{}", ran.errors);
    // And so is a number that was dropped, if it comes with a day that was not.
    let mut other = Forge::new("zrgw-04");
    (other.file_seq, other.start) = (79, forge.start);
    other.usage("1", 10, 100);
    other.write(&bench.usage());
    let ran = bench.once();
    assert!(ran.errors.contains("_0000000079.csv: identity: "), "{}", ran.errors);
}

#[test]
fn records_that_come_late_get_their_partition_again() {
    let mut bench = Bench::new();
    bench.retention = "2 d".into();
    let mut forge = Forge::new("zrgw-04");
    let all = bench.root.path().join("all");
    std::fs::create_dir(&all).unwrap();
    let mut files = Vec::new();
    for day in 0..5 {
        forge.start = at(0) + SignedDuration::from_hours(24 * day);
        forge.usage("1", 10, 100);
        files.push(forge.write(&all));
    }
    files[1..].iter().for_each(|file| crate::deliver(file, &bench.usage()));
    bench.taken();
    crate::deliver(&files[0], &bench.usage());
    assert_eq!(bench.taken().counts, [1, 4, 0, 0, 1]);
    assert_eq!(bench.sql("SELECT sum(records) FROM zrgw.total"), "5");
    assert_eq!(bench.node("zrgw-04"), "5|1|5|5");
}
