//! Urgent bytes (tcp(7), `MSG_OOB`) through the running gateway: each arrives in its place and as urgent, both ways, copied or
//! moved inside the kernel, and nobody waits for what stands behind one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use rustix::net::RecvFlags;
use socket2::SockRef;
use support::client::{read_exactly, read_to_end};
use support::edge::{Edge, origin};
use support::eventually;
use support::hellos::Hello;
use support::origin::{Origin, Visit};
use support::world::World;

const LISTED: &str = "www.listed.example";
/// Bytes of one direction: many buffers and pipes full.
const BULK: usize = 12_000_000;
/// Bytes between two urgent ones.
const APART: usize = 1_300_001;

/// Bytes that show a piece lost, doubled or out of place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A hello, and application data behind which nothing can name the flow any more.
fn opening() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5]].concat()
}

/// Says where the first byte is that differs.
fn assert_same(got: &[u8], expected: &[u8]) {
    let first = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!((got.len(), first), (expected.len(), None));
}

/// Sends `bytes`, the last of them urgent.
fn write_urgent(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let sent = SockRef::from(stream).send_out_of_band(bytes).unwrap();
        bytes = &bytes[sent..];
    }
}

/// The urgent byte that comes.
fn urgent(stream: &TcpStream) -> u8 {
    let mut byte = [0];
    let come = || {
        rustix::net::recv(stream, &mut byte, RecvFlags::OOB | RecvFlags::DONTWAIT)
            .is_ok_and(|(count, _)| count == 1)
    };
    assert!(eventually(come));
    byte[0]
}

/// Reads `ab`, an urgent `c` that is not among the others, and `de`.
fn hear(stream: &mut TcpStream) {
    assert_eq!(read_exactly(stream, 2), b"ab");
    assert_eq!(urgent(stream), b'c');
    assert_eq!(read_exactly(stream, 2), b"de");
}

/// Says what [`hear`] hears.
fn say(stream: &mut TcpStream) {
    write_urgent(stream, b"abc");
    stream.write_all(b"de").unwrap();
}

/// Hears and answers in kind, behind a hello.
fn converse(mut visit: Visit) {
    read_exactly(&mut visit.stream, opening().len());
    hear(&mut visit.stream);
    say(&mut visit.stream);
    visit.read_to_end();
}

/// The client's part.
fn ask(mut client: TcpStream) {
    client.write_all(&opening()).unwrap();
    say(&mut client);
    hear(&mut client);
}

#[test]
fn f37_an_urgent_byte_arrives_as_urgent_both_ways() {
    let world = World::new(Origin::new(converse));
    ask(world.proxied(1));
    ask(world.steered(2));
    let usage = world.gateway.stop_and_count();
    // All of it is counted: the urgent byte is a byte like others.
    let each = (opening().len() as u64 + 5, 5);
    assert_eq!((usage.of("s1"), usage.of("s2")), (each, each));
}

#[test]
fn f37_an_urgent_byte_passes_a_transparent_gateway() {
    let Some(edge) = Edge::new() else { return };
    for family in 0..2 {
        let to = origin(family, 443);
        let _origin = edge.link.in_internet(|| Origin::at(to, converse));
        ask(edge.connect(to));
    }
}

#[test]
fn f37_nobody_waits_behind_an_urgent_byte() {
    // Each side says something whose last byte is urgent, and no more until it is answered.
    let world = World::new(Origin::new(|mut visit| {
        SockRef::from(&visit.stream).set_out_of_band_inline(true).unwrap();
        read_exactly(&mut visit.stream, opening().len());
        for length in [1, 3, 16_384, 100_000] {
            assert!(read_exactly(&mut visit.stream, length) == pattern(length));
            write_urgent(&visit.stream, &pattern(length));
        }
        visit.read_to_end();
    }));
    for mut client in [world.proxied(1), world.steered(2)] {
        SockRef::from(&client).set_out_of_band_inline(true).unwrap();
        client.write_all(&opening()).unwrap();
        for length in [1, 3, 16_384, 100_000] {
            write_urgent(&client, &pattern(length));
            assert!(read_exactly(&mut client, length) == pattern(length), "{length}");
        }
    }
}

#[test]
fn f37_bulk_with_urgent_bytes_in_it_arrives_whole_also_where_it_moves_inside_the_kernel() {
    let speak = |stream: &TcpStream| pattern(BULK).chunks(APART).for_each(|part| write_urgent(stream, part));
    for pipes in [2, 0] {
        let origin = Origin::new(move |mut visit| {
            SockRef::from(&visit.stream).set_out_of_band_inline(true).unwrap();
            visit.read_to_end();
            speak(&visit.stream);
            visit.stream.shutdown(Shutdown::Write).unwrap();
        });
        let world = World::with(origin, |setup| setup.set("limits", &format!("splice_pipes_max = {pipes}")));
        let mut client = world.proxied(1);
        SockRef::from(&client).set_out_of_band_inline(true).unwrap();
        client.write_all(&opening()).unwrap();
        speak(&client);
        client.shutdown(Shutdown::Write).unwrap();
        assert_same(&read_to_end(&mut client).unwrap(), &pattern(BULK));
        assert_same(&world.origin.received(0), &[opening(), pattern(BULK)].concat());
        drop(client);
        let moves = || world.gateway.metric("zrgw_spliced_bytes_total") > 0;
        assert_eq!(eventually(|| moves() == (pipes > 0)) && moves(), pipes > 0);
        let all = ((opening().len() + BULK) as u64, BULK as u64);
        assert_eq!(world.gateway.stop_and_count().exempt("s1"), all);
    }
}
