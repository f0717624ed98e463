//! What `show` prints of a file of charging records, and what it says of one that is damaged.

use std::fs;
use std::path::Path;
use std::process::Command;

use billing_export::record::{Body, Record, Window};
use billing_export::tdf::{Composer, Counts, Layout, Profile, SessionFacts};
use billing_export::*;
use serde_json::{Value, json};

use super::{profile, zone};
use crate::support::*;

/// Exit code, standard output, standard error.
fn show(path: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing-export")).arg("show").arg(path).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A file of two records.
fn example(profile: &Profile) -> Vec<u8> {
    let start = "2020-04-06T12:00:00Z".parse().unwrap();
    let end = "2020-04-06T12:15:00Z".parse().unwrap();
    let volume = Volume { up: (1 << 53) + 1, down: u64::MAX };
    let record = |account: Account, seq| Record {
        node_id: "zrgw-01".parse().unwrap(),
        epoch: 1,
        seq,
        window: Window::new(start, end).unwrap(),
        byte_basis: ByteBasis::Ip,
        cause: Some(Cause::Period),
        flags: Flags::NONE,
        body: Body::Usage { account, volume, total: volume },
    };
    let account = Session::new(SubscriberType::Account, "school-7", "s").unwrap();
    let rows = [
        record(exempt("77010000001", "bilimland"), 4),
        record(Account { session: account, ..exempt("0", "bilimland") }, 5),
    ];
    let mut first = Composer::new(profile, Counts::default(), 1);
    let mut second = first.clone();
    for row in &rows {
        first.add(row, &SessionFacts::default()).unwrap();
    }
    let mut octets = Vec::new();
    first.outline().file.unwrap().0.write(&mut octets).unwrap();
    for row in &rows {
        octets.extend(second.add(row, &SessionFacts::default()).unwrap().unwrap());
    }
    octets
}

#[test]
fn b12_show_prints_a_file_of_charging_records_by_its_content_with_exact_numbers() {
    let folder = tempfile::tempdir().unwrap();
    // No suffix says what it is.
    let path = folder.path().join("anything.csv");
    for layout in [Layout::Octets54, Layout::Octets52] {
        fs::write(&path, example(&Profile { layout, zone: zone("Asia/Almaty"), ..profile() })).unwrap();
        let (code, out, err) = show(&path);
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        let length = layout.length();
        assert_eq!(
            lines[0],
            json!({
                "fileLength": fs::metadata(&path).unwrap().len(), "headerLength": length, "highRelease": "16.11",
                "lowRelease": "16.11", "fileOpening": "--04-06T18:00+06:00", "lastCdrAppend": "--04-06T18:15+06:00",
                "cdrs": 2, "fileSequenceNumber": 1, "fileClosureReason": 2, "nodeAddress": "192.0.2.1",
                "lostCdrIndicator": 0, "routeingFilter": "",
                "privateExtension": if length == 54 { json!("") } else { Value::Null },
            })
        );
        assert_eq!(
            lines[1],
            json!({
                "offset": length.to_string(), "release": "16.11", "recordType": 92, "servedIMSI": null,
                "servedMSISDN": "+77010000001", "servedMSISDNOctets": "917710000000f1", "servedMNNAI": null,
                "p-GWAddress": "0.0.0.0", "servingNodeAddress": ["0.0.0.0"], "servingNodeType": ["gTPSGW"],
                "chargingCharacteristics": "0800", "pDNConnectionChargingID": 0, "tDFAddress": "192.0.2.1",
                "recordOpeningTime": "2020-04-06T18:00:00+06:00", "duration": "900", "causeForRecClosing": 17,
                "nodeID": "zrgw-01-1", "localSequenceNumber": 1,
                "recordExtensions": [{
                    "identifier": "1.3.6.1.4.1.32473.1",
                    "information": "epoch=1;record_seq=4;class=exempt;reason=;list_id=kz-education;list_serial=3;\
                                    byte_basis=ip;disposition=reported;cause=period;flags=",
                }],
                "listOfServiceData": [{
                    "ratingGroup": 100, "serviceIdentifier": null,
                    "timeOfFirstUsage": "2020-04-06T18:00:00+06:00", "timeOfLastUsage": "2020-04-06T18:15:00+06:00",
                    "timeOfReport": "2020-04-06T18:15:00+06:00", "serviceConditionChange": ["recordClosure"],
                    "datavolumeFBCUplink": "9007199254740993", "datavolumeFBCDownlink": "18446744073709551615",
                    "aDCRuleBaseName": "kz-education:3", "sponsorIdentity": null,
                }],
            })
        );
        let mnnai = json!({"subscriptionIDType": "END-USER-PRIVATE", "subscriptionIDData": "school-7"});
        assert_eq!(lines[2]["servedMNNAI"], mnnai);
    }
}

#[test]
fn b27_what_is_damaged_is_told_with_its_offset_after_what_could_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cdr");
    let whole = example(&profile());
    let second = 54 + 5 + usize::from(u16::from_be_bytes([whole[54], whole[55]]));
    let changed = |at: usize, octets: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + octets.len()].copy_from_slice(octets);
        fs::write(&path, bytes).unwrap();
        show(&path)
    };
    for (at, octets, lines, wanted) in [
        (0, &[0, 0, 0, 9][..], 3, "offset 0: file length: found 9, wanted ".to_owned()),
        // The trap of the two lengths: a header of 54 octets whose length says 52. What follows is no record.
        (7, &[52], 1, "offset 52: CDR header: found format 2 of TS number 6".to_owned()),
        (7, &[53], 0, "offset 4: file header length: found 53".to_owned()),
        (5, &[1], 0, "offset 4: file header length: found 65590".to_owned()),
        (10, &[0xff], 0, "offset 10: file opening time: found ff300800".to_owned()),
        (21, &[9], 3, "offset 18: number of CDRs: found 9, wanted 2".to_owned()),
        (48, &[0xff, 0xff], 0, "offset 50: routeing filter: found the end of the file after".to_owned()),
        (54, &[0xff, 0xff], 1, "offset 59: CDR: found the end of the file after".to_owned()),
        (57, &[0x47], 1, "offset 54: CDR header: found format 2 of TS number 7".to_owned()),
        (second + 6, &[0x4f], 2, format!("offset {}: CDR: found ", second + 5)),
        (second + 12, &[0x5b], 2, format!("offset {}: recordType: found 91, wanted 92", second + 5)),
    ] {
        let (code, out, err) = changed(at, octets);
        assert_eq!((code, out.lines().count()), (1, lines), "{at}: {err}");
        assert!(err.contains(&wanted) && err.contains("a.cdr"), "{at}: {err}");
    }
    // Every beginning of a file is a file that ends too soon.
    for length in 1..whole.len() {
        let outcome = tdf::Reader::new(&whole[..length]).and_then(|mut reader| {
            while reader.read()?.is_some() {}
            Ok(())
        });
        let error = outcome.unwrap_err().to_string();
        assert!(error.starts_with("offset "), "{length}: {error}");
    }
}

#[test]
fn b29_random_octets_are_no_file_and_no_panic() {
    let mut random = Seeded(29);
    let whole = example(&profile());
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(4) {
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            match random.below(3) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
            }
        }
        let outcome = tdf::Reader::new(bytes.as_slice()).and_then(|mut reader| {
            let mut sink = Vec::new();
            tdf::write_header(&mut sink, reader.header()).unwrap();
            while let Some(cdr) = reader.read()? {
                tdf::write_record(&mut sink, &cdr).unwrap();
            }
            Ok(())
        });
        if let Err(error) = outcome {
            refused += 1;
            assert!(error.to_string().starts_with("offset "), "{error}");
        }
    }
    assert!(refused > 2_000, "{refused}");
}
