//! The static subscriber table: what is taken, what is refused, where, and that no message names a subscriber.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::subscribers::{HEADER, PROBLEMS_MAX, SubscriberType, parse};

/// Large enough for every text here.
const SIZE: usize = 1 << 24;

/// The problems of a table with the right header and these lines.
fn problems(rows: &str) -> Vec<String> {
    parse(&format!("{HEADER}\n{rows}"), SIZE, 1000)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn rows_come_out_as_written() {
    let text = "prefix,subscriber_type,subscriber_id\n100.64.0.1,msisdn,77010000001\n100.64.1.0/24,account,school 17 #2\n2001:db8::/56,imsi,401010000000001\n100.64.1.9,account,x\n";
    let rows = parse(text, SIZE, 4).unwrap();
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            format!("{} {} {} {}", row.line, row.prefix, row.subscriber_type.label(), row.subscriber_id)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "2 100.64.0.1/32 msisdn 77010000001",
            "3 100.64.1.0/24 account school 17 #2",
            "4 2001:db8::/56 imsi 401010000000001",
            "5 100.64.1.9/32 account x",
        ]
    );
    assert_eq!(rows[0].subscriber_type, SubscriberType::Msisdn);
    assert_eq!(parse(&text.replace('\n', "\r\n"), SIZE, 4).unwrap(), rows, "CRLF");
    assert_eq!(parse(&format!("\u{feff}{text}"), SIZE, 4).unwrap(), rows, "byte order mark");
    assert_eq!(parse(text.trim_end(), SIZE, 4).unwrap(), rows, "no line end at the end");
}

#[test]
fn f25_an_id_that_a_spreadsheet_takes_for_a_formula_is_refused() {
    for start in ["=", "+", "-", "@"] {
        let found = problems(&format!("10.0.0.1,account,{start}1+cmd|' /C calc'!A0\n"));
        let wanted = "2:18: subscriber_id: found an id that a spreadsheet takes for a formula; wanted one that begins with none of = + - @";
        assert_eq!(found, [wanted], "{start}");
    }
    // A spreadsheet passes over these before it looks, and so do we: they are refused as ever.
    for start in ["\t", "\r", " ", "\"", "\u{ff1d}"] {
        assert_eq!(problems(&format!("10.0.0.1,account,{start}=1\n")).len(), 1, "{start:?}");
    }
    for id in ["a=1", "s-1", "user@school.kz", "7+1"] {
        assert_eq!(problems(&format!("10.0.0.1,account,{id}\n")), [""; 0], "{id}");
    }
}

/// What is left of a table whose writer failed at the first row.
#[test]
fn f23_a_table_without_a_row_is_refused() {
    for text in [HEADER.to_owned(), format!("{HEADER}\n"), format!("\u{feff}{HEADER}\r\n")] {
        let problems = parse(&text, SIZE, 4).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let wanted = "1:1: table: found no row below the header; wanted at least one; ";
        assert!(problems[0].to_string().starts_with(wanted), "{}", problems[0]);
    }
}

#[test]
fn every_problem_at_once_with_its_place() {
    let found = problems(
        "10.0.0.1,msisdn\n10.0.0.1/8,msisdn,7701x\nfoo,IMSI,\n\n10.0.0.2,msisdn,77\n 10.0.0.3,account,a\"b\n10.0.0.2/32,account,қ\n::ffff:10.0.0.4,account,a\n10.0.0.5,account,a,b\n#10.0.0.6,account,a\n",
    );
    let expected = [
        "2:1: row: found 2 fields; wanted 3 (`prefix,subscriber_type,subscriber_id`)",
        "3:1: prefix: found an address with bits beyond the prefix length; wanted those bits zero",
        "3:23: subscriber_id: found a character that is no digit; wanted digits only in an msisdn",
        "4:1: prefix: found text that is neither; wanted an IPv4 or IPv6 address or prefix, such as 100.64.0.0/24 or 2001:db8::/64",
        "4:5: subscriber_type: found another word; wanted one of msisdn, imsi, account (no spaces around)",
        "4:10: subscriber_id: found 0 characters; wanted 1 to 64",
        "5:1: row: found an empty line; wanted a row, or the end of the table",
        "7:1: prefix: found white space around the prefix; wanted none",
        "7:20: subscriber_id: found the character U+0022; wanted printable ASCII without comma and quote",
        "8:1: prefix: found the prefix of line 6 again; wanted each prefix once",
        "8:21: subscriber_id: found the character U+049B; wanted printable ASCII without comma and quote",
        "9:1: prefix: found an IPv4 address in IPv6 form; wanted the IPv4 form: mapped addresses are read as IPv4",
        "10:1: row: found 4 fields; wanted 3 (`prefix,subscriber_type,subscriber_id`)",
        "11:1: prefix: found text that is neither; wanted an IPv4 or IPv6 address or prefix, such as 100.64.0.0/24 or 2001:db8::/64",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn the_header_is_required() {
    for (text, found) in [
        ("", "found nothing"),
        ("100.64.0.1,msisdn,77010000001\n", "found another line (a row without a header?)"),
        ("prefix,type,id\n", "found \"prefix,type,id\""),
        ("Prefix,subscriber_type,subscriber_id\n", "found \"Prefix,"),
    ] {
        let problems = parse(text, SIZE, 10).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        let shown = problems[0].to_string();
        assert!(shown.starts_with("1:1: header: ") && shown.contains(found), "{shown}");
    }
}

#[test]
fn ids_at_their_limit() {
    assert_eq!(problems(&format!("10.0.0.1,account,{}\n", "x".repeat(64))).len(), 0);
    assert_eq!(problems(&format!("10.0.0.1,account,{}\n", "x".repeat(65))).len(), 1);
    assert_eq!(problems(&format!("10.0.0.1,msisdn,{}\n", "7".repeat(64))).len(), 0);
    for id in ["", " a", "a ", "a\tb", "a\u{7f}", "a\u{0}", "a\"", "a\rb"] {
        assert_eq!(problems(&format!("10.0.0.1,account,{id}\n")).len(), 1, "{id:?}");
    }
    for printable in (0x21..=0x7e_u8).map(char::from).filter(|c| !matches!(c, '"' | ',')) {
        let first = usize::from(matches!(printable, '=' | '+' | '-' | '@'));
        assert_eq!(problems(&format!("10.0.0.1,account,{printable}\n")).len(), first, "{printable:?}");
        assert_eq!(problems(&format!("10.0.0.1,account,a{printable}\n")).len(), 0, "{printable:?}");
    }
    for id in ["+77010000001", "7701-1", "٧", "0x7"] {
        assert_eq!(problems(&format!("10.0.0.1,imsi,{id}\n")).len(), 1, "{id:?}");
    }
}

#[test]
fn size_rows_and_problems_have_limits() {
    let table = |rows: u32| {
        let body: String =
            (0..rows).map(|n| format!("{},account,a\n", std::net::Ipv4Addr::from(n))).collect();
        format!("{HEADER}\n{body}")
    };
    let text = table(3);
    assert_eq!(parse(&text, text.len(), 3).unwrap().len(), 3);
    let over = parse(&text, text.len() - 1, 3).unwrap_err();
    assert_eq!(over.len(), 1);
    assert!(over[0].to_string().contains("at most subscribers.size_max"), "{}", over[0]);
    let over = parse(&text, SIZE, 2).unwrap_err();
    assert_eq!(over.len(), 1);
    assert_eq!(
        over[0].to_string(),
        "4:1: table: found one more row; wanted at most subscribers.entries_max (2 rows)"
    );
    let wrong = format!("{HEADER}\n{}", "x\n".repeat(PROBLEMS_MAX));
    assert_eq!(parse(&wrong, SIZE, 2).unwrap_err().len(), PROBLEMS_MAX);
    let wrong = format!("{HEADER}\n{}", "x\n".repeat(PROBLEMS_MAX + 500));
    let found = parse(&wrong, SIZE, 2).unwrap_err();
    assert_eq!(found.len(), PROBLEMS_MAX + 1);
    assert!(found[PROBLEMS_MAX].to_string().contains("too many problems above"));
}

#[test]
fn no_message_and_no_debug_form_names_a_subscriber() {
    let rows = parse(&format!("{HEADER}\n100.64.7.7,msisdn,77017654321\n"), SIZE, 10).unwrap();
    assert_eq!(format!("{rows:?}"), "[Subscriber(msisdn, line 2)]");
    for row in [
        "100.64.7.7,77017654321,msisdn",
        "77017654321,msisdn,100.64.7.7",
        "100.64.7.7,msisdn,77017654321 ",
        "100.64.7.7,msisdn,+77017654321",
        "100.64.7.7/33,msisdn,77017654321",
        "100.64.7.7,msisdn,77017654321,x",
        "100.64.7.7,msisdn,77017654321\n100.64.7.7,msisdn,77017654321",
    ] {
        for found in problems(row)
            .iter()
            .chain(&parse(row, SIZE, 9).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>())
        {
            assert!(!found.contains("77017654321") && !found.contains("100.64.7.7"), "{row}: {found}");
        }
        assert!(!problems(row).is_empty(), "{row}");
    }
}
