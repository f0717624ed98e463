//! Rules, denies and dates that contradict one another, and the work it takes to find that.

use allowlist::Document;
use allowlist::lint::{self, Code};

use super::codes;
use crate::random::HEAD;

#[test]
fn contradictions_between_rules_are_found_at_the_later_one() {
    let rule = |service: &str, host: &str, more: &str| {
        format!("[[service]]\nid = \"{service}\"\n[[service.rule]]\nhost = \"{host}\"\n{more}")
    };
    let again = |host: &str, more: &str| format!("[[service.rule]]\nhost = \"{host}\"\n{more}");
    let subtree = "scope = \"subtree\"\n";
    for (tables, wanted) in [
        (rule("a", "x.kz", "") + &again("x.kz", ""), vec![("duplicate", 5)]),
        (rule("a", "x.kz", "") + &rule("b", "x.kz", ""), vec![("two-services", 7)]),
        (
            rule("a", "x.kz", "") + &again("x.kz", "to = 2020-05-01T00:00:00Z\n"),
            vec![("overlapping-dates", 5)],
        ),
        (
            rule("a", "x.kz", "to = 2020-05-01T00:00:00Z\n")
                + &again("x.kz", "from = 2020-05-01T00:00:00Z\n"),
            vec![],
        ),
        (rule("a", "x.kz", "") + &again("x.kz", "protocol = \"tcp\"\nports = [\"8443\"]\n"), vec![]),
        (
            rule("a", "x.kz", "") + &again("x.kz", "protocol = \"udp\"\nports = [\"1-500\"]\n"),
            vec![("duplicate", 5)],
        ),
        (rule("a", "x.kz", subtree) + &again("www.x.kz", ""), vec![("shadowed", 6)]),
        (rule("a", "x.kz", subtree) + &again("x.kz", ""), vec![("shadowed", 6)]),
        (rule("a", "x.kz", subtree) + &again("www.x.kz", "protocol = \"tcp\"\nports = [\"8443\"]\n"), vec![]),
        (
            rule("a", "x.kz", &format!("{subtree}to = 2020-05-01T00:00:00Z\n")) + &again("www.x.kz", ""),
            vec![],
        ),
        (rule("a", "x.kz", subtree) + &rule("b", "www.x.kz", ""), vec![]),
    ] {
        assert_eq!(codes(&tables), wanted, "{tables}");
    }
}

#[test]
fn denies_that_take_all_or_nothing_are_found() {
    let tables = |rules: &str, denies: &str| format!("[[service]]\nid = \"a\"\n{rules}{denies}");
    let rule =
        |host: &str, scope: &str| format!("[[service.rule]]\nhost = \"{host}\"\nscope = \"{scope}\"\n");
    let deny = |host: &str, scope: &str| format!("[[deny]]\nhost = \"{host}\"\nscope = \"{scope}\"\n");
    for (rules, denies, wanted) in [
        (rule("x.kz", "subtree"), deny("ads.x.kz", "subtree"), vec![]),
        (rule("x.kz", "subtree"), deny("x.kz", "exact"), vec![]),
        (rule("x.kz", "exact"), deny("x.kz", "exact"), vec![("denied-rule", 3)]),
        (rule("a.x.kz", "subtree"), deny("x.kz", "subtree"), vec![("denied-rule", 3)]),
        (rule("x.kz", "subtree"), deny("x.kz", "subtree"), vec![("denied-rule", 3)]),
        (rule("a.x.kz", "exact"), deny("x.kz", "exact"), vec![("idle-deny", 6)]),
        (rule("x.kz", "exact"), deny("ads.x.kz", "subtree"), vec![("idle-deny", 6)]),
        (rule("x.kz", "one-label"), deny("ads.x.kz", "exact"), vec![]),
        (rule("x.kz", "one-label"), deny("b.ads.x.kz", "exact"), vec![("idle-deny", 6)]),
        (
            rule("x.kz", "subtree"),
            deny("ads.x.kz", "exact") + &deny("ads.x.kz", "subtree"),
            vec![("duplicate", 9)],
        ),
    ] {
        assert_eq!(codes(&tables(&rules, &denies)), wanted, "{rules}{denies}");
    }
}

#[test]
fn rules_outside_the_list_s_dates_are_found() {
    let rule = |dates: &str| {
        codes(&format!("[[service]]\nid = \"a\"\n[[service.rule]]\nhost = \"x.kz\"\n{dates}\n"))
    };
    assert_eq!(rule("to = 2020-01-01T00:00:00Z"), [("never-in-force", 3)]);
    assert_eq!(rule("to = 2020-01-01T00:00:01Z"), []);
    assert_eq!(rule("from = 2021-01-01T00:00:00Z"), [("never-in-force", 3)]);
    assert_eq!(rule("from = 2020-12-31T23:59:59Z"), []);
    assert_eq!(rule("from = 2019-06-01T00:00:00Z"), [("outside-window", 3)]);
    assert_eq!(rule("to = 2021-06-01T00:00:00Z"), [("outside-window", 3)]);
}

#[test]
fn lists_that_are_over_early_or_late_are_found() {
    let document = Document::parse(HEAD).unwrap();
    let said = |at: &str| -> Vec<Code> {
        lint::document(&document, Some(at.parse().unwrap())).iter().map(|finding| finding.code).collect()
    };
    assert_eq!(said("2019-12-31T23:59:59Z"), [Code::EmptyList, Code::NotInForce]);
    assert_eq!(said("2020-01-01T00:00:00Z"), [Code::EmptyList]);
    assert_eq!(said("2021-01-01T00:00:00Z"), [Code::EmptyList, Code::NotInForce]);
    let late = Document::parse(&HEAD.replace("issued = 2019", "issued = 2020")).unwrap();
    assert!(lint::document(&late, None).iter().any(|finding| finding.code == Code::Retroactive));
    let second = Document::parse(&HEAD.replace("serial = 1", "serial = 2")).unwrap();
    assert!(lint::document(&second, None).iter().any(|finding| finding.code == Code::Chain));
}

#[test]
fn one_host_in_very_many_rules_is_linted_in_linear_work() {
    let mut tables = "[[service]]\nid = \"a\"\n".to_owned();
    for port in 1..=20_000 {
        tables.push_str(&format!(
            "[[service.rule]]\nhost = \"x.kz\"\nprotocol = \"tcp\"\nports = [\"{port}\"]\n"
        ));
    }
    assert_eq!(codes(&tables), []);
}
