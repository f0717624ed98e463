//! What vouches for an address and what does not: look-ups on schedule, pinned addresses, resolvers that fail or are silent,
//! a proxy in front of the real site.

use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};

use support::Setup;
use support::client::*;
use support::dns::Resolver;
use support::origin::Origin;
use support::plane;
use support::world::World;

use super::{LISTED, exchange, visit};

#[test]
fn v1_v5_scheduled_look_ups_vouch_before_any_flow_came() {
    // The list's exact host is asked for without anybody's wish; the resolver falls silent before the flow comes.
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 20"));
    world.resolver.add("other-listed.example", world.origin.octets());
    let restarted = {
        let gateway = world.gateway;
        let setup = gateway.stop();
        World { gateway: setup.start(), resolver: world.resolver, origin: world.origin }
    };
    restarted.gateway.await_metric("zrgw_trusted_answers", 1);
    restarted.resolver.set_silent(true);
    let length = exchange(&restarted, 1, "other-listed.example");
    let usage = restarted.gateway.stop_and_count();
    assert_eq!(usage.exempt_for("s1", "library"), (length, length), "{:?}", usage.reasons("s1"));
}

#[test]
fn v6_while_no_resolver_answers_known_addresses_stay_exempt_and_unknown_ones_are_charged() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("lookup", "scheduled_per_second_max = 0")
            .set("lookup", "try_timeout = \"500 ms\"")
            .set("lookup", "total_timeout = \"1 s\"")
    });
    let length = exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    world.resolver.set_silent(true);
    exchange(&world, 2, LISTED);
    exchange(&world, 3, "other-listed.example");
    world.gateway.await_metric("zrgw_lookups_failing", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s2"), (length, length));
    assert_eq!(usage.exempt("s3"), (0, 0));
    assert_eq!(usage.reasons("s3"), ["address_mismatch"]);
}

#[test]
fn v6_a_name_whose_own_servers_fail_is_no_alarm_about_the_resolvers_until_all_names_fail() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    world.resolver.break_down();
    exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_lookups_total{outcome=\"failed\"}", 1);
    assert_eq!(world.gateway.metric("zrgw_lookups_failing"), 0);
    for number in 2..=8 {
        assert_eq!(world.gateway.metric("zrgw_lookups_failing"), 0);
        exchange(&world, 1, &format!("n{number}.listed.example"));
        world.gateway.await_metric("zrgw_lookups_total{outcome=\"failed\"}", number);
    }
    world.gateway.await_metric("zrgw_lookups_failing", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.reasons("s1"), ["address_mismatch"]);
}

/// A proxy of the subscriber's own that passes everything on to the real site, a probe of ours too.
#[test]
fn v3_a_rogue_proxy_in_front_of_the_real_site_is_a_mismatch() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    let real = world.origin.address;
    let rogue = Origin::at(SocketAddr::from(([127, 0, 2, 66], real.port())), move |mut visit| {
        let mut site = TcpStream::connect(real).unwrap();
        let (mut from_site, mut to_client) = (site.try_clone().unwrap(), visit.stream.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_site, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut visit.stream, &mut site);
        let _ = site.shutdown(Shutdown::Write);
        back.join().unwrap();
    });
    let sent = visit(LISTED);
    let mut client = world.proxied_to(1, SocketAddr::new(rogue.address.ip(), 443));
    std::io::Write::write_all(&mut client, &sent).unwrap();
    assert_eq!(read_exactly(&mut client, sent.len()), sent, "the real site answers");
    assert_eq!(finish(client), b"");
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.reasons("s1"), ["address_mismatch"]);
}

#[test]
fn a_pinned_address_needs_no_look_up() {
    let origin = Origin::echo();
    let resolver = Resolver::new(&[]);
    let address = IpAddr::V4(Ipv4Addr::from(origin.octets()));
    let setup = Setup::new()
        .proxied()
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())])
        .raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"{address}\"]\n"));
    let gateway = setup.start();
    let length = plane::visit(&gateway, 1, LISTED, SocketAddr::new(address, 443));
    assert_eq!(resolver.asked(LISTED), 0);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
}
