//! Names in plain HTTP: the first host counts, and two or another target are never exempt.

use std::io::Write;
use std::net::SocketAddr;

use support::client::*;
use support::origin::{self, Origin};
use support::world::World;

use super::{LISTED, get, size};

#[test]
fn t25_h2_keep_alive_stays_with_the_first_host() {
    let origin = origin::http(SocketAddr::from(([127, 0, 2, 1], 0)));
    let world = World::new(origin);
    let other = get("unlisted.example", "/500");
    let mut expected = Vec::new();
    for (number, first) in [(1, get(LISTED, "/1000")), (2, get("unlisted.example", "/1000"))] {
        let mut client = world.proxied_to(number, world.destination(80));
        let mut down = 0;
        for (request, body) in [(&first, 1_000), (&get(LISTED, "/700"), 700), (&other, 500)] {
            client.write_all(request).unwrap();
            down += read_page(&mut client, body);
        }
        assert_eq!(finish(client), b"");
        expected.push((size(&first) + size(&get(LISTED, "/700")) + size(&other), down as u64));
    }
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("s1"), expected[0]);
    assert_eq!(usage.of("s1"), expected[0]);
    assert_eq!(usage.charged("s2", "not_listed"), expected[1]);
    assert_eq!(usage.of("s2"), expected[1]);
}

#[test]
fn t25_two_hosts_another_target_and_connect_are_never_exempt() {
    let world = World::new(Origin::answers(b"served"));
    let requests = [
        (format!("GET / HTTP/1.1\r\nHost: {LISTED}\r\nHost: vpn.example\r\n\r\n"), "ambiguous"),
        (format!("GET http://vpn.example/ HTTP/1.1\r\nHost: {LISTED}\r\n\r\n"), "ambiguous"),
        (format!("CONNECT {LISTED}:443 HTTP/1.1\r\nHost: {LISTED}\r\n\r\n"), "not_recognised"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "no_name"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "no_name"),
    ];
    for (number, (request, _)) in requests.iter().enumerate() {
        let mut client = world.proxied_to(1 + number as u8, world.destination(80));
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(number), request.as_bytes(), "byte-identical");
    }
    let usage = world.gateway.stop_and_count();
    for (number, (request, reason)) in requests.iter().enumerate() {
        let subscriber = format!("s{}", number + 1);
        assert_eq!(usage.exempt(&subscriber), (0, 0), "{request}");
        assert_eq!(
            usage.charged(&subscriber, reason),
            (size(request.as_bytes()), 6),
            "{request} {:?}",
            usage.reasons(&subscriber)
        );
    }
}
