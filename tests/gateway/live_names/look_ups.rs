//! Look-ups of names in flows: what is pending becomes exempt or charged, and one question serves all.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use support::client::*;
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::world::World;

use super::{LISTED, size};

#[test]
fn v1_a_look_up_makes_pending_bytes_exempt_and_never_delays_them() {
    let world = World::new(Origin::echo());
    world.resolver.set_delay(Duration::from_millis(800));
    let hello = Hello::named(LISTED).wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut client, hello.len()), hello);
    let data = hellos::record(23, &[9; 5_000]);
    client.write_all(&data).unwrap();
    assert_eq!(read_exactly(&mut client, data.len()), data);
    assert_eq!(
        world.gateway.metric("zrgw_lookups_total{outcome=\"answered\"}"),
        0,
        "carried before the answer"
    );
    assert_eq!(finish(client), b"");
    world.gateway.await_metric("zrgw_lookups_total{outcome=\"answered\"}", 1);
    let both = size(&hello) + size(&data);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (both, both));
    assert_eq!(usage.total(), (both, both));
}

#[test]
fn v2_a_look_up_that_misses_charges_and_leaves_the_connection_alone() {
    let world = World::new(Origin::echo());
    world.resolver.set_delay(Duration::from_millis(200));
    // Listed, but its own resolver knows no such name.
    let hello = Hello::named("nowhere.listed.example").wire();
    let mut client = world.proxied(1);
    client.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut client, hello.len()), hello);
    let name = "zrgw_flows_total{protocol=\"tls\",class=\"charged\",reason=\"address_mismatch\"}";
    let data = hellos::record(23, &[9; 5_000]);
    client.write_all(&data).unwrap();
    world.gateway.await_metric(name, 1);
    client.write_all(&data).unwrap();
    assert_eq!(read_exactly(&mut client, 2 * data.len()), [data.clone(), data.clone()].concat());
    assert_eq!(finish(client), b"");
    let all = size(&hello) + 2 * size(&data);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "address_mismatch"), (all, all));
    assert_eq!(usage.total(), (all, all));
}

#[test]
fn v5_three_hundred_flows_of_one_name_ask_once() {
    const FLOWS: usize = 300;
    // A machine that stands still makes no second try.
    let patience = "try_timeout = \"60 s\"\ntotal_timeout = \"60 s\"";
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", patience));
    world.resolver.set_delay(Duration::from_millis(600));
    let hello = Hello::named(LISTED).wire();
    let mut clients = Vec::new();
    for number in 0..FLOWS {
        let mut client = if number % 3 == 0 { world.steered(1) } else { world.proxied(1) };
        client.write_all(&hello).unwrap();
        clients.push(client);
    }
    for mut client in clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), hello);
    }
    world.gateway.await_flows_closed();
    assert_eq!(world.resolver.asked(LISTED), 1);
    let usage = world.gateway.stop_and_count();
    let all = FLOWS as u64 * size(&hello);
    assert_eq!(usage.exempt("s1"), (all, all));
    assert_eq!(usage.total(), (all, all));
}
