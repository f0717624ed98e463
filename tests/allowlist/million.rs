//! A million entries: read, compiled and looked up, at the limit and one over (T42).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "support/random.rs"]
mod random;

use std::fmt::Write;

use allowlist::{Document, DomainName, HostMatch, LIST_ENTRIES_MAX, Limits, Matcher, Transport};

/// A list with this many rules of different hosts and scopes.
fn list(rules: usize) -> String {
    let mut text = format!("{}[[service]]\nid = \"many\"\n", random::HEAD);
    for rule in 0..rules {
        let scope = ["exact", "subtree", "one-label"][rule % 3];
        writeln!(text, "[[service.rule]]\nhost = \"school{rule}.obl{}.kz\"\nscope = \"{scope}\"", rule % 17)
            .unwrap();
    }
    text
}

#[test]
fn t42_a_million_entries_are_read_and_found() {
    let limits = Limits { bytes_max: 128 << 20, entries_max: LIST_ENTRIES_MAX };
    let document = Document::parse_within(&list(LIST_ENTRIES_MAX), &limits).unwrap();
    assert_eq!(document.entry_count(), LIST_ENTRIES_MAX);
    let matcher = Matcher::new(&document);
    drop(document);
    let mut random = random::Random(42);
    for _ in 0..20_000 {
        let rule = random.below(LIST_ENTRIES_MAX);
        let host = format!("school{rule}.obl{}.kz", rule % 17);
        let ask = |text: &str| {
            let name = DomainName::from_wire(text.as_bytes()).unwrap();
            match matcher.host(&name, Transport::Tcp, 443, None) {
                HostMatch::Listed(found) => Some(found.label().to_string()),
                HostMatch::NotListed => None,
                other => panic!("{text}: {other:?}"),
            }
        };
        let label = Some(format!("many/{host}"));
        let (own, below, deeper) = (ask(&host), ask(&format!("a.{host}")), ask(&format!("a.b.{host}")));
        match rule % 3 {
            0 => assert_eq!((own, below, deeper), (label, None, None), "{host}"),
            1 => assert_eq!((own, below, deeper), (label.clone(), label.clone(), label), "{host}"),
            _ => assert_eq!((own, below, deeper), (None, label, None), "{host}"),
        }
        assert_eq!(ask(&format!("x{host}")), None);
    }
}

#[test]
fn t42_one_entry_more_than_the_limit_is_refused_at_its_line() {
    let limits = Limits { entries_max: 100, ..Limits::default() };
    assert!(Document::parse_within(&list(100), &limits).is_ok());
    let problems = Document::parse_within(&list(101), &limits).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    // Six lines of head, two of the service, three of each rule.
    assert_eq!((problems[0].line, problems[0].column), (6 + 2 + 3 * 100 + 1, 1));
}

#[test]
fn t42_one_byte_more_than_the_limit_is_refused() {
    let text = list(10);
    let limits = |bytes_max| Limits { bytes_max, ..Limits::default() };
    assert!(Document::parse_within(&text, &limits(text.len())).is_ok());
    let problems = Document::parse_within(&text, &limits(text.len() - 1)).unwrap_err();
    assert!(problems[0].found.contains(&text.len().to_string()), "{problems:?}");
}
