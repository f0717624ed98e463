//! Datagrams behind a balancer: destinations and headers that are refused, and many subscribers on one socket.

use support::client::proxied_subscriber;
use support::datagrams::{proxy_v2_udp, socket};
use support::eventually;
use support::udp_world::{LISTED, UdpWorld};

use super::{initial, next, silent_server};

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
