//! Who the session is of, in the operator's words.

use gateway::wire::radius::{SubscriberKind, SubscriberWord};

use super::encode::{Encoder, accounting};
use super::read;

/// The identifier that some words find, under the label of its kind.
fn found(encoder: &Encoder, words: &[&str]) -> Option<String> {
    let words: Vec<SubscriberWord> = words.iter().map(|word| word.parse().unwrap()).collect();
    let mut found = None;
    read(encoder, |facts| {
        found = facts.subscriber(&words).map(|(kind, identifier)| format!("{} {identifier}", kind.label()));
    });
    found
}

#[test]
fn words_are_read_and_written_and_others_are_refused_with_the_permitted_ones() {
    let words = [
        "3gpp-imsi:imsi",
        "calling-station-id:msisdn",
        "user-name:account",
        "class:account",
        "chargeable-user-identity:imsi",
        "alc-subsc-id-str:account",
        "vsa-1-1:account",
        "vsa-16777215-255:msisdn",
    ];
    for word in words {
        assert_eq!(word.parse::<SubscriberWord>().unwrap().to_string(), word);
    }
    for word in [
        "",
        "user-name",
        "user-name:",
        ":account",
        "user-name:name",
        "user-name:account:imsi",
        "User-Name:account",
        "user-name :account",
        "nas-identifier:account",
        "imsi:imsi",
        "vsa-0-1:account",
        "vsa-16777216-1:account",
        "vsa-1-0:account",
        "vsa-1-256:account",
        "vsa-1:account",
        "vsa-+1-1:account",
        "vsa--1:account",
        "vsa-1-1-1:account",
        "vsa-VENDOR-TYPE:account",
    ] {
        let error = word.parse::<SubscriberWord>().unwrap_err();
        assert_eq!(error.found, word);
        let said = error.to_string();
        for permitted in ["3gpp-imsi", "calling-station-id", "user-name", "class", "chargeable-user-identity"]
        {
            assert!(said.contains(permitted), "{said}");
        }
        for permitted in ["alc-subsc-id-str", "vsa-VENDOR-TYPE", ":imsi", ":msisdn", ":account"] {
            assert!(said.contains(permitted), "{said}");
        }
    }
}

#[test]
fn c27_the_first_word_that_is_present_and_valid_names_the_subscriber() {
    let words = ["3gpp-imsi:imsi", "calling-station-id:msisdn", "user-name:account"];
    let mobile = accounting(1).attribute(1, b"internet").attribute(31, b"79161234567");
    assert_eq!(found(&mobile, &words).unwrap(), "msisdn 79161234567");
    let with_imsi = mobile.clone().vendor(10_415, &[(1, b"250011234567890")]);
    assert_eq!(found(&with_imsi, &words).unwrap(), "imsi 250011234567890");
    let with_bad_imsi = mobile.vendor(10_415, &[(1, b"25001123456789F")]);
    assert_eq!(found(&with_bad_imsi, &words).unwrap(), "msisdn 79161234567");
    let wireless = accounting(1).attribute(1, b"00:11:22:33:44:55").attribute(31, b"00-11-22-33-44-55");
    assert_eq!(found(&wireless, &words).unwrap(), "account 00:11:22:33:44:55");
    assert_eq!(found(&wireless, &words[..2]), None, "a hardware address is no number");
    let portal = accounting(1).attribute(1, b"10.0.0.7").attribute(89, b"contract-17");
    assert_eq!(
        found(&portal, &["user-name:msisdn", "chargeable-user-identity:account"]).unwrap(),
        "account contract-17"
    );
    let nokia = accounting(1).vendor(6527, &[(11, b"sub-1")]).vendor(9, &[(1, b"isp=two")]);
    assert_eq!(found(&nokia, &["alc-subsc-id-str:account"]).unwrap(), "account sub-1");
    assert_eq!(found(&nokia, &["vsa-9-1:account"]).unwrap(), "account isp=two");
    assert_eq!(found(&nokia, &["vsa-9-2:account", "vsa-6527-1:account"]), None);
    assert_eq!(found(&nokia, &[]), None);
}

#[test]
fn c27_of_an_attribute_that_stands_twice_the_first_valid_value_counts() {
    let twice =
        accounting(1).attribute(25, b"login").attribute(25, b"79161234567").attribute(25, b"79160000000");
    assert_eq!(found(&twice, &["class:msisdn"]).unwrap(), "msisdn 79161234567");
    assert_eq!(found(&twice, &["class:account"]).unwrap(), "account login");
}

#[test]
fn c28_a_calling_station_id_is_a_number_or_none() {
    let as_msisdn = |value: &[u8]| found(&accounting(1).attribute(31, value), &["calling-station-id:msisdn"]);
    for (value, number) in [
        (&b"79161234567"[..], "79161234567"),
        (b"+79161234567", "79161234567"),
        (b"12345", "12345"),
        (b"+12345", "12345"),
        (b"123456789012345", "123456789012345"),
    ] {
        assert_eq!(as_msisdn(value).unwrap(), format!("msisdn {number}"));
    }
    for none in [
        &b"1234"[..],
        b"+1234",
        b"1234567890123456",
        b"++79161234567",
        b"+",
        b"7916 1234567",
        b"79161234567\0",
        b"0011-2233-4455",
        b"00-11-22-33-44-55",
        b"001122aabbcc",
        b"1/1/c3:100.200",
        b"192.168.0.1",
        &[0, 0x11, 0x22, 0x33, 0x44, 0x55],
        "\u{0661}\u{0662}\u{0663}\u{0664}\u{0665}".as_bytes(),
    ] {
        assert_eq!(as_msisdn(none), None, "{none:?}");
    }
}

#[test]
fn imsis_and_accounts_have_their_limits() {
    let imsi = |value: &[u8]| found(&accounting(1).vendor(10_415, &[(1, value)]), &["3gpp-imsi:imsi"]);
    assert_eq!(imsi(b"12345"), None);
    assert_eq!(imsi(b"123456").unwrap(), "imsi 123456");
    assert_eq!(imsi(b"123456789012345").unwrap(), "imsi 123456789012345");
    assert_eq!(imsi(b"1234567890123456"), None);
    assert_eq!(imsi(b"+123456"), None);
    let account = |value: &[u8]| found(&accounting(1).attribute(1, value), &["user-name:account"]);
    assert_eq!(account(b""), None);
    assert_eq!(account(b"x").unwrap(), "account x");
    assert_eq!(account("Ж@isp.example".as_bytes()).unwrap(), "account Ж@isp.example");
    assert_eq!(account(&[b'x'; 253]).unwrap().len(), "account ".len() + 253);
    for none in [&b"bob\n"[..], b"bob\0", b"\x1b[2J", b"bob\x7f", "\u{85}".as_bytes(), b"b\xffb"] {
        assert_eq!(account(none), None, "{none:?}");
    }
}

#[test]
fn a_class_that_is_no_text_is_an_account_in_hexadecimal() {
    let class = |value: &[u8], word| found(&accounting(1).attribute(25, value), &[word]);
    assert_eq!(class(b"contract-17", "class:account").unwrap(), "account contract-17");
    assert_eq!(class(&[0, 0x1f, 0xff], "class:account").unwrap(), "account 001fff");
    assert_eq!(class(&[0, 0x1f, 0xff], "class:imsi"), None);
    assert_eq!(class(&[0; 126], "class:account").unwrap().len(), "account ".len() + 252);
    assert_eq!(class(&[0; 127], "class:account"), None, "longer than an account");
    assert_eq!(class(b"", "class:account"), None);
    let other = accounting(1).attribute(1, &[0, 0x1f, 0xff]);
    assert_eq!(found(&other, &["user-name:account"]), None, "of other attributes there is no such form");
    assert!(SubscriberKind::ALL.iter().map(|kind| kind.label()).eq(["imsi", "msisdn", "account"]));
}
