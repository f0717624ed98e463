//! Entries that would exempt strangers: names that everybody may have, look-alikes, prefixes too wide.

use allowlist::Document;
use allowlist::lint::{self, Code};

use super::codes;
use crate::random::HEAD;

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
