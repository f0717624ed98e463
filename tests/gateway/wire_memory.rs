//! Allocations and memory of the readers, counted by the allocator itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use support::hellos;
use support::quic;

use allocation_counter::{AllocationInfo, measure};
use gateway::flow::identify::{Identifier, IdentifyLimits, Progress, QuicIdentifier};
use gateway::wire::http1::{HeadLimits, HeadReader};
use gateway::wire::quic::QuicLimits;
use gateway::wire::tls::{HelloLimits, HelloStream, Outcome, hello_message};
use hellos::{Hello, change_cipher_spec, record, records};
use quic::{Initial, crypto};

const LIMITS: HelloLimits = HelloLimits { handshake_bytes_max: 16 * 1024, wire_bytes_max: 32 * 1024 };

fn count(run: impl FnOnce()) -> AllocationInfo {
    let info = measure(run);
    println!("{info:?}");
    info
}

#[test]
fn a_whole_hello_allocates_nothing() {
    let hello = Hello::post_quantum("listed.edu");
    let (message, wire) = (hello.message(), hello.wire());
    let mut named = 0;
    let info = count(|| {
        for _ in 0..100 {
            named += usize::from(
                matches!(hello_message(&message, 16384), Outcome::Hello(facts) if facts.name.is_some()),
            );
            let mut stream = HelloStream::new(LIMITS);
            named += usize::from(matches!(stream.push(&wire).outcome, Outcome::Hello(_)));
        }
    });
    assert_eq!((named, info.count_total), (200, 0));
}

#[test]
fn the_watch_for_a_second_hello_allocates_nothing() {
    let wire = [Hello::named("listed.edu").wire(), change_cipher_spec(), record(23, &[0; 999])].concat();
    let mut ended = false;
    let info = count(|| {
        let mut stream = HelloStream::new(LIMITS);
        let step = stream.push(&wire);
        let consumed = step.consumed;
        ended = stream.push(&wire[consumed..]).outcome == Outcome::Ended;
    });
    assert!(ended);
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_whole_request_head_allocates_nothing() {
    let head = b"GET /a HTTP/1.1\r\nHost: listed.edu\r\nAccept: */*\r\n\r\n";
    let info = count(|| {
        HeadReader::new(HeadLimits { head_bytes_max: 16384, headers_max: 100 }).push(head);
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn t4_an_undecided_flow_holds_at_most_20_kib() {
    let never = records(&Hello::named("listed.edu").padded_to(16384).message()[..16_383], 16384);
    let head = [&b"GET / HTTP/1.1\r\nX: "[..], &[b'x'; 16_000]].concat();
    for bytes in [never, head] {
        for size in [1, 100, 1460, bytes.len()] {
            let mut identifier = Identifier::new(&IdentifyLimits::default());
            let info = count(|| {
                for piece in bytes.chunks(size) {
                    assert_eq!(identifier.observe(piece), Progress::Undecided);
                }
            });
            let held = usize::try_from(info.bytes_current).unwrap() + size_of::<Identifier>();
            assert!(held <= 20 * 1024, "{held} bytes held in pieces of {size}");
            let freed = count(|| assert_eq!(identifier.deadline(), Progress::Settled));
            assert_eq!(freed.bytes_current, -info.bytes_current, "all is freed when settled");
        }
    }
}

/// The memory that a QUIC flow still holds after these datagrams, as the allocator counts it.
fn held_after(datagrams: &[Vec<u8>], wanted: Progress) -> (i64, QuicIdentifier) {
    let mut kept = None;
    let info = count(|| {
        let mut identifier = QuicIdentifier::new(&QuicLimits::default());
        let mut progress = Progress::Undecided;
        for datagram in datagrams {
            progress = identifier.observe(datagram);
        }
        assert_eq!(progress, wanted);
        kept = Some(identifier);
    });
    (info.bytes_current, kept.unwrap())
}

#[test]
fn t42_an_undecided_quic_flow_holds_at_most_20_kib_and_says_so() {
    let message = Hello::post_quantum("listed.edu").padded_to(16_384).message();
    // All but one byte, in as many pieces as are allowed, from the back, after keys that open nothing.
    let size = message.len().div_ceil(120);
    let mut parts: Vec<Vec<u8>> = message[1..]
        .chunks(size)
        .enumerate()
        .map(|(index, part)| crypto((1 + index * size) as u64, part))
        .collect();
    parts.reverse();
    let mut datagrams: Vec<Vec<u8>> =
        parts.chunks(15).map(|parts| Initial::new(&parts.concat()).sized(0).seal()).collect();
    assert!(datagrams.len() <= 8);
    for id in [1, 2] {
        datagrams.insert(0, Initial::of(b"").to(&[id; 8]).addressed(&[id + 9; 8]).seal());
    }
    assert_holds_20_kib(&datagrams);
    // Single bytes far apart, then one piece over all the holes between them.
    let single = |at: usize| crypto(at as u64, &message[at..=at]);
    let frames: Vec<u8> = (0..126).rev().flat_map(|index| single(1 + index * 120)).collect();
    let [front, back] = message[1..].split_at(8_000).into();
    let over =
        [frames, crypto(1, front), crypto(8_001, back)].map(|frames| Initial::new(&frames).sized(0).seal());
    assert_holds_20_kib(&[&datagrams[..2], &over].concat());
}

/// An undecided flow with 16,383 bytes of a hello and keys of three connections.
fn assert_holds_20_kib(datagrams: &[Vec<u8>]) {
    let (held, identifier) = held_after(datagrams, Progress::Undecided);
    let value = i64::try_from(size_of::<QuicIdentifier>()).unwrap();
    println!("{held} bytes and {value} of the value itself");
    assert!(held > 16_383 && held + value <= 20 * 1024, "{held}");
    assert_eq!(i64::try_from(identifier.buffer_bytes()).unwrap(), held, "what it says it holds");
}

#[test]
fn a_named_quic_flow_holds_its_keys_and_the_watch_allocates_nothing() {
    let message = Hello::post_quantum("listed.edu").message();
    let (held, mut identifier) = held_after(&quic::two_datagrams(&message, 700), Progress::Identified);
    println!("{held} bytes");
    let name = i64::try_from(identifier.identity().unwrap().name.as_ref().unwrap().as_str().len()).unwrap();
    assert!(held <= 1_536, "keys and name: {held}");
    assert!((held - i64::try_from(identifier.buffer_bytes()).unwrap() - name).abs() <= 16);
    let short = [0x41; 1_200];
    let handshake = quic::opaque(quic::V1, quic::HANDSHAKE, &[7; 8], &[], &[0; 900]);
    let info = count(|| {
        for _ in 0..100 {
            assert_eq!(identifier.observe(&short), Progress::Identified);
            assert_eq!(identifier.observe(&handshake), Progress::Identified);
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn t13_an_offset_of_2_to_the_62_allocates_nothing_for_the_bytes() {
    let packet = |offset| Initial::new(&crypto(offset, b"x")).seal();
    let (none, far, near) = (packet((1 << 62) - 1), packet(16_384), packet(16_383));
    for datagram in [none, far] {
        let mut identifier = QuicIdentifier::new(&QuicLimits::default());
        let info = count(|| assert_eq!(identifier.observe(&datagram), Progress::Settled));
        assert_eq!(info.bytes_current, 0);
        assert!(info.bytes_max < 8_192, "keys and the copy of the packet: {}", info.bytes_max);
    }
    let (held, _) = held_after(&[near], Progress::Undecided);
    assert!(held < 2_048, "one byte at the last place holds one byte, not all in front of it: {held}");
}
