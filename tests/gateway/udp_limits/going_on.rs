//! Open flows of QUIC while the list changes, at the drain, and at a kill.

use rustix::process::Signal;
use support::datagrams::Header;
use support::quic_pages::{QuicClient, QuicOrigin};
use support::udp_world::{LISTED, UdpWorld};
use support::{LIST, PATIENCE, eventually, verify};

use super::whole;

#[test]
fn t32_a_list_that_changes_rates_open_quic_flows_from_then_on() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.proxied(1, Header::Each);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000));
    world.await_judged("quic", "exempt", "", 1);
    let without =
        LIST.replace("listed.example\"\nscope", "other.example\"\nscope").replace("serial = 3", "serial = 4");
    world.gateway.setup().write("list.toml", without);
    world.gateway.reload();
    world.gateway.await_metric("zrgw_list_serial", 4);
    let charged = "zrgw_bytes_total{direction=\"down\",class=\"charged\",service=\"\"}";
    let moved = eventually(|| {
        assert_eq!(client.ask(&connection, 100, 10_000), Ok(10_000));
        world.gateway.metric(charged) > 10_000
    });
    assert!(moved);
    client.close(connection);
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), access.carried());
    assert!(usage.exempt("s1").1 >= 30_000 && usage.charged("s1", "not_listed").1 > 10_000);
}

#[test]
fn a_drain_lets_open_flows_go_on_and_begins_none() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::with(origin.port(), |setup| {
        setup.set("limits", "drain = \"20 s\"").set("limits", "drain_hard = \"20 s\"")
    });
    let access = world.steered(1);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000));
    world.gateway.signal(Signal::TERM);
    world.gateway.await_readiness(|_, body| body.contains("draining"));
    assert_eq!(client.ask(&connection, 100, 30_000), Ok(30_000), "goes on");
    let late = world.steered(2);
    // The order is on its way to the workers when the answer to /readyz tells of it.
    let dropped = eventually(|| {
        late.inject(&whole(LISTED));
        world.gateway.metric("zrgw_datagrams_dropped_total{cause=\"draining\"}") > 0
    });
    assert!(dropped);
    client.close(connection);
    world.await_counted_at_least(&[&access]);
    // Asked again it ends at once.
    world.gateway.signal(Signal::TERM);
    let (status, setup) = world.gateway.wait();
    assert!(status.success());
    let usage = setup.usage();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), access.carried());
}

#[test]
fn b26_after_a_kill_nothing_is_claimed_that_was_not_carried() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.steered(1);
    let client = QuicClient::new();
    let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
    assert_eq!(client.ask(&connection, 100, 200_000), Ok(200_000));
    world.await_counted_at_least(&[&access]);
    assert_eq!(client.ask(&connection, 100, 100_000), Ok(100_000));
    let setup = world.gateway.kill();
    let carried = access.carried();
    let setup = setup.start().stop();
    let usage = setup.usage();
    assert!(usage.conserved);
    let exempt = usage.exempt("s1");
    assert!(exempt.0 <= carried.0 && exempt.1 <= carried.1, "{exempt:?} of {carried:?}");
    let (sound, said) = verify(&setup.path("usage"));
    assert!(sound, "{said}");
}
