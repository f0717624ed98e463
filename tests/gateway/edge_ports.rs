//! Ports towards a destination that are used up, in network namespaces: one address has
//! some 28,000 of them, and each rests for a minute after a connection that our side ended first. Here an address has 64.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use support::client::*;
use support::dns::Resolver;
use support::edge::{Edge, LISTED, origin, subscriber};
use support::hellos::Hello;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::origin::{self, Origin};
use support::{Gateway, PATIENCE, Setup, eventually};

/// Ports that the gateway's machine connects from.
const PORTS: usize = 64;
/// Further addresses of the gateway in the tests that give it some.
const FURTHER: [&str; 2] = ["11.77.0.101", "11.77.0.102"];

/// Has the gateway's machine connect from few ports, each of which rests after use as on any link but loopback.
fn scarce(link: &Link) {
    link.at_gateway(|| {
        let write = |key: &str, value: String| fs::write(format!("/proc/sys/net/ipv4/{key}"), value).unwrap();
        write("ip_local_port_range", format!("50000 {}", 50_000 + PORTS - 1));
        write("tcp_tw_reuse", "0".to_owned());
    });
}

/// A hello and what settles its verdict.
fn visit() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// A visit that the subscriber ends first, so that the port towards the origin rests; whether it was carried.
fn passes(mut client: TcpStream) -> bool {
    let sent = visit();
    client.write_all(&sent).unwrap();
    let mut read = vec![0; sent.len()];
    if std::io::Read::read_exact(&mut client, &mut read).is_err() {
        return false;
    }
    assert_eq!(read, sent);
    assert_eq!(finish(client), b"");
    true
}

/// A steered gateway that connects from `sources` too when its ports are used up.
fn steered(link: &Link, sources: &str) -> (Gateway, Resolver) {
    link.at_gateway(|| {
        let resolver = Resolver::new(&[(LISTED, [11, 77, 0, 10])]);
        let listener = SocketAddr::new(GATEWAY[0].parse().unwrap(), 8_443);
        let setup = Setup::new()
            .listener(&format!("mode = \"steered\"\naddress = \"{listener}\"\n"))
            .resolver(resolver.address)
            .set("upstream", &format!("source_addresses = {sources}"));
        let table = format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n", SUBSCRIBER[0]);
        setup.write("subscribers.csv", table);
        (setup.start(), resolver)
    })
}

/// So many visits to a steered gateway, and how many of them were carried.
fn carried(link: &Link, visits: usize) -> usize {
    let to = SocketAddr::new(GATEWAY[0].parse().unwrap(), 8_443);
    link.at_subscriber(|| {
        let connect = || {
            let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        (0..visits).filter(|_| passes(connect())).count()
    })
}

#[test]
fn s_port_exhaustion_used_up_ports_are_told_and_further_addresses_carry_on() {
    let used_up = "zrgw_source_ports_used_up_total";
    let Some(link) = Link::with_internet() else { return };
    scarce(&link);
    let _origin = link.in_internet(|| Origin::at(origin(0, 443), origin::echo));
    // With one address: the kernel's word is told, and nothing is claimed.
    let (gateway, resolver) = steered(&link, "[]");
    let through = carried(&link, PORTS + 10);
    assert!((1..=PORTS).contains(&through), "{through} through {PORTS} ports");
    link.at_gateway(|| {
        gateway.await_metric(used_up, (PORTS + 10 - through) as u64);
        gateway.await_metric("zrgw_refused_total{reason=\"connect\"}", (PORTS + 10 - through) as u64);
        let usage = gateway.stop_and_count();
        assert!(usage.conserved);
        assert!(usage.exempt("s1").1 > (through * visit().len()) as u64);
    });
    drop(resolver);
    // With further ones everybody gets through, while the first one's ports still rest.
    for address in FURTHER {
        link.gateway_runs(&format!("ip address add {address}/24 dev out"));
    }
    let sources = format!("[\"{}\"]", FURTHER.join("\", \""));
    let (gateway, _resolver) = steered(&link, &sources);
    assert_eq!(carried(&link, PORTS + PORTS / 2), PORTS + PORTS / 2);
    link.at_gateway(|| {
        assert!(eventually(|| gateway.metric(used_up) > 0));
        assert_eq!(gateway.metric("zrgw_refused_total{reason=\"connect\"}"), 0);
        assert!(gateway.stop_and_count().conserved);
    });
}

#[test]
fn s_port_exhaustion_two_thousand_transparent_flows_to_one_server_need_no_port_of_ours() {
    let Some(edge) = Edge::new() else { return };
    scarce(&edge.link);
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origin::echo));
    let through = edge.link.at_subscriber(|| {
        let connect = || {
            let stream = TcpStream::connect_timeout(&origin(0, 443), PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        (0..2_000).filter(|_| passes(connect())).count()
    });
    assert_eq!(through, 2_000);
    assert_eq!(edge.metric("zrgw_source_port_changed_total"), 0);
    assert!(edge.stop_and_count().conserved);
}

#[test]
fn s_port_exhaustion_a_port_that_rests_here_and_not_at_the_subscriber_is_changed_and_told() {
    let Some(edge) = Edge::new() else { return };
    // A subscriber whose machine forgets its connections at once, and an origin without time stamps, by which the kernel
    // would tell the two connections apart (RFC 6191).
    edge.link.subscriber_runs("sysctl -qw net.ipv4.tcp_max_tw_buckets=0");
    edge.link.internet_runs("sysctl -qw net.ipv4.tcp_timestamps=0");
    let _origin = edge.link.in_internet(|| Origin::at(origin(0, 443), origin::echo));
    for _ in 0..2 {
        let stream = edge.link.at_subscriber(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::new(subscriber(0), 23_456).into()).unwrap();
            socket.connect(&origin(0, 443).into()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            TcpStream::from(socket)
        });
        assert!(passes(stream));
        edge.await_flows_closed();
    }
    edge.await_metric("zrgw_source_port_changed_total", 1);
    let usage = edge.stop_and_count();
    assert!(usage.conserved && usage.exempt("s1").1 > 2 * visit().len() as u64);
}
