//! Names that lead back to the gateway, through a rewritten destination or an address it got after its start: one flow
//! comes back, is known again and ends there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use support::client::{connect_proxied, proxy_v1, proxy_v2, read_to_end};
use support::dns::Resolver;
use support::hellos::Hello;
use support::link::{GATEWAY, Link, SUBSCRIBER};
use support::quic::Initial;
use support::{Gateway, PATIENCE, Setup, eventually};

const LISTED: &str = "www.listed.example";
/// An address that is rewritten to the gateway's listener, or becomes the gateway's own.
const VIP: [u8; 4] = [11, 88, 0, 1];
/// Alert `internal_error`: the name is fine, its origin cannot be reached.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// A steered gateway whose listed name is at [`VIP`]; its own address is a subscriber's too.
fn start(link: &Link, listener: &str, change: impl FnOnce(Setup) -> Setup + Send) -> (Gateway, Resolver) {
    link.at_gateway(|| {
        let resolver = Resolver::new(&[(LISTED, VIP)]);
        let setup = Setup::new()
            .listener(&format!("mode = \"steered\"\naddress = \"{listener}\"\n"))
            .proxied()
            .resolver(resolver.address)
            .set("limits", "drain = \"0 s\"")
            .set("limits", "drain_hard = \"0 s\"");
        let table =
            "prefix,subscriber_type,subscriber_id\n10.77.0.2/32,account,s1\n10.77.0.1/32,account,s2\n";
        setup.write("subscribers.csv", table);
        (change(setup).start(), resolver)
    })
}

/// The gateway's kernel rewrites the destination of what is sent to [`VIP`].
fn rewrite(link: &Link, protocol: &str) {
    link.gateway_runs(&format!("ip route add 11.88.0.1 via {}", SUBSCRIBER[0]));
    let rule = format!("ip daddr 11.88.0.1 {protocol} dport 443 dnat to {}:8443", GATEWAY[0]);
    link.gateway_runs("nft add table ip vip");
    link.gateway_runs("nft add chain ip vip sent { type nat hook output priority -100 ; }");
    link.gateway_runs(&format!("nft add rule ip vip sent {rule}"));
}

/// Where the gateway listens.
fn listener() -> SocketAddr {
    SocketAddr::new(GATEWAY[0].parse().unwrap(), 8_443)
}

/// The value of a metric at the gateway's end.
fn metric(link: &Link, gateway: &Gateway, name: &str) -> u64 {
    link.at_gateway(|| gateway.metric(name))
}

/// Waits until so many flows were refused as our own, and none is open.
fn await_loops(link: &Link, gateway: &Gateway, count: u64) {
    let seen = || metric(link, gateway, "zrgw_refused_total{reason=\"loop\"}") == count;
    assert!(eventually(seen), "{}", gateway.log());
    link.at_gateway(|| gateway.await_flows_closed());
}

/// Flows that were judged.
fn judged(link: &Link, gateway: &Gateway) -> u64 {
    let (_, text) = link.at_gateway(|| gateway.ask("/metrics")).unwrap();
    let counts = text.lines().filter(|line| line.starts_with("zrgw_flows_total{"));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// A visit over TLS, to its end.
fn visit(link: &Link) -> Vec<u8> {
    try_visit(link).expect("an end")
}

/// The same, where it may end with a reset.
fn try_visit(link: &Link) -> std::io::Result<Vec<u8>> {
    link.at_subscriber(|| {
        let mut client = TcpStream::connect_timeout(&listener(), PATIENCE).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&Hello::named(LISTED).wire()).unwrap();
        read_to_end(&mut client)
    })
}

#[test]
fn f8_a_name_behind_a_rewritten_address_costs_one_connection_more() {
    let Some(link) = Link::plain() else { return };
    let (gateway, _resolver) = start(&link, &listener().to_string(), |setup| setup);
    rewrite(&link, "tcp");
    assert_eq!(visit(&link), ALERT, "told by the one that came back");
    await_loops(&link, &gateway, 1);
    assert_eq!(judged(&link, &gateway), 2, "the subscriber's, and what came back");
    assert!(gateway.log().contains("came back"), "{}", gateway.log());
    // And from a balancer's destination: the flow comes back at the other listener.
    link.at_gateway(|| {
        let mut client = connect_proxied(1, gateway.listener(1), SocketAddr::from((VIP, 443)));
        client.write_all(&Hello::named(LISTED).wire()).unwrap();
        assert_eq!(read_to_end(&mut client).unwrap(), ALERT);
    });
    await_loops(&link, &gateway, 2);
    assert_eq!(judged(&link, &gateway), 4);
}

#[test]
fn f8_a_datagram_to_a_rewritten_address_comes_back_once() {
    let Some(link) = Link::plain() else { return };
    let (gateway, _resolver) = start(&link, &listener().to_string(), |setup| setup);
    rewrite(&link, "udp");
    let initial = Initial::of(&Hello::named(LISTED).message()).seal();
    let socket = link.at_subscriber(|| UdpSocket::bind((SUBSCRIBER[0], 0)).unwrap());
    for sent in 1..=3 {
        socket.send_to(&initial, listener()).unwrap();
        let refused = "zrgw_refused_total{reason=\"loop\"}";
        let comes_back = || metric(&link, &gateway, refused) >= sent;
        assert!(eventually(comes_back), "{}", gateway.log());
    }
    let is_one = || metric(&link, &gateway, "zrgw_flows_open") == 1;
    assert!(eventually(is_one), "{}", gateway.log());
}

#[test]
fn f8_an_address_that_the_machine_got_after_the_start_is_its_own() {
    let Some(link) = Link::plain() else { return };
    // Nobody is at the address: told at once.
    link.gateway_runs("ip route add unreachable 11.88.0.1");
    let strict = |setup: Setup| setup.set("upstream", "allow_private = false");
    let (gateway, _resolver) = start(&link, "0.0.0.0:8443", strict);
    let refused = "zrgw_refused_total{reason=\"destination\"}";
    assert_eq!(visit(&link), ALERT, "nobody is there");
    assert_eq!(metric(&link, &gateway, refused), 0);
    link.gateway_runs("ip address add 11.88.0.1/32 dev lo");
    let is_refused = || {
        assert_eq!(visit(&link), ALERT);
        metric(&link, &gateway, refused) > 0
    };
    assert!(eventually(is_refused), "{}", gateway.log());
    // What it loses is another's again.
    link.gateway_runs("ip address del 11.88.0.1/32 dev lo");
    let is_dialled = || {
        let before = metric(&link, &gateway, "zrgw_refused_total{reason=\"connect\"}");
        assert_eq!(visit(&link), ALERT);
        metric(&link, &gateway, "zrgw_refused_total{reason=\"connect\"}") > before
    };
    assert!(eventually(is_dialled), "{}", gateway.log());
}

#[test]
fn f8_a_listener_at_every_address_follows_the_machine_s_addresses() {
    let Some(link) = Link::plain() else { return };
    link.gateway_runs("ip route add unreachable 11.88.0.1");
    let (gateway, _resolver) = start(&link, "0.0.0.0:8443", |setup| setup.port_map(&[(443, 8_443)]));
    link.gateway_runs("ip address add 11.88.0.1/32 dev lo");
    let refused = "zrgw_refused_total{reason=\"destination\"}";
    let visits = std::cell::Cell::new(0);
    let is_refused = || {
        // A visit that came back ends as the one that came back does: with the alert, or before it.
        let said = try_visit(&link);
        visits.set(visits.get() + 1);
        let is_known = metric(&link, &gateway, refused) > 0;
        assert!(!is_known || said.as_ref().is_ok_and(|said| *said == ALERT), "{said:?}");
        is_known
    };
    assert!(eventually(is_refused), "{}", gateway.log());
    // Until it was known one came back for each.
    let comes_to = || {
        let loops = metric(&link, &gateway, "zrgw_refused_total{reason=\"loop\"}");
        judged(&link, &gateway) == visits.get() + loops && loops < visits.get()
    };
    assert!(eventually(comes_to), "{} of {}", judged(&link, &gateway), visits.get());
}

/// A balancer in front that greets before it has a server: what it says is no answer of another machine.
#[test]
fn f8_a_balancer_that_speaks_first_is_not_led_to_again() {
    const MOST: u64 = 20;
    let setup = Setup::new().proxied();
    setup.write("subscribers.csv", "prefix,subscriber_type,subscriber_id\n127.0.0.0/8,account,s1\n");
    let gateway = setup.start();
    let to = gateway.listener(0);
    let balancer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = balancer.local_addr().unwrap();
    let led = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&led);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for client in balancer.incoming().map(Result::unwrap) {
            let from = client.peer_addr().unwrap();
            (&client).write_all(b"220 ready\r\n").unwrap();
            // The greeting has arrived before the gateway is asked: a byte of the client's says so.
            let _ = (&client).read(&mut [0]);
            if count.fetch_add(1, Ordering::Relaxed) < MOST {
                let mut server = TcpStream::connect(to).unwrap();
                // The gateway may have seen by the header that this leads in a circle.
                let _ = server.write_all(&proxy_v1(from, address)).and_then(|()| server.write_all(b"Q"));
                kept.push((client, server));
            }
        }
    });
    // Whether the balancer of the client has his first bytes already, or not.
    for (number, said) in [(1, &b""[..]), (2, b"Q")] {
        let mut client = TcpStream::connect(to).unwrap();
        let source = SocketAddr::from(([127, 0, 0, 77], 40_000));
        client.write_all(&[&proxy_v2(source, address), said].concat()).unwrap();
        let mut greeting = [0; 11];
        // Where his first bytes were there already, the reset may come before the greeting is read.
        let greeted = client.read_exact(&mut greeting).and_then(|()| client.write_all(b"Q"));
        assert!(greeted.is_ok() || !said.is_empty(), "{greeted:?}");
        let is_refused = || gateway.metric("zrgw_refused_total{reason=\"loop\"}") == number;
        assert!(eventually(is_refused), "{} connections\n{}", led.load(Ordering::Relaxed), gateway.log());
        assert_eq!(led.load(Ordering::Relaxed), number);
    }
}
