//! `[[listener]]`: which keys go with which mode, and who may come in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use config::dns::{Clients, PRIVATE_CLIENTS};
use config::{ByteBasis, Config, Interception, LocalSocket};
use std::path::Path;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");

/// All problems of a text, as displayed.
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("/base")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
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
fn a_transparent_listener_takes_what_the_kernel_tells_and_no_more() {
    let listener =
        |keys: &str| format!("[[listener]]\nmode = \"transparent\"\naddress = \"127.0.0.1:9\"\n{keys}\n");
    let of = |keys: &str| good(&listener(keys)).listeners.remove(1).interception;
    assert_eq!(of(""), Interception::Tproxy);
    assert_eq!(of("interception = \"redirect\"\nprotocols = [\"tcp\"]"), Interception::Redirect);
    for (keys, wanted) in [
        ("service_port = 443", "found a service port beside mode \"transparent\""),
        ("peers = [\"127.0.0.0/8\"]", "found peers beside mode \"transparent\""),
        ("datagram_headers = \"each\"", "found datagram headers beside mode \"transparent\""),
        ("interception = \"redirect\"", "found \"redirect\" on a listener that serves UDP"),
        ("interception = \"nfqueue\"", "wanted one of \"tproxy\", \"redirect\", \"kernel\""),
    ] {
        let found = problem_of(&listener(keys));
        assert!(found.contains(wanted), "{keys}: {found}");
    }
    let found = problem_of(
        "[[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:9\"\ninterception = \"tproxy\"\n",
    );
    assert!(found.contains("found an interception beside mode \"proxy_protocol\""), "{found}");
}

#[test]
fn a_listener_whose_packets_stay_in_the_kernel_needs_interfaces_and_no_address() {
    let kernel = "[[listener]]\nmode = \"transparent\"\ninterception = \"kernel\"\n";
    let edge = "[edge]\ninterfaces = [\"eth1\"]\n";
    // In the place of the one behind a balancer, beside which payload is counted.
    let alone = |more: &str| {
        let text = MINIMAL.replace("mode = \"proxy_protocol\"", "mode = \"steered\"");
        let text: String = text
            .lines()
            .filter(|line| !line.starts_with("peers"))
            .fold(String::new(), |text, line| text + line + "\n");
        Config::parse(&format!("{text}\n{more}"), Path::new("/base"))
    };
    let config = alone(&format!("{kernel}{edge}")).unwrap();
    assert!(config.kernel_path().is_some() && !config.listeners[1].listens());
    assert!(good("").kernel_path().is_none());
    let addressed = kernel.replace("kernel\"\n", "kernel\"\naddress = \"0.0.0.0:443\"\n");
    assert!(alone(&format!("{addressed}{edge}")).unwrap().kernel_path().is_some(), "an address is no slip");
    let tproxy = "[[listener]]\nmode = \"transparent\"\naddress = \"[::]:9\"\n";
    for (text, wanted) in [
        (kernel.to_owned(), "found \"kernel\" without edge.interfaces"),
        (format!("{kernel}{tproxy}{edge}"), "found \"kernel\" beside \"tproxy\" or \"redirect\""),
    ] {
        let found = alone(&text).unwrap_err();
        assert!(found.len() == 1 && found[0].to_string().contains(wanted), "{text}: {found:?}");
    }
    let found = problem_of(&format!("{kernel}{edge}"));
    assert!(found.contains("found \"kernel\" beside export.byte_basis = \"payload\""), "{found}");
}

#[test]
fn f15_a_steered_listener_says_who_is_served_and_no_other_does() {
    let listener = |mode: &str, keys: &str| {
        format!("[[listener]]\nmode = \"{mode}\"\naddress = \"127.0.0.1:9\"\n{keys}\n")
    };
    let of = |keys: &str| good(&listener("steered", keys)).listeners.remove(1).clients;
    assert_eq!(of(""), [Clients::Subscribers, Clients::Private]);
    let stated = of("clients = [\"203.0.113.0/24\", \"subscribers\"]");
    assert_eq!(stated, [Clients::Prefix("203.0.113.0/24".parse().unwrap()), Clients::Subscribers]);
    assert_eq!(Clients::Private.prefixes().len(), PRIVATE_CLIENTS.len());
    let prefixes = |count: usize| {
        let prefixes: Vec<String> =
            (0..count).map(|n| format!("\"11.{}.{}.0/24\"", n / 256, n % 256)).collect();
        listener("steered", &format!("clients = [{}]", prefixes.join(",")))
    };
    assert_eq!(of(prefixes(256).lines().last().unwrap()).len(), 256);
    assert!(problem_of(&prefixes(257)).contains("wanted at most 256"));
    for (mode, keys, wanted) in [
        ("steered", "clients = []", "found nobody"),
        ("steered", "clients = [\"all\"]", "listener[1].clients[0]: found \"all\""),
        ("steered", "clients = [\"private\", \"private\"]", "found the same again"),
        ("proxy_protocol", "clients = [\"private\"]", "found clients beside mode \"proxy_protocol\""),
        ("transparent", "clients = [\"private\"]", "found clients beside mode \"transparent\""),
    ] {
        let found = problem_of(&listener(mode, keys));
        assert!(found.contains(wanted), "{keys}: {found}");
    }
}

#[test]
fn f16_a_listener_at_a_socket_takes_streams_of_a_balancer_and_no_more() {
    let socket = |keys: &str| format!("[[listener]]\nmode = \"proxy_protocol\"\n{keys}\n");
    let of = |keys: &str| good(&socket(keys)).sockets.remove(0);
    let place = |keys: &str| of(keys).place;
    assert_eq!(place("socket = \"p.sock\""), LocalSocket { path: "/base/p.sock".into(), group: None });
    let grouped = place("socket = \"/run/p.sock\"\ngroup = \"haproxy\"\nprotocols = [\"tcp\"]");
    assert_eq!(grouped, LocalSocket { path: "/run/p.sock".into(), group: Some("haproxy".to_owned()) });
    assert_eq!(good(&socket("socket = \"p.sock\"")).listeners.len(), 1, "that of the example alone");
    // No address is needed, and the byte basis is that behind a balancer.
    let alone = MINIMAL.replace("address = \"127.0.0.1:8443\"", "socket = \"p.sock\"");
    let alone = alone.lines().filter(|line| !line.starts_with("peers")).collect::<Vec<_>>().join("\n");
    let config = Config::parse(&alone, Path::new("/base")).unwrap();
    assert_eq!((config.listeners.len(), config.export.byte_basis), (0, ByteBasis::Payload));
    let ip = alone.replace("[export]", "[export]\nbyte_basis = \"ip\"");
    assert!(problems(&ip)[0].contains("found \"ip\" beside a listener with a socket"), "{ip}");
    let path = |bytes: usize| format!("socket = \"/{}\"", "x".repeat(bytes - 1));
    assert_eq!(place(&path(102)).path.as_os_str().len(), 102);
    for (keys, wanted) in [
        (path(103), "wanted at most 102 bytes"),
        ("socket = \"\"".to_owned(), "found an empty path"),
        ("socket = \"p\"\naddress = \"127.0.0.1:9\"".to_owned(), "found address beside a socket"),
        ("socket = \"p\"\npeers = [\"127.0.0.0/8\"]".to_owned(), "found peers beside a socket"),
        ("socket = \"p\"\nprotocols = [\"tcp\", \"udp\"]".to_owned(), "found datagrams at a socket"),
        ("socket = \"p\"\ngroup = \"a b\"".to_owned(), "wanted the name or number of a group"),
        ("address = \"127.0.0.1:9\"\ngroup = \"haproxy\"".to_owned(), "found a group and no socket"),
    ] {
        let found = problem_of(&socket(&keys));
        assert!(found.contains(wanted), "{keys}: {found}");
    }
    let found = problem_of("[[listener]]\nmode = \"steered\"\nsocket = \"p\"\n");
    assert!(found.contains("found mode \"steered\" beside a socket"), "{found}");
    let twice = problem_of(&socket("socket = \"p\"").repeat(2));
    assert!(twice.contains("/base/p, which listener[1].socket already has"), "{twice}");
    let found = problem_of("[dns]\nlisten = [\"192.0.2.1:53\"]\ndnstap_group = \"unbound\"\n");
    assert!(found.contains("found a group and no dnstap_socket"), "{found}");
}

#[test]
fn f16_peers_that_nobody_has_stated_are_worth_a_note() {
    let notes = |keys: &str| {
        good(&format!(
            "[[listener]]\nmode = \"proxy_protocol\"\nsocket = \"p\"\n\
             [[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:9\"\n{keys}\n"
        ))
        .local_peers()
    };
    assert_eq!(notes("peers = [\"127.0.0.0/8\"]"), [""; 0]);
    assert!(matches!(notes("").as_slice(), [note] if note.starts_with("listener[2].peers: not stated")));
}

#[test]
fn a_tlv_names_subscribers_behind_a_proxy_header_only() {
    let listener = |mode: &str, keys: &str| {
        format!("[[listener]]\nmode = \"{mode}\"\naddress = \"127.0.0.1:9\"\n{keys}\n")
    };
    let of = |keys: &str| good(&listener("proxy_protocol", keys)).listeners.remove(1).subscriber_tlv;
    assert_eq!(
        (of(""), of("subscriber_tlv = 0xE0"), of("subscriber_tlv = 239")),
        (None, Some(0xe0), Some(0xef))
    );
    let socket = "[[listener]]\nmode = \"proxy_protocol\"\nsocket = \"p.sock\"\nsubscriber_tlv = 0xE1\n";
    assert_eq!(good(socket).sockets.remove(0).subscriber_tlv, Some(0xe1));
    for (mode, keys, wanted) in [
        ("proxy_protocol", "subscriber_tlv = 0xDF", "listener[1].subscriber_tlv: found 0xDF"),
        ("proxy_protocol", "subscriber_tlv = 0xF0", "found 0xF0"),
        ("proxy_protocol", "subscriber_tlv = \"0xE0\"", "found \"0xE0\""),
        ("steered", "subscriber_tlv = 0xE0", "found a TLV beside mode \"steered\""),
        ("transparent", "subscriber_tlv = 0xE0", "found a TLV beside mode \"transparent\""),
    ] {
        let found = problem_of(&listener(mode, keys));
        assert!(found.contains(wanted), "{keys}: {found}");
    }
}

#[test]
fn a_subscriber_who_may_write_a_header_himself_is_worth_a_note_where_it_names_subscribers() {
    let notes = |keys: &str| {
        let text = format!("[[listener]]\nmode = \"proxy_protocol\"\naddress = \"127.0.0.1:9\"\n{keys}\n");
        good(&text).notes.into_iter().filter(|note| note.contains("subscriber_tlv")).count()
    };
    assert_eq!(notes("subscriber_tlv = 0xE0"), 1);
    assert_eq!(notes("subscriber_tlv = 0xE0\ndatagram_headers = \"each\""), 0);
    assert_eq!(notes("subscriber_tlv = 0xE0\nprotocols = [\"tcp\"]"), 0);
    assert_eq!(notes("datagram_headers = \"any\""), 0);
}
