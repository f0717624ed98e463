//! How many flows there may be: of all, of a subscriber, of a kind of subscriber, of a customer without a session.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::client::*;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, exchange, visit_of, whole};

#[test]
fn t42_half_open_hellos_up_to_the_limit_and_the_rest_waits_its_turn() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("limits", "flows_max = 40")
            .set("limits", "identify_deadline = \"10 min\"")
            .set("node", "workers = 1")
    });
    let visit = visit_of(LISTED);
    let half = visit.len() / 2;
    let mut held: Vec<_> = (0..40)
        .map(|_| {
            let mut client = world.proxied(1);
            client.write_all(&visit[..half]).unwrap();
            client
        })
        .collect();
    world.gateway.await_metric("zrgw_flows_open", 40);
    // In the kernel's backlog: connected, not served.
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut client = world.proxied(2);
            client.write_all(&visit).unwrap();
            client
        })
        .collect();
    waiting[0].set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(waiting[0].read(&mut [0]).is_err(), "served above flows_max");
    assert_eq!(world.gateway.metric("zrgw_flows_open"), 40);
    // Each one that leaves makes room for one that waits.
    for client in held.drain(..20) {
        reset(client);
    }
    for mut client in waiting {
        client.set_read_timeout(Some(support::PATIENCE)).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        assert_eq!(finish(client), b"");
    }
    for mut client in held {
        client.write_all(&visit[half..]).unwrap();
        assert_eq!(read_exactly(&mut client, visit.len()), visit);
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s2"), (20 * length, 20 * length));
    assert_eq!(usage.exempt("s1"), (20 * length, 20 * length));
    assert_eq!(usage.charged("s1", "undecided").0, 20 * half as u64);
}

#[test]
fn f33_what_is_over_a_subscribers_limit_is_carried_and_charged_and_never_reset() {
    let world = World::with(Origin::echo(), |setup| setup.set("limits", "flows_per_subscriber_max = 5"));
    let visit = visit_of(LISTED);
    let over_limit = "zrgw_flows_over_limit_total";
    // Both addresses of one subscriber count together.
    let one = |count: u8| if count.is_multiple_of(2) { world.proxied(1) } else { world.steered(1) };
    let mut open: Vec<_> = (0..5).map(one).collect();
    for client in &mut open {
        exchange(client, &visit);
    }
    assert_eq!(world.gateway.metric(over_limit), 0, "at the limit");
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 0);
    // Over it: steered by the name that is read all the same, behind a balancer without one.
    for count in 0..2 {
        let mut over = one(count);
        exchange(&mut over, &visit);
        open.push(over);
    }
    world.gateway.await_metric(over_limit, 2);
    assert_eq!(world.gateway.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 1);
    // Another subscriber, and an unknown one, are not touched by it.
    whole(world.steered(2), &visit);
    whole(connect_from([127, 0, 1, 77].into(), world.gateway.listener(0)), &visit);
    // Names are read again as soon as there is room.
    for _ in 0..3 {
        assert_eq!(finish(open.remove(0)), b"");
    }
    world.gateway.await_metric("zrgw_flows_open", 4);
    whole(world.steered(1), &visit);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    let log = world.gateway.log();
    assert!(log.contains("limits.flows_per_subscriber_max"), "{log}");
    assert!(!log.contains("\"s1\"") && !log.contains("127.0.1.1"), "{log}");
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (6 * length, 6 * length));
    assert_eq!(usage.charged("s1", "overload"), (2 * length, 2 * length));
}

#[test]
fn f33_a_kind_of_subscriber_may_have_a_limit_of_its_own() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "flows_per_subscriber_max = 2").set("limits", "flows_per_account_max = 4")
    });
    let visit = visit_of(LISTED);
    let mut open = Vec::new();
    // An account, and somebody of whom nothing is known.
    for client in (0..4).map(|_| world.steered(1)).chain((0..2).map(|_| unknown(&world))) {
        let mut client = client;
        exchange(&mut client, &visit);
        open.push(client);
    }
    assert_eq!(world.gateway.metric("zrgw_flows_over_limit_total"), 0, "at the limits");
    for mut client in [world.steered(1), unknown(&world)] {
        exchange(&mut client, &visit);
        open.push(client);
    }
    world.gateway.await_metric("zrgw_flows_over_limit_total", 2);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    let usage = world.gateway.stop_and_count();
    let length = visit.len() as u64;
    assert_eq!(usage.exempt("s1"), (4 * length, 4 * length));
    assert_eq!(usage.charged("s1", "overload"), (length, length));
}

#[test]
fn f9_a_customer_without_a_session_is_one_in_all_his_addresses() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "flows_per_subscriber_max = 2").set("limits", "unknown_prefix_v4 = 24")
    });
    let visit = visit_of(LISTED);
    let mut open = Vec::new();
    let mut visit_from = |source: [u8; 4]| {
        let mut client = connect_from(source.into(), world.gateway.listener(0));
        exchange(&mut client, &visit);
        open.push(client);
    };
    // Two customers with two addresses each, one flow from each.
    for source in [[127, 0, 7, 1], [127, 0, 7, 200], [127, 0, 8, 1], [127, 0, 8, 200]] {
        visit_from(source);
    }
    assert_eq!(world.gateway.metric("zrgw_flows_over_limit_total"), 0, "at the limit");
    visit_from([127, 0, 7, 3]);
    world.gateway.await_metric("zrgw_flows_over_limit_total", 1);
    for client in open {
        assert_eq!(finish(client), b"");
    }
    world.gateway.stop_and_count();
}

/// A connection from an address that no subscriber has.
fn unknown(world: &World) -> TcpStream {
    connect_from([127, 0, 1, 77].into(), world.gateway.listener(0))
}
