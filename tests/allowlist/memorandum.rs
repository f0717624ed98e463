//! The memorandum's table, row by row: each resource is carried by a rule or stated as impossible to tell apart.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

use allowlist::{Document, DomainName, HostMatch, KZ_EDUCATION_2020, Matcher, Transport};

/// The nine resources as published: number, resource, address.
const RESOURCES: &[(u8, &str, &str)] = &[
    (1, "bilimland", "https://bilimland.kz"),
    (2, "daryn-online", "https://daryn.online"),
    (3, "opiq", "www.opiq.kz"),
    (4, "itest", "www.itest.kz"),
    (5, "100ballov", "https://100ballov.kz/"),
    (6, "nis-play", "http://play.nis.edu.kz/application/registration"),
    (7, "stem-academy", "https://stem-academia.com/en/main-page/"),
    (8, "imektep", "www.imektep.kz"),
    (9, "makeathon", "http://makeathon.kazneuro.kz/"),
];

/// The further platforms of the memorandum, and the words of what cannot be told apart for those a rule cannot carry whole.
const PLATFORMS: &[(&str, &[&str], &[&str])] = &[
    ("Bilimland", &["bilimland"], &[]),
    ("Kundelik", &["kundelik"], &["Kundelik"]),
    ("Google Classroom", &["google-classroom"], &["Google Classroom"]),
    ("Moodle", &["moodle"], &["Moodle"]),
    ("Univer", &["univer"], &["Univer"]),
    ("Platonus", &["platonus"], &["Platonus"]),
    ("Canvas", &["canvas"], &["Canvas"]),
    ("Daryn Online", &["daryn-online"], &[]),
    ("Coursera", &["coursera"], &["Coursera"]),
    ("Zoom", &["zoom"], &["Zoom media"]),
    ("Mektep.edu.kz", &["mektep-edu"], &[]),
    ("Bilimal.kz", &["bilimal"], &[]),
    ("Balapan", &["balapan"], &["balapantv"]),
    ("El Arna", &[], &["El Arna"]),
];

/// What public sources say about the hosts: row, service, hosts a rule must carry, and what is stated instead.
const HOSTS: &[(&str, &str, &[&str], &[&str])] = &[
    (
        "BilimLand",
        "bilimland",
        &["bilimland.kz", "cdn.bilimland.kz", "onlinemektep.org", "onlinemektep.net"],
        &[],
    ),
    ("BilimLand", "imektep", &["imektep.kz", "www.imektep.kz"], &[]),
    (
        "Daryn Online",
        "daryn-online",
        &[
            "daryn.online",
            "www.daryn.online",
            "member.daryn.online",
            "test.daryn.online",
            "proctoring.daryn.online",
        ],
        &[],
    ),
    ("Opiq", "opiq", &["opiq.kz", "www.opiq.kz"], &[]),
    ("iTest", "itest", &["itest.kz", "www.itest.kz"], &[]),
    ("100ballov", "100ballov", &["100ballov.kz"], &[]),
    ("NIS Play", "nis-play", &["play.nis.edu.kz"], &[]),
    ("STEM Academy", "stem-academy", &["stem-academia.com"], &[]),
    (
        "Kundelik",
        "kundelik",
        &["kundelik.kz", "login.kundelik.kz", "portal.kundelik.kz", "api.kundelik.kz"],
        &["Kundelik: static files"],
    ),
    ("Mektep.edu.kz, Bilimal", "mektep-edu", &["mektep.edu.kz", "mobile.mektep.edu.kz"], &[]),
    (
        "Mektep.edu.kz, Bilimal",
        "bilimal",
        &["school.bilimal.kz", "college.bilimal.kz", "api.bilimal.kz", "ff.bilimal.kz"],
        &[],
    ),
    (
        "Univer, Platonus, Canvas, Moodle",
        "platonus",
        &["platonus.cau.kz"],
        &["other universities", "bare IPv4"],
    ),
    ("Univer, Platonus, Canvas, Moodle", "univer", &["univer.yu.edu.kz"], &[]),
    ("Univer, Platonus, Canvas, Moodle", "canvas", &["canvas.turan-edu.kz"], &[]),
    ("Univer, Platonus, Canvas, Moodle", "moodle", &["moodle.ku.edu.kz"], &[]),
    ("Google Classroom", "google-classroom", &["classroom.google.com"], &["shared hosts of Google"]),
    ("Coursera", "coursera", &["coursera.org", "www.coursera.org", "d3c33hcgiwev3.cloudfront.net"], &[]),
    ("Zoom", "zoom", &["zoom.us", "us04web.zoom.us", "zoom.com"], &["Zoom media by address"]),
    ("Balapan", "balapan", &["balapan.tv"], &["YouTube channel balapantv"]),
];

/// Hosts that no rule may reach: neighbours, shared hosts of Google, all of YouTube, other customers of the same clouds.
const NEVER: &[&str] = &[
    "topiq.kz",
    "www.topiq.kz",
    "edu.kz",
    "nis.edu.kz",
    "kazneuro.kz",
    "google.com",
    "accounts.google.com",
    "lh3.googleusercontent.com",
    "ssl.gstatic.com",
    "www.youtube.com",
    "r3---sn-4g5e6nez.googlevideo.com",
    "d111111abcdef8.cloudfront.net",
    "d3njjcbhbojbot.cloudfront.net",
    "s3.amazonaws.com",
    "bilimland.kz.evil.com",
    "xbilimland.kz",
];

/// The host of an address as published.
fn host_of(address: &str) -> &str {
    let without_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    without_scheme.split('/').next().unwrap()
}

/// Asserts that the service carries the host, for pages over TCP with and without TLS and over QUIC.
fn assert_carried(matcher: &Matcher, service: &str, host: &str) {
    let name = DomainName::from_wire(host.as_bytes()).unwrap();
    let at = Some("2020-04-06T00:00:00+06:00".parse().unwrap());
    for (transport, port) in [(Transport::Tcp, 80), (Transport::Tcp, 443), (Transport::Udp, 443)] {
        match matcher.host(&name, transport, port, at) {
            HostMatch::Listed(rule) => assert_eq!(&**rule.service(), service, "{host}"),
            other => panic!("{host} {transport} {port}: {other:?}"),
        }
    }
}

/// Asserts that the list states something under this name, with a reason.
fn assert_stated(document: &Document, words: &str) {
    let stated = document.not_separable().iter().find(|entry| entry.name().contains(words));
    let stated = stated.unwrap_or_else(|| panic!("\"{words}\" is neither carried nor stated"));
    assert!(stated.reason().is_some_and(|reason| reason.len() > 20), "{words}");
}

#[test]
fn each_resource_and_platform_is_carried_or_stated() {
    let document = Document::parse(KZ_EDUCATION_2020).unwrap();
    let matcher = Matcher::new(&document);
    let ids: Vec<&str> = document.services().iter().map(allowlist::document::Service::id).collect();
    for (number, service, address) in RESOURCES {
        assert_carried(&matcher, service, host_of(address));
        let listed = document.services().iter().find(|listed| listed.id() == *service).unwrap();
        assert_eq!(listed.reference(), Some(&*format!("Memorandum, item {number}")), "{service}");
    }
    for (platform, services, stated) in PLATFORMS {
        assert!(!services.is_empty() || !stated.is_empty(), "{platform}");
        services.iter().for_each(|service| assert!(ids.contains(service), "{platform}: {service}"));
        stated.iter().for_each(|words| assert_stated(&document, words));
    }
    for (row, service, hosts, stated) in HOSTS {
        hosts.iter().for_each(|host| assert_carried(&matcher, service, host));
        stated.iter().for_each(|words| assert_stated(&document, words));
        assert!(!hosts.is_empty(), "{row}");
    }
    for id in ids {
        let told = RESOURCES.iter().any(|(_, service, _)| *service == id)
            || HOSTS.iter().any(|(_, service, _, _)| *service == id);
        assert!(told, "service {id} stands in no row of the memorandum");
    }
}

#[test]
fn each_rule_says_why_it_is_there_and_how_that_is_known() {
    let document = Document::parse(KZ_EDUCATION_2020).unwrap();
    for service in document.services() {
        assert!(service.name().is_some() && service.owner().is_some() && service.reference().is_some());
        for rule in service.rules() {
            assert!(rule.reason().is_some_and(|reason| reason.len() > 10), "{rule:?}");
            assert!(rule.evidence().is_some(), "{rule:?}");
        }
    }
}

#[test]
fn no_rule_reaches_neighbours_or_what_is_shared() {
    let matcher = Matcher::new(&Document::parse(KZ_EDUCATION_2020).unwrap());
    for host in NEVER {
        assert!(!matcher.covers(&DomainName::from_wire(host.as_bytes()).unwrap()), "{host}");
    }
}

#[test]
fn zoom_meetings_that_show_a_name_are_carried_on_their_own_ports() {
    let matcher = Matcher::new(&Document::parse(KZ_EDUCATION_2020).unwrap());
    let name = DomainName::from_wire(b"mmr.zoom.us").unwrap();
    let said = |transport, port| matches!(matcher.host(&name, transport, port, None), HostMatch::Listed(_));
    assert!(said(Transport::Tcp, 8801) && said(Transport::Tcp, 8802) && !said(Transport::Tcp, 8803));
    assert!(!said(Transport::Udp, 8801), "media by address is stated, not carried");
}
