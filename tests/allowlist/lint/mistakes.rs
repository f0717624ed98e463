//! Lists with mistakes: what is unreadable hides nothing else, and what is no list is said once.

use allowlist::Limits;
use allowlist::lint::{self, Code, Severity};

#[test]
fn an_unreadable_list_is_an_error_of_weight() {
    let findings = lint::text("format = 1\n", &Limits::default(), None);
    assert_eq!(findings.len(), 5);
    assert!(findings.iter().all(|finding| finding.severity() == Severity::Error));
    assert!(findings.iter().all(|finding| finding.code == Code::Unreadable));
}

/// One list with a mistake of the rules, and what is said of it with this line in place of `serial = 3`.
fn with_head(line: &str) -> Vec<(&'static str, u32)> {
    let list = include_str!("../golden/contract.toml").replace("host = \"bilimland.kz\"", "host = \"kz\"");
    let text = list.replace("serial = 3\n", &format!("{line}\n"));
    assert_ne!(text, list, "{line}");
    let findings = lint::text(&text, &Limits::default(), None);
    findings.iter().map(|finding| (finding.code.label(), finding.place.line)).collect()
}

#[test]
fn f26_one_wrong_value_of_the_head_hides_nothing_of_the_rules() {
    let sound = with_head("serial = 4");
    let rules: Vec<_> = sound.iter().filter(|(_, line)| *line > 9).copied().collect();
    assert!(rules.iter().any(|(code, _)| *code == "public-suffix"), "{sound:?}");
    for line in
        ["serial = \"three\"", "serial = three", "serial = 3.5", "serial = 0", "serial = 4\nno_such_key = 1"]
    {
        let found = with_head(line);
        let shift = u32::try_from(line.matches('\n').count()).unwrap();
        let wanted: Vec<_> = rules.iter().map(|(code, at)| (*code, at + shift)).collect();
        let (unreadable, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(code, _)| *code == "unreadable");
        assert_eq!(unreadable.len(), 1, "{line}");
        assert_eq!(
            others.into_iter().filter(|(_, at)| *at > 9 + shift).collect::<Vec<_>>(),
            wanted,
            "{line}"
        );
    }
}

#[test]
fn f26_a_wrong_rule_or_service_hides_its_own_findings_alone() {
    let list = include_str!("../golden/contract.toml");
    let of = |text: &str| -> Vec<String> {
        let findings = lint::text(text, &Limits::default(), None);
        findings.iter().map(|finding| format!("{} {}", finding.code.label(), finding.reason)).collect()
    };
    let rule = "[[service.rule]]\nhost = \"kz\"\nreason = \"test\"\nevidence = \"seen\"\ndns_only = false\n\n[[deny]]";
    let more = list.replace("[[deny]]", rule);
    let count = |found: &[String], word: &str| found.iter().filter(|one| one.contains(word)).count();
    assert_eq!(count(&of(&more), "public-suffix"), 1);
    // Another rule, the service's id, a deny: what is wrong with them is told once, and the rule for kz all the same.
    for (from, to) in [
        ("scope = \"subtree\"", "scope = \"all\""),
        ("id = \"bilimland\"", "id = \"Bilim Land\""),
        ("host = \"ads.bilimland.kz\"", "host = \"https://ads.bilimland.kz/\""),
    ] {
        let text = more.replace(from, to);
        assert_ne!(text, more, "{from}");
        let found = of(&text);
        assert_eq!(
            (count(&found, "unreadable"), count(&found, "public-suffix")),
            (1, 1),
            "{from}: {found:?}"
        );
    }
    // The rule that is wrong says nothing as another rule would.
    let found = of(&more.replace("host = \"kz\"", "host = \"kz\"\nscope = \"all\""));
    assert_eq!((count(&found, "unreadable"), count(&found, "public-suffix")), (1, 0), "{found:?}");
}

#[test]
fn f26_what_is_no_list_is_said_once() {
    let urls: String = (1..=9).map(|number| format!("https://site{number}.kz/page?id={number}\n")).collect();
    let page = "<!doctype html>\n<html><body>bilimland.kz</body></html>\n";
    let prose = "Please add these:\nbilimland.kz\nopiq.kz (whole site)\n";
    let sheet = "name,host\nBilimLand,bilimland.kz\n";
    let other = "[node]\nid = \"zrgw-01\"\nstate_dir = \"state\"\n\n[[listener]]\nmode = \"steered\"\n";
    for text in [&*urls, page, prose, sheet, other, "\n# pasted\n\nbilimland.kz\n"] {
        let findings = lint::text(text, &Limits::default(), None);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(lint::is_no_list(&findings), "{findings:?}");
        let problems = allowlist::Document::parse(text).unwrap_err();
        assert!(problems.len() == 1 && problems[0].is_of_no_list(), "{problems:?}");
    }
    let findings = lint::text(&urls, &Limits::default(), None);
    let shown = findings[0].to_string();
    assert!(
        shown.starts_with(
            "1:1: error [unreadable] found no list document: its first line is \"https://site1.kz/"
        ),
        "{shown}"
    );
    // A list with mistakes, and nothing at all, are told as they were.
    for text in ["", "# nothing\n", "serial = 1\n", "[[service]]\nid = \"x\"\n", "format = 2\nhost = 1\n"] {
        let findings = lint::text(text, &Limits::default(), None);
        assert!(findings.len() > 1 && !lint::is_no_list(&findings), "{text:?}: {findings:?}");
    }
}

#[test]
fn departures_from_canonical_form_are_found_at_their_line() {
    let canonical = include_str!("../golden/contract.toml");
    let line = |text: &str| -> Vec<u32> {
        let findings = lint::text(text, &Limits::default(), None);
        findings.iter().filter(|f| f.code == Code::NotCanonical).map(|f| f.place.line).collect()
    };
    assert_eq!(line(canonical), []);
    assert_eq!(line(&canonical.replace("evidence = \"seen\"", "evidence = \"seen\" # remark")), [19]);
    assert_eq!(line(canonical.trim_end()), [35]);
    assert_eq!(line(&format!("{canonical}\n")), [36]);
}
