//! A correction that billing asks a running gateway for (`billing-export adjust`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use support::client::connect_proxied;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;
use support::{sibling, verify};

const LISTED: &str = "www.listed.example";

/// Exit code, standard output and standard error of `billing-export adjust` for a state.
fn adjust(state: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(sibling("billing-export"))
        .args(["adjust", "--epoch", "1", "--note", "a test", "--state"])
        .arg(state)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A visit of subscriber `sN` to the listed name.
fn visit(mut stream: impl Read + Write) {
    let said = [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat();
    stream.write_all(&said).unwrap();
    let mut echoed = vec![0; said.len()];
    stream.read_exact(&mut echoed).unwrap();
}

#[test]
fn b30_a_running_gateway_makes_the_corrections_it_is_asked_for_and_goes_on() {
    let world = World::new(Origin::echo());
    visit(world.proxied(2));
    world.gateway.await_flows_closed();
    let setup = world.gateway.stop();
    let rows = setup.usage().rows;
    let [row] = &rows[..] else { panic!("one record: {rows:?}") };
    let (up, down) = (row["up_bytes"].clone(), row["down_bytes"].clone());
    let gateway = setup.start();
    let state = gateway.setup().path("state");
    let (code, said, error) = adjust(&state, &["--seq", &row["record_seq"], "--up", "-1", "--down", "2"]);
    assert_eq!((code, error.as_str()), (0, ""));
    let made: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (made["node_id"].as_str(), made["ref_seq"].as_str()),
        (Some("test-node"), Some(&*row["record_seq"]))
    );
    let (code, said, error) = adjust(&state, &["--seq", "77", "--void"]);
    assert!(code == 1 && said.is_empty() && error.contains("no usage or adjust record"), "{error}");
    let (code, said, _) = adjust(&state, &["--seq", made["record_seq"].as_str().unwrap(), "--void"]);
    assert!(code == 0 && said.contains("\"up_bytes\":\"1\",\"down_bytes\":\"-2\""), "{said}");
    visit(connect_proxied(2, gateway.listener(1), SocketAddr::new(world.origin.address.ip(), 443)));
    gateway.await_flows_closed();
    let setup = gateway.stop();
    let usage = setup.usage();
    assert!(usage.conserved);
    let kinds: Vec<_> = usage.rows.iter().map(|row| row["kind"].as_str()).collect();
    assert_eq!(kinds, ["usage", "adjust", "adjust", "usage"]);
    assert_eq!(usage.of("s2"), (2 * up.parse::<u64>().unwrap(), 2 * down.parse::<u64>().unwrap()));
    let (is_sound, said) = verify(&setup.path("usage"));
    assert!(is_sound, "{said}");
    assert!(!setup.log().contains("a test"), "the note stays in the ledger");
}
