//! QUIC through the running gateway: real clients and servers of another make, steered and behind a balancer; every byte
//! counted as the access network saw it, none exempt that did not prove its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use support::client::{proxied_subscriber, subscriber};
use support::datagrams::{Header, proxy_v2_udp, socket};
use support::hellos::Hello;
use support::quic::{Initial, two_datagrams};
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::udp_world::{LISTED, UdpWorld};
use support::{LIST, PATIENCE, eventually};

/// Long enough for three of a client's Initials.
const SHORT: Duration = Duration::from_secs(4);

/// A socket that a subscriber of the proxied listener could reach, and what comes to it.
fn silent_server() -> UdpSocket {
    socket([127, 0, 2, 1])
}

/// The next datagram that comes.
fn next(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let mut received = None;
    assert!(eventually(|| {
        received = server.recv_from(&mut buffer).ok();
        received.is_some()
    }));
    let (length, from) = received.unwrap();
    (buffer[..length].to_vec(), from)
}

/// An Initial with this name.
fn initial(name: &str) -> Vec<u8> {
    Initial::of(&Hello::named(name).message()).seal()
}

#[test]
fn q14_steered_listed_is_exempt_to_the_byte() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = world.steered(1);
    QuicClient::new().visit(access.address, LISTED, 20_000, 300_000);
    world.await_counted(&[&access]);
    let (up, down) = access.carried();
    assert!(up > 20_000 && down > 300_000);
    world.await_judged("quic", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt_for("s1", "school"), (up, down));
    assert_eq!(usage.total(), (up, down));
}

#[test]
fn q14_proxied_listed_is_exempt_to_the_byte_without_the_headers() {
    for header in [Header::Each, Header::First] {
        let origin = QuicOrigin::new();
        let world = UdpWorld::new(origin.port());
        let access = world.proxied(1, header);
        QuicClient::new().visit(access.address, LISTED, 20_000, 300_000);
        world.await_counted(&[&access]);
        let (up, down) = access.carried();
        let usage = world.gateway.stop_and_count();
        assert_eq!(usage.exempt_for("s1", "school"), (up, down), "{header:?}");
        assert_eq!(usage.total(), (up, down), "{header:?}");
    }
}

#[test]
fn q3_a_hello_over_two_datagrams_is_read_in_both_modes() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let (steered, proxied) = (world.steered(1), world.proxied(2, Header::Each));
    for access in [&steered, &proxied] {
        QuicClient::long_hello().visit(access.address, LISTED, 100, 50_000);
    }
    world.await_counted(&[&steered, &proxied]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), steered.carried());
    assert_eq!(usage.exempt("s2"), proxied.carried());
    assert_eq!(origin.visits(), 2);
}

#[test]
fn q4_q6_a_retry_and_early_data_pass_and_are_exempt() {
    let origin = QuicOrigin::at(SocketAddr::from(([127, 0, 2, 1], 0)), Validation::Retry);
    let world = UdpWorld::new(origin.port());
    for access in [world.steered(1), world.proxied(1, Header::Each)] {
        QuicClient::new().visit(access.address, LISTED, 1_000, 50_000);
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.total());
    assert!(usage.total().1 > 100_000);

    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    for (number, again) in [(1, Header::None), (2, Header::Each)] {
        let access = |client: &QuicClient, early| {
            let access =
                if again == Header::None { world.steered(number) } else { world.proxied(number, again) };
            if early {
                let (connection, taken) = client.early(access.address, LISTED, 40_000);
                assert!(taken, "the server takes early data");
                client.close(connection);
            } else {
                client.visit(access.address, LISTED, 100, 1_000);
            }
            access
        };
        let client = QuicClient::new();
        // Tickets belong to a name, not to an address: the second connection is another flow.
        let accesses = [access(&client, false), access(&client, true)];
        let (up, down) = accesses
            .iter()
            .fold((0, 0), |sum, access| (sum.0 + access.carried().0, sum.1 + access.carried().1));
        let exempt = eventually(|| world.counted("down") >= down && world.counted("up") >= up);
        assert!(exempt, "{}", world.gateway.log());
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), usage.of("s1"));
    assert_eq!(usage.exempt("s2"), usage.of("s2"));
}

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
fn t12_held_datagrams_go_on_in_their_order_and_answers_come_back() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let access = world.steered(1);
    let message = Hello::post_quantum(LISTED).message();
    let [front, back] = two_datagrams(&message, 1_000);
    let early = [0x40; 500];
    access.inject(&front);
    access.inject(&early);
    access.inject(&back);
    let (first, from) = next(&server);
    assert_eq!([first, next(&server).0, next(&server).0], [front, early.to_vec(), back]);
    server.send_to(b"an answer", from).unwrap();
    assert!(eventually(|| access.carried().1 == 9));
    world.await_judged("quic", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), access.carried());
}

#[test]
fn udp_that_is_not_quic_passes_a_balancer_at_once_and_is_charged() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let access = world.proxied(1, Header::First);
    for length in [0, 1, 12, 500, 9_000] {
        let datagram = vec![0x17; length];
        access.inject(&datagram);
        let (received, from) = next(&server);
        assert_eq!(received, datagram);
        server.send_to(&datagram, from).unwrap();
        assert!(eventually(|| access.carried().1 == access.carried().0));
    }
    world.await_judged("udp", "charged", "not_recognised", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.charged("s1", "not_recognised"), access.carried());
    assert_eq!(usage.total(), access.carried());
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

#[test]
fn t10_private_and_own_destinations_are_refused_for_datagrams() {
    let world = UdpWorld::with(1, |setup| setup.set("upstream", "allow_private = false"));
    let own = [world.gateway.listener(0), world.gateway.listener(1), world.gateway.admin()];
    let private = ["10.0.0.1:443", "127.0.0.1:53", "169.254.169.254:80", "0.0.0.0:443", "224.0.0.251:5353"];
    let places = own.into_iter().chain(private.iter().map(|text| text.parse().unwrap()));
    let balancer = socket([127, 0, 0, 1]);
    for (count, place) in places.enumerate() {
        let datagram = [proxy_v2_udp(proxied_subscriber(1), place), initial(LISTED)].concat();
        balancer.send_to(&datagram, world.gateway.listener(1)).unwrap();
        world.await_refused("destination", 1 + count as u64);
    }
    // A listed name that resolves into private space.
    let access = world.steered(2);
    access.inject(&initial(LISTED));
    world.await_refused("destination", 9);
    assert_eq!(
        world.gateway.metric("zrgw_flows_open"),
        1,
        "the refused one, until its time for a name is over"
    );
    assert_eq!(world.gateway.stop_and_count().exempt("s2"), (0, 0));
}

#[test]
fn headers_that_cannot_be_used_are_refused_and_a_health_check_is_not() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let balancer = socket([127, 0, 0, 1]);
    let good = proxy_v2_udp(proxied_subscriber(1), world.destination());
    let mut stream = good.clone();
    stream[13] = 0x11;
    let mut local = good.clone();
    local[12] = 0x20;
    let mut version = good.clone();
    version[12] = 0x31;
    let refused =
        [b"no header at all".to_vec(), Vec::new(), stream, version, good[..20].to_vec(), good[..12].to_vec()];
    for (count, datagram) in refused.iter().enumerate() {
        balancer.send_to(datagram, world.gateway.listener(1)).unwrap();
        world.await_refused("proxy_header", 1 + count as u64);
    }
    balancer.send_to(&local, world.gateway.listener(1)).unwrap();
    // From a host that may not send a header.
    let good = [good, b"carried".to_vec()].concat();
    balancer.send_to(&good, world.gateway.listener(1)).unwrap();
    assert_eq!(next(&server).0, b"carried");
    world.await_refused("proxy_header", refused.len() as u64);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.total(), (7, 0), "header bytes are not counted");

    let world = UdpWorld::with(1, |setup| {
        setup.listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\npeers = [\"127.0.0.9/32\"]\n")
    });
    balancer.send_to(&good, world.gateway.listener(2)).unwrap();
    world.await_refused("proxy_header", 1);
}

#[test]
fn one_socket_of_a_balancer_carries_many_subscribers() {
    let server = silent_server();
    let world = UdpWorld::new(server.local_addr().unwrap().port());
    let balancer = socket([127, 0, 0, 1]);
    for number in 1..=9_u8 {
        let header = proxy_v2_udp(proxied_subscriber(number), world.destination());
        balancer
            .send_to(&[header, vec![number; 100 + usize::from(number)]].concat(), world.gateway.listener(1))
            .unwrap();
        let (datagram, from) = next(&server);
        assert_eq!(datagram, vec![number; 100 + usize::from(number)]);
        server.send_to(&[number; 50], from).unwrap();
        let mut answer = [0; 100];
        assert!(eventually(|| balancer.recv(&mut answer).is_ok_and(|length| length == 50)));
        assert_eq!(answer[..50], [number; 50], "no header in front of it");
        // Without a header: of whom was named last.
        balancer.send_to(&[number; 10], world.gateway.listener(1)).unwrap();
        assert_eq!(next(&server), (vec![number; 10], from));
    }
    let usage = world.gateway.stop_and_count();
    for number in 1..=9_u64 {
        assert_eq!(usage.of(&format!("s{number}")), (110 + number, 50));
    }
}

#[test]
fn an_origin_where_nobody_listens_ends_the_flow_quietly() {
    let closed = silent_server().local_addr().unwrap().port();
    let world = UdpWorld::new(closed);
    let access = world.proxied(1, Header::Each);
    access.inject(&initial(LISTED));
    world.await_judged("quic", "unattributed", "undecided", 1);
    world.gateway.await_flows_closed();
    let steered = world.steered(2);
    steered.inject(&initial(LISTED));
    world.await_judged("quic", "unattributed", "undecided", 2);
    world.gateway.await_flows_closed();
    assert_eq!((access.carried().1, steered.carried().1), (0, 0));
    let log = world.gateway.log();
    assert!(!log.contains("ERROR") && !log.contains(LISTED), "{log}");
    let usage = world.gateway.stop_and_count();
    // An error that came back is no answer.
    assert_eq!(usage.unattributed("undecided"), (access.carried().0 + steered.carried().0, 0));
}

#[test]
fn t37_an_unknown_subscriber_over_udp_is_carried_and_unattributed() {
    let origin = QuicOrigin::new();
    let world = UdpWorld::new(origin.port());
    let access = support::datagrams::Access::steered([127, 0, 1, 77], world.gateway.listener(0));
    QuicClient::new().visit(access.address, LISTED, 100, 20_000);
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), access.carried());
    assert_eq!(usage.total(), access.carried());
}

#[test]
fn an_address_rule_exempts_media_that_carry_no_name_and_no_other_port() {
    const RULE: &str = r#"
[[service.rule]]
prefix = "127.0.2.1/32"
protocol = "udp"
ports = ["8801-8810"]
reason = "media of video lessons"
evidence = "seen"
"#;
    let server = silent_server();
    let port = server.local_addr().unwrap().port();
    let list = LIST.replacen(
        "\n[[service]]\nid = \"library\"",
        &format!("{RULE}\n[[service]]\nid = \"library\""),
        1,
    );
    let world = UdpWorld::with(port, |setup| {
        setup.write("list.toml", list);
        setup.port_map(&[(443, port), (8_801, port), (8_811, port)])
    });
    let media = |number, port| {
        let access = world.proxied_to(number, SocketAddr::from(([127, 0, 2, 1], port)), Header::Each);
        access.inject(&[0x17; 800]);
        let (_, from) = next(&server);
        server.send_to(&[0x17; 900], from).unwrap();
        assert!(eventually(|| access.carried().1 == 900));
        access
    };
    let (inside, outside) = (media(1, 8_801), media(2, 8_811));
    world.await_judged("udp", "exempt", "", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt_for("s1", "school"), inside.carried());
    assert_eq!(usage.charged("s2", "not_recognised"), outside.carried());
}

#[test]
fn t34_bytes_after_the_address_passed_on_are_nobodys() {
    let server = silent_server();
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| {
        setup.set("subscribers", "hold_removed_percent = 100")
    });
    let access = world.proxied(1, Header::Each);
    access.inject(&initial(LISTED));
    let (_, from) = next(&server);
    server.send_to(&[1; 500], from).unwrap();
    world.await_judged("quic", "exempt", "", 1);
    assert!(eventually(|| access.carried().1 == 500));
    let before = access.carried();
    let table = "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,s9\n";
    world.gateway.setup().write("subscribers.csv", table);
    world.gateway.reload();
    world.gateway.await_metric("zrgw_sessions", 1);
    // The workers follow within a tenth of a second; what comes before is still the first one's.
    let moved = eventually(|| {
        access.inject(&[0x40; 10]);
        next(&server);
        world.gateway.metric("zrgw_bytes_total{direction=\"up\",class=\"unattributed\",service=\"\"}") > 0
    });
    assert!(moved);
    world.await_counted(&[&access]);
    let usage = world.gateway.stop_and_count();
    let (up, down) = access.carried();
    assert_eq!(usage.of("s9"), (0, 0));
    assert!(usage.exempt("s1").0 >= before.0 && usage.unattributed("session_ended").0 > 0);
    assert_eq!(usage.total(), (up, down));
}

#[test]
fn a_balancer_that_always_writes_the_header_lets_nothing_pass_without() {
    let server = silent_server();
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| {
        setup.listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\ndatagram_headers = \"each\"\n")
    });
    let balancer = socket([127, 0, 0, 1]);
    let header = |number| proxy_v2_udp(proxied_subscriber(number), world.destination());
    // What a subscriber puts in front of his own data is data.
    let forged = [header(2), b"forged".to_vec()].concat();
    let datagram = [header(1), forged.clone()].concat();
    balancer.send_to(&datagram, world.gateway.listener(2)).unwrap();
    assert_eq!(next(&server).0, forged);
    balancer.send_to(b"without", world.gateway.listener(2)).unwrap();
    world.await_refused("proxy_header", 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s2"), (0, 0));
    assert_eq!(usage.total(), (forged.len() as u64, 0));
}
