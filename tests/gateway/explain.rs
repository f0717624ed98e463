//! `gateway explain`: what a node of a configuration would say at this moment, and what cannot be known without asking it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use serde_json::Value;
use support::origin::Origin;
use support::unbound::LISTED;
use support::world::World;
use support::{LIST, Setup};

/// A time at which the list of the tests is in force, and no other.
const IN_2021: &str = "2021-01-01T00:00:00Z";
/// The list's end, long past.
const ENDED: &str = "expires = 2022-07-06T00:00:00+06:00";

/// A folder with this list and a configuration.
fn setup(list: &str, change: impl FnOnce(Setup) -> Setup) -> Setup {
    let setup = change(Setup::new().proxied());
    setup.write("list.toml", list);
    setup.write_configuration();
    setup
}

/// Exit code and standard output of `gateway explain` for the listed name.
fn explain(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let output = setup.command(&[&["explain", LISTED], arguments].concat());
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The same as JSON: its keys and values.
fn in_json(setup: &Setup, arguments: &[&str]) -> Value {
    let (_, text) = explain(setup, &[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// By configuration.
const CONFIG: [&str; 2] = ["--config", "gateway.toml"];

#[test]
fn f20_dates_are_compared_with_the_present_where_a_configuration_is_asked_about() {
    let expired = LIST.replace("expires = 2099-07-06T00:00:00+06:00", ENDED);
    let setup = setup(&expired, |setup| setup);
    let (code, said) = explain(&setup, &CONFIG);
    assert!(code == 1 && said.contains("charged (list_expired)"), "{said}");
    let (code, said) = explain(&setup, &[&CONFIG[..], &["--at", IN_2021]].concat());
    assert!(code == 0 && said.contains("exempt"), "{said}");
    // A list by itself counts as in force.
    let (code, said) = explain(&setup, &["--list", "list.toml"]);
    assert!(code == 0 && said.contains("exempt"), "{said}");
    let (code, said) = explain(&setup, &["--list", "list.toml", "--at", "2023-01-01T00:00:00Z"]);
    assert!(code == 1 && said.contains("list_expired"), "{said}");
}

#[test]
fn f20_while_an_edition_is_still_to_come_the_one_in_force_answers() {
    let World { gateway, .. } = World::new(Origin::echo());
    let setup = gateway.stop();
    let next = LIST
        .replace("serial = 3", "serial = 4")
        .replace("effective_from = 2020", "effective_from = 2090")
        .replace("host = \"listed.example\"", "host = \"elsewhere.example\"");
    setup.write("list.toml", next);
    let (code, said) = explain(&setup, &CONFIG);
    assert!(code == 0 && said.contains("serial 3"), "{said}");
    let (code, said) = explain(&setup, &[&CONFIG[..], &["--at", "2091-01-01T00:00:00Z"]].concat());
    assert!(code == 1 && said.contains("not_listed") && said.contains("serial 4"), "{said}");
}

#[test]
fn f20_what_a_running_node_was_answered_is_said_to_be_unknown() {
    let setup = setup(LIST, |setup| {
        setup
            .raw("[[trusted_answers.static]]\nname = \"www.listed.example\"\naddresses = [\"203.0.113.7\"]\n")
    });
    let at = |address: &'static str| [CONFIG[0], CONFIG[1], "--address", address];
    let (code, said) = explain(&setup, &at("198.51.100.9"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("address_mismatch"), "{said}");
    assert!(said.contains("trusted answers of a running node are not known"), "{said}");
    let answer = in_json(&setup, &at("198.51.100.9"));
    assert_eq!(answer["reason"], "address_mismatch");
    assert_eq!(answer["not_known"], "trusted_answers");
    // What the configuration states, what the list denies and what is asked without an address are known.
    let (code, said) = explain(&setup, &at("203.0.113.7"));
    assert!(code == 0 && !said.contains("not known"), "{said}");
    assert!(in_json(&setup, &at("203.0.113.7")).get("not_known").is_none());
    assert!(in_json(&setup, &CONFIG).get("not_known").is_none());
    let denied = setup.command(&[
        "explain",
        "ads.listed.example",
        "--config",
        "gateway.toml",
        "--address",
        "198.51.100.9",
    ]);
    let denied = String::from_utf8(denied.stdout).unwrap();
    assert!(denied.contains("charged (denied)") && !denied.contains("not known"), "{denied}");
    // The contract's keys stand first and are all there.
    let (_, text) = explain(&setup, &[&at("198.51.100.9")[..], &["--format", "json"]].concat());
    assert!(text.starts_with("{\"file\":null,\"protocol\":\"tcp\",\"client\":null,\"server\":"), "{text}");
    assert!(text.trim_end().ends_with(",\"down_bytes\":null,\"not_known\":\"trusted_answers\"}"), "{text}");
}

#[test]
fn f20_the_operators_own_nat64_is_the_configurations() {
    let setup = setup(LIST, |setup| {
        setup
            .set("trusted_answers", "nat64_prefixes = [\"2001:db8:64::/96\"]")
            .raw("[[trusted_answers.static]]\nname = \"www.listed.example\"\naddresses = [\"203.0.113.7\"]\n")
    });
    for (address, exempt) in
        [("2001:db8:64::203.0.113.7", true), ("64:ff9b::203.0.113.7", false), ("203.0.113.7", true)]
    {
        let (code, said) = explain(&setup, &[CONFIG[0], CONFIG[1], "--address", address]);
        assert_eq!(code == 0, exempt, "{address}: {said}");
    }
}
