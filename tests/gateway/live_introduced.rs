//! Flows whose subscriber a balancer names in its PROXY header (`listener.subscriber_tlv`): before whoever has the address, and for as
//! long as the flow lasts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;

use support::client::{proxied_subscriber, proxy_v2};
use support::datagrams::{proxy_v2_udp, socket};
use support::hellos::{self, Hello};
use support::origin::Origin;
use support::udp_world::UdpWorld;
use support::world::World;
use support::{PATIENCE, eventually};

const LISTED: &str = "www.listed.example";
/// The type of the TLV that names the subscriber.
const KIND: u8 = 0xe1;
const LISTENER: &str = "mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\nsubscriber_tlv = 0xE1\n";

/// A header with TLVs behind its addresses (the PROXY protocol, §2.2.7).
fn with_tlvs(mut header: Vec<u8>, tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    for (kind, value) in tlvs {
        header.push(*kind);
        header.extend((value.len() as u16).to_be_bytes());
        header.extend(*value);
    }
    let length = (header.len() - 16) as u16;
    header[14..16].copy_from_slice(&length.to_be_bytes());
    header
}

/// A hello for the listed name, with application data behind it that settles the verdict.
fn hello() -> Vec<u8> {
    [Hello::named(LISTED).wire(), hellos::record(23, &[1; 50])].concat()
}

/// A visit of whoever has the address of `sN`, with these TLVs.
fn visit_at(world: &World, listener: usize, number: u8, tlvs: &[(u8, &[u8])]) -> u64 {
    let header = with_tlvs(proxy_v2(proxied_subscriber(number), world.destination(443)), tlvs);
    exchange(TcpStream::connect(world.gateway.listener(listener)).unwrap(), &header)
}

/// Sends a header and a hello, and reads the hello back; its bytes.
fn exchange(mut stream: impl Read + Write, header: &[u8]) -> u64 {
    let said = hello();
    stream.write_all(&[header, &said].concat()).unwrap();
    let mut echoed = vec![0; said.len()];
    stream.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, said);
    said.len() as u64
}

#[test]
fn b19_a_subscriber_named_in_the_header_has_the_bytes_whoever_has_the_address() {
    let world = World::with(Origin::echo(), |setup| setup.listener(LISTENER));
    let named = |number, value: &[u8]| visit_at(&world, 2, number, &[(0x04, b"noop"), (KIND, value)]);
    let length = named(1, b"imsi:401770123456789");
    // Of an address that nobody has, too.
    assert_eq!(named(200, b"msisdn:+77010000001"), length);
    assert_eq!(named(1, "account:\u{436}:7".as_bytes()), length);
    // Without the TLV, and where no type is stated, whoever has the address has the bytes.
    assert_eq!(visit_at(&world, 2, 2, &[(0xe2, b"account:nobody")]), length);
    assert_eq!(visit_at(&world, 1, 3, &[(KIND, b"account:nobody")]), length);
    world.gateway.await_flows_closed();
    let usage = world.gateway.stop_and_count();
    for who in ["401770123456789", "77010000001", "\u{436}:7", "s2", "s3"] {
        assert_eq!(usage.exempt(who), (length, length), "{who}");
    }
    let kinds: Vec<_> = usage.rows.iter().map(|row| row["subscriber_type"].as_str()).collect();
    assert!(["imsi", "msisdn", "account"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert_eq!(usage.of("s1"), (0, 0));
}

#[test]
fn b19_what_names_nobody_in_the_header_leaves_the_bytes_to_nobody() {
    let world = World::with(Origin::echo(), |setup| setup.listener(LISTENER));
    let long = [&b"account:"[..], &[b'x'; 254]].concat();
    let wrong: [&[(u8, &[u8])]; 9] = [
        &[(KIND, b"")],
        &[(KIND, b"pupil-7")],
        &[(KIND, b"imsi:12345")],
        &[(KIND, b"msisdn:00:11:22:33:44:55")],
        &[(KIND, b"account:")],
        &[(KIND, b"account:a\n")],
        &[(KIND, b"account:\xff")],
        &[(KIND, &long)],
        &[(KIND, b"account:a"), (KIND, b"account:a")],
    ];
    let length: u64 = wrong.iter().map(|tlvs| visit_at(&world, 2, 1, tlvs)).sum();
    // One octet less is a subscriber.
    let named = visit_at(&world, 2, 1, &[(KIND, &long[..long.len() - 1])]);
    world.gateway.await_flows_closed();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.unattributed("no_subscriber"), (length, length));
    assert_eq!(usage.exempt(&"x".repeat(253)), (named, named));
    assert_eq!(usage.of("s1"), (0, 0));
}

#[test]
fn b19_an_open_flow_stays_its_subscriber_s_when_the_address_passes_on() {
    let world = World::with(Origin::echo(), |setup| setup.listener(LISTENER));
    let header = |value| {
        let header = proxy_v2(proxied_subscriber(1), world.destination(443));
        with_tlvs(header, &[(KIND, value)])
    };
    let open = |value| {
        let stream = TcpStream::connect(world.gateway.listener(2)).unwrap();
        let length = exchange(&stream, &header(value));
        (stream, length)
    };
    let ((mut own, length), (mut nobodys, _)) = (open(b"account:pupil"), open(b"pupil"));
    let table = "prefix,subscriber_type,subscriber_id\n10.7.0.1/32,account,newcomer\n";
    world.gateway.setup().write("subscribers.csv", table);
    world.gateway.reload();
    for stream in [&mut own, &mut nobodys] {
        stream.write_all(&[7; 1_000]).unwrap();
        stream.read_exact(&mut [0; 1_000]).unwrap();
    }
    drop((own, nobodys));
    world.gateway.await_flows_closed();
    let usage = world.gateway.stop_and_count();
    assert_eq!(usage.exempt("pupil"), (length + 1_000, length + 1_000));
    assert_eq!(usage.unattributed("no_subscriber"), (length + 1_000, length + 1_000));
}

#[test]
fn b19_over_a_socket_of_this_machine_too() {
    let listener = "mode = \"proxy_protocol\"\nsocket = \"proxy.sock\"\nsubscriber_tlv = 0xE1\n";
    let world = World::with(Origin::echo(), |setup| setup.listener(listener));
    let header = proxy_v2(proxied_subscriber(1), world.destination(443));
    let stream = UnixStream::connect(world.gateway.setup().path("proxy.sock")).unwrap();
    let length = exchange(stream, &with_tlvs(header, &[(KIND, b"account:pupil")]));
    world.gateway.await_flows_closed();
    assert_eq!(world.gateway.stop_and_count().exempt("pupil"), (length, length));
}

#[test]
fn b19_datagrams_of_two_subscribers_behind_one_address_are_two_flows() {
    let server = UdpSocket::bind("127.0.2.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let world = UdpWorld::with(server.local_addr().unwrap().port(), |setup| setup.listener(LISTENER));
    let balancer = socket([127, 0, 0, 1]);
    let send = |value: &[u8], bytes: &[u8]| -> SocketAddr {
        let header = proxy_v2_udp(proxied_subscriber(1), world.destination());
        let datagram = [&with_tlvs(header, &[(KIND, value)])[..], bytes].concat();
        balancer.send_to(&datagram, world.gateway.listener(2)).unwrap();
        let mut taken = [0; 2_000];
        let (count, from) = server.recv_from(&mut taken).unwrap();
        assert_eq!(&taken[..count], bytes);
        server.send_to(&[9; 70], from).unwrap();
        let mut answered = [0; 2_000];
        assert_eq!(balancer.recv(&mut answered).unwrap(), 70);
        from
    };
    let one = send(b"account:one", &[1; 100]);
    let other = send(b"account:other", &[2; 200]);
    assert_ne!(one, other, "another flow");
    assert_eq!(send(b"account:one", &[3; 100]), one);
    assert!(eventually(|| world.counted("down") == 210), "{}", world.gateway.log());
    let usage = world.gateway.stop_and_count();
    assert_eq!((usage.of("one"), usage.of("other"), usage.of("s1")), ((200, 140), (200, 70), (0, 0)));
}
