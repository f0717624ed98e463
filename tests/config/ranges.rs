//! Every number at the ends of its range, and one beyond each.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::{Config, FlowsMax, Workers};
use std::path::Path;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const FULL: &str = include_str!("../../config/examples/full.toml");

/// A key, values that are taken, values that are refused.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// One unit beyond each end, in the finest unit there is.
const ROWS: &[Row] = &[
    ("node", "workers", &["\"auto\"", "1", "256", "0x10"], &["0", "257", "-1", "\"1\"", "1.0", "\"Auto\""]),
    ("node", "core_dumps", &["true", "false"], &["\"false\"", "0"]),
    ("list", "size_max", &["\"1 KiB\"", "\"1 GiB\""], &["\"1023 B\"", "\"1073741825 B\"", "4194304"]),
    ("list", "entries_max", &["1", "100000000"], &["0", "100000001", "\"1\""]),
    (
        "list",
        "accept_errors",
        &["[]", "[\"shared-host\"]", "[\"wide_prefix\", \"shared-host\"]"],
        &["\"shared-host\"", "[1]", "[\"\"]", "[\"Shared host\"]", "[\"shared-host\", \"shared-host\"]"],
    ),
    ("subscribers", "size_max", &["\"1 KiB\"", "\"4 GiB\""], &["\"1023 B\"", "\"4294967297 B\""]),
    ("subscribers", "entries_max", &["1", "100000000"], &["0", "100000001"]),
    ("subscribers", "hold_removed_percent", &["0", "100"], &["-1", "101"]),
    (
        "subscribers",
        "accept_sha256",
        &["[]", "[\"00000000000000000000000000000000000000000000000000000000000000af\"]"],
        &[
            "\"00\"",
            "[1]",
            "[\"\"]",
            "[\"00000000000000000000000000000000000000000000000000000000000000AF\"]",
        ],
    ),
    (
        "export",
        "period",
        &["\"1 s\"", "\"24 h\"", "\"1 d\"", "\"1500 ms\""],
        &["\"999 ms\"", "\"86400001 ms\"", "900", "\"7 s\"", "\"25 h\""],
    ),
    ("export", "checkpoint", &["\"100 ms\"", "\"10 s\""], &["\"99 ms\"", "\"10001 ms\"", "1"]),
    ("export", "unsaved_max", &["\"1 s\"", "\"1 d\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("export", "retry_max", &["\"1 s\"", "\"1 h\""], &["\"999 ms\"", "\"3600001 ms\""]),
    ("export", "delivery_max", &["\"1 s\"", "\"1 h\""], &["\"999 ms\"", "\"3600001 ms\""]),
    ("export", "accounts_max", &["1", "100000000"], &["0", "100000001"]),
    ("export", "file_records_max", &["1", "100000000"], &["0", "100000001"]),
    (
        "upstream",
        "source_addresses",
        &["[]", "[\"203.0.113.10\", \"2001:db8::10\"]"],
        &["[\"0.0.0.0\"]", "[\"224.0.0.1\"]", "[\"203.0.113.10\", \"203.0.113.10\"]", "[\"10.0.0.1:53\"]"],
    ),
    ("upstream", "connect_timeout", &["\"100 ms\"", "\"60 s\"", "\"1m\""], &["\"99 ms\"", "\"60001 ms\""]),
    ("upstream", "allow_private", &["true", "false"], &["\"true\"", "1"]),
    ("lookup", "try_timeout", &["\"50 ms\"", "\"4 s\""], &["\"49 ms\"", "\"60001 ms\"", "\"4001 ms\""]),
    ("lookup", "tries", &["1", "10"], &["0", "11", "256"]),
    ("lookup", "total_timeout", &["\"2 s\"", "\"60 s\""], &["\"1999 ms\"", "\"60001 ms\""]),
    ("lookup", "stale_after", &["\"0 s\"", "\"60 s\""], &["\"60001 ms\"", "1"]),
    ("lookup", "cnames_max", &["0", "64"], &["65", "-1"]),
    ("lookup", "negative_ttl", &["\"0 s\"", "\"1 h\""], &["\"3600001 ms\"", "0"]),
    ("lookup", "per_second_max", &["1", "1000000"], &["0", "1000001"]),
    ("lookup", "in_flight_max", &["1", "100000"], &["0", "100001"]),
    ("lookup", "per_subscriber_minute_max", &["1", "1000000"], &["0", "1000001"]),
    ("lookup", "waiting_max", &["1", "100000"], &["0", "100001"]),
    ("lookup", "waiting_per_subscriber_max", &["1", "10000"], &["0", "10001"]),
    ("lookup", "names_max", &["1", "10000000"], &["0", "10000001"]),
    ("lookup", "scheduled_per_second_max", &["0", "10000"], &["-1", "10001"]),
    ("trusted_answers", "retention", &["\"1 s\"", "\"30 d\""], &["\"999 ms\"", "\"2592000001 ms\""]),
    ("trusted_answers", "pairs_max", &["1", "100000000"], &["0", "100000001"]),
    ("trusted_answers", "pairs_per_rule_max", &["1", "100000000"], &["0", "100000001"]),
    ("trusted_answers", "pairs_per_subscriber_max", &["1", "100000000"], &["0", "100000001"]),
    ("trusted_answers", "wildcard_names_min", &["2", "65536"], &["1", "65537"]),
    ("trusted_answers", "addresses_per_name_max", &["1", "65536"], &["0", "65537"]),
    ("trusted_answers", "names_per_address_max", &["1", "65536"], &["0", "65537"]),
    (
        "trusted_answers",
        "shared_addresses",
        &["[]", "[\"203.0.113.0/24\", \"2001:db8::/32\", \"192.0.2.1\"]"],
        &["[\"203.0.113.1/24\"]", "\"203.0.113.0/24\"", "[\"cdn\"]"],
    ),
    (
        "trusted_answers",
        "dedicated_addresses",
        &["[]", "[\"203.0.113.0/24\", \"2001:db8::/32\"]"],
        &["[\"203.0.113.1/24\"]", "[1]"],
    ),
    ("trusted_answers", "shared_subscribers_min", &["2", "1024"], &["1", "1025"]),
    ("trusted_answers", "shared_domains_min", &["2", "64"], &["1", "65"]),
    ("trusted_answers", "dns_only_pairs_max", &["1", "100000000"], &["0", "100000001"]),
    ("trusted_answers", "dns_only_pairs_per_subscriber_max", &["1", "65536"], &["0", "65537"]),
    (
        "trusted_answers",
        "nat64_prefixes",
        &["[]", "[\"64:ff9b::/96\", \"2001:db8::/32\"]"],
        &["[\"64:ff9b::/95\"]", "[\"64:ff9b::1/96\"]", "[\"10.0.0.0/8\"]", "\"64:ff9b::/96\""],
    ),
    ("trusted_answers", "snapshot_interval", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    (
        "limits",
        "hello_handshake_max",
        &["\"512 B\"", "\"32 KiB\""],
        &["\"511 B\"", "\"32769 B\"", "\"1048577 B\""],
    ),
    ("limits", "hello_wire_max", &["\"16 KiB\"", "\"1 MiB\""], &["\"16383 B\"", "\"1048577 B\""]),
    ("limits", "identify_deadline", &["\"100 ms\"", "\"10 min\""], &["\"99 ms\"", "\"600001 ms\""]),
    ("limits", "http_headers_max", &["1", "1000"], &["0", "1001"]),
    ("limits", "http_head_max", &["\"512 B\"", "\"1 MiB\""], &["\"511 B\"", "\"1048577 B\""]),
    ("limits", "idle_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("limits", "flows_max", &["\"auto\"", "1", "10000000"], &["0", "10000001", "\"many\""]),
    (
        "limits",
        "relay_buffer",
        &["\"4 KiB\"", "\"1 MiB\""],
        &["\"4095 B\"", "\"1048577 B\"", "65536", "\"64 KB\""],
    ),
    (
        "limits",
        "memory_max",
        &["\"auto\"", "\"1 MiB\"", "\"16384 GiB\""],
        &["\"1023 KiB\"", "\"16385 GiB\"", "\"none\"", "1048576"],
    ),
    (
        "limits",
        "socket_memory_per_subscriber_max",
        &["\"1 MiB\"", "\"1024 GiB\""],
        &["\"1023 KiB\"", "\"1025 GiB\"", "\"auto\"", "1048576"],
    ),
    ("admin", "connections_max", &["1", "128"], &["0", "129"]),
    (
        "admin",
        "hosts",
        &["[]", "[\"gw1\", \"gw1.example.net\"]"],
        &["\"gw1\"", "[\"\"]", "[\"gw1:9464\"]", "[\"a\", \"a\"]", "[1]"],
    ),
];

/// Further rows, with the same meaning.
const MORE_ROWS: &[Row] = &[
    ("limits", "proxy_header_deadline", &["\"100 ms\"", "\"60 s\""], &["\"99 ms\"", "\"60001 ms\""]),
    ("limits", "finish_deadline", &["\"100 ms\"", "\"60 s\""], &["\"99 ms\"", "\"60001 ms\""]),
    ("limits", "quic_crypto_max", &["\"1 KiB\"", "\"64 KiB\""], &["\"1023 B\"", "\"65537 B\"", "1024"]),
    ("limits", "quic_fragments_max", &["1", "4096"], &["0", "4097"]),
    ("limits", "quic_datagrams_max", &["1", "100"], &["0", "101"]),
    ("limits", "quic_key_derivations_max", &["1", "100"], &["0", "101"]),
    ("limits", "undecided_flows_max", &["1", "10000000"], &["0", "10000001"]),
    ("limits", "https_idle_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("limits", "quic_idle_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("limits", "udp_idle_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("limits", "unanswered_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("limits", "drain", &["\"0 s\"", "\"900 s\""], &["\"900001 ms\"", "\"86400001 ms\""]),
    ("limits", "drain_hard", &["\"600 s\"", "\"24 h\""], &["\"599999 ms\"", "\"86400001 ms\""]),
    ("upstream", "failed_timeout", &["\"1 s\"", "\"24 h\""], &["\"999 ms\"", "\"86400001 ms\""]),
    ("upstream", "failed_max", &["1", "1000000"], &["0", "1000001"]),
    (
        "upstream",
        "original_connect_timeout_ipv6",
        &["\"100 ms\"", "\"300 s\""],
        &["\"99 ms\"", "\"300001 ms\""],
    ),
    ("upstream", "original_connect_timeout", &["\"100 ms\"", "\"300 s\""], &["\"99 ms\"", "\"300001 ms\""]),
    ("edge", "silent_timeout", &["\"10 s\"", "\"60 min\""], &["\"9999 ms\"", "\"3600001 ms\""]),
    ("edge", "silent_max", &["1", "1000000"], &["0", "1000001"]),
    ("edge", "silent_per_subscriber_max", &["1", "65536"], &["0", "65537"]),
    ("limits", "flows_per_subscriber_max", &["1", "1000000"], &["0", "1000001"]),
    ("limits", "flows_per_msisdn_max", &["1", "1000000"], &["0", "1000001"]),
    ("limits", "flows_per_imsi_max", &["1", "1000000"], &["0", "1000001"]),
    ("limits", "flows_per_account_max", &["1", "1000000"], &["0", "1000001"]),
    ("limits", "sessions_max", &["1", "100000000"], &["0", "100000001"]),
    ("limits", "unknown_prefix_v4", &["8", "32"], &["7", "33"]),
    ("limits", "unknown_prefix_v6", &["32", "128"], &["31", "129"]),
    ("limits", "unanswered_per_subscriber_max", &["1", "1000000"], &["0", "1000001"]),
    ("limits", "accepts_per_wake_max", &["1", "1024"], &["0", "1025"]),
    ("limits", "splice_pipes_max", &["0", "1024"], &["-1", "1025"]),
    ("log", "level", &["\"error\"", "\"trace\""], &["\"ERROR\"", "\"\"", "1"]),
    ("log", "format", &["\"text\"", "\"json\""], &["\"xml\""]),
    (
        "node",
        "id",
        &["\"a\"", "\"abcdefghijklmnopqrstuvwxyz-01234\""],
        &["\"\"", "\"abcdefghijklmnopqrstuvwxyz-012345\"", "\"A\"", "\"a_b\"", "\"a.b\"", "1"],
    ),
];

/// The rows of `[edge]`, and of what marks packets.
const EDGE_ROWS: &[Row] = &[
    ("export", "egress_interfaces", &["[]", "[\"eth1\", \"ppp*\"]"], &["[\"*\"]", "\"eth1\"", "[1]"]),
    (
        "edge",
        "table",
        &["\"z\"", "\"abcdefghijklmnopqrstuvwxyz_01234\""],
        &["\"\"", "\"1z\"", "\"a b\"", "\"a;b\"", "\"abcdefghijklmnopqrstuvwxyz_012345\"", "1"],
    ),
    ("edge", "intercept", &["\"all\"", "\"candidates\""], &["\"none\"", "1"]),
    (
        "edge",
        "interfaces",
        &["[]", "[\"eth1\", \"ppp0.100\"]", "[\"ppp*\"]"],
        &[
            "[\"interface-is-too-long\"]",
            "[\"-x\"]",
            "[1]",
            "\"eth1\"",
            "[\"*\"]",
            "[\"p*p\"]",
            "[\"ppp**\"]",
        ],
    ),
    ("edge", "source_validation", &["false"], &["true", "1", "\"yes\""]),
    ("edge", "tcp_ports", &["[]", "[1, 65535]"], &["[0]", "[65536]", "443"]),
    ("edge", "udp_ports", &["[]", "[1, 65535]"], &["[0]", "[65536]", "443"]),
    ("edge", "divert_mark", &["1", "4294967295"], &["0", "4294967296"]),
    ("edge", "upstream_mark", &["1", "4294967295"], &["0", "4294967296", "31233"]),
    ("edge", "route_table", &["256", "4294967295"], &["255", "4294967296"]),
    ("edge", "rule_priority", &["1", "32765"], &["0", "32766"]),
    ("edge", "alive_timeout", &["\"1 s\"", "\"60 s\""], &["\"999 ms\"", "\"60001 ms\"", "3"]),
    ("edge", "candidates_max", &["1", "10000000"], &["0", "10000001"]),
    ("rating_group", "dscp", &["1", "63"], &["0", "64"]),
    ("rating_group", "fwmark", &["1", "4294967295"], &["0", "4294967296", "31233"]),
    ("rating_group", "mark_upstream", &["true", "false"], &["1"]),
    ("export", "byte_basis", &["\"payload\""], &["\"ip\"", "\"bytes\"", "1"]),
];

/// The rows of `[dns]`.
const DNS_ROWS: &[Row] = &[
    ("dns", "steer_ttl", &["\"1 s\"", "\"1 h\""], &["\"999 ms\"", "\"3600001 ms\"", "60"]),
    ("dns", "source_prefix_v4", &["8", "32"], &["7", "33"]),
    ("dns", "source_prefix_v6", &["32", "128"], &["31", "129"]),
    ("dns", "queries_per_second_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "burst_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "truncated_per_second_max", &["0", "1000000"], &["-1", "1000001"]),
    ("dns", "sources_max", &["1", "16777216"], &["0", "16777217"]),
    ("dns", "in_flight_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "in_flight_per_client_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "failover_after", &["\"50 ms\"", "\"2 s\""], &["\"49 ms\"", "\"2001 ms\"", "\"60001 ms\""]),
    ("dns", "try_timeout", &["\"1 s\"", "\"4 s\""], &["\"999 ms\"", "\"4001 ms\"", "\"60001 ms\""]),
    ("dns", "tries", &["1", "10"], &["0", "11"]),
    ("dns", "total_timeout", &["\"2 s\"", "\"60 s\""], &["\"1999 ms\"", "\"60001 ms\""]),
    ("dns", "upstream_sockets", &["1", "256"], &["0", "257"]),
    ("dns", "case_randomisation", &["true", "false"], &["1", "\"true\""]),
    ("dns", "bad_replies_max", &["1", "100000"], &["0", "100001"]),
    ("dns", "udp_answer_max", &["\"512 B\"", "\"1452 B\""], &["\"511 B\"", "\"1453 B\"", "1232"]),
    ("dns", "connections_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "connections_per_client_max", &["1", "65536"], &["0", "65537"]),
    ("dns", "first_byte_timeout", &["\"50 ms\"", "\"60 s\""], &["\"49 ms\"", "\"60001 ms\""]),
    ("dns", "idle_timeout", &["\"50 ms\"", "\"60 s\""], &["\"49 ms\"", "\"60001 ms\""]),
    ("dns", "queries_per_connection_max", &["1", "1000000"], &["0", "1000001"]),
    ("dns", "serve_stale", &["true", "false"], &["0"]),
    ("dns", "stale_after", &["\"50 ms\"", "\"60 s\""], &["\"49 ms\"", "\"60001 ms\""]),
    ("dns", "stale_ttl", &["\"1 s\"", "\"1 h\""], &["\"999 ms\"", "\"3600001 ms\""]),
    ("dns", "stale_max", &["\"1 s\"", "\"7 d\""], &["\"999 ms\"", "\"604800001 ms\""]),
    ("dns", "stale_entries_max", &["1", "10000000"], &["0", "10000001"]),
    ("dns", "tunnel_names_max", &["10", "1000"], &["9", "1001"]),
    ("dns", "tunnel_places_max", &["1", "16777216"], &["0", "16777217"]),
    ("dns", "dnstap_connections_max", &["1", "1024"], &["0", "1025"]),
    ("dns", "clients", &["[\"subscribers\"]", "[\"10.0.0.0/8\"]"], &["[]", "[\"10.0.0.1/8\"]", "[\"all\"]"]),
    (
        "dns",
        "steer_addresses",
        &["[]", "[\"203.0.113.10\", \"2001:db8::10\"]"],
        &["[\"0.0.0.0\"]", "[\"224.0.0.1\"]", "[\"::ffff:203.0.113.1\"]", "[\"10.0.0.1:53\"]"],
    ),
    (
        "dns",
        "upstream",
        &["[\"9.9.9.9\"]", "[\"tls://9.9.9.9#dns.example\"]", "[\"tls://[2620:fe::fe]:853#Dns.Example\"]"],
        &[
            "[]",
            "[\"tls://9.9.9.9\"]",
            "[\"tls://9.9.9.9#\"]",
            "[\"tls://9.9.9.9:0#a\"]",
            "[\"tls://dns.example#a\"]",
            "[\"192.0.2.53:53\"]",
            "[\"192.0.2.53:853\"]",
            "[\"9.9.9.9\", \"9.9.9.9:53\"]",
        ],
    ),
];

/// The rows of `[allowance]`.
const ALLOWANCE_ROWS: &[Row] = &[
    (
        "allowance",
        "zone",
        &["\"UTC\"", "\"Asia/Almaty\"", "\"America/Argentina/La_Rioja\"", "\"Etc/GMT+5\""],
        &["\"\"", "\"+05:00\"", "\"../zone\"", "\"Asia Almaty\"", "5"],
    ),
    (
        "allowance",
        "daily",
        &["\"0 B\"", "\"2 GiB\""],
        &["\"2147483649 B\"", "2147483648", "\"2 GB\"", "\"1125899906842625 B\""],
    ),
    (
        "allowance",
        "monthly",
        &["\"300 MiB\"", "\"1048576 GiB\""],
        &["\"1125899906842625 B\"", "\"314572799 B\"", "2"],
    ),
    ("allowance", "shared_address_daily", &["\"0 B\"", "\"1 GiB\""], &["\"1073741825 B\"", "1"]),
    (
        "allowance",
        "shared_address_monthly",
        &["\"100 MiB\"", "\"1048576 GiB\""],
        &["\"1125899906842625 B\"", "\"104857599 B\""],
    ),
    ("allowance", "counters_max", &["1", "100000000"], &["0", "100000001", "\"1\""]),
];

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
    for (section, key, taken, refused) in
        ROWS.iter().chain(MORE_ROWS).chain(DNS_ROWS).chain(EDGE_ROWS).chain(ALLOWANCE_ROWS)
    {
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
    let judged: Vec<(&str, &str)> = ROWS
        .iter()
        .chain(MORE_ROWS)
        .chain(DNS_ROWS)
        .chain(EDGE_ROWS)
        .chain(ALLOWANCE_ROWS)
        .map(|row| (row.0, row.1))
        .collect();
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
