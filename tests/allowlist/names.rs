//! Names from the wire and from lists: what is taken, what is refused and why.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

use allowlist::{DomainName, NameError};

/// What a wire name becomes.
fn wire(bytes: &[u8]) -> Result<String, NameError> {
    DomainName::from_wire(bytes).map(|name| name.as_str().to_owned())
}

/// What a list entry becomes.
fn entry(text: &str) -> Result<String, NameError> {
    DomainName::from_list_entry(text).map(|name| name.as_str().to_owned())
}

/// A name of this many bytes, in labels of at most 63.
fn name_of(length: usize) -> String {
    let mut name = "a".repeat(length);
    for dot in (1..length).rev().filter(|at| at % 50 == 0) {
        name.replace_range(dot..=dot, ".");
    }
    name
}

#[test]
fn t6_wire_names_are_folded_and_nothing_else() {
    for (sent, taken) in [
        ("WWW.Listed.EDU", "www.listed.edu"),
        ("DARYN.Online.", "daryn.online"),
        ("xn--90aud6hb.xn--80ao21a", "xn--90aud6hb.xn--80ao21a"),
        ("XN--90AUD6HB.XN--80AO21A", "xn--90aud6hb.xn--80ao21a"),
        ("_dmarc.example.kz", "_dmarc.example.kz"),
        ("r3---sn-4g5e6nez.googlevideo.com", "r3---sn-4g5e6nez.googlevideo.com"),
        ("100ballov.kz", "100ballov.kz"),
        ("localhost", "localhost"),
        ("1.2.3.4a", "1.2.3.4a"),
        ("xn--a.kz", "xn--a.kz"),
    ] {
        assert_eq!(wire(sent.as_bytes()).as_deref(), Ok(taken), "{sent}");
    }
}

#[test]
fn t6_what_is_no_wire_name_is_told_apart() {
    let long_label = format!("{}.kz", "a".repeat(64));
    let cases: [(&[u8], NameError); 24] = [
        (b"", NameError::Empty),
        (b".", NameError::Empty),
        (b"..", NameError::EmptyLabel),
        (b".kz", NameError::EmptyLabel),
        (b"a..kz", NameError::EmptyLabel),
        (b"a.kz..", NameError::EmptyLabel),
        (b"listed.edu\0.evil.com", NameError::ForbiddenCharacter),
        (b"listed.edu ", NameError::ForbiddenCharacter),
        (b"user@listed.edu", NameError::ForbiddenCharacter),
        (b"listed.edu:443", NameError::ForbiddenCharacter),
        (b"*.listed.edu", NameError::ForbiddenCharacter),
        (b"-a.kz", NameError::HyphenAtEdge),
        (b"a-.kz", NameError::HyphenAtEdge),
        (b"10.0.0.1", NameError::IpLiteral),
        (b"10.0.0.1.", NameError::IpLiteral),
        (b"::1", NameError::IpLiteral),
        (b"2001:db8::1", NameError::IpLiteral),
        (b"fe80::1%eth0", NameError::IpLiteral),
        (b"[2001:db8::1]", NameError::IpLiteral),
        (b"[2001:db8::1]:443", NameError::IpLiteral),
        (b"1.2.3", NameError::NumericLastLabel),
        (b"256.0.0.1", NameError::NumericLastLabel),
        (long_label.as_bytes(), NameError::LabelTooLong),
        (b"b\xff.kz", NameError::NotAscii),
    ];
    for (sent, error) in cases {
        assert_eq!(wire(sent), Err(error), "{}", String::from_utf8_lossy(sent));
    }
    assert_eq!(wire("білім.қаз".as_bytes()), Err(NameError::NotAscii), "U-labels are never on the wire");
    // A Latin name with the Kelvin sign: IDNA would fold it to k.
    assert_eq!(wire("\u{212a}z.kz".as_bytes()), Err(NameError::NotAscii));
}

#[test]
fn t6_lengths_at_the_limit_and_one_over() {
    assert_eq!(wire(name_of(253).as_bytes()).map(|name| name.len()), Ok(253));
    assert_eq!(wire(format!("{}.", name_of(253)).as_bytes()).map(|name| name.len()), Ok(253));
    assert_eq!(wire(name_of(254).as_bytes()), Err(NameError::TooLong));
    assert_eq!(wire(&vec![b'a'; 1 << 20]), Err(NameError::TooLong));
    assert_eq!(wire(format!("{}.kz", "a".repeat(63)).as_bytes()).map(|name| name.len()), Ok(66));
}

#[test]
fn m3_list_entries_are_uts_46_strict() {
    for (typed, taken) in [
        ("білім.қаз", "xn--90aud6hb.xn--80ao21a"),
        ("БІЛІМ.ҚАЗ", "xn--90aud6hb.xn--80ao21a"),
        ("xn--90aud6hb.xn--80ao21a", "xn--90aud6hb.xn--80ao21a"),
        ("білім.қаз.", "xn--90aud6hb.xn--80ao21a"),
        ("faß.de", "xn--fa-hia.de"),
        ("BilimLand.KZ", "bilimland.kz"),
        ("bilimland.kz.", "bilimland.kz"),
        // Encoded gladly; the linter is there for it.
        ("p\u{430}ypal.com", "xn--pypal-4ve.com"),
    ] {
        assert_eq!(entry(typed).as_deref(), Ok(taken), "{typed}");
    }
}

#[test]
fn m3_what_is_no_list_entry_is_told_apart() {
    for (typed, error) in [
        ("", NameError::Empty),
        (".", NameError::Empty),
        ("*", NameError::Wildcard),
        ("*.cdn.example", NameError::Wildcard),
        ("host*", NameError::Wildcard),
        (".bilimland.kz", NameError::EmptyLabel),
        ("a..b", NameError::EmptyLabel),
        ("a_b.kz", NameError::NotIdna),
        ("-a.kz", NameError::HyphenAtEdge),
        ("ab--c.kz", NameError::NotIdna),
        ("xn--a.kz", NameError::NotIdna),
        ("https://bilimland.kz", NameError::PageAddress),
        ("stem-academia.com/en/main-page/", NameError::PageAddress),
        ("bilimland.kz:443", NameError::PageAddress),
        ("10.0.0.1", NameError::IpLiteral),
        ("[::1]", NameError::IpLiteral),
        ("2001:db8::1", NameError::IpLiteral),
        ("bilim land.kz", NameError::ForbiddenCharacter),
        ("bilimland.kz..", NameError::EmptyLabel),
        ("білім\u{200b}.қаз\u{0}", NameError::NotIdna),
        ("１２７.0.0.1", NameError::IpLiteral),
    ] {
        assert_eq!(entry(typed), Err(error), "{typed}");
    }
}

#[test]
fn m3_both_forms_are_shown() {
    let name = DomainName::from_list_entry("білім.қаз").unwrap();
    assert_eq!(
        (name.to_string().as_str(), name.to_unicode().as_str()),
        ("xn--90aud6hb.xn--80ao21a", "білім.қаз")
    );
    let broken = DomainName::from_wire(b"xn--a.kz").unwrap();
    assert_eq!(broken.to_unicode(), "xn--a.kz", "what is no valid A-label stays as it is");
}

#[test]
fn names_stand_within_their_ancestors() {
    let name = |text: &str| DomainName::from_wire(text.as_bytes()).unwrap();
    assert!(name("a.b.kz").is_within(&name("b.kz")));
    assert!(name("b.kz").is_within(&name("b.kz")));
    assert!(!name("ab.kz").is_within(&name("b.kz")));
    assert!(!name("kz").is_within(&name("b.kz")));
}

#[test]
fn f18_plain_list_entries_are_what_uts_46_makes_of_them() {
    // What goes past UTS 46 must come out as it would have there: every string of these characters, up to five long.
    let alphabet = ['a', 'Z', '0', '-', '.', '_'];
    let mut texts: Vec<String> = vec![String::new()];
    let mut longest = texts.clone();
    for _ in 0..5 {
        longest = longest.iter().flat_map(|text| alphabet.map(|more| format!("{text}{more}"))).collect();
        texts.extend(longest.iter().cloned());
    }
    let mut names = 0;
    for text in &texts {
        let by_uts_46 = idna::uts46::Uts46::new().to_ascii(
            text.strip_suffix('.').unwrap_or(text).as_bytes(),
            idna::uts46::AsciiDenyList::STD3,
            idna::uts46::Hyphens::Check,
            idna::uts46::DnsLength::Verify,
        );
        if let Ok(name) = DomainName::from_list_entry(text) {
            names += 1;
            assert_eq!(by_uts_46.ok().as_deref(), Some(name.as_str()), "{text}");
        }
    }
    assert!(names > 1_000, "{names}");
}
