//! Datagrams of all kinds: hostile ones, and those of IPv6.

use std::net::SocketAddr;

use support::client::{proxied_subscriber, subscriber};
use support::datagrams::{Access, Header, proxy_v2_udp, socket};
use support::eventually;
use support::hellos::Random;
use support::udp_world::{LISTED, UdpWorld};

use super::{halves, queue, silent_server, soon, whole};

#[test]
fn hostile_datagrams_are_answered_by_a_negotiation_at_most_and_every_byte_is_counted() {
    let (server, port) = silent_server();
    let world = UdpWorld::new(port);
    let mut random = Random::seeded(0x5eed_0000_0000_0403);
    let seeds =
        [whole(LISTED), halves(LISTED)[0].clone(), halves(LISTED)[1].clone(), vec![0; 40], vec![0xc0; 1_200]];
    let steered: Vec<_> = (1..=4).map(|number| socket(subscriber(number))).collect();
    let balancer = socket([127, 0, 0, 1]);
    for round in 0..4_000_usize {
        let mut datagram = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.below(4) {
            random.mutate(&mut datagram);
        }
        datagram.truncate(1_400);
        steered[round % 4].send_to(&datagram, world.gateway.listener(0)).unwrap();
        let mut framed =
            [proxy_v2_udp(proxied_subscriber(1 + (round % 9) as u8), world.destination()), datagram].concat();
        if random.below(8) == 0 {
            let place = random.below(28);
            framed[place] ^= 1 << random.below(8);
        }
        balancer.send_to(&framed, world.gateway.listener(1)).unwrap();
        if round % 32 == 0 {
            let ports = [world.gateway.listener(0).port(), world.gateway.listener(1).port()];
            assert!(eventually(|| ports.iter().all(|port| queue(*port).0 == 0)));
        }
    }
    // A version that nobody knows is negotiated (F45); nothing else is answered.
    for client in &steered {
        let mut answer = [0; 2_000];
        while let Ok(length) = client.recv(&mut answer) {
            assert!(
                length < 600 && answer[0] & 0x80 != 0 && answer[1..5] == [0; 4],
                "{:x?}",
                &answer[..length]
            );
        }
    }
    drop(server);
    assert_eq!(world.gateway.metric("zrgw_flow_panics_total"), 0);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.sum(|row| row["class"] == "exempt"), (0, 0), "nobody answered");
    assert!(usage.total().0 > 1_000_000);
}

#[test]
fn ipv6_is_relayed_and_counted_as_ipv4_is() {
    let server = socket(std::net::Ipv6Addr::LOCALHOST);
    let port = server.local_addr().unwrap().port();
    let world =
        UdpWorld::with(port, |setup| setup.listener("mode = \"proxy_protocol\"\naddress = \"[::1]:0\"\n"));
    let destination = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 443));
    let source: SocketAddr = "[2001:db8::7]:40000".parse().unwrap();
    let access = Access::proxied(source, destination, world.gateway.listener(2), Header::Each);
    access.inject(&whole(LISTED));
    let (datagram, from) = soon(&server).unwrap();
    assert_eq!(datagram, whole(LISTED));
    server.send_to(&[7; 900], from).unwrap();
    assert!(eventually(|| access.carried().1 == 900));
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), access.carried());
}
