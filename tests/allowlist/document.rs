//! The list document: its canonical form, every problem at its place, and texts that are cut off (T39).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

use allowlist::{Document, KZ_EDUCATION_2020, Limits, SuccessionError, lint};
use proptest::prelude::*;

const WHOLE: &str = include_str!("golden/contract.toml");
const BROKEN: &str = include_str!("golden/broken.toml");

/// The problems of a text, one a line.
fn problems(text: &str) -> String {
    match Document::parse(text) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

/// The head of a list with one line replaced.
fn with(line: &str, replaced: &str) -> String {
    assert!(WHOLE.contains(line), "{line} is not part of the list");
    WHOLE.replace(line, replaced)
}

#[test]
fn the_contract_s_example_is_in_canonical_form() {
    let document = Document::parse(WHOLE).unwrap();
    assert_eq!(document.to_canonical(), WHOLE);
    assert_eq!((document.list_id(), document.serial(), document.entry_count()), ("kz-education", 3, 3));
    assert_eq!(document.issued().instant(), "2020-04-04T04:00:00Z".parse().unwrap());
    assert_eq!(document.issued().to_string(), "2020-04-04T10:00:00+06:00", "the offset stays as written");
}

#[test]
fn any_layout_becomes_the_canonical_one() {
    let loose = "note = '''a \"note\"\nin two lines'''\nserial = 0x3 # three\nformat=1\nlist_id='x'\r\n\
        issued = 2020-04-04 04:00Z\neffective_from = 2020-04-06T00:00:00.500z\nexpires = 2020-07-06T00:00:00-00:00\n\
        not_separable = [{reason = \"tab\\there\", name = 'n'}]\n\
        service = [{rule = [{evidence='guess', host='БІЛІМ.ҚАЗ.', note='n', ports=[\"443-443\",'80'], protocol='tcp'}], id='s'}]\n\
        [[deny]]\nscope = 'exact'\nhost = 'A.kz'\n";
    let canonical = "format = 1\nlist_id = \"x\"\nserial = 3\nissued = 2020-04-04T04:00:00Z\n\
        effective_from = 2020-04-06T00:00:00.5Z\nexpires = 2020-07-06T00:00:00+00:00\n\
        note = \"a \\\"note\\\"\\nin two lines\"\n\n[[service]]\nid = \"s\"\n\n[[service.rule]]\n\
        host = \"xn--90aud6hb.xn--80ao21a\"\nscope = \"exact\"\nprotocol = \"tcp\"\nports = [\"443\", \"80\"]\n\
        evidence = \"guess\"\ndns_only = false\nnote = \"n\"\n\n[[deny]]\nhost = \"a.kz\"\nscope = \"exact\"\n\n\
        [[not_separable]]\nname = \"n\"\nreason = \"tab\\there\"\n";
    let document = Document::parse(loose).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(document.to_canonical(), canonical);
    assert_eq!(Document::parse(canonical).unwrap(), document);
}

#[test]
fn t39_every_problem_is_reported_at_once_at_its_place() {
    let wanted = include_str!("golden/broken.txt");
    assert_eq!(problems(BROKEN), wanted, "see tests/allowlist/golden/broken.txt");
}

#[test]
fn t39_empty_and_foreign_texts_are_refused() {
    for text in
        ["", "\n", "# a remark\n", "\u{feff}", "<html>", "{\"format\": 1}", "\0", "[[service]]\nid = \"x\"\n"]
    {
        assert!(!problems(text).is_empty(), "{text:?}");
    }
    assert_eq!(
        problems("").lines().map(|line| line.split('`').nth(1).unwrap()).collect::<Vec<_>>(),
        ["format", "list_id", "serial", "issued", "effective_from", "expires"]
    );
}

#[test]
fn t39_a_list_cut_off_at_any_byte_is_refused_or_never_replaces_the_whole() {
    let whole = Document::parse(WHOLE).unwrap();
    let mut well_formed = 0;
    for end in 0..WHOLE.len() {
        match Document::parse(&WHOLE[..end]) {
            Err(problems) => assert!(!problems.is_empty(), "cut at {end}"),
            Ok(cut) if cut == whole => assert_eq!(end, WHOLE.len() - 1, "only the last line end may go"),
            Ok(cut) => {
                well_formed += 1;
                assert!(cut.entry_count() <= whole.entry_count(), "cut at {end}");
                assert_eq!(
                    cut.may_follow(&whole),
                    Err(SuccessionError::SameSerialOtherContent { serial: 3 }),
                    "cut at {end}"
                );
            }
        }
    }
    assert!(well_formed > 0, "some cuts fall between entries");
}

#[test]
fn t39_a_flipped_bit_never_panics_and_never_passes_for_the_same_edition() {
    let whole = Document::parse(WHOLE).unwrap();
    for place in 0..WHOLE.len() {
        for bit in [0, 1, 5] {
            let mut bytes = WHOLE.as_bytes().to_vec();
            bytes[place] ^= 1 << bit;
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            if let Ok(flipped) = Document::parse(text)
                && flipped.serial() == whole.serial()
                && flipped.list_id() == whole.list_id()
            {
                assert_eq!(flipped.may_follow(&whole).is_ok(), flipped == whole, "{place} {bit}");
            }
        }
    }
}

#[test]
fn an_edition_follows_the_same_list_with_a_higher_serial() {
    let parse = |text: &str| Document::parse(text).unwrap();
    let whole = parse(WHOLE);
    assert_eq!(whole.may_follow(&whole), Ok(()));
    assert_eq!(parse(&with("serial = 3", "serial = 4")).may_follow(&whole), Ok(()));
    assert_eq!(
        parse(&with("serial = 3", "serial = 2")).may_follow(&whole),
        Err(SuccessionError::Older { found: 2, wanted: 3 })
    );
    let other = parse(&with("\"kz-education\"", "\"other\"")).may_follow(&whole);
    assert!(matches!(other, Err(SuccessionError::OtherList { .. })), "{other:?}");
}

#[test]
fn limits_of_texts_ids_and_ranges_hold_at_the_limit_and_one_over() {
    let owner = |characters: usize| {
        with("owner = \"Bilim Media Group\"", &format!("owner = \"{}\"", "ж".repeat(characters)))
    };
    assert_eq!(problems(&owner(4_000)), "");
    assert_eq!(
        problems(&owner(4_001)),
        "12:9: found a text of 4001 characters, wanted at most 4000 characters\n"
    );
    let id = |length: usize| with("\"bilimland\"", &format!("\"{}\"", "a".repeat(length)));
    assert_eq!(problems(&id(40)), "");
    assert!(problems(&id(41)).starts_with("10:6: found \"aaaa"), "{}", problems(&id(41)));
    let ranges = |count: usize| with("[\"8801-8810\"]", &format!("[{}]", vec!["\"1\""; count].join(", ")));
    assert_eq!(problems(&ranges(64)), "");
    assert_eq!(problems(&ranges(65)), "25:9: found 65 port ranges, wanted 1 to 64 port ranges\n");
    let serial = |number: &str| problems(&with("serial = 3", &format!("serial = {number}")));
    assert_eq!(serial("9223372036854775807"), "");
    assert!(serial("9223372036854775808").starts_with("3:10: found "));
    assert!(serial("0").starts_with("3:10: found serial 0"));
}

#[test]
fn a_text_of_nothing_but_mistakes_is_reported_up_to_the_limit() {
    let mistakes: String = (0..5_000).map(|line| format!("unknown{line} = 1\n")).collect();
    let text = format!("format = 1\n{mistakes}");
    let problems = Document::parse(&text).unwrap_err();
    assert_eq!(problems.len(), 1_000);
    assert!(problems[999].found.contains("more than 1000 problems"), "{}", problems[999]);
}

#[test]
fn control_characters_of_a_list_never_reach_a_terminal() {
    let escape = with("\"advertising\"", "\"\\u001b[2J\"");
    assert_eq!(
        problems(&escape),
        "31:10: found the control character U+001B in a text, wanted text, line ends and tabs\n"
    );
    let shown = problems(&with("\"ads.bilimland.kz\"", "\"\\u001b\\u202e.kz\""));
    assert!(shown.contains("\\u{1b}") && !shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn very_long_lines_and_deep_nesting_are_answered_in_bounded_work() {
    let inline = format!("service = [{}]\n", vec!["{id='x',rule=[{}]}"; 60_000].join(","));
    let found = Document::parse(&inline).unwrap_err();
    assert_eq!(found.len(), 1_000);
    let nested = format!("note = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Document::parse(&nested).is_err());
}

#[test]
fn the_shipped_list_is_canonical_and_lints_without_errors_or_warnings() {
    let document = Document::parse(KZ_EDUCATION_2020).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(document.to_canonical(), KZ_EDUCATION_2020);
    let at = "2020-04-10T00:00:00+06:00".parse().unwrap();
    let findings = lint::text(KZ_EDUCATION_2020, &Limits::default(), Some(at));
    let heavy: Vec<String> =
        findings.iter().filter(|f| f.severity() != lint::Severity::Note).map(ToString::to_string).collect();
    assert!(heavy.is_empty(), "{heavy:#?}");
}

/// Free text as people type it, with what needs care in TOML.
fn free_text() -> impl Strategy<Value = String> {
    "[a-zA-Zа-яәіңғүұқөһ0-9 \"'\\\\#=\\[\\]{}\n\t\u{2028}😀-]{0,40}"
}

/// A host of a few labels.
fn host() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9]{0,8})(\\.(kz|қаз|білім|[a-z]{2,6})){1,3}"
}

/// A rule in TOML, with keys in random presence.
fn rule() -> impl Strategy<Value = String> {
    let scope =
        prop::sample::select(vec!["", "scope = 'exact'\n", "scope = 'subtree'\n", "scope = \"one-label\"\n"]);
    let dates =
        prop::sample::select(vec!["", "from = 2020-04-06T00:00:00+06:00\n", "to = 2020-09-01 00:00:00Z\n"]);
    let evidence = prop::sample::select(vec!["", "evidence = 'seen'\n", "evidence = 'guess'\n"]);
    let ports = prop::sample::select(vec!["", "protocol = 'tcp'\nports = ['443', '8801-8810']\n"]);
    let dns = prop::sample::select(vec!["", "dns_only = true\n", "dns_only = false\n"]);
    let on_host = (host(), scope, ports, dns)
        .prop_map(|(host, scope, ports, dns)| format!("host = '{host}'\n{scope}{ports}{dns}"));
    let on_prefix =
        (any::<u32>(), 0_u8..=32, 1_u16.., prop::bool::ANY).prop_map(|(address, length, port, tcp)| {
            let prefix = ipnet::Ipv4Net::new(address.into(), length).unwrap().trunc();
            let protocol = if tcp { "tcp" } else { "udp" };
            format!("prefix = '{prefix}'\nprotocol = '{protocol}'\nports = ['{port}']\n")
        });
    (prop_oneof![on_host, on_prefix], dates, evidence, prop::option::of(free_text())).prop_map(
        |(target, dates, evidence, reason)| {
            let reason =
                reason.map_or(String::new(), |text| format!("reason = {}\n", toml::Value::String(text)));
            format!("[[service.rule]]\n{reason}{target}{dates}{evidence}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_form_round_trips_and_is_its_own(
        services in prop::collection::vec((free_text(), prop::collection::vec(rule(), 0..4)), 0..4),
        denies in prop::collection::vec((host(), prop::bool::ANY), 0..3),
        note in prop::option::of(free_text()),
        serial in 1_u64..=i64::MAX.unsigned_abs(),
    ) {
        let mut text = format!("format = 1\nlist_id = 'random'\nserial = {serial}\nissued = 2020-04-04T10:00:00+06:00\n\
            effective_from = 2020-04-06T00:00:00+06:00\nexpires = 2020-07-06T00:00:00+06:00\n");
        if let Some(note) = note {
            text.push_str(&format!("note = {}\n", toml::Value::String(note)));
        }
        for (number, (name, rules)) in services.iter().enumerate() {
            text.push_str(&format!("[[service]]\nname = {}\nid = 's{number}'\n", toml::Value::String(name.clone())));
            text.extend(rules.iter().map(String::as_str));
        }
        for (host, exact) in denies {
            text.push_str(&format!("[[deny]]\nhost = '{host}'\n{}", if exact { "scope = 'exact'\n" } else { "" }));
        }
        let document = match Document::parse(&text) {
            Ok(document) => document,
            Err(problems) => return Err(TestCaseError::fail(format!("{problems:?} in\n{text}"))),
        };
        let canonical = document.to_canonical();
        let again = Document::parse(&canonical).map_err(|problems| TestCaseError::fail(format!("{problems:?} in\n{canonical}")))?;
        prop_assert_eq!(&again, &document);
        prop_assert_eq!(again.to_canonical(), canonical);
    }
}

#[test]
fn f6_an_edition_that_states_another_predecessor_does_not_follow() {
    use allowlist::{Chain, Edition};
    let edition = |serial: u64, previous: Option<&str>| {
        let previous = previous.map(|hash| format!("previous_sha256 = \"{hash}\"\n")).unwrap_or_default();
        let text = format!(
            "format = 1\nlist_id = \"l\"\nserial = {serial}\nissued = 2020-01-01T00:00:00Z\n\
             effective_from = 2020-01-01T00:00:00Z\nexpires = 2021-01-01T00:00:00Z\n{previous}"
        );
        Document::parse(&text).unwrap()
    };
    let hash = |digit: char| digit.to_string().repeat(64);
    let (own, older, other) = (hash('a'), hash('b'), hash('c'));
    let newest = Edition { list_id: "l".to_owned(), serial: 4, sha256: own.clone() };
    let judge = |serial, previous: Option<&String>, in_force: Option<&String>| {
        newest
            .may_be_followed_by(&edition(serial, previous.map(String::as_str)), in_force.map(String::as_str))
    };
    assert_eq!(judge(5, Some(&own), None), Ok(Chain::Proven));
    assert_eq!(judge(5, Some(&older), Some(&older)), Ok(Chain::Proven), "in the place of one still to come");
    assert_eq!(
        judge(5, Some(&other), Some(&older)),
        Err(SuccessionError::PreviousHash { found: other.clone(), wanted: own.clone(), serial: 4 })
    );
    assert!(judge(5, Some(&older), None).is_err());
    assert_eq!(judge(5, None, None), Ok(Chain::NotStated));
    assert_eq!(judge(6, Some(&other), None), Ok(Chain::NotKnown));
    assert_eq!(judge(6, Some(&own), None), Ok(Chain::Proven));
    assert_eq!(judge(4, Some(&other), None), Ok(Chain::SameSerial));
    assert_eq!(judge(3, Some(&other), None), Err(SuccessionError::Older { found: 3, wanted: 4 }));
    let last = Edition { serial: u64::MAX, ..newest.clone() };
    assert!(last.may_be_followed_by(&edition(7, None), None).is_err());
    // FIPS 180-2, appendix B.1.
    assert_eq!(allowlist::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
