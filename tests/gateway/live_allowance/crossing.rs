//! A cap that is crossed: within a flow, within a period, by flows that race for it, by datagrams of QUIC.

use support::client::*;
use support::datagrams::Header;
use support::origin::Origin;
use support::udp_world::UdpWorld;
use support::usage::Usage;
use support::world::World;

use super::{DAILY, LIMIT, LISTED, STEP, assert_capped, browse, sum, with};

#[test]
fn t31_a_cap_crossed_within_a_flow_splits_it_within_a_buffer_and_traffic_goes_on() {
    for steered in [false, true] {
        let world = World::with(Origin::echo(), with(DAILY));
        let mut client = if steered { world.steered(1) } else { world.proxied(1) };
        let carried = browse(&mut client, 2 * LIMIT);
        assert_eq!(finish(client), b"");
        let mut other = world.proxied(2);
        let others = browse(&mut other, LIMIT / 4);
        assert_eq!(finish(other), b"");
        let usage = world.gateway.stop_and_count();
        // What was on its way to the subscriber when the limit was reached is charged when it arrives.
        assert_capped(&usage, "s1", 2 * carried, 2 * STEP as u64);
        assert_eq!(sum(usage.exempt("s2")), 2 * others);
        let of = |class: &str| {
            let mut found =
                usage.rows.iter().filter(|row| row["subscriber_id"] == "s1" && row["class"] == class);
            found.next().unwrap().clone()
        };
        assert_eq!(of("charged")["flags"], if steered { "free_in_core" } else { "" });
        assert_eq!(of("exempt")["flags"], "");
    }
}

#[test]
fn t31_a_period_that_ends_with_its_cap_says_so_in_its_record() {
    let world = World::with(Origin::echo(), |setup| with(DAILY)(setup).set("export", "period = \"1 s\""));
    let mut client = world.proxied(1);
    let carried = browse(&mut client, LIMIT);
    assert_eq!(finish(client), b"");
    let cap = |usage: &Usage| usage.rows.iter().any(|row| row["class"] == "exempt" && row["cause"] == "cap");
    assert!(support::eventually(|| cap(&world.gateway.setup().usage())), "{}", world.gateway.log());
    assert_capped(&world.gateway.stop_and_count(), "s1", 2 * carried, 2 * STEP as u64);
}

#[test]
fn t31_flows_that_race_to_a_cap_on_several_workers_pass_it_by_nothing() {
    const FLOWS: usize = 12;
    let world = World::with(Origin::echo(), |setup| with(DAILY)(setup).set("node", "workers = 4"));
    let clients: Vec<_> = (0..FLOWS).map(|_| world.proxied(1)).collect();
    let carried: u64 = std::thread::scope(|scope| {
        let racing: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    let carried = browse(&mut client, LIMIT / 4);
                    assert_eq!(finish(client), b"");
                    carried
                })
            })
            .collect();
        racing.into_iter().map(|one| one.join().unwrap()).sum()
    });
    // What is left by the last is there for the next.
    let mut last = world.proxied(1);
    let more = browse(&mut last, LIMIT / 4);
    assert_eq!(finish(last), b"");
    assert_capped(&world.gateway.stop_and_count(), "s1", 2 * (carried + more), 2 * STEP as u64);
}

#[test]
fn t31_datagrams_of_quic_are_capped_to_the_byte() {
    use support::quic_pages::{QuicClient, QuicOrigin};
    let origin = QuicOrigin::new();
    let world = UdpWorld::with(origin.port(), with(DAILY));
    for access in [world.steered(1), world.proxied(1, Header::Each)] {
        QuicClient::new().visit(access.address, LISTED, 20_000, 1_000_000);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(sum(usage.exempt("s1")), LIMIT);
    assert!(sum(usage.charged("s1", "cap_reached")) > 1_000_000);
}
