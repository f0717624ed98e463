//! Room for flows: above the limits datagrams wait or are charged, idle flows end, and descriptors come back.

use std::process::Command;
use std::time::Duration;

use support::client::subscriber;
use support::datagrams::Header;
use support::udp_world::{LISTED, UdpWorld};
use support::{eventually, has};

use super::{silent_server, soon, whole};

#[test]
fn above_flows_max_datagrams_wait_for_room_and_then_go_on() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        let setup = setup.set("limits", "flows_max = 2").set("node", "workers = 1");
        setup.set("limits", "quic_idle_timeout = \"2 s\"")
    });
    let accesses: Vec<_> = (1..=3).map(|number| world.steered(number)).collect();
    for access in &accesses[..2] {
        access.inject(&whole(LISTED));
        let (datagram, from) = soon(&server).unwrap();
        assert_eq!(datagram, whole(LISTED));
        // What nobody answers would give way.
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    accesses[2].inject(&whole(LISTED));
    assert_eq!(soon(&server), None);
    // The two fall silent and are ended; the third repeats itself, as clients do.
    let came = eventually(|| {
        accesses[2].inject(&whole(LISTED));
        soon(&server).is_some()
    });
    assert!(came);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.total().0, accesses.iter().map(|access| access.carried().0).sum::<u64>());
}

#[test]
fn f33_both_transports_count_and_what_is_over_the_limit_is_carried_and_charged() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "flows_per_subscriber_max = 3"));
    let _stream = support::client::connect_from(subscriber(1), world.gateway.listener(0));
    world.gateway.await_metric("zrgw_flows_open", 1);
    let (one, two) = (world.steered(1), world.proxied(1, Header::Each));
    for access in [&one, &two] {
        access.inject(&whole(LISTED));
        let (_, from) = soon(&server).unwrap();
        // Those that nobody has answered count apart.
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    let over = [world.steered(1), world.proxied(1, Header::Each)];
    for access in &over {
        access.inject(&whole(LISTED));
        let (datagram, from) = soon(&server).unwrap();
        assert_eq!(datagram, whole(LISTED));
        server.send_to(b"answer", from).unwrap();
        assert!(eventually(|| access.carried().1 == 6));
    }
    world.gateway.await_metric("zrgw_flows_over_limit_total", 2);
    let other = world.steered(2);
    other.inject(&whole(LISTED));
    assert!(soon(&server).is_some());
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), other.carried(), "nobody answered");
    assert_eq!(usage.exempt("s1"), (one.carried().0 + two.carried().0, 12));
    assert_eq!(usage.charged("s1", "overload"), (over[0].carried().0 + over[1].carried().0, 12));
}

#[test]
fn idle_flows_end_by_their_protocol_and_busy_ones_do_not() {
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| {
        setup.set("limits", "quic_idle_timeout = \"3 s\"").set("limits", "udp_idle_timeout = \"1 s\"")
    });
    let accesses: Vec<_> = (1..=3).map(|number| world.proxied(number, Header::Each)).collect();
    accesses[0].inject(&whole(LISTED));
    let (_, quic) = soon(&server).unwrap();
    accesses[1].inject(b"\x17idle");
    accesses[2].inject(b"\x17busy");
    world.gateway.await_metric("zrgw_flows_open", 3);
    let ended = |open| {
        eventually(|| {
            accesses[2].inject(b"\x17busy");
            std::thread::sleep(Duration::from_millis(50));
            world.gateway.metric("zrgw_flows_open") == open
        })
    };
    assert!(ended(2));
    server.send_to(b"quic is still there", quic).unwrap();
    assert!(eventually(|| accesses[0].carried().1 == 19));
    assert!(ended(1));
    let usage = world.gateway.stop_and_count();
    assert_eq!(
        usage.total(),
        accesses
            .iter()
            .fold((0, 0), |sum, access| { (sum.0 + access.carried().0, sum.1 + access.carried().1) })
    );
}

#[test]
fn s_descriptor_exhaustion_backs_off_and_is_got_over() {
    if !has("prlimit") {
        return;
    }
    let (server, port) = silent_server();
    let world = UdpWorld::with(port, |setup| setup.set("limits", "quic_idle_timeout = \"2 s\""));
    let pid = world.gateway.pid().to_string();
    let limit = |limit: &str| {
        let nofile = format!("--nofile={limit}:20000");
        assert!(Command::new("prlimit").args(["--pid", &pid, &nofile]).status().unwrap().success());
    };
    limit("3");
    let access = world.proxied(1, Header::Each);
    access.inject(&whole(LISTED));
    assert_eq!(soon(&server), None, "no descriptor, no socket");
    limit("20000");
    let carried = eventually(|| {
        access.inject(&whole(LISTED));
        soon(&server).is_some()
    });
    assert!(carried);
    assert!(world.gateway.metric("zrgw_accept_errors_total") > 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("undecided"), access.carried());
}
