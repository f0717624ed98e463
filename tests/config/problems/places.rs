//! Every problem at its place: all of a text at once, unknown and missing keys, wrong types, broken lines.

use config::SECTIONS;

use super::{MINIMAL, problems};

#[test]
fn every_problem_at_once_in_order_of_place() {
    let text = r#"colour = "red"
[node]
id = "Edge 1"
stat_dir = "state"
workers = 257

[[listener]]
mode = "transparant"
address = "127.0.0.1"

[[listener]]
mode = "steered"
address = "127.0.0.1:443"
peers = ["127.0.0.0/8"]

[[listener]]
mode = "proxy_protocol"
address = "127.0.0.1:443"
service_port = 0
peers = ["10.0.0.1/8", "here"]

[list]
file = 7
signatures = "required"

[export]
dir = "state"
period = "7 min"
checkpoint = 1
unsaved_max = "0 s"

[lookup]
try_timeout = "5 s"

[limits]
hello_handshake_max = "64 KiB"
drain = "1000 s"
relay_buffer = "2 MiB"
"Қате" = 1; idle_timeout = "1 s"
period = "1 s"

[log]
level = "INFO"
"#;
    let expected = [
        r#"1:1: colour: found the unknown section "colour"; wanted one of node, listener, list, subscribers, radius, export, sink, rating_group, allowance, upstream, lookup, trusted_answers, dns, edge, limits, admin, log"#,
        r#"2:1: node.state_dir: found nothing; wanted a path in quotes (relative to the configuration file's folder unless it starts with /); add `state_dir = …` to this section"#,
        r#"3:6: node.id: found "Edge 1"; wanted 1 to 32 of a-z, 0-9 and -"#,
        r#"4:1: node.stat_dir: found the unknown key "stat_dir"; wanted in [node] one of id, state_dir, workers, core_dumps; did you mean `state_dir`?"#,
        r#"5:11: node.workers: found 257; wanted "auto" or a whole number from 1 to 256"#,
        r#"8:8: listener[0].mode: found "transparant"; wanted one of "steered", "proxy_protocol", "transparent""#,
        r#"9:11: listener[0].address: found "127.0.0.1"; wanted an address with port in quotes, such as "127.0.0.1:443" or "[::1]:443"; add a port: "127.0.0.1:443""#,
        r#"11:1: upstream.resolvers: found no resolver; wanted at least one, since a listener is steered; name the operator's resolver in [upstream]"#,
        r#"14:9: listener[1].peers: found peers beside mode "steered"; wanted them on proxy_protocol listeners only; remove this key: no PROXY header is read here"#,
        r#"18:11: listener[2].address: found 127.0.0.1:443, which listener[1].address already has; wanted another address or port"#,
        r#"19:16: listener[2].service_port: found 0; wanted a whole number from 1 to 65535"#,
        r#"19:16: listener[2].service_port: found a service port beside mode "proxy_protocol"; wanted it on steered listeners only; the PROXY header carries the port: remove this key"#,
        r#"20:10: listener[2].peers[0]: found "10.0.0.1/8", which has host bits; wanted a prefix without host bits; write "10.0.0.0/8""#,
        r#"20:24: listener[2].peers[1]: found "here"; wanted a prefix, such as "127.0.0.0/8" or "2001:db8::/32""#,
        r#"23:8: list.file: found the bare number 7; wanted a path in quotes (relative to the configuration file's folder unless it starts with /)"#,
        r#"24:14: list.signatures: found "required"; wanted "none"; this version verifies no signatures and does not pretend to"#,
        r#"28:10: export.period: found "7 min"; wanted a length that divides 24 h without rest; such as "15 min", "20 min", "1 h""#,
        r#"29:14: export.checkpoint: found the bare number 1; wanted a whole number with a unit in quotes (ms, s, min, h, d), such as "5 s""#,
        r#"30:15: export.unsaved_max: found "0 s"; wanted from "1 s" to "1 d""#,
        r#"33:15: lookup.try_timeout: found "5 s"; wanted at most lookup.total_timeout ("4 s", the default)"#,
        r#"36:23: limits.hello_handshake_max: found "64 KiB"; wanted at most limits.hello_wire_max ("32 KiB", the default)"#,
        r#"37:9: limits.drain: found "1000 s"; wanted at most limits.drain_hard ("15 min", the default)"#,
        r#"38:16: limits.relay_buffer: found "2 MiB"; wanted from "4 KiB" to "1 MiB""#,
        r#"39:10: TOML: found string values must be quoted; wanted literal string (TOML)"#,
        r#"40:1: limits.period: found the unknown key "period"; wanted in [limits] one of hello_handshake_max, hello_wire_max, identify_deadline, http_headers_max, http_head_max, quic_crypto_max, quic_fragments_max, quic_datagrams_max, quic_key_derivations_max, undecided_flows_max, idle_timeout, https_idle_timeout, quic_idle_timeout, udp_idle_timeout, unanswered_timeout, proxy_header_deadline, finish_deadline, drain, drain_hard, flows_max, flows_per_subscriber_max, flows_per_msisdn_max, flows_per_imsi_max, flows_per_account_max, sessions_max, unknown_prefix_v4, unknown_prefix_v6, unanswered_per_subscriber_max, accepts_per_wake_max, relay_buffer, splice_pipes_max, memory_max, socket_memory_per_subscriber_max; `period` belongs in [export]"#,
        r#"43:9: log.level: found "INFO"; wanted one of "error", "warn", "info", "debug", "trace""#,
    ];
    let found = problems(text);
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "problem {index}");
    }
    assert_eq!(found.len(), expected.len(), "{:#?}", &found[expected.len().min(found.len())..]);
}

#[test]
fn nothing_at_all_misses_each_required_section_once() {
    let found = problems("");
    let keys: Vec<&str> = found.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(keys, ["export", "list", "listener", "node"], "{found:#?}");
    assert!(found.iter().all(|line| line.starts_with("1:1: ")), "{found:#?}");
    assert_eq!(found[0], "1:1: export: found no such section; wanted a section [export] with dir");
}

#[test]
fn columns_count_characters_not_bytes() {
    let line = MINIMAL.lines().count() + 1;
    let found = problems(&format!("{MINIMAL}port_map = {{ \"қате\" = 1, 443 = 0 }}\n"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with(&format!("{line}:14: upstream.port_map.қате: ")), "{found:#?}");
    assert!(found[1].starts_with(&format!("{line}:32: upstream.port_map.443: ")), "{found:#?}");
}

#[test]
fn a_broken_line_is_reported_once_and_the_rest_is_still_judged() {
    let found = problems(&MINIMAL.replace("id = \"edge-1\"", "id = \"edge-1").replace("\"15 min\"", "15"));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("5:") && found[0].contains("TOML: found"), "{found:#?}");
    assert!(found[1].contains("export.period: found the bare number 15"), "{found:#?}");
    let found = problems(&MINIMAL.replace("[list]", "[list"));
    assert!(found.iter().all(|line| line.contains("TOML")), "{found:#?}");
    let found = problems(&MINIMAL.replace("[list]", "[node]"));
    assert!(found.iter().any(|line| line.contains("TOML: found duplicate key")), "{found:#?}");
}

#[test]
fn a_section_of_the_wrong_shape_is_refused() {
    let found = problems(&MINIMAL.replace("[[listener]]", "[listener]"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].contains("listener: found a table; wanted one or more sections [[listener]]"),
        "{found:#?}"
    );
    let found = problems(&MINIMAL.replace("[export]", "[[export]]"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("export: found an array of 1; wanted one section [export]"), "{found:#?}");
}

#[test]
fn every_key_is_read_a_wrong_type_of_each_is_seen() {
    for section in SECTIONS {
        for key in section.keys {
            let wrong = format!("{} = 2020-04-06T00:00:00Z", key.name);
            let text = if section.repeated {
                format!("[[{}]]\n{wrong}\n", section.name)
            } else {
                format!("[{}]\n{wrong}\n", section.name)
            };
            let found = problems(&text);
            let path = if section.repeated {
                format!("{}[0].{}:", section.name, key.name)
            } else {
                format!("{}.{}:", section.name, key.name)
            };
            assert!(
                found.iter().any(|line| line.contains(&path) && line.contains("found the time")),
                "{path} {found:#?}"
            );
        }
    }
}

#[test]
fn unknown_keys_of_every_section_are_refused_with_the_nearest() {
    for section in SECTIONS {
        for key in section.keys {
            let word = format!("{}x", key.name);
            let header = if section.repeated {
                format!("[[{}]]", section.name)
            } else {
                format!("[{}]", section.name)
            };
            let found = problems(&format!("{header}\n{word} = 1\n"));
            let hint = format!("did you mean `{}`?", key.name);
            assert!(
                found.iter().any(|line| line.starts_with("2:1: ") && line.ends_with(&hint)),
                "{word} {found:#?}"
            );
        }
    }
    let found = problems("[lists]\n");
    assert!(
        found.iter().any(|line| line.starts_with("1:2: lists:") && line.ends_with("did you mean `list`?")),
        "{found:#?}"
    );
}
