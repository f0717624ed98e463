//! How much a configuration may hold: its text, listeners, peers, resolvers, addresses of the DNS plane.

use super::{FULL, MINIMAL, problems};

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
