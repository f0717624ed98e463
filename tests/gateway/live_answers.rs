//! The running gateway and its trusted answers: rotating sites, a restart, a resolver that is down, scheduled look-ups
//! (traps V4, V5, V6, N12, T21).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use support::client::*;
use support::dns::{Resolver, random};
use support::hellos::Hello;
use support::origin::{Origin, Visit};
use support::world::World;
use support::{Gateway, Setup};

const LISTED: &str = "www.listed.example";

/// Swallows what comes and answers at the client's FIN.
fn serve(mut visit: Visit) {
    visit.read_to_end();
    visit.stream.write_all(b"served").unwrap();
}

/// One flow of a subscriber with the listed name to an address.
fn visit(gateway: &Gateway, number: u8, address: Ipv4Addr) {
    let mut client = connect_proxied(number, gateway.listener(0), SocketAddr::from((address, 443)));
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"served");
}

#[test]
fn v4_a_subscriber_with_a_resolver_of_his_own_meets_a_rotating_site() {
    const ADDRESSES: u8 = 50;
    const PER_ANSWER: usize = 8;
    const FLOWS: usize = 240;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed_u64);
    println!("SEED={seed}");
    let addresses: Vec<Ipv4Addr> = (1..=ADDRESSES).map(|last| Ipv4Addr::new(127, 30, 0, last)).collect();
    let first = Origin::at(SocketAddr::from((addresses[0], 0)), serve);
    let port = first.address.port();
    let origins: Vec<Origin> =
        addresses[1..].iter().map(|address| Origin::at(SocketAddr::from((*address, port)), serve)).collect();
    let resolvers: Vec<Resolver> = (1..=2)
        .map(|number| {
            let resolver = Resolver::new(&[]);
            addresses.iter().for_each(|address| resolver.add(LISTED, address.octets()));
            resolver.rotate(PER_ANSWER, seed.wrapping_add(number));
            resolver
        })
        .collect();
    let both: Vec<String> = resolvers.iter().map(|resolver| format!("\"{}\"", resolver.address)).collect();
    let gateway = Setup::new()
        .proxied()
        .set("upstream", &format!("resolvers = [{}]", both.join(", ")))
        .port_map(&[(443, port)])
        .start();
    let mut state = seed;
    for flow in 0..FLOWS {
        // His resolver is another: any of the site's addresses, none of which the gateway saw answered.
        let address = addresses[random(&mut state) % addresses.len()];
        visit(&gateway, if flow < 40 { 1 } else { 2 }, address);
    }
    assert_eq!(origins.len() + 1, addresses.len());
    let usage = gateway.stop_and_count();
    let (exempt, all) = (usage.exempt("s2").0, usage.of("s2").0);
    println!("from the 40th flow on {exempt} of {all} bytes are exempt, before it {:?}", usage.exempt("s1"));
    assert_eq!(all, (FLOWS - 40) as u64 * Hello::named(LISTED).wire().len() as u64);
    assert!(exempt * 100 >= all * 99, "{exempt} of {all}");
}

#[test]
fn v6_with_the_resolver_down_known_addresses_stay_exempt_and_unknown_ones_are_charged() {
    let world = World::with(Origin::new(serve), |setup| {
        setup.set("lookup", "try_timeout = \"100 ms\"").set("lookup", "total_timeout = \"300 ms\"")
    });
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    assert_eq!(world.gateway.metric("zrgw_lookups_failing"), 0);
    world.resolver.set_silent(true);
    let mut client = world.proxied(2);
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let unknown = Hello::named("video.listed.example").wire();
    let mut client = world.proxied(3);
    client.write_all(&unknown).unwrap();
    assert_eq!(finish(client), b"served", "carried all the same");
    world.gateway.await_metric("zrgw_lookups_failing", 1);
    let usage = world.gateway.stop_and_count();
    let size = hello.len() as u64;
    assert_eq!(usage.exempt("s1"), (size, 6));
    assert_eq!(usage.exempt("s2"), (size, 6));
    assert_eq!(usage.charged("s3", "address_mismatch"), (unknown.len() as u64, 6));
}

#[test]
fn n12_a_restart_knows_the_addresses_of_the_last_run() {
    let world = World::new(Origin::new(serve));
    let Ok(address) = world.origin.address.ip().to_string().parse::<Ipv4Addr>() else { panic!() };
    let mut client = world.proxied(1);
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"served");
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let (origin, resolver) = (world.origin, world.resolver);
    let setup = world.gateway.stop();
    let snapshot = fs::read(setup.path("state/answers.snapshot")).unwrap();
    assert!(snapshot.windows(LISTED.len()).any(|window| window == LISTED.as_bytes()));
    assert!(!setup.path("state/answers.snapshot.part").exists());
    resolver.set_silent(true);
    let gateway = setup.start();
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 1);
    let mut client = connect_proxied(2, gateway.listener(1), SocketAddr::from((address, 443)));
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"served");
    let setup = gateway.stop();
    assert_eq!(setup.usage().exempt("s2").0, Hello::named(LISTED).wire().len() as u64);
    // A damaged one is told and costs nothing but look-ups.
    let mut damaged = fs::read(setup.path("state/answers.snapshot")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(setup.path("state/answers.snapshot"), damaged).unwrap();
    let gateway = setup.start();
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    assert!(gateway.log().contains("answers.snapshot: not taken up: the checksum does not fit"));
    drop(origin);
}

#[test]
fn n12_a_snapshot_is_written_while_the_node_runs() {
    let world =
        World::with(Origin::new(serve), |setup| setup.set("trusted_answers", "snapshot_interval = \"1 s\""));
    let mut client = world.proxied(1);
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"served");
    let path = world.gateway.setup().path("state/answers.snapshot");
    let holds =
        || fs::read(&path).is_ok_and(|bytes| bytes.windows(LISTED.len()).any(|w| w == LISTED.as_bytes()));
    assert!(support::eventually(holds), "{}", world.gateway.log());
}

#[test]
fn listed_hosts_are_looked_up_before_anybody_comes() {
    let origin = Origin::new(serve);
    let resolver = Resolver::new(&[("listed.example", origin.octets())]);
    let gateway = Setup::new()
        .proxied()
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())])
        .set("lookup", "scheduled_per_second_max = 10")
        .start();
    gateway.await_metric("zrgw_trusted_answers", 1);
    assert_eq!(resolver.asked("listed.example"), 1);
    resolver.set_silent(true);
    let Ok(address) = origin.address.ip().to_string().parse::<Ipv4Addr>() else { panic!() };
    let hello = Hello::named("listed.example").wire();
    let mut client = connect_proxied(1, gateway.listener(0), SocketAddr::from((address, 443)));
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    assert_eq!(gateway.stop_and_count().exempt("s1"), (hello.len() as u64, 6));
}

#[test]
fn v5_one_subscriber_cannot_use_up_the_look_ups_of_all() {
    let world = World::with(Origin::new(serve), |setup| setup.set("lookup", "per_subscriber_minute_max = 3"));
    // Names under a listed subtree, invented one by one.
    for number in 0..9 {
        let mut client = world.proxied(1);
        client.write_all(&Hello::named(&format!("n{number}.listed.example")).wire()).unwrap();
        assert_eq!(finish(client), b"served");
    }
    let mut client = world.proxied(2);
    let hello = Hello::named(LISTED).wire();
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    assert!(support::eventually(|| world.gateway.metric("zrgw_lookups_total{outcome=\"refused\"}") == 6));
    let invented = world.resolver.names().iter().filter(|name| name.starts_with('n')).count();
    assert_eq!(invented, 3);
    assert_eq!(world.gateway.stop_and_count().exempt("s2"), (hello.len() as u64, 6));
}
