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
use config::{Config, Interception};
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
        ("interception = \"nfqueue\"", "wanted one of \"tproxy\", \"redirect\""),
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
