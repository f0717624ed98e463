//! What `totals` sums: by each key, by local day, and where a file is lost.

use std::fs;

use billing_export::*;
use jiff::SignedDuration;

use super::{command, example, pickup};
use crate::support::*;

/// Files that are taken away at either end are billing's own affair; one between others is a smaller sum that nobody asked for.
#[test]
fn f25_a_file_lost_between_others_is_told_beside_the_sums_of_the_rest() {
    let lose = |lost: &[usize]| {
        let node = example();
        let files = node.data_files();
        for number in lost {
            let data = files[*number].to_str().unwrap();
            fs::remove_file(data).unwrap();
            fs::remove_file(data.replace(".csv", ".manifest.json")).unwrap();
        }
        let arguments = ["totals", &pickup(&node), "--format", "json"];
        let (code, out, err) = command(&arguments);
        let sums: serde_json::Value = serde_json::from_str(&out).unwrap();
        let exempt = sums.as_array().unwrap().iter().find(|row| row["class"] == "exempt").unwrap();
        (code, exempt["down_bytes"].as_str().unwrap().to_owned(), err)
    };
    for (lost, sum) in [(&[][..], "6060"), (&[0], "4040"), (&[2], "4040"), (&[0, 1], "2020")] {
        let (code, found, err) = lose(lost);
        assert_eq!((code, found.as_str(), err.as_str()), (0, sum, ""), "{lost:?}");
    }
    let (code, found, err) = lose(&[1]);
    assert_eq!((code, found.as_str()), (1, "4040"));
    assert!(err.contains("node zrgw-01: file_seq 2: missing between others"), "{err}");
    assert!(err.contains("delivered again"), "{err}");
    // One whose manifest has not come yet is not counted: in the middle it is missing, at the end it is on its way.
    for (number, wanted) in [(1, 1), (2, 0)] {
        let node = example();
        let manifest = node.data_files()[number].to_str().unwrap().replace(".csv", ".manifest.json");
        fs::remove_file(manifest).unwrap();
        let (code, _, err) = command(&["totals", &pickup(&node)]);
        assert_eq!(code, wanted, "{err}");
        assert!(err.contains("no manifest beside it"), "{err}");
    }
}

#[test]
fn totals_by_each_key_are_aligned_tables_or_json() {
    let node = example();
    let plain = |by: &[&str]| {
        let directory = pickup(&node);
        let arguments: Vec<&str> = ["totals", &directory].into_iter().chain(by.iter().copied()).collect();
        let (code, out, err) = command(&arguments);
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    assert_eq!(
        plain(&[]),
        "class         records  up_bytes  down_bytes\n\
         exempt              6       330        6060\n\
         charged             3        15          18\n\
         unattributed        3         3           3\n"
    );
    assert_eq!(
        plain(&["--by", "subscriber"]),
        "subscriber          class         records  up_bytes  down_bytes\n\
         msisdn:77010000001  exempt              3       300        6000\n\
         msisdn:77010000001  charged             3        15          18\n\
         msisdn:77010000002  exempt              3        30          60\n\
         msisdn:77010000002  unattributed        3         3           3\n"
    );
    assert_eq!(
        plain(&["--by", "service"]),
        "service       class         records  up_bytes  down_bytes\n\
         -             charged             3        15          18\n\
         -             unattributed        3         3           3\n\
         bilimland     exempt              3       300        6000\n\
         daryn-online  exempt              3        30          60\n"
    );
    assert_eq!(
        plain(&["--by", "reason"]),
        "reason         class         records  up_bytes  down_bytes\n\
         -              exempt              6       330        6060\n\
         no_subscriber  unattributed        3         3           3\n\
         not_listed     charged             3        15          18\n"
    );
    assert_eq!(
        plain(&["--by", "service", "--format", "json"]),
        "[{\"class\":\"charged\",\"down_bytes\":\"18\",\"records\":\"3\",\"service\":null,\"up_bytes\":\"15\"},\
         {\"class\":\"unattributed\",\"down_bytes\":\"3\",\"records\":\"3\",\"service\":null,\"up_bytes\":\"3\"},\
         {\"class\":\"exempt\",\"down_bytes\":\"6000\",\"records\":\"3\",\"service\":\"bilimland\",\"up_bytes\":\"300\"},\
         {\"class\":\"exempt\",\"down_bytes\":\"60\",\"records\":\"3\",\"service\":\"daryn-online\",\"up_bytes\":\"30\"}]\n"
    );
}

/// One byte in every quarter of an hour of these days; sums by local day of the zone.
fn by_day(first: &str, hours: i64, zone: &str) -> Vec<(String, u64)> {
    let mut node = Node::new();
    let first: Timestamp = first.parse().unwrap();
    let mut exporter = node.open(first);
    for quarter in 0..hours * 4 {
        let from = first + SignedDuration::from_mins(quarter * 15);
        let usage = [(exempt("1", "a"), volume(1, 1))];
        exporter.checkpoint(&tick(u64::try_from(quarter).unwrap() + 1, from, &usage)).unwrap();
        exporter.seal_due(from + SignedDuration::from_mins(15)).unwrap();
    }
    exporter.publish().unwrap();
    let (code, out, err) =
        command(&["totals", &pickup(&node), "--by", "day", "--zone", zone, "--format", "json"]);
    assert_eq!(code, 0, "{err}");
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let day = |row: &serde_json::Value| {
        (row["day"].as_str().unwrap().to_owned(), row["up_bytes"].as_str().unwrap().parse().unwrap())
    };
    rows.as_array().unwrap().iter().map(day).collect()
}

#[test]
fn b10_local_days_have_92_96_or_100_quarters_of_an_hour() {
    // A local day's length in quarters, where it is whole; the days around it are cut.
    let middle = |first: &str, zone: &str| by_day(first, 72, zone)[1].clone();
    for (first, zone, day, quarters) in [
        ("2026-03-07T05:00:00Z", "America/New_York", "2026-03-08", 92),
        ("2026-10-31T04:00:00Z", "America/New_York", "2026-11-01", 100),
        ("2026-04-04T18:15:00Z", "Asia/Kathmandu", "2026-04-06", 96),
        ("2026-04-03T13:00:00Z", "Australia/Lord_Howe", "2026-04-05", 98),
        ("2026-10-02T13:30:00Z", "Australia/Lord_Howe", "2026-10-04", 94),
        ("2020-04-04T18:00:00Z", "Asia/Almaty", "2020-04-06", 96),
        ("2026-04-04T00:00:00Z", "UTC", "2026-04-05", 96),
    ] {
        assert_eq!(middle(first, zone), (day.to_owned(), quarters), "{zone}");
    }
    // Samoa left out 30 December 2011.
    let samoa: Vec<_> = by_day("2011-12-29T10:00:00Z", 48, "Pacific/Apia");
    assert_eq!(samoa, [("2011-12-29".to_owned(), 96), ("2011-12-31".to_owned(), 96)]);
}
