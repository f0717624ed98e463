//! A statement from records in any order, and what covers its day.

use super::*;
use crate::account::ListVersion;
use crate::class::Reason;
use crate::record::{Change, Reference, Window};
use crate::unit::{ByteBasis, Disposition, Flags, Volume};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn day(date: &str, zone: &str) -> Day {
    Day::new(date.parse().unwrap(), TimeZone::get(zone).unwrap()).unwrap()
}

fn session(kind: SubscriberType, id: &str) -> Session {
    Session::new(kind, id, "s").unwrap()
}

fn account(id: &str, entry: Entry) -> Account {
    let list = Some(ListVersion { id: "kz".into(), serial: 3 });
    Account { session: session(SubscriberType::Msisdn, id), list, entry }
}

fn exempt(service: &str) -> Entry {
    Entry::Exempt { service: service.into(), rating_group: 1, disposition: Disposition::Reported }
}

fn record(seq: u64, start: &str, minutes: i64, body: Body) -> Record {
    let start = at(start);
    Record {
        node_id: "n".parse().unwrap(),
        epoch: 1,
        seq,
        window: Window::clamped(start, start.checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap()),
        byte_basis: ByteBasis::Ip,
        cause: None,
        flags: Flags::NONE,
        body,
    }
}

fn usage(seq: u64, start: &str, account: Account, up: u64, down: u64) -> Record {
    let volume = Volume { up, down };
    record(seq, start, 15, Body::Usage { account, volume, total: volume })
}

fn adjust(seq: u64, of: u64, start: &str, account: Account, up: i128, down: i128) -> Record {
    let change = |bytes| Change::new(bytes).unwrap();
    let reference = Reference { epoch: 1, seq: of };
    record(
        seq,
        start,
        0,
        Body::Adjust { reference, account, up: change(up), down: change(down), total: Volume::ZERO },
    )
}

/// The statement of these records, in this order and the other way round: it is the same.
fn statement(
    day: &Day,
    kind: Option<SubscriberType>,
    records: &[Record],
) -> Result<Option<Statement>, Ambiguous> {
    let read = |records: &mut dyn Iterator<Item = &Record>| {
        let mut reading = Reading::new(day.clone(), "1", kind);
        records.for_each(|record| reading.add(record));
        reading.finish(true)
    };
    let one = read(&mut records.iter());
    assert_eq!(one, read(&mut records.iter().rev()));
    one
}

#[test]
fn b10_a_record_is_on_the_local_day_in_which_it_starts() {
    let of = |date: &str, zone: &str, start: &str| {
        let found = statement(&day(date, zone), None, &[usage(1, start, account("1", exempt("a")), 1, 2)]);
        found.unwrap().is_some()
    };
    assert!(of("2020-04-06", "Asia/Almaty", "2020-04-05T18:00:00Z"));
    assert!(!of("2020-04-06", "Asia/Almaty", "2020-04-05T17:59:59.999Z"));
    assert!(of("2020-04-06", "Asia/Almaty", "2020-04-06T17:59:59.999Z"));
    assert!(!of("2020-04-06", "Asia/Almaty", "2020-04-06T18:00:00Z"));
    // The night in which Almaty's clocks went back: 29 February had 25 hours.
    assert!(of("2024-02-29", "Asia/Almaty", "2024-02-29T18:30:00Z"));
    assert!(!of("2024-03-01", "Asia/Almaty", "2024-02-29T18:30:00Z"));
    assert!(of("2024-03-01", "Asia/Almaty", "2024-02-29T19:00:00Z"));
    let night = day("2024-02-29", "Asia/Almaty");
    assert_eq!((night.start(), night.end()), (at("2024-02-28T18:00:00Z"), at("2024-02-29T19:00:00Z")));
}

#[test]
fn b30_corrections_are_on_the_day_of_the_usage_record_whenever_they_were_made() {
    let own = || account("1", exempt("a"));
    let records = [
        usage(1, "2020-04-06T12:00:00Z", own(), 100, 1_000),
        usage(2, "2020-04-07T12:00:00Z", own(), 7, 7),
        usage(3, "2020-04-06T12:00:00Z", account("1", Entry::because(Reason::Port)), 5, 6),
        usage(4, "2020-04-06T12:00:00Z", account("2", exempt("a")), 9, 9),
        // Made a month later, with a begin of its own.
        adjust(5, 1, "2020-05-01T00:00:00Z", own(), -50, -500),
        adjust(6, 5, "2020-05-02T00:00:00Z", own(), 10, 0),
        // Of another day, and of another subscriber.
        adjust(7, 2, "2020-04-06T12:00:00Z", own(), -7, -7),
        adjust(8, 4, "2020-04-06T12:00:00Z", account("2", exempt("a")), -9, -9),
        // Of a record that is not here: by its own begin.
        adjust(9, 900, "2020-04-06T13:00:00Z", account("1", Entry::because(Reason::Port)), 1, 1),
        record(10, "2020-04-06T14:00:00Z", 15, Body::Heartbeat),
    ];
    let found = statement(&day("2020-04-06", "UTC"), None, &records).unwrap().unwrap();
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(
        json,
        "{\"subscriber_type\":\"msisdn\",\"subscriber_id\":\"1\",\"day\":\"2020-04-06\",\"zone\":\"UTC\",\
         \"complete\":true,\"exempt\":[{\"service_id\":\"a\",\"disposition\":\"reported\",\"up_bytes\":\"60\",\
         \"down_bytes\":\"500\"}],\"charged\":[{\"reason\":\"port\",\"up_bytes\":\"6\",\"down_bytes\":\"7\"}],\
         \"adjusted\":[{\"node_id\":\"n\",\"epoch\":1,\"record_seq\":\"5\",\"up_bytes\":\"-50\",\"down_bytes\":\"-500\"},\
         {\"node_id\":\"n\",\"epoch\":1,\"record_seq\":\"6\",\"up_bytes\":\"10\",\"down_bytes\":\"0\"},\
         {\"node_id\":\"n\",\"epoch\":1,\"record_seq\":\"9\",\"up_bytes\":\"1\",\"down_bytes\":\"1\"}],\
         \"allowances\":[],\"lists\":[{\"list_id\":\"kz\",\"serials\":[\"3\"]}]}"
    );
    let text = found.to_string();
    for part in [
        "Free of charge at a: 500 bytes received and 60 sent; to be taken off the bill.",
        "3 corrections",
        "(port)",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // References in a circle, which nobody makes, end all the same.
    let circle = [
        adjust(1, 2, "2020-04-06T12:00:00Z", own(), 1, 1),
        adjust(2, 1, "2020-04-06T12:00:00Z", own(), 1, 1),
    ];
    assert!(statement(&day("2020-04-06", "UTC"), None, &circle).unwrap().is_some());
}

#[test]
fn an_id_of_two_types_is_asked_for_by_type_and_an_unknown_one_has_no_statement() {
    let other = Account { session: session(SubscriberType::Account, "1"), ..account("1", exempt("b")) };
    let records = [
        usage(1, "2020-04-06T12:00:00Z", account("1", exempt("a")), 1, 1),
        usage(2, "2020-04-06T12:00:00Z", other, 2, 2),
    ];
    let today = day("2020-04-06", "UTC");
    assert_eq!(
        statement(&today, None, &records),
        Err(Ambiguous(vec![SubscriberType::Msisdn, SubscriberType::Account]))
    );
    let one = statement(&today, Some(SubscriberType::Account), &records).unwrap().unwrap();
    assert_eq!((one.subscriber_type, one.exempt[0].service_id.as_str()), ("account", "b"));
    assert_eq!(statement(&today, Some(SubscriberType::Imsi), &records), Ok(None));
    assert_eq!(statement(&day("2020-04-05", "UTC"), Some(SubscriberType::Account), &records), Ok(None));
}

/// Whether 6 April is complete by files with these numbers and records.
fn is_complete(files: &[(u64, Record)]) -> bool {
    let mut coverage = Coverage::new();
    files.iter().rev().for_each(|(file_seq, record)| coverage.add(*file_seq, record));
    coverage.is_complete(&day("2020-04-06", "UTC"))
}

#[test]
fn a_day_is_complete_when_files_without_a_break_cover_it_and_no_gap_speaks_of_it() {
    let beat = |seq, start, hours: i64| record(seq, start, hours * 60, Body::Heartbeat);
    let gap = |seq, start, hours: i64| record(seq, start, hours * 60, Body::Gap);
    let (before, noon) = ("2020-04-05T22:00:00Z", "2020-04-06T12:00:00Z");
    assert!(!is_complete(&[]));
    assert!(is_complete(&[(7, beat(1, before, 14)), (8, beat(2, noon, 12))]));
    assert!(!is_complete(&[(7, beat(1, before, 14)), (8, beat(2, noon, 11))]), "more is to come");
    assert!(!is_complete(&[(7, beat(1, before, 14)), (9, beat(2, noon, 12))]), "a file is missing");
    assert!(!is_complete(&[(8, beat(2, noon, 12))]), "files before are missing");
    assert!(is_complete(&[(1, beat(1, noon, 12))]), "the node was not there before");
    // A break before the day does not matter; one behind it neither.
    assert!(is_complete(&[
        (3, beat(1, "2020-04-01T00:00:00Z", 1)),
        (7, beat(2, before, 14)),
        (8, beat(3, noon, 12))
    ]));
    assert!(is_complete(&[
        (7, beat(2, before, 14)),
        (8, beat(3, noon, 12)),
        (10, beat(4, "2020-04-08T00:00:00Z", 1))
    ]));
    // A state that was lost: its files may never have been, and the gap says so.
    assert!(!is_complete(&[
        (7, beat(1, before, 14)),
        (9, gap(1, noon, 1)),
        (10, beat(2, "2020-04-06T13:00:00Z", 11))
    ]));
    let after = [(7, beat(1, before, 26)), (9, gap(1, "2020-04-07T00:00:00.001Z", 1))];
    assert!(is_complete(&after), "the gap begins behind the day");
    // A seal that was cut over three files, of which the second is not here.
    let cut = [(7, beat(1, before, 14)), (8, beat(2, noon, 12)), (10, beat(4, noon, 12))];
    assert!(!is_complete(&cut));
    // A correction that was made later covers nothing.
    let made = adjust(3, 1, noon, account("1", exempt("a")), 1, 1);
    assert!(!is_complete(&[(7, beat(1, before, 14)), (8, made)]));
    // Of two nodes each has to be there.
    let mut other = beat(1, noon, 1);
    other.node_id = "m".parse().unwrap();
    assert!(!is_complete(&[(7, beat(1, before, 26)), (7, other)]));
}
