//! Open flows that are exempt again: at midnight, and when the limit is raised.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::Gateway;
use support::client::*;
use support::origin::Origin;
use support::usage::Usage;
use support::world::World;
use support::zone;

use super::{DAILY, LIMIT, STEP, browse, go_on, sum, with};

/// Exempt bytes of both directions that the gateway has counted so far.
fn exempt(gateway: &Gateway) -> u64 {
    let of = |direction| {
        let labels = format!("direction=\"{direction}\",class=\"exempt\",service=\"school\"");
        gateway.metric(&format!("zrgw_bytes_total{{{labels}}}"))
    };
    of("up") + of("down")
}

#[test]
fn t31_at_midnight_an_open_flow_is_exempt_again() {
    const MIDNIGHT: Duration = Duration::from_secs(15);
    let begun = Instant::now();
    let midnight = |setup| zone::with_midnight_in(MIDNIGHT.as_secs(), setup).set("allowance", DAILY);
    let world = World::with(Origin::echo(), midnight);
    let mut client = world.proxied(1);
    let before = browse(&mut client, LIMIT);
    assert!(begun.elapsed() < MIDNIGHT, "this machine is too slow for a day of seconds");
    let (meanwhile, after) = go_on_until_exempt_again(&world.gateway, &mut client);
    // The zone's midnight is a whole second.
    assert!(begun.elapsed() + Duration::from_secs(1) >= MIDNIGHT, "the day was over before its midnight");
    assert_eq!(finish(client), b"");
    assert_exempt_again(&world.gateway.stop_and_count(), before, meanwhile, after);
}

/// Echoes a little at a time until more than the limit is exempt, and then an eighth of it: how much went each way before
/// and after.
fn go_on_until_exempt_again(gateway: &Gateway, client: &mut TcpStream) -> (u64, u64) {
    let mut meanwhile = 0;
    let again = support::eventually(|| {
        meanwhile += go_on(client, STEP as u64);
        exempt(gateway) > LIMIT
    });
    assert!(again, "never exempt again\n{}", gateway.log());
    (meanwhile, go_on(client, LIMIT / 8))
}

/// The limit and what came `after` were exempt, and some of what came `meanwhile`.
fn assert_exempt_again(usage: &Usage, before: u64, meanwhile: u64, after: u64) {
    let (exempt, charged) = (sum(usage.exempt("s1")), sum(usage.charged("s1", "cap_reached")));
    assert_eq!(exempt + charged, 2 * (before + meanwhile + after));
    // What was on its way to the subscriber at the limit is charged, and exempt at the change.
    assert!(exempt + 2 * STEP as u64 >= LIMIT + 2 * after, "{exempt}");
    assert!(exempt <= LIMIT + 2 * (meanwhile + after + STEP as u64), "{exempt}");
    assert!(charged > 0);
}

#[test]
fn a_raised_limit_holds_for_open_flows_and_a_zone_that_is_none_keeps_the_old_limits() {
    let world = World::with(Origin::echo(), with(DAILY));
    let mut client = world.proxied(1);
    let before = browse(&mut client, LIMIT);
    let rewrite = |from: &str, to: &str| {
        let setup = world.gateway.setup();
        setup.write("gateway.toml", setup.configuration().replace(from, to));
        world.gateway.reload();
    };
    rewrite(zone::ZONE, "Mars/Olympus");
    assert!(support::eventually(|| world.gateway.log().contains("time zone database does not have")));
    let still = go_on(&mut client, LIMIT / 8);
    rewrite("1 MiB", "100 MiB");
    let (meanwhile, after) = go_on_until_exempt_again(&world.gateway, &mut client);
    assert_eq!(finish(client), b"");
    assert_exempt_again(&world.gateway.stop_and_count(), before + still, meanwhile, after);
}
