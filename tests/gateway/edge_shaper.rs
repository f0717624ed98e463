//! A shaper on the gateway's own interface: what it drops was never carried (decisions 13, 27).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::SocketAddr;

use support::dns::Resolver;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::metered::{Edge, LISTED, fetch};
use support::origin::{self, Origin};
use support::quic_pages::{QuicClient, QuicOrigin};
use support::usage::{Bytes, assert_every_byte};
use support::{PATIENCE, Setup};

/// A queue of 20 packets in front of a way that is slower than the sender.
const SHORT: &str = "tc qdisc replace dev wire root tbf rate 50mbit burst 10kb limit 30kb";
/// One that holds everything.
const LONG: &str = "tc qdisc replace dev wire root tbf rate 50mbit burst 10kb limit 100mb";

/// An origin of pages.
fn pages() -> Origin {
    origin::http(SocketAddr::from(([127, 0, 2, 1], 0)))
}

/// Packets the shaper dropped.
fn dropped(link: &Link) -> u64 {
    let text = link.gateway_runs("tc -s qdisc show dev wire root");
    let (_, after) = text.split_once("(dropped ").unwrap();
    after.split(',').next().unwrap().parse().unwrap()
}

/// Congestion control that does not heed losses, where the kernel has it.
fn press_on(link: &Link) {
    let known = link.gateway_runs("sysctl -n net.ipv4.tcp_available_congestion_control");
    let name = if known.contains("bbr") { "bbr" } else { "cubic" };
    link.gateway_runs(&format!("sysctl -qw net.ipv4.tcp_congestion_control={name}"));
}

/// Never more than passed.
fn assert_not_above(exported: Bytes, counted: Bytes) {
    println!("exported {exported:?}, passed {counted:?}");
    assert!(exported.0 <= counted.0 && exported.1 <= counted.1, "{exported:?} exported, {counted:?} passed");
}

#[test]
fn f61_what_our_own_shaper_drops_of_a_download_is_not_counted() {
    for family in 0..2 {
        let Some(edge) = Edge::new(pages) else { return };
        press_on(&edge.link);
        edge.link.gateway_runs(SHORT);
        fetch(edge.connect(family), LISTED, 20_000_000);
        edge.link.at_gateway(|| edge.gateway.await_metric("zrgw_attention{reason=\"egress_drops\"}", 1));
        edge.link.at_gateway(|| assert!(edge.gateway.metric("zrgw_egress_dropped_packets_total") > 0));
        let lost = dropped(&edge.link);
        assert!(lost > 100, "{lost}");
        let (usage, counted) = edge.compare();
        let exported = usage.exempt("s1");
        println!("{lost} packets dropped");
        assert_not_above(exported, counted);
        assert!(usage.has_lower_bounds());
        // What was acknowledged is proven, and its headers.
        assert!(exported.1 > 20_000_000 + 20_000_000 / 1_448 * 40, "{exported:?}");
        assert!(counted.1 - exported.1 <= counted.1 / 50, "{exported:?} exported, {counted:?} passed");
    }
}

#[test]
fn f61_what_our_own_shaper_drops_of_many_pages_is_not_counted() {
    let Some(edge) = Edge::new(pages) else { return };
    press_on(&edge.link);
    edge.link.gateway_runs(SHORT);
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| fetch(edge.connect(0), LISTED, 5_000));
            }
        });
    }
    assert!(dropped(&edge.link) > 0);
    let (usage, counted) = edge.compare();
    assert_not_above(usage.exempt("s1"), counted);
    assert!(usage.has_lower_bounds());
    assert!(usage.exempt("s1").1 > 200 * 5_000);
}

#[test]
fn f61_behind_a_shaper_that_drops_nothing_every_byte_is_counted() {
    let Some(edge) = Edge::new(pages) else { return };
    press_on(&edge.link);
    edge.link.gateway_runs(LONG);
    for family in 0..2 {
        fetch(edge.connect(family), LISTED, 10_000_000);
    }
    assert_eq!(dropped(&edge.link), 0);
    let (usage, counted) = edge.compare();
    assert_every_byte(usage.exempt("s1"), counted);
    assert!(!usage.has_lower_bounds());
}

#[test]
fn f61_what_our_own_shaper_drops_of_quic_is_not_counted() {
    for (shaper, drops) in [(SHORT, true), (LONG, false)] {
        let Some(link) = Link::new() else { return };
        link.gateway_runs(shaper);
        let address = SocketAddr::new(GATEWAY[0].parse().unwrap(), 8_443);
        let (gateway, _origin, _resolver) = link.at_gateway(|| {
            let origin = QuicOrigin::new();
            let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
            let setup = Setup::new()
                .listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
                .resolver(resolver.address)
                .port_map(&[(443, origin.port())])
                .set("limits", "quic_idle_timeout = \"1 s\"");
            let table = format!("prefix,subscriber_type,subscriber_id\n{},account,s1\n", SUBSCRIBER[0]);
            setup.write("subscribers.csv", table);
            (setup.start(), origin, resolver)
        });
        link.at_subscriber(|| {
            let client = QuicClient::at(SocketAddr::new(SUBSCRIBER[0].parse().unwrap(), 0));
            let connection = client.connect(address, LISTED, PATIENCE).unwrap();
            client.fetch(&connection, 20_000_000);
            client.close(connection);
        });
        link.at_gateway(|| gateway.await_flows_closed());
        let (counted, lost) = (link.counted(), dropped(&link));
        assert_eq!(lost > 0, drops, "{lost}");
        let usage = link.at_gateway(|| gateway.stop_and_count());
        assert!(usage.conserved);
        println!("{lost} packets dropped");
        assert_not_above(usage.exempt("s1"), counted);
        assert_eq!(usage.has_lower_bounds(), drops);
        if !drops {
            assert_eq!(usage.exempt("s1"), counted);
        }
    }
}
