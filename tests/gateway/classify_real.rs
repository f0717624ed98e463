//! `gateway classify` on captures of real programs: names and byte totals are those that tshark reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use support::capture::*;

/// What tshark says of one flow: bytes, and the name it found first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    bytes: u64,
    name: Option<String>,
}

/// Flows by protocol and tshark's stream number, which counts first packets.
fn tshark(path: &Path) -> BTreeMap<(String, u64), Seen> {
    let fields = [
        "ip.len",
        "ipv6.plen",
        "tcp.stream",
        "udp.stream",
        "tls.handshake.extensions_server_name",
        "http.host",
    ];
    let mut command = Command::new("tshark");
    command.args(["-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.arg("-r").arg(path).output().expect("tshark is installed by tests/run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut flows: BTreeMap<(String, u64), Seen> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let first = |column: usize| columns[column].split(',').next().unwrap();
        let bytes =
            first(0).parse::<u64>().ok().or_else(|| first(1).parse().ok().map(|length: u64| length + 40));
        let key = match (columns[2].parse(), columns[3].parse()) {
            (Ok(stream), _) => ("tcp".to_owned(), stream),
            (_, Ok(stream)) => ("udp".to_owned(), stream),
            _ => continue,
        };
        let seen = flows.entry(key).or_default();
        seen.bytes += bytes.unwrap_or_default();
        let name = [columns[4], columns[5]].into_iter().find(|name| !name.is_empty());
        if seen.name.is_none() {
            seen.name = name.map(|name| name.split(',').next().unwrap().to_ascii_lowercase());
        }
    }
    flows
}

/// Captures whose flows carry a name that is not at the start: behind STARTTLS, CONNECT or a PROXY header.
const WRAPPED: [&str; 3] = ["starttls-smtp.pcap", "connect-proxy.pcap", "proxy-header.pcap"];

#[test]
fn t26_names_and_bytes_of_real_captures_are_those_of_tshark() {
    let mut compared = 0;
    for entry in std::fs::read_dir(captures()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let capture = path.extension().is_some_and(|kind| kind == "pcap" || kind == "pcapng");
        // tshark joins no fragments here, so that each counts; those of one datagram are compared below.
        if !capture || file.starts_with("fragments") {
            continue;
        }
        let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{file}");
        let ours = lines(&output);
        let theirs = tshark(&path);
        assert_eq!(ours.len(), theirs.len(), "{file}");
        for protocol in ["tcp", "udp"] {
            let ours = ours.iter().filter(|line| line["protocol"] == protocol);
            let theirs = theirs.iter().filter(|((kind, _), _)| kind == protocol);
            for (line, ((_, stream), seen)) in ours.zip(theirs) {
                let bytes = line["up_bytes"].as_u64().unwrap() + line["down_bytes"].as_u64().unwrap();
                assert_eq!(bytes, seen.bytes, "{file} {protocol} {stream}");
                let name = line["name"].as_str().map(str::to_owned);
                if WRAPPED.contains(&file.as_str()) && name.is_none() {
                    assert_eq!(line["reason"], "not_recognised", "{file} {stream}");
                } else {
                    assert_eq!(name, seen.name, "{file} {protocol} {stream}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "{compared} flows");
}

#[test]
fn real_fragments_count_whole() {
    let output = classify(&["--format", "jsonl"], &[&captures().join("fragments-udp.pcap")]);
    let bytes: Vec<_> = lines(&output).iter().map(|line| line["up_bytes"].as_u64().unwrap()).collect();
    // 5,000 bytes in four packets and 10 in one: headers of IPv4 are 20, of IPv6 40 and 8 for the fragment.
    assert_eq!(bytes, [5_008 + 4 * 20 + 18 + 20, 5_008 + 4 * 48 + 18 + 40]);
}

#[test]
fn t4_a_post_quantum_hello_of_a_browser_is_read() {
    let path = captures().join("chromium.pcap");
    let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
    let lines = lines(&output);
    assert!(!lines.is_empty());
    for line in &lines {
        assert_eq!(line["seen_in"], "tls_sni", "{line}");
    }
    assert!(lines.iter().any(|line| line["name"] == "www.listed.example" && line["class"] == "exempt"));
    assert!(
        std::fs::read(path).unwrap().windows(2).any(|bytes| bytes == [0x11, 0xec]),
        "X25519MLKEM768 is offered"
    );
}

#[test]
fn starttls_connect_and_proxy_header_have_no_name() {
    for file in WRAPPED {
        let output = classify(&["--names-only", "--format", "jsonl"], &[&captures().join(file)]);
        let first = &lines(&output)[0];
        assert_eq!(
            (&first["name"], &first["class"]),
            (&serde_json::Value::Null, &"charged".into()),
            "{file}"
        );
        assert_eq!(first["reason"], "not_recognised", "{file}");
    }
}

#[test]
fn t5_q6_t12_http3_of_a_browser_and_of_ngtcp2_is_named() {
    for (file, flows, name, class) in [
        ("chromium-http3.pcap", 2, "www.listed.example", "exempt"),
        ("chromium-http3-hello-retry.pcap", 1, "www.listed.example", "charged"),
        ("chromium-http3-retry.pcap", 1, "www.listed.example", "charged"),
        ("ngtcp2.pcap", 3, "localhost", "charged"),
    ] {
        let output = classify(&["--names-only", "--format", "jsonl"], &[&captures().join(file)]);
        let lines = lines(&output);
        assert_eq!(lines.len(), flows, "{file}");
        for line in lines {
            assert_eq!((&line["seen_in"], &line["name"]), (&"quic_sni".into(), &name.into()), "{file}");
            assert_eq!(line["class"], class, "{file}");
        }
    }
}

/// aioquic speaks version 2: from the first packet, as what a server makes of version 1 (RFC 9368), after a Retry, with a
/// hello over two datagrams, resumed with early data, and refused by a server that has version 1 alone.
#[test]
fn q2_q3_q4_q6_q11_version_2_of_aioquic_is_named_however_it_came_to_be() {
    let path = captures().join("aioquic-v2.pcap");
    let output = classify(&["--names-only", "--format", "jsonl"], &[&path]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let lines = lines(&output);
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let why = line["basis"].as_str().or(line["reason"].as_str()).unwrap();
            let port = line["client"].as_str().unwrap().rsplit(':').next().unwrap();
            (port, line["name"].as_str(), line["class"].as_str().unwrap(), why)
        })
        .collect();
    let exempt = |port, name| (port, Some(name), "exempt", "name_and_address");
    let wanted = [
        exempt("40001", "first.listed.example"),
        exempt("40002", "up.listed.example"),
        exempt("40003", "down.listed.example"),
        exempt("40004", "retry.listed.example"),
        exempt("40005", "up-retry.listed.example"),
        exempt("40006", "large.listed.example"),
        exempt("40007", "many.listed.example"),
        exempt("40008", "large-retry.listed.example"),
        exempt("40009", "ticket.listed.example"),
        exempt("40010", "ticket.listed.example"),
        exempt("40011", "refused.listed.example"),
        ("40012", Some("unlisted.example"), "charged", "not_listed"),
        ("40013", None, "charged", "no_name"),
    ];
    assert_eq!(told, wanted);
    // The capture holds what it is for: Initials, a Retry and early data of version 2 (RFC 9369 §3.2), and a negotiation.
    let bytes = std::fs::read(path).unwrap();
    let count = |kind: u8, version: u32| {
        let of = |packet: &&[u8]| packet[0] & 0xb0 == kind && packet[1..] == version.to_be_bytes();
        bytes.windows(5).filter(of).count()
    };
    const V2: u32 = 0x6b33_43cf;
    assert!(count(0x90, V2) > 20 && count(0x80, V2) >= 2 && count(0xa0, V2) == 1);
    let is_negotiation = |packet: &[u8]| packet[0] & 0x80 != 0 && packet[1..] == [0, 0, 0, 0, 8];
    assert!(bytes.windows(6).any(is_negotiation));
}

#[test]
fn t17_t18_t20_the_answers_of_unbound_to_real_clients_vouch_for_what_they_gave() {
    let path = captures().join("dns-unbound.pcap");
    let wanted = [
        ("www.listed.example", "name_and_address"),
        ("chain.listed.example", "name_and_address"),
        ("www.listed.example", "name_and_address"),
        ("tcp.listed.example", "name_and_address"),
        ("hint.listed.example", "name_and_address"),
        ("www.listed.example", "address_mismatch"),
        ("other.example", "not_listed"),
        ("unasked.listed.example", "address_mismatch"),
    ];
    let verdicts = |resolver: &str| -> Vec<(String, String)> {
        let output = classify(&["--format", "jsonl", "--resolver", resolver], &[&path]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
        let lines = lines(&output);
        let named = lines.iter().filter(|line| line["seen_in"] == "tls_sni");
        named
            .map(|line| {
                let why = line["basis"].as_str().or(line["reason"].as_str()).unwrap();
                (line["name"].as_str().unwrap().to_owned(), why.to_owned())
            })
            .collect()
    };
    let found = verdicts("192.0.2.53");
    assert_eq!(found, wanted.map(|(name, why)| (name.to_owned(), why.to_owned())));
    // Another resolver: the same flows, and nobody vouches for their names.
    assert!(verdicts("192.0.2.54").iter().all(|(_, why)| why != "name_and_address"));
}
