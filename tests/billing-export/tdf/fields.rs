//! Field by field: what pycrate reads from a file is what an independent model makes of the rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use billing_export::record::{Body, Record, Window};
use billing_export::tdf::{Classes, Composer, Counts, Layout, Profile, SessionFacts};
use billing_export::*;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{peer, profile, zone};
use crate::support::Seeded;

/// Volumes at the edges of signs and words.
const EDGES: [u64; 10] = [0, 1, 127, 128, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 53) + 1, 1 << 63, u64::MAX];

/// One of these.
fn pick<T: Copy>(random: &mut Seeded, among: &[T]) -> T {
    among[usize::try_from(random.below(among.len() as u64)).unwrap()]
}

/// A random row of somebody.
fn row(random: &mut Seeded, seq: u64, start: Timestamp) -> Record {
    let kind = pick(random, &[SubscriberType::Msisdn, SubscriberType::Imsi, SubscriberType::Account]);
    let digits = |random: &mut Seeded, count: u64| {
        (0..count).map(|_| random.below(10).to_string()).collect::<String>()
    };
    let id = match kind {
        SubscriberType::Msisdn => {
            let count = 5 + random.below(11);
            digits(random, count)
        }
        SubscriberType::Imsi => {
            let count = 6 + random.below(10);
            digits(random, count)
        }
        SubscriberType::Account | SubscriberType::None => format!("мектеп-{}", random.below(1000)),
    };
    let entry = if random.below(2) == 0 {
        let service = pick(random, &["bilimland", "daryn"]).into();
        let disposition = pick(random, &Disposition::ALL);
        Entry::Exempt { service, rating_group: u32::try_from(random.below(1 << 32)).unwrap(), disposition }
    } else {
        Entry::because(pick(random, &[Reason::NotListed, Reason::CapReached]))
    };
    let list = (random.below(4) > 0).then(|| ListVersion { id: "kz-edu".into(), serial: random.next() >> 1 });
    let volume = Volume { up: pick(random, &EDGES), down: pick(random, &EDGES) };
    let length = SignedDuration::from_millis(i64::try_from(random.below(900_001)).unwrap());
    let flag = pick(random, &[Flag::StopLost, Flag::ClockStep, Flag::Recovered]);
    Record {
        node_id: "zrgw-01".parse().unwrap(),
        epoch: 7,
        seq,
        window: Window::new(start, start + length).unwrap(),
        byte_basis: pick(random, &ByteBasis::ALL),
        cause: Some(pick(random, &Cause::ALL)),
        flags: if random.below(2) == 0 { Flags::NONE } else { Flags::from(flag).with(Flag::FreeInCore) },
        body: Body::Usage {
            account: Account { session: Session::new(kind, &id, "s").unwrap(), list, entry },
            volume,
            total: volume,
        },
    }
}

/// Digits as TBCD, in hexadecimal digits: pairs swapped, `f` in the place of one that is missing.
fn tbcd(digits: &str) -> String {
    let even = if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("{digits}f") };
    let swapped = even.as_bytes().chunks(2).map(|pair| [pair[1], pair[0]]);
    swapped.flat_map(|pair| pair.map(char::from)).collect()
}

/// A `TimeStamp` in hexadecimal digits.
fn stamp(at: Timestamp, profile: &Profile) -> String {
    let local = at.to_zoned_datetime(profile.zone.clone());
    let offset = local.strftime("%z").to_string();
    let sign = if offset.starts_with('-') { "2d" } else { "2b" };
    format!("{}{sign}{}", local.strftime("%y%m%d%H%M%S"), &offset[1..])
}

/// What the decoder must say of a record, in its form.
fn wanted(record: &Record, local: u64, profile: &Profile) -> Value {
    let Body::Usage { account, volume, .. } = &record.body else { unreachable!() };
    let (start, end) = (record.window.start(), record.window.end());
    let address = |octets: &str| json!(["iPBinaryAddress", ["iPBinV4Address", octets]]);
    let stop_lost = record.flags.contains(Flag::StopLost);
    let cause = record.cause.unwrap();
    let closing = match cause.label() {
        "session_end" if stop_lost => 4,
        "session_end" => 0,
        "recovered" => 4,
        "period" => 17,
        "list_change" | "shutdown" => 20,
        _ => 16,
    };
    let (class, reason, group, disposition, service) = match &account.entry {
        Entry::Exempt { service, rating_group, disposition } => {
            ("exempt", "", *rating_group, disposition.label(), Some(service))
        }
        Entry::Charged(reason) | Entry::Unattributed(reason) => ("charged", reason.label(), 0, "", None),
    };
    let (list, serial) = account
        .list
        .as_ref()
        .map_or(("".to_owned(), String::new()), |list| (list.id.to_string(), list.serial.to_string()));
    let extension = format!(
        "epoch=7;record_seq={};class={class};reason={reason};list_id={list};list_serial={serial};byte_basis={};\
         disposition={disposition};cause={};flags={}",
        record.seq,
        record.byte_basis.label(),
        cause.label(),
        record.flags
    );
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut data = json!({
        "ratingGroup": group.to_string(),
        "timeOfFirstUsage": stamp(start, profile),
        "timeOfLastUsage": stamp(end, profile),
        "timeOfReport": stamp(end, profile),
        // Bit 24 of 25, as pycrate says it: value and length.
        "serviceConditionChange": ["1", "25"],
        "datavolumeFBCUplink": volume.up.to_string(),
        "datavolumeFBCDownlink": volume.down.to_string(),
    });
    if account.list.is_some() {
        data["aDCRuleBaseName"] = json!(format!("{list}:{serial}"));
    }
    if service.is_some_and(|service| &**service == "bilimland") {
        data["serviceIdentifier"] = json!("4294967295");
    }
    if profile.sponsor.is_some() {
        data["sponsorIdentity"] = json!(hex("memorandum-2020"));
    }
    let mut value = json!({
        "recordType": "92",
        "p-GWAddress": address("0a000001"),
        "servingNodeAddress": [address("00000000")],
        "servingNodeType": ["gTPSGW"],
        "chargingCharacteristics": "0800",
        "pDNConnectionChargingID": "0",
        "tDFAddress": address("c0000201"),
        "recordOpeningTime": stamp(start, profile),
        "duration": (end.duration_since(start).as_millis() / 1_000).to_string(),
        "causeForRecClosing": closing.to_string(),
        "nodeID": "zrgw-01-7",
        "localSequenceNumber": local.to_string(),
        "recordExtensions": [{
            "identifier": ["1", "3", "6", "1", "4", "1", "32473", "1"],
            // The decoder knows no extension: universal tag 12 (UTF8String) and the octets.
            "information": ["_unk_0012", hex(&extension)],
        }],
        "listOfServiceData": [data],
    });
    let id = account.session.subscriber_id();
    match account.session.subscriber_type() {
        SubscriberType::Msisdn => {
            let nature = if profile.msisdn_nature { "91" } else { "" };
            value["servedMSISDN"] = json!(format!("{nature}{}", tbcd(id)));
        }
        SubscriberType::Imsi => value["servedIMSI"] = json!(tbcd(id)),
        SubscriberType::Account | SubscriberType::None => {
            value["servedMNNAI"] =
                json!({"subscriptionIDType": "eND-USER-PRIVATE", "subscriptionIDData": id});
        }
    }
    value
}

/// The header that the decoder must find.
fn wanted_header(records: &[Record], length: u64, files: u64, profile: &Profile) -> Value {
    let (first, last) = (&records[0], &records[records.len() - 1]);
    let local =
        |at: Timestamp| at.to_zoned_datetime(profile.zone.clone()).strftime("%m-%d %H:%M %z").to_string();
    let (header, extension) =
        if profile.layout == Layout::Octets54 { (54, json!(0)) } else { (52, Value::Null) };
    json!({
        "length": length, "header": header, "high": "7.11", "low": "7.11", "releases": "0606",
        "opening": local(first.window.start()), "append": local(last.window.end()),
        "cdrs": records.len(), "sequence": files & 0xffff_ffff, "lost": 0, "extension": extension,
        "closure": if last.cause == Some(Cause::Period) { 2 } else { 0 },
        "address": "ffffffff00000000000000000000ffffc0000201",
    })
}

/// Writes these rows as the next file after these counts.
fn written(profile: &Profile, before: Counts, records: &[Record]) -> (Vec<u8>, String, Counts) {
    let facts = SessionFacts::default();
    let mut first = Composer::new(profile, before, 7);
    for record in records {
        first.add(record, &facts).unwrap().unwrap();
    }
    let outline = first.outline();
    let (header, name) = outline.file.unwrap();
    let mut octets = Vec::new();
    header.write(&mut octets).unwrap();
    let mut second = Composer::new(profile, before, 7);
    for record in records {
        octets.extend(second.add(record, &facts).unwrap().unwrap());
    }
    assert_eq!(octets.len(), header.file_length as usize);
    (octets, name, outline.after)
}

#[test]
fn b27_b12_b11_b10_pycrate_reads_in_every_field_what_the_rows_say() {
    let folder = tempfile::tempdir().unwrap();
    // Around changes of the clock, the end of a year and a leap day.
    let begins = [
        ("UTC", "2026-12-31T23:55:00.999Z"),
        ("Asia/Almaty", "2024-02-29T18:59:59.999Z"),
        ("America/New_York", "2026-03-08T06:59:30Z"),
        ("America/New_York", "2026-11-01T05:59:30Z"),
        ("Asia/Kathmandu", "2026-06-30T18:10:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T14:59:00Z"),
        ("Pacific/Kiritimati", "2026-01-01T00:00:00Z"),
        ("America/St_Johns", "2026-07-01T02:00:00Z"),
    ];
    let mut random = Seeded(27);
    let mut cases: BTreeMap<PathBuf, (Profile, Counts, Vec<Record>, u64)> = BTreeMap::new();
    for (at, (zone_name, begin)) in begins.into_iter().enumerate() {
        let profile = Profile {
            layout: if at % 2 == 0 { Layout::Octets54 } else { Layout::Octets52 },
            zone: zone(zone_name),
            pgw_address: "10.0.0.1".parse().unwrap(),
            classes: Classes { exempt: true, charged: true },
            msisdn_nature: at % 3 > 0,
            service_identifiers: [("bilimland".to_owned(), u32::MAX)].into(),
            sponsor: (at % 2 == 0).then(|| "memorandum-2020".parse().unwrap()),
            ..profile()
        };
        let files = (1 << 32) - 4 + at as u64;
        let before = Counts { files, epoch: 7, records: random.below(1 << 20), gap: false };
        let begin: Timestamp = begin.parse().unwrap();
        let records: Vec<Record> = (1..=60)
            .map(|seq| row(&mut random, seq, begin + SignedDuration::from_secs(i64::try_from(seq).unwrap())))
            .collect();
        let (octets, name, after) = written(&profile, before, &records);
        assert_eq!((after.files, after.records), (files + 1, before.records + 60));
        let end = records[59].window.end().to_zoned_datetime(profile.zone.clone());
        assert_eq!(name, format!("zrgw-01_-_{}.{}_-_7.cdr", files + 1, end.strftime("%Y%m%d_-_%H%M%z")));
        let path = folder.path().join(&name);
        fs::write(&path, &octets).unwrap();
        cases.insert(path, (profile, before, records, octets.len() as u64));
    }
    let files: Vec<PathBuf> = cases.keys().cloned().collect();
    let Some(decoded) = peer::decoded("pycrate_reads_in_every_field_what_the_rows_say", &files) else {
        return;
    };
    for (found, (path, (profile, before, records, length))) in decoded.iter().zip(&cases) {
        let header = wanted_header(records, *length, before.files + 1, profile);
        assert_eq!(found["header"], header, "{}", path.display());
        let found = found["records"].as_array().unwrap();
        assert_eq!(found.len(), records.len());
        for ((local, record), found) in (before.records + 1..).zip(records).zip(found) {
            let frame = ["version", "format", "ts", "release"].map(|key| found[key].clone());
            assert_eq!(frame, [json!("7.11"), json!(1), json!(7), json!(6)]);
            assert_eq!(found["value"], wanted(record, local, profile), "record {}", record.seq);
        }
    }
}

#[test]
fn b27_tshark_finds_the_structure_of_a_record_in_a_packet_to_a_charging_function() {
    let folder = tempfile::tempdir().unwrap();
    let profile = Profile {
        classes: Classes { exempt: true, charged: true },
        service_identifiers: [("bilimland".to_owned(), 9), ("daryn".to_owned(), 10)].into(),
        sponsor: Some("memorandum".parse().unwrap()),
        ..profile()
    };
    let mut random = Seeded(3);
    let begin = "2020-04-06T12:00:00Z".parse().unwrap();
    let records: Vec<Record> = (1..=5).map(|seq| row(&mut random, seq, begin)).collect();
    let mut composer = Composer::new(&profile, Counts::default(), 7);
    let cdrs: Vec<Vec<u8>> = records
        .iter()
        .map(|record| composer.add(record, &SessionFacts::default()).unwrap().unwrap().split_off(5))
        .collect();
    let packets: Vec<&[u8]> = cdrs.iter().map(Vec::as_slice).collect();
    let test = "tshark_finds_the_structure_of_a_record";
    let Some(text) = peer::dissected(test, folder.path(), &packets) else { return };
    for (field, times) in [
        ("tDFRecord", 5),
        ("recordType: tDFRecord (92)", 5),
        ("nodeID: zrgw-01-7", 5),
        ("localSequenceNumber: ", 5),
        ("datavolumeFBCUplink: ", 5),
        ("recordClosure: True", 5),
        ("ServingNodeType: gTPSGW (2)", 5),
        ("pDNConnectionChargingID: 0", 5),
    ] {
        assert!(text.matches(field).count() >= times, "{field}\n{text}");
    }
    assert!(!text.contains("Malformed") && !text.contains("BER Error"), "{text}");
}
