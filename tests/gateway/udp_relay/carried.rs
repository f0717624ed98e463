//! Datagrams that are carried: in their order, without a name, to nobody, by an address rule, after the address passed on.

use std::net::SocketAddr;

use support::datagrams::Header;
use support::hellos::Hello;
use support::quic::two_datagrams;
use support::udp_world::{LISTED, UdpWorld};
use support::{LIST, eventually};

use super::{initial, next, silent_server};

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
