//! Forged names and addresses: what is dialled, what is refused, and that nothing loops.

use std::io::Write;
use std::net::SocketAddr;

use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::{self, Origin};
use support::world::World;
use support::{Setup, free_port};

use super::{LISTED, get, size};

#[test]
fn t10_the_original_destination_is_dialled_never_the_names() {
    let world = World::new(Origin::answers(b"the name's own"));
    let foreign = SocketAddr::from(([127, 0, 2, 9], world.origin.port()));
    let foreign = Origin::at(foreign, |mut visit| {
        visit.read_to_end();
        visit.stream.write_all(b"foreign").unwrap();
    });
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied_to(1, SocketAddr::new(foreign.address.ip(), 443));
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"foreign");
    assert_eq!(foreign.received(0), hello);
    assert_eq!(world.origin.visits(), 0);
    // T23, CheckSni: the listed name is a claim; the address was not among its trusted answers: exactly nothing exempt.
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.charged("s1", "address_mismatch"), (size(&hello), 7));
}

#[test]
fn t23_a_steered_flow_with_a_forged_name_reaches_the_names_own_origin_only() {
    let world = World::new(Origin::answers(b"school"));
    let foreign = SocketAddr::from(([127, 0, 2, 9], world.origin.port()));
    let foreign = Origin::at(foreign, origin::echo);
    let mut client = world.steered(1);
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(finish(client), b"school");
    // An unlisted name whose address the attacker's own DNS pointed at us is refused, not carried.
    for name in ["vpn.example", "notlisted.example", "www.listed.example.vpn.example"] {
        world.resolver.add(name, foreign.octets());
        let mut client = world.steered(2);
        client.write_all(&Hello::named(name).wire()).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 112], "{name}");
        assert_eq!(world.resolver.asked(name), 0, "{name}");
    }
    let mut client = world.steered(2);
    client.write_all(&get("vpn.example", "/")).unwrap();
    let answer = read_to_end(&mut client).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 421 "), "{}", String::from_utf8_lossy(&answer));
    world.gateway.await_metric("zrgw_refused_total{reason=\"not_routed\"}", 4);
    assert_eq!(foreign.visits(), 0);
    drop(client);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn t23_a_listed_sites_address_with_another_name_is_charged() {
    let world = World::new(Origin::answers(b"served"));
    let mut first = world.proxied(1);
    first.write_all(&Hello::named(LISTED).wire()).unwrap();
    finish(first);
    let hello = Hello::named("example.com").wire();
    let mut client = world.proxied(2);
    client.write_all(&hello).unwrap();
    assert_eq!(finish(client), b"served");
    let denied = Hello::named("ads.listed.example").wire();
    let mut client = world.proxied(3);
    client.write_all(&denied).unwrap();
    assert_eq!(finish(client), b"served");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s2", "not_listed"), (size(&hello), 6));
    assert_eq!(usage.charged("s3", "denied"), (size(&denied), 6));
    assert_eq!(usage.exempt("s2"), (0, 0));
    assert_eq!(usage.exempt("s3"), (0, 0));
}

#[test]
fn t10_own_private_and_unspecified_addresses_are_not_dialled_and_nothing_loops() {
    let resolver = Resolver::new(&[(LISTED, [10, 0, 0, 1]), ("other-listed.example", [127, 0, 0, 1])]);
    let gateway = Setup::new()
        .steered()
        .proxied()
        .resolver(resolver.address)
        .set("upstream", "allow_private = false")
        .start();
    let own = [gateway.listener(0), gateway.listener(1), gateway.admin()];
    let private = ["10.0.0.1:443", "127.0.0.1:22", "169.254.169.254:80", "100.64.0.1:443", "0.0.0.0:80"];
    let places: Vec<SocketAddr> =
        own.into_iter().chain(private.iter().map(|text| text.parse().unwrap())).collect();
    for (count, place) in places.iter().enumerate() {
        let mut client = connect_proxied(1, gateway.listener(1), *place);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()), "{place}");
        gateway.await_metric("zrgw_refused_total{reason=\"destination\"}", 1 + count as u64);
    }
    // A listed name that resolves into private space or to ourselves (SSRF): told in the client's protocol.
    for name in [LISTED, "other-listed.example"] {
        let mut client = connect_from(subscriber(2), gateway.listener(0));
        client.write_all(&Hello::named(name).wire()).unwrap();
        assert_eq!(
            read_to_end(&mut client).unwrap(),
            [21, 3, 3, 0, 2, 2, 80],
            "alert internal_error: {name}"
        );
        let mut client = connect_from(subscriber(2), gateway.listener(0));
        client.write_all(&get(name, "/")).unwrap();
        assert!(read_to_end(&mut client).unwrap().starts_with(b"HTTP/1.1 502 "), "{name}");
    }
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (0, 0));
    assert_eq!(usage.exempt("s2"), (0, 0));
}

#[test]
fn t10_a_name_that_leads_to_our_own_listener_does_not_loop_even_in_a_laboratory() {
    let port = free_port();
    let resolver = Resolver::new(&[(LISTED, [127, 0, 0, 1])]);
    let gateway = Setup::new()
        .listener(&format!("mode = \"steered\"\naddress = \"0.0.0.0:{port}\"\n"))
        .resolver(resolver.address)
        .port_map(&[(443, port)])
        .start();
    let mut client = connect_from(subscriber(1), SocketAddr::from(([127, 0, 0, 1], port)));
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    assert_eq!(read_to_end(&mut client).unwrap(), [21, 3, 3, 0, 2, 2, 80], "alert internal_error");
    gateway.await_metric("zrgw_refused_total{reason=\"destination\"}", 1);
    drop(client);
    assert_eq!(gateway.stop_and_count().exempt("s1"), (0, 0));
}
