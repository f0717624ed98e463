//! Flows behind a balancer: headers good and bad, and one subscriber over both IP versions.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use support::client::*;
use support::hellos::Hello;
use support::origin::Origin;
use support::world::World;

use super::{LISTED, exchange};

#[test]
fn t10_proxy_headers_from_strangers_and_unfinished_ones_are_refused() {
    let world = World::with(Origin::echo(), |setup| {
        setup
            .listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\npeers = [\"127.0.9.0/24\"]\n")
            .set("limits", "proxy_header_deadline = \"300 ms\"")
    });
    let refused = "zrgw_refused_total{reason=\"proxy_header\"}";
    let header = proxy_v2(proxied_subscriber(1), world.destination(443));
    // A stranger with a perfect header.
    if let Ok(mut client) = try_connect_from(subscriber(1), world.gateway.listener(2)) {
        let _ = client.write_all(&header);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()));
    }
    world.gateway.await_metric(refused, 1);
    // The right peer of the same listener is carried.
    let mut client = connect_from([127, 0, 9, 3].into(), world.gateway.listener(2));
    client.write_all(&header).unwrap();
    exchange(&mut client, b"carried");
    assert_eq!(finish(client), b"");
    // Missing; unfinished; a length that promises 65,535 bytes; garbage behind the signature.
    let mut long = header[..14].to_vec();
    long.extend([0xff, 0xff]);
    long.extend([0; 4_000]);
    let bad: [&[u8]; 4] = [
        &Hello::named(LISTED).wire(),
        &header[..header.len() - 1],
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
    ];
    for (count, bytes) in bad.iter().enumerate() {
        let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
        let _ = client.write_all(bytes);
        assert!(read_to_end(&mut client).map_or(true, |bytes| bytes.is_empty()));
        world.gateway.await_metric(refused, 2 + count as u64);
    }
    // A header at a steered listener is no name: never believed, never exempt.
    let mut client = world.steered(5);
    client.write_all(&header).unwrap();
    client.write_all(&Hello::named(LISTED).wire()).unwrap();
    let _ = read_to_end(&mut client);
    drop(client);
    assert_eq!(world.origin.visits(), 1);
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.of("s1"), (7, 7));
    assert_eq!(usage.exempt("s5"), (0, 0));
}

#[test]
fn proxy_header_in_one_byte_segments_with_the_hello_right_behind_it() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::named(LISTED).wire();
    for (visit, header) in [
        (0, proxy_v1(proxied_subscriber(1), world.destination(443))),
        (1, proxy_v2(proxied_subscriber(2), world.destination(443))),
    ] {
        let mut client = connect_from([127, 0, 0, 1].into(), world.gateway.listener(1));
        write_bytewise(&mut client, &header[..header.len() - 1]);
        client.write_all(&[&header[header.len() - 1..], &hello].concat()).unwrap();
        assert_eq!(finish(client), b"served");
        assert_eq!(world.origin.received(visit), hello);
    }
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt(subscriber), (hello.len() as u64, 6), "{subscriber}");
    }
}

#[test]
fn t36_one_subscriber_over_both_ip_versions_is_rated_alike() {
    let over_v4 = Origin::answers(b"served");
    let over_v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, over_v4.port()));
    let over_v6 = Origin::at(over_v6, |mut visit| {
        visit.read_to_end();
        visit.stream.write_all(b"served").unwrap();
    });
    let world = World::with(over_v4, |setup| {
        setup.write(
            "subscribers.csv",
            "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,both\n2001:db8:0:1::/64,account,both\n::1/128,account,both\n",
        );
        setup
            .listener("mode = \"steered\"\naddress = \"[::1]:0\"\n")
            .listener("mode = \"proxy_protocol\"\naddress = \"[::1]:0\"\n")
            .raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"::1\"]\n"))
    });
    let hello = Hello::named(LISTED).wire();
    let mut clients = vec![world.proxied(1), TcpStream::connect(world.gateway.listener(2)).unwrap()];
    for privacy_address in
        ["[2001:db8:0:1::5]:40000", "[2001:db8:0:1:8000::7]:40001", "[2001:db8:0:2::1]:40000"]
    {
        let mut client = TcpStream::connect(world.gateway.listener(3)).unwrap();
        let destination = SocketAddr::new(over_v6.address.ip(), 443);
        client.write_all(&proxy_v1(privacy_address.parse().unwrap(), destination)).unwrap();
        clients.push(client);
    }
    for mut client in clients {
        client.write_all(&hello).unwrap();
        assert_eq!(finish(client), b"served");
    }
    assert_eq!(over_v6.visits(), 3);
    let usage = world.gateway.stop_and_count();
    let length = hello.len() as u64;
    assert_eq!(usage.exempt("both"), (4 * length, 24));
    assert_eq!(usage.of("both"), usage.exempt("both"));
    // The neighbour's /64 is nobody's here.
    assert_eq!(usage.unattributed("no_subscriber"), (length, 6));
}
