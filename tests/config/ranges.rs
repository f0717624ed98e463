//! Every number at the ends of its range, and one beyond each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "ranges/dns.rs"]
mod dns;
#[path = "ranges/edge.rs"]
mod edge;
#[path = "ranges/general.rs"]
mod general;
#[path = "ranges/radius.rs"]
mod radius;
#[path = "ranges/sink.rs"]
mod sink;

use config::{Config, FlowsMax, Workers};
use std::path::Path;

use dns::DNS_ROWS;
use edge::EDGE_ROWS;
use general::{ALLOWANCE_ROWS, MORE_ROWS, ROWS};
use radius::RADIUS_ROWS;
use sink::SINK_ROWS;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const FULL: &str = include_str!("../../config/examples/full.toml");

/// A key, values that are taken, values that are refused.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// All rows.
fn rows() -> impl Iterator<Item = &'static Row> {
    [ROWS, MORE_ROWS, DNS_ROWS, EDGE_ROWS, ALLOWANCE_ROWS, RADIUS_ROWS, SINK_ROWS].into_iter().flatten()
}

/// `full.toml` with one key's value replaced.
fn with(section: &str, key: &str, value: &str) -> String {
    let mut at = "";
    let mut replaced = 0;
    let text: String = FULL
        .lines()
        .map(|line| {
            if line.starts_with('[') {
                at = line.trim_matches(['[', ']']);
            }
            if at == section && line.starts_with(&format!("{key} = ")) {
                replaced += 1;
                format!("{key} = {value}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    assert_eq!(replaced, 1, "{section}.{key}");
    text
}

#[test]
fn every_number_at_its_limits_and_one_beyond() {
    for (section, key, taken, refused) in rows() {
        for value in *taken {
            let parsed = Config::parse(&with(section, key, value), Path::new("/"));
            assert!(parsed.is_ok(), "{section}.{key} = {value}: {:?}", parsed.unwrap_err());
        }
        for value in *refused {
            let problems = Config::parse(&with(section, key, value), Path::new("/"))
                .expect_err(&format!("{section}.{key} = {value} is taken"));
            assert_eq!(problems.len(), 1, "{section}.{key} = {value}: {problems:?}");
            let full = format!("{section}.{key}");
            // An entry of an array is named with its place in it.
            let key = problems[0].key.replacen("[0].", ".", 1);
            let key = key.split('[').next().unwrap();
            let named = key == full || problems[0].wanted.contains(&full);
            assert!(named, "{full} = {value}: {}", problems[0]);
        }
    }
}

#[test]
fn every_key_that_carries_a_number_is_in_the_table() {
    let judged: Vec<(&str, &str)> = rows().map(|row| (row.0, row.1)).collect();
    // These have tests of their own in problems.rs and listeners.rs.
    let elsewhere = [
        "state_dir",
        "file",
        "signatures",
        "dir",
        "staging_dir",
        "resolvers",
        "port_map",
        "address",
        "listen",
        "tls_listen",
        "tls_certificate",
        "tls_key",
        "upstream_roots",
        "dnstap_socket",
        "dnstap_group",
    ];
    for section in config::SECTIONS.iter().filter(|section| !section.repeated) {
        for key in section.keys.iter().filter(|key| !elsewhere.contains(&key.name)) {
            assert!(judged.contains(&(section.name, key.name)), "no row for {}.{}", section.name, key.name);
        }
    }
}

#[test]
fn values_come_out_as_written() {
    let load = |section, key, value| Config::parse(&with(section, key, value), Path::new("/")).unwrap();
    assert_eq!(load("node", "workers", "3").node.workers, Workers::Count(3));
    assert_eq!(load("node", "workers", "\"auto\"").node.workers, Workers::Auto);
    assert_eq!(load("limits", "flows_max", "7").limits.flows_max, FlowsMax::Count(7));
    assert_eq!(load("limits", "relay_buffer", "\"4097 B\"").limits.relay_buffer, 4097);
    assert_eq!(load("export", "period", "\"1500 ms\"").export.period.as_millis(), 1500);
}

#[test]
fn rating_group_ids_at_their_limits() {
    let of = |id: &str| {
        let more = format!("[[rating_group]]\nid = {id}\nservices = [\"*\"]\ndisposition = \"observed\"\n");
        Config::parse(&format!("{MINIMAL}\n{more}"), Path::new("/")).map(|config| config.rating_groups[0].id)
    };
    assert_eq!(of("0").unwrap(), 0);
    assert_eq!(of("4294967295").unwrap(), u32::MAX);
    assert_eq!(of("4294967296").unwrap_err().len(), 1);
    let service = |length: usize| {
        let id = "s".repeat(length);
        let more = format!(
            "[[rating_group]]\nid = 1\nservices = [\"{id}\"]\ndisposition = \"observed\"\n[[rating_group]]\nid = 2\nservices = [\"*\"]\ndisposition = \"observed\"\n"
        );
        Config::parse(&format!("{MINIMAL}\n{more}"), Path::new("/"))
    };
    assert!(service(40).is_ok());
    assert_eq!(service(41).unwrap_err().len(), 1);
}

#[test]
fn paths_at_their_limit() {
    let of = |length: usize| {
        Config::parse(&with("list", "file", &format!("\"/{}\"", "x".repeat(length - 1))), Path::new("/"))
    };
    assert!(of(4095).is_ok());
    assert_eq!(of(4096).unwrap_err().len(), 1);
    assert_eq!(Config::parse(&with("list", "file", "\"\""), Path::new("/")).unwrap_err().len(), 1);
    assert_eq!(Config::parse(&with("list", "file", "\"a\\u0000b\""), Path::new("/")).unwrap_err().len(), 1);
}

#[test]
fn f6_codes_of_errors_to_accept_are_limited_in_number_and_length() {
    let codes = |count: u8| -> String {
        let codes: Vec<String> = (0..count)
            .map(|number| {
                let letter = |number: u8| char::from(b'a' + number);
                format!("\"{}{}\"", letter(number / 26), letter(number % 26))
            })
            .collect();
        with("list", "accept_errors", &format!("[{}]", codes.join(", ")))
    };
    assert_eq!(Config::parse(&codes(64), Path::new("/")).unwrap().list.accept_errors.len(), 64);
    let problems = Config::parse(&codes(65), Path::new("/")).unwrap_err();
    assert_eq!((problems.len(), problems[0].key.as_str()), (1, "list.accept_errors[64]"));
    for (length, problems) in [(40, 0), (41, 1)] {
        let text = with("list", "accept_errors", &format!("[\"{}\"]", "x".repeat(length)));
        let found = Config::parse(&text, Path::new("/")).err().map_or(0, |found| found.len());
        assert_eq!(found, problems, "{length}");
    }
}

#[test]
fn f23_hashes_of_tables_to_accept_are_limited_in_number() {
    let of = |count: usize| {
        let hashes: Vec<_> = (0..count).map(|number| format!("\"{number:064x}\"")).collect();
        Config::parse(
            &with("subscribers", "accept_sha256", &format!("[{}]", hashes.join(", "))),
            Path::new("/"),
        )
    };
    assert_eq!(of(16).unwrap().subscribers.unwrap().accept_sha256.len(), 16);
    let problems = of(17).unwrap_err();
    assert_eq!((problems.len(), problems[0].key.as_str()), (1, "subscribers.accept_sha256"));
}
