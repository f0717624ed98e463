//! A hello cut into segments and records anywhere: the same verdict, read in place where it can be, and never by a reader
//! that ignores record headers.

use gateway::wire::tls::{Outcome, hello_message};
use support::hellos::{self, Hello, SERVER_NAME, record, records, records_cut_at, server_name};

use super::{LIMITS, Said, drive, drive_pieces, drive_segments, name, same_in_every_cutting};

#[test]
fn t1_hello_split_at_every_offset_and_byte_by_byte() {
    for hello in [Hello::named("listed.edu"), Hello::post_quantum("listed.edu")] {
        let wire = hello.wire();
        let whole = drive(&wire);
        assert!(matches!(&whole[..], [Said::Hello(Some(name), _)] if name == b"listed.edu"));
        for at in 0..=wire.len() {
            let (one, two) = wire.split_at(at);
            assert_eq!(drive_pieces([one, two]).0, whole, "cut at {at}");
        }
        assert_eq!(drive_segments(&wire, 1), whole);
    }
}

#[test]
fn t1_every_prefix_needs_more_and_nothing_else() {
    let wire = Hello::post_quantum("listed.edu").wire();
    for end in 0..wire.len() {
        assert_eq!(drive(&wire[..end]), [], "prefix of {end}");
        assert_eq!(drive_segments(&wire[..end], 1), [], "prefix of {end}, byte by byte");
    }
    let message = Hello::named("listed.edu").message();
    for end in 0..message.len() {
        assert_eq!(hello_message(&message[..end], 16384), Outcome::NeedMore);
    }
}

#[test]
fn t2_hello_split_into_records_at_every_offset() {
    let message = Hello::named("www.listed.edu").message();
    let said = [name("www.listed.edu")];
    for at in 1..message.len() {
        let wire = records_cut_at(&message, &[at]);
        assert_eq!(drive(&wire), said, "records cut at {at}");
        assert_eq!(drive_segments(&wire, 1), said, "records cut at {at}, byte by byte");
    }
    for size in 1..=message.len() {
        assert_eq!(drive(&records(&message, size)), said, "records of {size}");
    }
}

#[test]
fn t2_hello_split_into_three_records_around_and_inside_the_name() {
    let message = Hello::named("listed.edu").message();
    let at = message.windows(10).position(|window| window == b"listed.edu").unwrap();
    for one in at - 8..at + 10 {
        for two in one + 1..at + 14 {
            let wire = records_cut_at(&message, &[one, two]);
            assert_eq!(drive(&wire), [name("listed.edu")], "records cut at {one} and {two}");
        }
    }
}

#[test]
fn t2_empty_records_are_tolerated_and_bounded_by_the_wire_cap() {
    let message = Hello::named("listed.edu").message();
    let mut wire = record(22, &[]);
    wire.extend(record(22, &message[..50]));
    wire.extend(record(22, &[]).repeat(100));
    wire.extend(record(22, &message[50..]));
    same_in_every_cutting(&wire, &[name("listed.edu")]);

    let endless = record(22, &[]).repeat(LIMITS.wire_bytes_max / 5 + 1);
    assert_eq!(drive(&endless[..LIMITS.wire_bytes_max]), []);
    same_in_every_cutting(&endless, &[Said::Oversize]);
}

/// T3: the second record's header falls into the name. Who skips record headers reads `other.com`; who ignores them and
/// takes the bytes as they lie reads `listed.edu`.
#[test]
fn t3_a_reader_that_ignores_record_headers_reads_another_name() {
    let message = Hello::named("other.com").message();
    let at = message.windows(9).position(|window| window == b"other.com").unwrap();
    let wire = records_cut_at(&message, &[at]);
    let naive = &wire[5 + at..5 + at + 9];
    assert_ne!(naive, b"other.com", "the header lies where a naive reader expects the name");
    assert_eq!(drive(&wire), [name("other.com")]);

    let wire = deceptive_hello();
    assert_eq!(naive_server_name(&wire).as_deref(), Some(&b"listed.edu"[..]), "the trap is set");
    same_in_every_cutting(&wire, &[name("other.com")]);
}

/// A hello in two records. Taken without record headers it names `other.com`; taken with the second header left inside,
/// everything behind it is shifted by five bytes, and there `listed.edu` stands.
fn deceptive_hello() -> Vec<u8> {
    // X is cut by the record boundary. The naive reader takes the five header bytes for X's data, so for it X ends five
    // bytes early, and these five begin an extension that ends behind the four bytes that head Y.
    let mut x = vec![0; 20];
    x.extend([0xbb, 0xbb, 0, 5, 0]);
    // Y's data is an extension for the naive alone.
    let mut y = SERVER_NAME.to_be_bytes().to_vec();
    y.extend(hellos::block16(&server_name(b"listed.edu")));
    let message = Hello::bare()
        .with(0xaaaa, x)
        .with(0xcccc, y)
        .with(SERVER_NAME, server_name(b"other.com"))
        .modern()
        .message();
    let x_at = message.windows(2).position(|window| window == [0xaa, 0xaa]).unwrap();
    records_cut_at(&message, &[x_at + 4 + 3])
}

/// What a reader makes of it that strips the first record header only.
fn naive_server_name(wire: &[u8]) -> Option<Vec<u8>> {
    let body = &wire[9..];
    let mut at = 2 + 32;
    at += 1 + usize::from(body[at]);
    at += 2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    at += 1 + usize::from(body[at]);
    at += 2;
    while at + 4 <= body.len() {
        let kind = u16::from_be_bytes([body[at], body[at + 1]]);
        let length = usize::from(u16::from_be_bytes([body[at + 2], body[at + 3]]));
        if kind == SERVER_NAME {
            return Some(body[at + 4 + 5..at + 4 + length].to_vec());
        }
        at += 4 + length;
    }
    None
}

#[test]
fn fast_path_reads_in_place_and_others_copy_each_byte_once() {
    let hello = Hello::post_quantum("listed.edu");
    let (wire, message) = (hello.wire(), hello.message());
    let length = u64::try_from(message.len()).unwrap();
    assert_eq!(drive_pieces([&wire[..]]).1, 0, "one segment, one record: in place");
    let mut more = wire.clone();
    more.extend(record(23, &[1; 100]));
    assert_eq!(drive_pieces([&more[..]]).1, 0, "what follows makes no difference");
    assert_eq!(
        drive_pieces(wire.split_at(100).0.chunks(100).chain([&wire[100..]])).1,
        length,
        "two segments"
    );
    assert_eq!(drive_pieces([&records(&message, 700)[..]]).1, length, "three records");
    assert_eq!(drive_pieces(records(&message, 1).chunks(1)).1, length, "byte by byte: still each once");
}
