//! The running gateway and what vouches for an address: look-ups on demand and on schedule, a copy over a restart, and
//! resolvers that do not answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};

use support::client::*;
use support::datagrams::{Access, Header};
use support::dns::Resolver;
use support::hellos::{Hello, Random};
use support::origin::Origin;
use support::plane;
use support::quic::Initial;
use support::world::World;
use support::{LIST, Setup, eventually};

const LISTED: &str = "www.listed.example";

/// What a subscriber sends: a hello and application data, behind which no second hello can come.
fn visit(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends a visit and has it echoed.
fn exchange(world: &World, subscriber: u8, name: &str) -> u64 {
    let sent = visit(name);
    let mut client = world.proxied(subscriber);
    std::io::Write::write_all(&mut client, &sent).unwrap();
    assert_eq!(read_exactly(&mut client, sent.len()), sent);
    assert_eq!(finish(client), b"");
    sent.len() as u64
}

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
fn n12_a_restarted_node_knows_what_it_knew_while_the_resolver_is_silent() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    let length = exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let setup = world.gateway.stop();
    assert!(setup.path("state/answers.snapshot").exists());
    world.resolver.set_silent(true);
    let world = World { gateway: setup.start(), resolver: world.resolver, origin: world.origin };
    assert_eq!(world.gateway.metric("zrgw_trusted_answers"), 1);
    exchange(&world, 2, LISTED);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (length, length));
    assert_eq!(usage.exempt("s2"), (length, length), "{:?}", usage.reasons("s2"));
}

#[test]
fn n12_a_broken_copy_is_told_and_left_aside() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let setup = world.gateway.stop();
    let path = setup.path("state/answers.snapshot");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let world = World { gateway: setup.start(), resolver: world.resolver, origin: world.origin };
    let log = world.gateway.log();
    assert!(log.contains("answers.snapshot") && log.contains("left aside"), "{log}");
    assert_eq!(world.gateway.metric("zrgw_trusted_answers"), 0);
    // And it learns again.
    exchange(&world, 2, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s2").0 > 0);
}

/// Opening a pipe that nobody reads never ends, as with a disk that hangs.
#[test]
fn b16_a_copy_that_cannot_be_written_for_ever_costs_neither_the_seal_nor_the_end() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    let length = exchange(&world, 1, LISTED);
    world.gateway.await_metric("zrgw_trusted_answers", 1);
    let path = world.gateway.setup().path("state/answers.part");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let setup = world.gateway.stop();
    assert!(setup.log().contains("answers.snapshot: not written in time"), "{}", setup.log());
    assert!(!setup.path("state/answers.snapshot").exists());
    assert_eq!(setup.usage().exempt("s1"), (length, length));
}

#[test]
fn n12_a_list_that_no_longer_has_a_name_does_not_take_it_back() {
    let world = World::with(Origin::echo(), |setup| setup.set("lookup", "scheduled_per_second_max = 0"));
    exchange(&world, 1, LISTED);
    let setup = world.gateway.stop();
    // The lists ever accepted go with their folder: what is left is a list of another name.
    std::fs::remove_dir_all(setup.path("state/lists")).unwrap();
    setup.write("list.toml", LIST.replace("listed.example", "elsewhere.example"));
    let gateway = setup.start();
    assert_eq!(gateway.metric("zrgw_trusted_answers"), 0);
    gateway.stop();
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

#[test]
fn v5_a_subscriber_uses_up_his_own_look_ups_and_nobody_else_s() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("lookup", "scheduled_per_second_max = 0")
            .set("lookup", "per_subscriber_minute_max = 1")
            .set("lookup", "try_timeout = \"200 ms\"")
            .set("lookup", "total_timeout = \"400 ms\"")
    });
    // One inquiry in vain, then none is left for the name that would have been vouched for.
    exchange(&world, 1, "unknown.listed.example");
    let length = exchange(&world, 1, LISTED);
    let usage_of_second = exchange(&world, 2, LISTED);
    assert_eq!(length, usage_of_second);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0), "over the limit");
    assert_eq!(usage.exempt("s2"), (length, length), "{:?}", usage.reasons("s2"));
}

/// Names below a listed one are made up, each of which wants a look-up.
#[test]
fn v5_a_subscriber_who_makes_names_up_cuts_nobody_else_off() {
    let world = World::with(Origin::echo(), |setup| {
        setup.set("lookup", "scheduled_per_second_max = 0").set("lookup", "per_second_max = 8")
    });
    let sent = visit("www.listed.example");
    let refused = || {
        // All at once: some wait for their turn, some find no room to wait.
        let made_up = |number| {
            let mut client = world.steered(1);
            std::io::Write::write_all(&mut client, &visit(&format!("made-up-{number}.listed.example")))
                .unwrap();
            client
        };
        let made_up: Vec<_> = (0..20).map(made_up).collect();
        let mut client = world.steered(2);
        std::io::Write::write_all(&mut client, &sent).unwrap();
        assert_eq!(read_exactly(&mut client, sent.len()), sent);
        assert_eq!(finish(client), b"");
        made_up.into_iter().for_each(|client| drop(finish(client)));
        world.gateway.metric("zrgw_lookups_total{outcome=\"refused\"}") > 0
    };
    assert!(eventually(refused), "{}", world.gateway.log());
    let usage = world.gateway.stop_and_count();
    assert!(usage.exempt("s2").0 >= sent.len() as u64);
}

/// Datagrams whose source anybody can forge bring made-up names in a subscriber's name.
#[test]
fn f4_forged_datagrams_use_up_nobody_s_look_ups() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .set("export", "byte_basis = \"payload\"")
            .set("lookup", "scheduled_per_second_max = 0")
            .set("lookup", "per_subscriber_minute_max = 1")
            .set("limits", "drain = \"0 s\"")
    });
    // Whoever is there answers, else the flow costs no look-up (F17).
    let server = UdpSocket::bind(SocketAddr::from(([127, 0, 2, 77], world.origin.port()))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((_, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(b"an answer", from);
        }
    });
    let destination = SocketAddr::from(([127, 0, 2, 77], 443));
    let forged = Access::proxied(proxied_subscriber(1), destination, world.gateway.listener(1), Header::Each);
    let initial = Initial::of(&Hello::named("made-up.listed.example").message()).seal();
    let asked = || {
        forged.inject(&initial);
        world.resolver.asked("made-up.listed.example") > 0
    };
    assert!(eventually(asked), "{}", world.gateway.log());
    let length = exchange(&world, 1, LISTED);
    let usage = world.gateway.stop_and_count();
    let exempt = usage.exempt("s1");
    assert_eq!(exempt, (length, length), "{:?}", usage.reasons("s1"));
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
