//! How the gateway ends: open flows are drained, and cut when they do not end or are told to.

use support::client::*;
use support::origin::Origin;
use support::world::World;
use support::{eventually, verify};

use super::{LISTED, exchange, visit_of};

#[test]
fn sigterm_drains_open_flows_takes_no_new_ones_and_cuts_what_does_not_end() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "drain = \"3 s\"").set("limits", "drain_hard = \"4 s\"")
    });
    let visit = visit_of(LISTED);
    let length = visit.len() as u64;
    let (mut ends, mut stays) = (world.proxied(1), world.proxied(2));
    exchange(&mut ends, &visit);
    exchange(&mut stays, &visit);
    world.gateway.signal(rustix::process::Signal::TERM);
    world.gateway.await_readiness(|code, body| code == 503 && body.contains("draining"));
    let refused = eventually(|| try_connect_from(subscriber(3), world.gateway.listener(0)).is_err());
    assert!(refused, "still accepts");
    exchange(&mut ends, &[8; 2_000]);
    assert_eq!(finish(ends), b"");
    exchange(&mut stays, &[8; 500]);
    let (status, setup) = world.gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let usage = setup.usage();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1"), (length + 2_000, length + 2_000));
    assert_eq!(usage.exempt("s2"), (length + 500, length + 500));
    let (good, said) = verify(&setup.path("usage"));
    assert!(good, "{said}");
}

#[test]
fn a_second_sigterm_ends_the_drain_at_once() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("limits", "drain = \"600 s\"").set("limits", "drain_hard = \"900 s\"")
    });
    let visit = visit_of(LISTED);
    let mut stays = world.proxied(1);
    exchange(&mut stays, &visit);
    world.gateway.signal(rustix::process::Signal::TERM);
    world.gateway.await_readiness(|_, body| body.contains("draining"));
    exchange(&mut stays, &[8; 500]);
    world.gateway.signal(rustix::process::Signal::TERM);
    let (status, setup) = world.gateway.wait();
    assert!(status.success(), "{}", setup.log());
    let all = visit.len() as u64 + 500;
    assert_eq!(setup.usage().exempt("s1"), (all, all));
}
