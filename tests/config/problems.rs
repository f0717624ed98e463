//! What is refused, where, and in which words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::{ByteBasis, Config, DatagramHeaders, Disposition, Protocol, SECTIONS, Services};
use std::path::Path;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const FULL: &str = include_str!("../../config/examples/full.toml");

/// All problems of a text, as displayed.
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("/base")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The minimal example with its listener in another mode, which has no peers.
fn with_mode(mode: &str) -> String {
    let text = MINIMAL.replace("\"proxy_protocol\"", &format!("\"{mode}\""));
    text.lines().filter(|line| !line.starts_with("peers")).map(|line| format!("{line}\n")).collect()
}

/// The only problem of the minimal example with further lines at its end.
fn problem_of(more: &str) -> String {
    let found = problems(&format!("{MINIMAL}\n{more}"));
    assert_eq!(found.len(), 1, "{more}: {found:#?}");
    found.into_iter().next().unwrap()
}

/// The minimal example with further lines at its end, which must be right.
fn good(more: &str) -> Config {
    Config::parse(&format!("{MINIMAL}\n{more}"), Path::new("/base"))
        .unwrap_or_else(|e| panic!("{more}: {e:?}"))
}

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
        r#"1:1: colour: found the unknown section "colour"; wanted one of node, listener, list, subscribers, export, rating_group, allowance, upstream, lookup, trusted_answers, dns, edge, limits, admin, log"#,
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
fn transports_of_a_listener_stand_once_and_are_known_words() {
    let listener =
        |keys: &str| format!("[[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:9\"\n{keys}\n");
    let of = |keys: &str| good(&listener(keys)).listeners.remove(1).protocols;
    assert_eq!(of(""), [Protocol::Tcp, Protocol::Udp]);
    assert_eq!(of("protocols = [\"udp\"]"), [Protocol::Udp]);
    assert_eq!(of("protocols = [\"tcp\"]"), [Protocol::Tcp]);
    for (keys, wanted) in [
        ("protocols = []", "found no transport; wanted at least one"),
        ("protocols = [\"udp\", \"udp\"]", "protocols[1]: found a transport that stands there already"),
        ("protocols = [\"sctp\"]", "protocols[0]: found \"sctp\"; wanted one of \"tcp\", \"udp\""),
        ("protocols = \"udp\"", "wanted an array of \"tcp\" and \"udp\""),
    ] {
        let found = problem_of(&listener(keys));
        assert!(found.contains(wanted), "{keys}: {found}");
    }
}

#[test]
fn datagrams_at_a_port_of_transparent_listeners_are_theirs() {
    let with = |transparent: &str, other: &str| {
        problems(&format!(
            "{MINIMAL}\n[[listener]]\nmode = \"transparent\"\naddress = \"{transparent}\"\nprotocols = [\"tcp\", \"udp\"]\n[[listener]]\nmode = \"proxy_protocol\"\n{other}\n"
        ))
    };
    let both = "protocols = [\"tcp\", \"udp\"]";
    let at = |address: &str| format!("address = \"{address}\"\n{both}");
    for (transparent, other) in [
        ("0.0.0.0:9443", "192.0.2.1:443"),
        ("192.0.2.1:9443", "0.0.0.0:80"),
        ("192.0.2.1:9443", "192.0.2.1:443"),
        ("[::]:9443", "[2001:db8::1]:443"),
    ] {
        let found = with(transparent, &at(other));
        assert!(found.len() == 1 && found[0].contains("listener[2].address: found UDP port"), "{found:#?}");
    }
    for (transparent, other) in [
        ("0.0.0.0:9443", at("192.0.2.1:8443")),
        ("192.0.2.1:9443", at("192.0.2.2:443")),
        ("[::]:9443", at("192.0.2.1:443")),
        ("0.0.0.0:9443", "address = \"192.0.2.1:443\"\nprotocols = [\"tcp\"]".to_owned()),
    ] {
        let found = with(transparent, &other);
        assert!(found.is_empty(), "{found:#?}");
    }
}

#[test]
fn ip_bytes_are_counted_unless_a_balancer_stands_between() {
    let swapped = |mode: &str, basis: &str| {
        let text = with_mode(mode);
        text.replace("[export]\n", &format!("[export]\n{basis}\n"))
    };
    let basis = |text: &str| Config::parse(text, Path::new("/")).map(|config| config.export.byte_basis);
    assert_eq!(basis(&swapped("steered", "")), Ok(ByteBasis::Ip));
    assert_eq!(basis(&swapped("transparent", "")), Ok(ByteBasis::Ip));
    assert_eq!(basis(&swapped("proxy_protocol", "")), Ok(ByteBasis::Payload));
    assert_eq!(basis(&swapped("steered", "byte_basis = \"payload\"")), Ok(ByteBasis::Payload));
    let problems = basis(&swapped("proxy_protocol", "byte_basis = \"ip\"")).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].found.contains("listener[0], whose mode is \"proxy_protocol\""), "{}", problems[0]);
}

#[test]
fn datagram_headers_stand_beside_a_proxy_header_only() {
    let listener = |mode: &str, keys: &str| {
        format!("[[listener]]\nmode = \"{mode}\"\naddress = \"127.0.0.1:9\"\n{keys}\n")
    };
    let of = |keys: &str| good(&listener("proxy_protocol", keys)).listeners.remove(1).datagram_headers;
    assert_eq!(of(""), DatagramHeaders::Any);
    assert_eq!(of("datagram_headers = \"any\""), DatagramHeaders::Any);
    assert_eq!(of("datagram_headers = \"each\""), DatagramHeaders::Each);
    let found = problem_of(&listener("proxy_protocol", "datagram_headers = \"first\""));
    assert!(found.contains("wanted one of \"any\", \"each\""), "{found}");
    let found = problem_of(&listener("steered", "datagram_headers = \"any\""));
    assert!(found.contains("datagram headers beside mode \"steered\""), "{found}");
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

#[test]
fn b31_two_dispositions_for_one_rating_group_are_refused() {
    let found = problem_of(
        r#"
[[rating_group]]
id = 7
services = ["bilimland"]
disposition = "tagged"
[[rating_group]]
id = 7
services = ["*"]
disposition = "reported"
"#,
    );
    assert!(found.contains("rating_group[1].disposition: found \"reported\" for rating group 7; wanted \"tagged\" as rating_group[0].disposition has it"), "{found}");
    let config = good(
        "[[rating_group]]\nid = 7\nservices = [\"a\"]\ndisposition = \"tagged\"\n[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"",
    );
    assert_eq!(config.rating_groups.len(), 2, "one id with one disposition may stand twice");
}

#[test]
fn rating_groups_overlap_nowhere() {
    let group = |id: u32, services: &str| {
        format!("[[rating_group]]\nid = {id}\nservices = {services}\ndisposition = \"tagged\"\n")
    };
    let found =
        problem_of(&format!("{}{}{}", group(1, "[\"a\"]"), group(2, "[\"a\", \"b\"]"), group(3, "[\"*\"]")));
    assert!(
        found.contains(
            "rating_group[1].services[0]: found \"a\", which rating_group[0].services[0] already has"
        ),
        "{found}"
    );
    let found = problem_of(&format!("{}{}", group(1, "[\"*\"]"), group(2, "[\"*\"]")));
    assert!(found.contains("found \"*\", which rating_group[0].services[0] already has"), "{found}");
    let found = problem_of(&group(1, "[\"a\"]"));
    assert!(found.contains("wanted one group with services = [\"*\"]"), "{found}");
    let found = problem_of(&group(1, "[\"*\", \"a\"]"));
    assert!(found.contains("\"*\" beside service ids"), "{found}");
    let found = problem_of(&format!("{}{}", group(1, "[]"), group(2, "[\"*\"]")));
    assert!(found.contains("found no service"), "{found}");
    let config = good("");
    assert_eq!(config.rating_groups.len(), 1);
    assert_eq!((config.rating_groups[0].id, config.rating_groups[0].disposition), (1, Disposition::Observed));
    assert_eq!(config.rating_groups[0].services, Services::Others);
    let config = good(&format!("{}{}", group(9, "[\"a\"]"), group(2, "[\"*\"]")));
    assert_eq!(config::rating_group::of(&config.rating_groups, "a").unwrap().id, 9);
    assert_eq!(config::rating_group::of(&config.rating_groups, "z").unwrap().id, 2);
}

#[test]
fn state_pickup_and_staging_are_three_folders() {
    for (dir, staging, key) in [
        ("state", "s", "export.dir"),
        ("./a/../state/", "s", "export.dir"),
        ("/base/state", "s", "export.dir"),
        ("usage", "state", "export.staging_dir"),
        ("usage", "usage/", "export.staging_dir"),
    ] {
        let text =
            MINIMAL.replace("dir = \"usage\"", &format!("dir = \"{dir}\"\nstaging_dir = \"{staging}\""));
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{dir} {staging}: {found:#?}");
        assert!(found[0].contains(&format!(": {key}: found ")), "{found:#?}");
    }
    let text = MINIMAL.replace("state_dir = \"state\"", "state_dir = \"usage.staging\"");
    assert!(problems(&text)[0].contains("export.staging_dir"), "the default staging folder is compared too");
}

#[test]
fn the_admin_server_has_an_address_of_its_own() {
    let found = problems(&MINIMAL.replace("127.0.0.1:9464", "127.0.0.1:8443"));
    assert!(
        found.len() == 1 && found[0].contains("admin.address: found 127.0.0.1:8443, which a listener has"),
        "{found:#?}"
    );
    assert!(
        problems(&MINIMAL.replace("127.0.0.1:9464", "127.0.0.1:0").replace("127.0.0.1:8443", "127.0.0.1:0"))
            .is_empty()
    );
}

#[test]
fn addresses_say_what_is_missing() {
    let of = |address: &str| problems(&MINIMAL.replace("\"127.0.0.1:8443\"", address)).join("\n");
    assert!(of("\"::1\"").ends_with("add brackets and a port: \"[::1]:443\""));
    // F24: whatever stands for all addresses elsewhere.
    for text in [":443", "*:443", ":::443", "[*]:443"] {
        let all = "for all addresses write \"0.0.0.0:443\" or \"[::]:443\"";
        assert!(of(&format!("\"{text}\"")).ends_with(all), "{text}: {}", of(&format!("\"{text}\"")));
    }
    assert!(!of("\":::70000\"").contains("for all addresses"));
    assert!(of("\"localhost:443\"").ends_with("names are not looked up here: write the address"));
    assert!(of("\"127.0.0.1:65536\"").contains("found \"127.0.0.1:65536\""));
    assert_eq!(of("\"[::1]:65535\""), "");
}

#[test]
fn resolvers_and_port_map() {
    let of = |line: &str| problems(&MINIMAL.replace("resolvers = [\"127.0.0.1:53\"]", line));
    assert!(of("resolvers = [\"127.0.0.1\", \"2620:fe::fe\", \"[2620:fe::fe]:5353\"]").is_empty());
    assert_eq!(
        of("resolvers = [\"127.0.0.1\", \"127.0.0.1:53\", \"x\", \"0.0.0.0\", \"1.1.1.1:0\", 5]").len(),
        5
    );
    assert!(of("resolvers = []").is_empty(), "none is needed without a steered listener");
    let found = of("port_map = { 443 = 0, 0 = 1, x = 1, 080 = 5, 65536 = 1, 1 = 65536, 80 = \"8080\" }");
    assert_eq!(found.len(), 7, "{found:#?}");
    let steered = with_mode("steered");
    assert!(problems(&steered).is_empty());
    let found = problems(&steered.replace("[\"127.0.0.1:53\"]", "[]"));
    assert!(found.len() == 1 && found[0].contains("upstream.resolvers: found no resolver"), "{found:#?}");
}

#[test]
fn static_answers() {
    let of = |name: &str, addresses: &str| {
        problems(&format!("{MINIMAL}\n[[trusted_answers.static]]\nname = {name}\naddresses = {addresses}\n"))
    };
    assert!(of("\"a.example.kz\"", "[\"203.0.113.7\", \"2001:db8::1\"]").is_empty());
    for name in ["\"\"", "\"203.0.113.7\"", "\"https://a.kz\"", "\"*.a.kz\"", "\"a b\"", "5"] {
        assert_eq!(of(name, "[\"203.0.113.7\"]").len(), 1, "{name}");
    }
    for addresses in ["[]", "\"203.0.113.7\"", "[\"203.0.113.7:443\"]", "[\"a\"]", "[7]"] {
        assert_eq!(of("\"a.kz\"", addresses).len(), 1, "{addresses}");
    }
    let many = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("\"10.0.{}.{}\"", n / 256, n % 256)).collect();
        of("\"a.kz\"", &format!("[{}]", list.join(", ")))
    };
    assert!(many(512).is_empty());
    assert_eq!(many(513).len(), 1);
    let config = good("[[trusted_answers.static]]\nname = \"a.kz\"\naddresses = [\"::ffff:203.0.113.7\"]");
    assert_eq!(config.trusted_answers.statics[0].addresses[0].to_string(), "203.0.113.7");
}

#[test]
fn the_text_itself_has_a_limit() {
    let pad = |size: usize| format!("{MINIMAL}#{}", " ".repeat(size - MINIMAL.len() - 1));
    assert!(problems(&pad(config::TEXT_BYTES_MAX)).is_empty());
    let found = problems(&pad(config::TEXT_BYTES_MAX + 1));
    assert_eq!(
        found,
        ["1:1: configuration: found 1048577 bytes; wanted at most 1048576; is this the configuration file?"]
    );
}

#[test]
fn listeners_peers_resolvers_have_limits() {
    let listeners = |count: usize| {
        let more: String = (1..count)
            .map(|n| format!("[[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:{n}\"\n"))
            .collect();
        problems(&format!("{MINIMAL}\n{more}"))
    };
    assert!(listeners(64).is_empty());
    assert_eq!(listeners(65).len(), 1);
    let peers = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("\"10.0.{n}.0/24\"")).collect();
        problems(&MINIMAL.replace("peers = [\"127.0.0.1/32\"]", &format!("peers = [{}]", list.join(","))))
    };
    assert!(peers(64).is_empty());
    assert_eq!(peers(65).len(), 1);
    assert_eq!(peers(0).len(), 1);
    let resolvers = |count: usize| {
        let list: Vec<String> = (1..=count).map(|n| format!("\"10.0.0.{n}\"")).collect();
        problems(&MINIMAL.replace("[\"127.0.0.1:53\"]", &format!("[{}]", list.join(","))))
    };
    assert!(resolvers(16).is_empty());
    assert_eq!(resolvers(17).len(), 1);
    let sources = |count: usize| {
        let list: Vec<String> = (1..=count).map(|n| format!("\"10.0.0.{n}\"")).collect();
        let line = format!("[\"127.0.0.1:53\"]\nsource_addresses = [{}]", list.join(","));
        problems(&MINIMAL.replace("[\"127.0.0.1:53\"]", &line))
    };
    assert!(sources(16).is_empty());
    assert_eq!(sources(17).len(), 1);
    assert!(problems(FULL).is_empty());
}

#[test]
fn addresses_of_the_dns_plane_have_limits_and_relations() {
    let dns = |keys: &str| problems(&format!("{MINIMAL}\n[dns]\n{keys}\n"));
    let array = |count: usize, entry: &dyn Fn(usize) -> String| {
        (1..=count).map(|n| format!("\"{}\"", entry(n))).collect::<Vec<_>>().join(",")
    };
    let listen = |count| dns(&format!("listen = [{}]", array(count, &|n| format!("192.0.2.{n}:53"))));
    assert!(listen(16).is_empty());
    assert_eq!(listen(17).len(), 1);
    assert_eq!(listen(0).len(), 1);
    let upstream = |count| {
        let servers = array(count, &|n| format!("10.0.0.{n}"));
        dns(&format!("listen = [\"192.0.2.1:53\"]\nupstream = [{servers}]"))
    };
    assert!(upstream(16).is_empty());
    assert_eq!(upstream(17).len(), 1);
    let clients = |count| {
        let prefixes = array(count, &|n| format!("10.{}.{}.0/24", n / 256, n % 256));
        dns(&format!("listen = [\"192.0.2.1:53\"]\nclients = [{prefixes}]"))
    };
    assert!(clients(256).is_empty());
    assert_eq!(clients(257).len(), 1);
    assert!(dns("listen = [\"192.0.2.1:53\"]\nclients = [\"subscribers\", \"private\"]").is_empty());
    let steered = |count| {
        let addresses = array(count, &|n| format!("203.0.113.{n}"));
        dns(&format!("listen = [\"192.0.2.1:53\"]\nsteer_addresses = [{addresses}]"))
    };
    assert!(steered(8).is_empty());
    assert_eq!(steered(9).len(), 1);
    assert!(dns("dnstap_socket = \"/run/dnstap.sock\"").is_empty());
    assert_eq!(dns("steer_ttl = \"1 s\"").len(), 1, "nothing to listen on");
    assert_eq!(dns("tls_listen = [\"192.0.2.1:853\"]").len(), 2, "neither certificate nor key");
    assert_eq!(dns("listen = [\"192.0.2.1:53\"]\ntls_key = \"k\"").len(), 1);
    assert_eq!(
        dns("listen = [\"127.0.0.1:53\"]").len(),
        1,
        "the resolver of the minimal example listens there"
    );
    let none = MINIMAL.replace("[\"127.0.0.1:53\"]", "[]");
    assert_eq!(problems(&format!("{none}\n[dns]\nlisten = [\"192.0.2.1:53\"]\n")).len(), 1, "nobody to ask");
    assert!(problems(&format!("{none}\n[dns]\ndnstap_socket = \"s\"\n")).is_empty());
}

/// The problems of a configuration with this allowance.
fn allowance_problems(allowance: &str) -> String {
    match Config::parse(&format!("{MINIMAL}\n{allowance}"), Path::new("/")) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
    }
}

#[test]
fn t31_an_allowance_without_its_zone_or_groups_that_overlap_are_refused() {
    assert_eq!(allowance_problems("[allowance]\nzone = \"UTC\"\n"), "");
    let found = allowance_problems("[allowance]\ndaily = \"1 GiB\"\n");
    assert!(
        found.contains("allowance.zone: found nothing; wanted a time zone of the IANA database"),
        "{found}"
    );
    let group = |id: &str, services: &str, amount: &str| {
        format!("[[allowance.group]]\nid = \"{id}\"\nservices = {services}\n{amount}\n")
    };
    let with =
        |groups: &[String]| allowance_problems(&format!("[allowance]\nzone = \"UTC\"\n{}", groups.concat()));
    let daily = "daily = \"1 MiB\"";
    assert_eq!(with(&[group("a", "[\"x\"]", daily), group("b", "[\"y\", \"z\"]", daily)]), "");
    for (groups, wanted) in [
        (
            [group("a", "[\"x\"]", daily), group("a", "[\"y\"]", daily)],
            "allowance.group[1].id: found \"a\", which allowance.group[0].id already has",
        ),
        (
            [group("a", "[\"x\"]", daily), group("b", "[\"y\", \"x\"]", daily)],
            "allowance.group[1].services[1]: found \"x\", which allowance.group[0].services[0] already has",
        ),
        (
            [group("a", "[\"x\"]", ""), group("b", "[\"y\"]", daily)],
            "allowance.group[0].daily: found neither daily nor monthly; wanted at least one of them",
        ),
        (
            [group("a", "[]", daily), group("b", "[\"y\"]", daily)],
            "allowance.group[0].services: found no service",
        ),
        (
            [group("a", "[\"*\"]", daily), group("B", "[\"y\"]", daily)],
            "allowance.group[0].services[0]: found \"*\"; wanted a service id",
        ),
        (
            [group("a", "[\"x\"]", daily), group("b", "[\"y\"]", "daily = \"2 B\"\nmonthly = \"1 B\"")],
            "allowance.group[1].daily: found \"2 B\"; wanted at most allowance.group[1].monthly (\"1 B\")",
        ),
    ] {
        let found = with(&groups);
        assert!(found.contains(wanted), "{found}");
    }
    let many: Vec<_> =
        (0..=1_000).map(|at| group(&format!("g{at}"), &format!("[\"s{at}\"]"), daily)).collect();
    assert_eq!(with(&many[..1_000]), "");
    assert!(with(&many).contains("allowance.group: found 1001 groups; wanted at most 1000"));
}
