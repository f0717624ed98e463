//! What the linter says of suspicious lists: traps T40 and M3, contradictions and dates.
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

use allowlist::lint::{self, Code, Severity};
use allowlist::{Document, Limits};
use random::HEAD;

/// What is said of every entry, besides that it does not explain itself: code and line, after the head's six lines.
fn codes(tables: &str) -> Vec<(&'static str, u32)> {
    let text = format!("{HEAD}{tables}");
    let at = "2020-06-01T00:00:00Z".parse().unwrap();
    lint::text(&text, &Limits::default(), Some(at))
        .iter()
        .filter(|finding| ![Code::Unexplained, Code::NotCanonical].contains(&finding.code))
        .map(|finding| (finding.code.label(), finding.place.line - 6))
        .collect()
}

/// What is said of one host rule.
fn of_host(host: &str, scope: &str) -> Vec<&'static str> {
    let tables =
        format!("[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"{host}\"\nscope = \"{scope}\"\n");
    codes(&tables).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn t40_names_that_everybody_may_have_are_refused_whatever_their_scope() {
    for (host, code) in [
        ("*", "unreadable"),
        ("*.cdn.example", "unreadable"),
        ("com", "public-suffix"),
        ("kz", "public-suffix"),
        ("қаз", "public-suffix"),
        ("edu.kz", "public-suffix"),
        ("gov.kz", "public-suffix"),
        ("co.uk", "public-suffix"),
        ("github.io", "public-suffix"),
        ("jcloud.kz", "public-suffix"),
        ("біл.қаз", "public-suffix"),
        ("мем.қаз", "public-suffix"),
        ("xn--e1anb.xn--80ao21a", "public-suffix"),
        ("docs.google.com", "shared-host"),
        ("sites.google.com", "shared-host"),
        ("www.youtube.com", "shared-host"),
        ("s3.amazonaws.com", "public-suffix"),
        ("cloudflare-ech.com", "cover-name"),
    ] {
        for scope in ["exact", "subtree", "one-label"] {
            let said = of_host(host, scope);
            // A one-label rule for a host speaks of names below it, which nobody has below these.
            let idle = scope == "one-label" && ["shared-host", "cover-name"].contains(&code);
            assert!(said == [code] || (idle && said.is_empty()), "{host} {scope}: {said:?}");
        }
    }
}

#[test]
fn f6_t40_names_shared_by_tenants_are_refused_above_the_tenant_and_taken_below() {
    for (host, scope, wanted) in [
        ("cloudfront.net", "subtree", "public-suffix"),
        // The list of public suffixes says `*.run.app`, and nothing of `run.app` alone.
        ("run.app", "subtree", "public-suffix"),
        ("run.app", "one-label", "public-suffix"),
        ("sch.uk", "subtree", "public-suffix"),
        ("kobe.jp", "subtree", "public-suffix"),
        ("azure.com", "subtree", "shared-host"),
        ("cloudfront.net", "one-label", "public-suffix"),
        ("amazonaws.com", "subtree", "shared-host"),
        ("wordpress.com", "subtree", "shared-host"),
        ("wordpress.com", "one-label", "shared-host"),
        ("google.com", "subtree", "shared-host"),
        ("google.com", "one-label", "shared-host"),
        ("googlevideo.com", "subtree", "shared-host"),
        ("googleusercontent.com", "subtree", "shared-host"),
        ("vercel.app", "subtree", "public-suffix"),
        ("wordpress.com", "exact", ""),
        ("d3c33hcgiwev3.cloudfront.net", "exact", ""),
        ("coursera-assessments.s3.amazonaws.com", "exact", ""),
        ("school.wordpress.com", "subtree", ""),
        ("school.github.io", "subtree", ""),
        ("classroom.google.com", "exact", ""),
        ("bilimland.kz", "subtree", ""),
        ("mektep.edu.kz", "subtree", ""),
        ("cdn.bilimland.kz", "one-label", ""),
        ("мектеп.біл.қаз", "subtree", ""),
        ("білім.қаз", "subtree", ""),
        ("mycloudfront.net", "subtree", ""),
        ("bilimland.kzz", "subtree", "unknown-suffix"),
        ("school.internal", "exact", "unknown-suffix"),
    ] {
        assert_eq!(of_host(host, scope).join(" "), wanted, "{host} {scope}");
    }
}

#[test]
fn m3_mixed_scripts_and_look_alikes_are_shown_in_both_forms() {
    for (host, code) in [
        ("p\u{430}ypal.com", "mixed-script"),
        ("б\u{69}лім.қаз", "mixed-script"),
        ("bilimland\u{456}.kz", "mixed-script"),
        ("\u{440}\u{430}\u{443}.com", "look-alike"),
        ("білім.қаз", ""),
        ("ұстаз-2.қаз", ""),
        ("münchen.de", ""),
        ("學校.中国", ""),
        ("bilimland.kz", ""),
    ] {
        assert_eq!(of_host(host, "exact").join(" "), code, "{host}");
    }
    let text = format!("{HEAD}[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"p\u{430}ypal.com\"\n");
    let findings = lint::document(&Document::parse(&text).unwrap(), None);
    let mixed = findings.iter().find(|finding| finding.code == Code::MixedScript).unwrap();
    assert!(mixed.reason.contains("p\u{430}ypal.com (xn--pypal-4ve.com)"), "{mixed}");
}

#[test]
fn m3_entries_that_look_the_same_are_found_among_each_other() {
    let tables = "[[service]]\nid = \"s\"\n[[service.rule]]\nhost = \"bilim.kz\"\n[[service.rule]]\nhost = \"bi1im.kz\"\n\
        [[service.rule]]\nhost = \"bilim.kz\"\nscope = \"one-label\"\n";
    assert_eq!(codes(tables), [("look-alike", 5)]);
}

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
fn prefixes_too_wide_or_not_public_are_found() {
    for (prefix, wanted) in [
        ("203.0.0.0/15", "never"),
        ("198.18.0.0/15", "wide-prefix"),
        ("170.114.0.0/16", ""),
        ("0.0.0.0/0", "wide-prefix"),
        ("::/0", "wide-prefix"),
        ("2001:db8::/31", "never"),
        ("2a00::/31", "wide-prefix"),
        ("2001:db8::/32", ""),
        ("10.1.0.0/16", "special-prefix"),
        ("fd00:1::/48", "special-prefix"),
        ("203.0.113.0/24", ""),
        // All of IPv4 stands behind these, and parts of it behind parts of them.
        ("64:ff9b::/96", "wide-prefix"),
        ("64:ff9b::cb00:0/111", "wide-prefix"),
        ("2002::/16", "wide-prefix"),
        ("2002:cb00::/31", "wide-prefix"),
        ("2002:cb00::/32", ""),
    ] {
        let said = codes(&format!(
            "[[service]]\nid = \"a\"\n[[service.rule]]\nprefix = \"{prefix}\"\nprotocol = \"udp\"\nports = [\"8801\"]\n"
        ));
        let said: Vec<&str> = said.iter().map(|(code, _)| *code).collect();
        match wanted {
            "never" => assert!(!said.is_empty(), "{prefix}"),
            wanted => assert_eq!(said.join(" "), wanted, "{prefix}"),
        }
    }
}

#[test]
fn an_unreadable_list_is_an_error_of_weight() {
    let findings = lint::text("format = 1\n", &Limits::default(), None);
    assert_eq!(findings.len(), 5);
    assert!(findings.iter().all(|finding| finding.severity() == Severity::Error));
    assert!(findings.iter().all(|finding| finding.code == Code::Unreadable));
}

/// One list with a mistake of the rules, and what is said of it with this line in place of `serial = 3`.
fn with_head(line: &str) -> Vec<(&'static str, u32)> {
    let list = include_str!("golden/contract.toml").replace("host = \"bilimland.kz\"", "host = \"kz\"");
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
    let list = include_str!("golden/contract.toml");
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
    let canonical = include_str!("golden/contract.toml");
    let line = |text: &str| -> Vec<u32> {
        let findings = lint::text(text, &Limits::default(), None);
        findings.iter().filter(|f| f.code == Code::NotCanonical).map(|f| f.place.line).collect()
    };
    assert_eq!(line(canonical), []);
    assert_eq!(line(&canonical.replace("evidence = \"seen\"", "evidence = \"seen\" # remark")), [19]);
    assert_eq!(line(canonical.trim_end()), [35]);
    assert_eq!(line(&format!("{canonical}\n")), [36]);
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

#[test]
fn f6_the_errors_of_the_gate_are_the_errors_of_the_linter() {
    let rule = |host: &str| format!("[[service.rule]]\nhost = \"{host}\"\nscope = \"subtree\"\n");
    let tables = format!(
        "[[service]]\nid = \"a\"\n{}{}{}{}{}{}{}[[service.rule]]\nprefix = \"0.0.0.0/0\"\nprotocol = \"tcp\"\n\
         ports = [\"1-65535\"]\n[[deny]]\nhost = \"p\u{430}ypal.com\"\n",
        rule("kz"),
        rule("edu.kz"),
        rule("google.com"),
        rule("cloudflare-ech.com"),
        rule("bilim.kz"),
        rule("bi1im.kz"),
        rule("school.internal"),
    );
    for tables in [tables.as_str(), "", include_str!("golden/suspicious.toml").split_once("\n\n").unwrap().1]
    {
        let document = Document::parse(&format!("{HEAD}{tables}")).unwrap();
        let of_weight: Vec<String> = lint::document(&document, None)
            .iter()
            .filter(|finding| finding.severity() == Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert!(!of_weight.is_empty());
        let shown = |findings: &[lint::Finding]| -> Vec<String> {
            findings.iter().map(ToString::to_string).collect()
        };
        let errors = lint::errors(&document, &[], usize::MAX);
        assert_eq!((shown(&errors.refusing), errors.refusing_left_out), (of_weight.clone(), 0));
        let errors = lint::errors(&document, &Code::ALL, usize::MAX);
        assert_eq!((errors.refusing.len(), shown(&errors.accepted)), (0, of_weight.clone()));
        let errors = lint::errors(&document, &[], 1);
        assert_eq!((errors.refusing.len(), errors.refusing_left_out), (1, of_weight.len() - 1));
        let errors = lint::errors(&document, &[Code::WidePrefix], 0);
        let wide = of_weight.iter().filter(|finding| finding.contains("[wide-prefix]")).count();
        assert_eq!((errors.accepted_left_out, errors.refusing_left_out), (wide, of_weight.len() - wide));
    }
}

#[test]
fn f6_every_code_is_found_by_its_word_and_an_error_is_what_exempts_strangers() {
    for code in Code::ALL {
        assert_eq!(Code::from_label(code.label()), Some(code));
        assert_eq!(Code::from_label(&code.label().replace('-', "_")), Some(code));
    }
    assert_eq!(Code::from_label("no-such-code"), None);
    let acceptable: Vec<&str> =
        Code::ALL.into_iter().filter(|code| code.is_acceptable()).map(Code::label).collect();
    assert_eq!(
        acceptable,
        [
            "empty-list",
            "public-suffix",
            "shared-host",
            "cover-name",
            "mixed-script",
            "look-alike",
            "wide-prefix"
        ]
    );
}
