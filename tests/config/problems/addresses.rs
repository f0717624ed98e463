//! What listeners, resolvers, the admin server and static answers may say of transports and addresses.

use config::{ByteBasis, Config, DatagramHeaders, Protocol};
use std::path::Path;

use super::{MINIMAL, good, problem_of, problems};

/// The minimal example with its listener in another mode, which has no peers.
fn with_mode(mode: &str) -> String {
    let text = MINIMAL.replace("\"proxy_protocol\"", &format!("\"{mode}\""));
    text.lines().filter(|line| !line.starts_with("peers")).map(|line| format!("{line}\n")).collect()
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
