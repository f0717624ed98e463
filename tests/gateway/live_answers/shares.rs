//! Whose look-ups are used up: made-up names and forged datagrams cost nobody else his.

use std::net::{SocketAddr, UdpSocket};

use support::client::*;
use support::datagrams::{Access, Header};
use support::eventually;
use support::hellos::Hello;
use support::origin::Origin;
use support::quic::Initial;
use support::world::World;

use super::{LISTED, exchange, visit};

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
