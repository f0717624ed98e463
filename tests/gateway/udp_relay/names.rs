//! Names that are not listed, forged, second, or not proven yet: nothing of them is exempt.

use std::net::SocketAddr;
use std::time::Duration;

use support::client::subscriber;
use support::datagrams::{Header, socket};
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::udp_world::{LISTED, UdpWorld};
use support::{PATIENCE, eventually};

use super::{initial, next, silent_server};

/// Long enough for three of a client's Initials.
const SHORT: Duration = Duration::from_secs(4);

#[test]
fn steered_unlisted_unreadable_and_unknown_are_refused_in_silence() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.steered(1);
    let refused = QuicClient::new().connect(access.address, "unlisted.example", SHORT);
    assert_eq!(refused.unwrap_err(), "no answer");
    let (up, down) = access.carried();
    assert!(up >= 1_200 && down == 0, "no amplification: {up} {down}");
    world.await_refused("not_routed", 1);
    // No QUIC at all, DNS for one: nothing goes anywhere, and nothing comes back.
    let client = socket(subscriber(2));
    client.send_to(&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], world.gateway.listener(0)).unwrap();
    client.send_to(&[], world.gateway.listener(0)).unwrap();
    world.await_refused("not_routed", 2);
    assert!(client.recv(&mut [0; 100]).is_err());
    assert_eq!(origin.visits(), 0);
    // A client may say good-bye when it has given up. Nobody answered: it is charged to nobody (F17).
    let sent_by_now = access.carried().0;
    assert!(eventually(|| world.counted("up") >= sent_by_now + 12));
    let usage = world.gateway.stop_and_count();
    let (up, down) = usage.unattributed("undecided");
    assert!((sent_by_now + 12..=access.carried().0 + 12).contains(&up) && down == 0, "{up}");
    assert_eq!(usage.total(), (up, 0));
}

#[test]
fn t23_a_listed_name_at_a_foreign_address_is_never_exempt_over_quic() {
    // The forger's server is at an address that nobody vouched for; it answers to any name.
    let forger = QuicOrigin::at(SocketAddr::from(([127, 0, 2, 9], 0)), Validation::None);
    let world = UdpWorld::new(forger.port());
    let destination = SocketAddr::from(([127, 0, 2, 9], 443));
    let access = world.proxied_to(1, destination, Header::Each);
    QuicClient::new().visit(access.address, LISTED, 20_000, 300_000);
    world.await_counted(&[&access]);
    world.await_judged("quic", "charged", "address_mismatch", 1);
    // Steered, the same name goes to its own address, where nobody is: the forger gets nothing.
    let steered = world.steered(1);
    assert!(QuicClient::new().connect(steered.address, LISTED, SHORT).is_err());
    assert_eq!(forger.visits(), 1);
    let (up, down) = access.carried();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), (0, 0));
    assert_eq!(usage.charged("s1", "address_mismatch"), (up, down));
}

#[test]
fn t16_a_second_name_on_an_exempt_flow_is_charged_from_then_on() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let mut visits = Vec::new();
    for (number, access) in [(1, world.steered(1)), (2, world.proxied(2, Header::Each))] {
        let client = QuicClient::new();
        let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
        assert_eq!(client.ask(&connection, 1_000, 50_000), Ok(50_000));
        world.await_judged("quic", "exempt", "", number);
        let quiet = || {
            let before = access.carried();
            std::thread::sleep(Duration::from_millis(150));
            before == access.carried()
        };
        assert!(eventually(quiet));
        let free = access.carried();
        // The same socket opens a connection to another name at the same address.
        let other = client.connect(access.address, "unlisted.example", PATIENCE).unwrap();
        assert_eq!(client.ask(&other, 1_000, 70_000), Ok(70_000));
        assert_eq!(client.ask(&connection, 1_000, 10_000), Ok(10_000));
        other.close(0_u32.into(), b"");
        client.close(connection);
        let all = access.carried();
        let subscriber = format!("s{number}");
        assert!(eventually(|| world.counted("down") >= all.1), "{}", world.gateway.log());
        let charged = eventually(|| {
            world.gateway.metric("zrgw_bytes_total{direction=\"down\",class=\"charged\",service=\"\"}")
                >= 70_000 * number
        });
        assert!(charged, "{subscriber}: {}", world.gateway.ask("/metrics").unwrap().1);
        assert!(free.1 < all.1);
        visits.push((subscriber, free, all));
    }
    let usage = world.gateway.stop_and_count();
    for (subscriber, free, all) in visits {
        assert_eq!(usage.exempt(&subscriber), free, "{subscriber}");
        let charged = (all.0 - free.0, all.1 - free.1);
        assert_eq!(usage.charged(&subscriber, "second_name"), charged, "{subscriber}");
    }
}

#[test]
fn nothing_is_exempt_before_the_server_has_answered() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let (steered, proxied) = (world.steered(1), world.proxied(2, Header::Each));
    for access in [&steered, &proxied] {
        access.inject(&initial(LISTED));
        assert_eq!(next(&server).0, initial(LISTED), "carried as it was sent");
    }
    assert_eq!(world.judged("quic", "exempt", ""), 0);
    let usage = world.gateway.stop_and_count();
    let all = steered.carried().0 + proxied.carried().0;
    assert_eq!(usage.unattributed("undecided"), (all, 0), "a source address is free to forge");
    assert_eq!(usage.total(), (all, 0));
}

#[test]
fn v1_v2_a_look_up_decides_about_quic_as_about_tcp() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    world.resolver.set_delay(Duration::from_millis(300));
    let (listed, nowhere) = (world.proxied(1, Header::Each), world.proxied(2, Header::Each));
    listed.inject(&initial(LISTED));
    nowhere.inject(&initial("nowhere.listed.example"));
    for _ in 0..2 {
        let (_, from) = next(&server);
        server.send_to(&[1; 700], from).unwrap();
    }
    assert!(eventually(|| listed.carried().1 == 700 && nowhere.carried().1 == 700));
    world.await_judged("quic", "exempt", "", 1);
    world.await_judged("quic", "charged", "address_mismatch", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), listed.carried());
    assert_eq!(usage.charged("s2", "address_mismatch"), nowhere.carried());
}
