//! Sites of more addresses than one answer gives, and the questions that it takes to learn them.

use std::net::SocketAddr;

use support::dns::Resolver;
use support::hellos::Random;
use support::origin::Origin;
use support::plane;
use support::world::World;
use support::{Setup, eventually};

use super::{LISTED, exchange};

/// Fifty addresses, eight in each answer, subscribers whose DNS we do not see.
#[test]
fn v4_a_site_that_rotates_its_addresses_is_exempt_from_the_fortieth_flow_on() {
    rotating_site(10, 4, |resolver, place| resolver.rotate(8, place * 25));
}

#[test]
fn v4_a_site_that_picks_its_addresses_is_exempt_from_the_fortieth_flow_on() {
    for seed in [2, 4, 7] {
        rotating_site(70, seed, |resolver, place| {
            let mut random = Random::of(seed * 10 + place as u64);
            resolver.pick(8, move |bound| random.below(bound));
        });
    }
}

/// The site gives one of its addresses at a time, and a second's budget is over before the right one comes.
#[test]
fn v4_a_budget_that_runs_out_before_all_is_asked_denies_for_a_moment_only() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("lookup", "scheduled_per_second_max = 0").set("lookup", "per_second_max = 4")
    });
    (2..=6).for_each(|last| world.resolver.add(LISTED, [127, 0, 2, last]));
    world.resolver.rotate(1, 1);
    let length = exchange(&world, 1, LISTED);
    // Three answers were to be had; the others are in the budgets of later seconds.
    let refused = || world.gateway.metric("zrgw_lookups_total{outcome=\"refused\"}") > 0;
    assert!(eventually(refused), "{}", world.gateway.log());
    std::thread::sleep(std::time::Duration::from_secs(3));
    exchange(&world, 2, LISTED);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s2"), (length, length), "{:?}", usage.reasons("s2"));
}

/// One of two resolvers is dead: the other is asked as often as it takes.
#[test]
fn v4_v6_a_silent_resolver_keeps_no_rotating_site_from_being_learnt() {
    let origin = Origin::echo();
    let resolvers = [Resolver::new(&[]), Resolver::new(&[])];
    (2..=9).for_each(|last| resolvers[0].add(LISTED, [127, 0, 2, last]));
    resolvers[0].add(LISTED, origin.octets());
    resolvers[0].rotate(1, 0);
    resolvers[1].set_silent(true);
    let servers = format!("resolvers = [\"{}\", \"{}\"]", resolvers[0].address, resolvers[1].address);
    let setup = Setup::new().proxied().set("upstream", &servers).port_map(&[(443, origin.port())]);
    let setup = setup.set("lookup", "total_timeout = \"20 s\"");
    let gateway = setup.set("lookup", "scheduled_per_second_max = 0").start();
    let length = plane::visit(&gateway, 1, LISTED, SocketAddr::new(origin.address.ip(), 443));
    gateway.await_metric("zrgw_trusted_answers", 9);
    let usage = gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length), "{:?}", usage.reasons("s1"));
}

/// A site of more addresses than an inquiry has questions for, which gives one at a time, and a flow to none of them.
#[test]
fn v5_an_inquiry_ends_after_its_questions() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("lookup", "scheduled_per_second_max = 0").set("lookup", "total_timeout = \"60 s\"")
    });
    world.resolver.rotate(1, 1);
    (2..=200).for_each(|last| world.resolver.add("other-listed.example", [127, 0, 3, last]));
    let length = exchange(&world, 1, "other-listed.example");
    // The first look-up and 64 questions, each of which brought another address.
    world.gateway.await_metric("zrgw_trusted_answers", 65);
    let usage = world.gateway.stop_and_count();
    assert_eq!(world.resolver.asked("other-listed.example"), 65);
    assert_eq!((usage.exempt("s1"), usage.of("s1")), ((0, 0), (length, length)));
}

/// A subscriber with a resolver of his own visits a site of 50 addresses, from 127.0.2.`base` on, of which our two
/// resolvers give 8 at a time.
fn rotating_site(base: u8, seed: u64, answers: impl Fn(&Resolver, usize)) {
    const ADDRESSES: usize = 50;
    const FLOWS: u64 = 240;
    const LEARNING: u64 = 40;
    let first = Origin::at(SocketAddr::from(([127, 0, 2, base], 0)), support::origin::echo);
    let port = first.address.port();
    let at = |number: usize| [127, 0, 2, base + number as u8];
    let others: Vec<_> = (1..ADDRESSES)
        .map(|number| Origin::at(SocketAddr::from((at(number), port)), support::origin::echo))
        .collect();
    let resolvers = [Resolver::new(&[]), Resolver::new(&[])];
    for (place, resolver) in resolvers.iter().enumerate() {
        (0..ADDRESSES).for_each(|number| resolver.add(LISTED, at(number)));
        answers(resolver, place);
    }
    let servers = format!("resolvers = [\"{}\", \"{}\"]", resolvers[0].address, resolvers[1].address);
    let setup = Setup::new().proxied().set("upstream", &servers).port_map(&[(443, port)]);
    let gateway = setup.set("lookup", "scheduled_per_second_max = 0").start();
    let mut random = Random::seeded(seed);
    let mut all = 0;
    for flow in 0..FLOWS {
        let number = if flow < LEARNING { 1 } else { 2 };
        let destination = SocketAddr::from((at(random.below(ADDRESSES)), 443));
        let length = plane::visit(&gateway, number, LISTED, destination);
        all += if number == 2 { length } else { 0 };
    }
    drop((first, others));
    let usage = gateway.stop_and_count();
    let (exempt, _) = usage.exempt("s2");
    assert!(
        exempt * 100 >= all * 99,
        "{exempt} of {all}; while learning {:?}, asked {} and {}",
        usage.exempt("s1"),
        resolvers[0].asked(LISTED),
        resolvers[1].asked(LISTED)
    );
}
