//! Octets by hand, and what is read is what was written.

use std::net::IpAddr;

use proptest::prelude::*;

use super::asn1::GprsRecord;
use super::*;
use crate::account::{Account, Entry, ListVersion};
use crate::record::{Body, Record, Window};
use crate::subscriber::{Session, SubscriberType};
use crate::unit::{ByteBasis, Cause, Disposition, Flag, Flags, Volume};

/// A profile as the contract has it by default.
fn profile() -> Profile {
    Profile {
        layout: Layout::Octets54,
        release: release(16, 11).unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        node_name: "zrgw-01".parse().unwrap(),
        address: IpAddr::from([192, 0, 2, 1]),
        pgw_address: IpAddr::from([0, 0, 0, 0]),
        classes: Classes { exempt: true, charged: false },
        msisdn_nature: true,
        service_identifiers: [("bilimland".to_owned(), 7)].into(),
        sponsor: None,
        extension_oid: "1.3.6.1.4.1.32473.1".parse().unwrap(),
    }
}

/// A row.
fn row(kind: SubscriberType, id: &str, volume: Volume, cause: Option<Cause>) -> Record {
    let entry =
        Entry::Exempt { service: "bilimland".into(), rating_group: 100, disposition: Disposition::Reported };
    let list = Some(ListVersion { id: "kz".into(), serial: 3 });
    let account = Account { session: Session::new(kind, id, "s").unwrap(), list, entry };
    let at = |text: &str| text.parse().unwrap();
    Record {
        node_id: "zrgw-01".parse().unwrap(),
        epoch: 5,
        seq: 9,
        window: Window::new(at("2020-04-06T12:00:00Z"), at("2020-04-06T12:15:00.999Z")).unwrap(),
        byte_basis: ByteBasis::Ip,
        cause,
        flags: Flags::NONE,
        body: Body::Usage { account, volume, total: volume },
    }
}

/// The file of these rows.
fn file(profile: &Profile, before: Counts, rows: &[Record], facts: &SessionFacts) -> Vec<u8> {
    let mut first = Composer::new(profile, before, 5);
    let mut second = first.clone();
    for row in rows {
        first.add(row, facts).unwrap();
    }
    let (header, _) = first.outline().file.unwrap();
    let mut octets = Vec::new();
    header.write(&mut octets).unwrap();
    for row in rows {
        octets.extend(second.add(row, facts).unwrap().unwrap_or_default());
    }
    octets
}

/// Octets of hexadecimal digits, blanks between.
fn octets(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (pairs, []) = digits.as_chunks::<2>() else { panic!("an odd number of digits") };
    let octet = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(|pair| octet(pair.as_slice())).collect()
}

/// The cdr of a row whose header says what `file` made of it: octets after the file's header and the record's.
fn body_of(file: &[u8]) -> &[u8] {
    &file[54 + 5..]
}

#[test]
fn b27_a_file_is_octet_for_octet_what_the_specifications_say() {
    let volume = Volume { up: 5_000_000_000, down: u64::MAX };
    let row = row(SubscriberType::Msisdn, "77010000001", volume, Some(Cause::Period));
    let before = Counts { files: 2, epoch: 5, records: 130, gap: true };
    let extension = "epoch=5;record_seq=9;class=exempt;reason=;list_id=kz;list_serial=3;byte_basis=ip;\
                     disposition=reported;cause=period;flags=";
    let extension: String = extension.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wanted = format!(
        "0000016d 00000036 eb eb 43300800 4330f800 00000001 00000003 02
         ffffffff 00000000000000000000ffffc0000201 80 0000 0000 06 06
         0132 eb 27 06
         bf5c 82012d 8001 5c a406 8004 00000000 a606 8004 00000000 8d09 200406120000 2b 0000 8e02 0384 8f01 11
         9209 7a7267772d30312d35 b3818b 308188 0609 2b0601040181fd5901 a27b 0c79 {extension}
         9402 0083 9607 91 7710000000f1 9702 0800
         bf2248 3046 8101 64 8509 200406120000 2b 0000 8609 200406121500 2b 0000 8805 07 00000080
         8c05 012a05f200 8d09 00ffffffffffffffff 8e09 200406121500 2b 0000 9101 07 9b04 6b7a3a33
         bf2303 0a01 02 9f2901 00 bf3506 8004 c0000201"
    );
    let written = file(&profile(), before, std::slice::from_ref(&row), &SessionFacts::default());
    assert_eq!(written, octets(&wanted));
    let short = Profile { layout: Layout::Octets52, ..profile() };
    let written = file(&short, before, &[row], &SessionFacts::default());
    let wanted =
        wanted.replace("0000016d 00000036", "0000016b 00000034").replace("80 0000 0000 06", "80 0000 06");
    assert_eq!(written, octets(&wanted));
}

#[test]
fn causes_and_flags_close_records_as_the_specification_names_it() {
    for (cause, flags, wanted) in [
        (Cause::Period, Flags::NONE, 17),
        (Cause::SessionEnd, Flags::NONE, 0),
        (Cause::SessionEnd, Flags::from(Flag::StopLost), 4),
        (Cause::ListChange, Flags::NONE, 20),
        (Cause::Shutdown, Flags::NONE, 20),
        (Cause::Cap, Flags::NONE, 16),
        (Cause::Volume, Flags::NONE, 16),
        (Cause::Recovered, Flags::from(Flag::Recovered), 4),
        (Cause::Period, Flags::from(Flag::StopLost), 17),
    ] {
        let record =
            Record { flags, ..row(SubscriberType::Imsi, "401019876543210", Volume::ZERO, Some(cause)) };
        let written = file(&profile(), Counts::default(), &[record], &SessionFacts::default());
        let mut reader = Reader::new(written.as_slice()).unwrap();
        assert_eq!(reader.header().closure, if cause == Cause::Period { 2 } else { 0 }, "{cause:?}");
        let cdr = reader.read().unwrap().unwrap();
        assert_eq!(cdr.cause_for_rec_closing, wanted, "{cause:?}");
        assert!(
            cdr.record_extensions[0].information.ends_with(&format!("cause={};flags={flags}", cause.label()))
        );
    }
}

#[test]
fn what_the_session_tells_goes_before_what_the_profile_says() {
    let facts = SessionFacts {
        imsi: Some("401019876543210".into()),
        msisdn: Some("77010000009".into()),
        account: Some("school-7".into()),
        ggsn_address: Some(IpAddr::from([10, 0, 0, 7])),
        nas_ip_address: Some(IpAddr::from([10, 0, 0, 8])),
        sgsn_address: Some("2001:db8::6".parse().unwrap()),
        charging_characteristics: Some([0x04, 0x00]),
        charging_id: Some(u32::MAX),
    };
    let read = |kind, id, facts: &SessionFacts| {
        let written =
            file(&profile(), Counts::default(), &[row(kind, id, Volume::ZERO, Some(Cause::Cap))], facts);
        Reader::new(written.as_slice()).unwrap().read().unwrap().unwrap()
    };
    let cdr = read(SubscriberType::Msisdn, "77010000001", &facts);
    assert_eq!(cdr.served_imsi.as_deref(), Some("401019876543210"));
    assert_eq!(cdr.served_msisdn.as_deref(), Some("+77010000001"), "the row's own, not the session's");
    assert_eq!(cdr.served_mnnai.as_ref().map(|id| &*id.data), Some("school-7"));
    assert_eq!(
        (cdr.p_gw_address, cdr.serving_node_address[0]),
        ("10.0.0.7".parse().unwrap(), "2001:db8::6".parse().unwrap())
    );
    assert_eq!((&*cdr.charging_characteristics, cdr.pdn_connection_charging_id), ("0400", u32::MAX));
    let without = SessionFacts { ggsn_address: None, ..facts };
    assert_eq!(
        read(SubscriberType::Imsi, "401019876543210", &without).p_gw_address,
        IpAddr::from([10, 0, 0, 8])
    );
    assert_eq!(format!("{without:?}"), "SessionFacts(redacted)");
    // A row is somebody's also where its id is no number of its kind.
    let nobody = SessionFacts::default();
    for (kind, id) in
        [(SubscriberType::Imsi, "40101"), (SubscriberType::Msisdn, "cafe"), (SubscriberType::Account, "a")]
    {
        let cdr = read(kind, id, &nobody);
        assert_eq!((cdr.served_imsi, cdr.served_msisdn), (None, None), "{id}");
        let mnnai = cdr.served_mnnai.unwrap();
        assert_eq!((mnnai.kind, &*mnnai.data), ("END-USER-PRIVATE", id));
    }
    assert_eq!(
        read(SubscriberType::Msisdn, "+77010000001", &nobody).served_msisdn.as_deref(),
        Some("+77010000001")
    );
}

#[test]
fn b15_numbers_begin_again_after_the_greatest_of_32_bits() {
    let row = row(SubscriberType::Account, "a", Volume::ZERO, Some(Cause::Period));
    let top = u64::from(u32::MAX);
    for (before, sequence) in [(top - 1, u32::MAX), (top, 0), (top + 1, 1)] {
        let counts = Counts { files: before, epoch: 5, records: before, gap: false };
        let written = file(&profile(), counts, std::slice::from_ref(&row), &SessionFacts::default());
        let mut reader = Reader::new(written.as_slice()).unwrap();
        assert_eq!(reader.header().sequence, sequence);
        assert_eq!(reader.read().unwrap().unwrap().local_sequence_number, Some(sequence));
        let profile = profile();
        let mut composer = Composer::new(&profile, counts, 5);
        composer.add(&row, &SessionFacts::default()).unwrap();
        // The name has no 32 bits to go into.
        assert!(composer.outline().file.unwrap().1.starts_with(&format!("zrgw-01_-_{}.2020", before + 1)));
    }
}

#[test]
fn what_cannot_be_written_is_refused_with_the_place() {
    let refused = |profile: &Profile, record: &Record| {
        Composer::new(profile, Counts::default(), record.epoch)
            .add(record, &SessionFacts::default())
            .unwrap_err()
    };
    let usual = row(SubscriberType::Account, "a", Volume::ZERO, Some(Cause::Period));
    let long = Profile { node_name: "a".repeat(14).parse().unwrap(), ..profile() };
    let late = Record { epoch: 100_000, ..usual.clone() };
    assert!(refused(&long, &late).to_string().contains("21 octets, wanted at most 20"));
    assert!(
        Composer::new(&long, Counts::default(), 99_999)
            .add(&Record { epoch: 99_999, ..usual.clone() }, &SessionFacts::default())
            .is_ok()
    );
    assert!(
        refused(&profile(), &Record { cause: None, ..usual })
            .to_string()
            .contains("record 9 of epoch 5: found no cause")
    );
}

/// Any row that is one, and what its session may tell.
fn any_row() -> impl Strategy<Value = (Record, SessionFacts)> {
    const KINDS: [SubscriberType; 3] =
        [SubscriberType::Msisdn, SubscriberType::Imsi, SubscriberType::Account];
    let facts = (
        proptest::option::of("[0-9]{6,15}"),
        proptest::option::of("[0-9]{5,15}"),
        proptest::option::of(any::<IpAddr>()),
        proptest::option::of(any::<u32>()),
    )
        .prop_map(|(imsi, msisdn, sgsn_address, charging_id)| SessionFacts {
            imsi,
            msisdn,
            sgsn_address,
            charging_id,
            ..SessionFacts::default()
        });
    let id = prop_oneof!["[0-9]{1,20}", "\\PC{1,60}"];
    (proptest::sample::select(&KINDS), id, any::<(u64, u64)>(), proptest::sample::select(&Cause::ALL), facts)
        .prop_map(|(kind, id, (up, down), cause, facts)| {
            (row(kind, &id, Volume { up, down }, Some(cause)), facts)
        })
}

proptest! {
    #[test]
    fn b27_what_is_read_is_written_again_octet_for_octet((record, facts) in any_row()) {
        let written = file(&profile(), Counts::default(), std::slice::from_ref(&record), &facts);
        let body = body_of(&written);
        let read: GprsRecord = rasn::ber::decode(body).unwrap();
        prop_assert_eq!(rasn::ber::encode(&read).unwrap(), body);
        let mut reader = Reader::new(written.as_slice()).unwrap();
        let cdr = reader.read().unwrap().unwrap();
        prop_assert!(reader.read().unwrap().is_none());
        let Body::Usage { volume, .. } = record.body else { unreachable!() };
        let data = &cdr.list_of_service_data[0];
        prop_assert_eq!((data.uplink, data.downlink), (Some(volume.up), Some(volume.down)));
        prop_assert!(cdr.served_imsi.is_some() || cdr.served_msisdn.is_some() || cdr.served_mnnai.is_some());
    }

    #[test]
    fn b29_damaged_files_are_refused_with_an_offset_in_them(
        (record, facts) in any_row(),
        place in any::<proptest::sample::Index>(),
        octet in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut damaged = file(&profile(), Counts::default(), &[record.clone(), record], &facts);
        let at = place.index(damaged.len());
        damaged[at] = octet;
        damaged.truncate(cut.index(damaged.len()).max(at).saturating_add(1));
        let outcome = Reader::new(damaged.as_slice()).and_then(|mut reader| {
            while reader.read()?.is_some() {}
            Ok(())
        });
        // A change within a value is another value; anything else has its place.
        if let Err(error) = outcome {
            let ReadError::Format { offset, .. } = &error else { panic!("{error}") };
            prop_assert!(*offset <= damaged.len() as u64, "{error}");
            prop_assert!(error.to_string().starts_with("offset "), "{error}");
        }
    }
}
