//! A steered name with dead addresses: the living one is found, and found again at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use support::client::{finish, read_exactly};
use support::edge::{LISTED, foreign, origin};
use support::hellos::Hello;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::origin::{self as origins, Origin};
use support::{PATIENCE, Setup, eventually};

/// Addresses that swallow what comes: more than were ever tried one after the other.
const DEAD: u8 = 5;

/// An address that swallows what comes.
fn dead(number: u8) -> String {
    format!("11.77.0.{}", 100 + number)
}

/// A visit over a fresh connection; how long it is.
fn visit(link: &Link) -> u64 {
    let to = SocketAddr::new(GATEWAY[0].parse().unwrap(), 443);
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    link.at_subscriber(|| {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut stream, hello.len()), hello);
        assert_eq!(finish(stream), b"");
    });
    hello.len() as u64
}

/// Packets that were swallowed.
fn swallowed(link: &Link) -> u64 {
    let text = link.internet_runs("nft -j list counters");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let counters = json["nftables"].as_array().unwrap();
    counters.iter().find_map(|one| one["counter"]["packets"].as_u64()).unwrap()
}

#[test]
fn f32_dead_addresses_of_both_versions_cost_fractions_of_a_second_and_are_remembered() {
    let Some(link) = Link::with_internet() else { return };
    for number in 0..DEAD {
        link.internet_runs(&format!("ip address add {}/24 dev out", dead(number)));
    }
    let swallow = [
        "nft add table inet loss".to_owned(),
        "nft add counter inet loss swallowed".to_owned(),
        "nft add chain inet loss in { type filter hook prerouting priority -200; policy accept; }".to_owned(),
        format!(
            "nft add rule inet loss in ip daddr {}-{} counter name swallowed drop",
            dead(0),
            dead(DEAD - 1)
        ),
        format!("nft add rule inet loss in ip6 daddr {} counter name swallowed drop", foreign(1, 443).ip()),
    ];
    swallow.iter().for_each(|command| drop(link.internet_runs(command)));
    let _origin = link.in_internet(|| Origin::at(origin(0, 443), origins::echo));
    let mut addresses: Vec<String> = (0..DEAD).map(|number| format!("\"{}\"", dead(number))).collect();
    addresses.push(format!("\"{}\"", foreign(1, 443).ip()));
    addresses.push(format!("\"{}\"", origin(0, 443).ip()));
    let setup = Setup::new()
        .listener(&format!(
            "mode = \"steered\"\naddress = \"{}:443\"\nclients = [\"10.77.0.0/24\"]\n",
            GATEWAY[0]
        ))
        .set("node", "workers = 1")
        .set("upstream", "resolvers = [\"127.0.0.9:53\"]")
        .set("export", "byte_basis = \"payload\"")
        .raw(&format!(
            "[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [{}]\n",
            addresses.join(", ")
        ));
    setup.write(
        "subscribers.csv",
        format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n", SUBSCRIBER[0]),
    );
    let gateway = link.at_gateway(|| setup.start());
    let mut carried = visit(&link);
    assert!(swallowed(&link) > 0, "it was a race");
    // What said nothing is tried behind the others from here on.
    let at_once = eventually(|| {
        let before = swallowed(&link);
        carried += visit(&link);
        swallowed(&link) == before
    });
    assert!(at_once, "a dead one is tried first each time");
    let usage = link.at_gateway(|| gateway.stop_and_count());
    assert_eq!(usage.exempt("s1"), (carried, carried));
}
