//! The name in a client's Initials: one answer for every cutting, order and wrapping, or a reason for none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use support::quic;
use support::quic_told;

use billing_export::Reason;
use gateway::flow::identify::{Progress, QuicIdentifier, SeenIn};
use gateway::wire::quic::QuicLimits;
use quic::{
    DRAFT_29, HANDSHAKE, INITIAL, Initial, ORIGIN, RETRY, V1, V2, ZERO_RTT, crypto, long_header, opaque,
    pieces, two_datagrams,
};
use quic_told::{SERVER_ID, hello, identify, named, none, observe, post_quantum, told};

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// All orders of `count` things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in orders(count - 1) {
        for place in 0..count {
            let mut order = shorter.clone();
            order.insert(place, count - 1);
            all.push(order);
        }
    }
    all
}

/// The ClientHello of RFC 9001 A.2, in its CRYPTO frame.
const RFC_FRAME: &str = "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413\
    011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500\
    050100000000003300260024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d00\
    10000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110\
    0104800075300901100f088394c8f03e51570806048000ffff";

/// A sealed packet of an RFC: its front and, with the authentication tag that covers all of it, its end.
fn assert_is(packet: &[u8], front: &str, end: &str) {
    assert_eq!(packet.len(), 1200);
    assert!(packet.starts_with(&hex(front)) && packet.ends_with(&hex(end)), "{packet:02x?}");
}

#[test]
fn q1_the_example_of_rfc_9001_a2_asks_for_example_com() {
    let packet = Initial::new(&hex(RFC_FRAME)).number(2, 4).seal();
    assert_is(
        &packet,
        "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
        "7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934",
    );
    assert_eq!(identify(&[&packet]), named("example.com"));
}

#[test]
fn q2_the_example_of_rfc_9369_a2_asks_for_example_com() {
    let packet = Initial::new(&hex(RFC_FRAME)).version(V2).number(2, 4).seal();
    assert_is(
        &packet,
        "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
        "6f4c4938ae79324dc402894b44faf8afbab35282ab659d13c93f70412e85cb199a37ddec600545473cfb5a05e08d0b209973b2172b4d21fb\
        69745a262ccde96ba18b2faa745b6fe189cf772a9f84cbfc",
    );
    assert_eq!(identify(&[&packet]), named("example.com"));
}

#[test]
fn t15_drafts_29_to_34_are_read_with_their_salts_and_older_ones_are_not() {
    for draft in 29..=34 {
        let packet = Initial::of(&hello("listed.edu")).version(0xff00_0000 + draft).seal();
        assert_eq!(identify(&[packet]), named("listed.edu"), "draft {draft}");
    }
    for draft in [27, 28, 35] {
        let packet = Initial::of(&hello("listed.edu")).version(0xff00_0000 + draft).seal();
        assert_eq!(identify(&[packet]), none(Reason::NotRecognised), "draft {draft}");
    }
}

#[test]
fn q3_t12_a_hello_over_two_datagrams_in_both_orders_with_duplicates() {
    let message = post_quantum();
    for at in [1, 4, 700, message.len() - 4] {
        let datagrams = if at < 1100 && message.len() - at < 1100 {
            two_datagrams(&message, at)
        } else {
            // More than a datagram takes: what QUIC allows when the path is wide.
            let [front, back] = message.split_at(at).into();
            [
                Initial::new(&crypto(0, front)).sized(4000).seal(),
                Initial::new(&crypto(at as u64, back)).sized(4000).number(1, 2).seal(),
            ]
        };
        for order in [&[0, 1][..], &[1, 0], &[0, 0, 1], &[1, 1, 0], &[0, 1, 0, 1, 1]] {
            let sent: Vec<&Vec<u8>> = order.iter().map(|index| &datagrams[*index]).collect();
            assert_eq!(identify(&sent), named("listed.edu"), "cut at {at}, {order:?}");
        }
        for missing in [[0, 0, 0], [1, 1, 1]] {
            let sent: Vec<&Vec<u8>> = missing.iter().map(|index| &datagrams[*index]).collect();
            assert_eq!(identify(&sent), none(Reason::Undecided), "a hole stays a hole");
        }
    }
}

#[test]
fn q3_t14_what_was_lost_comes_again_to_the_servers_connection_id_with_the_keys_of_the_flow() {
    let message = post_quantum();
    let [first, _lost] = two_datagrams(&message, 700);
    let again = Initial::new(&crypto(700, &message[700..])).addressed(&SERVER_ID).number(3, 1).seal();
    assert_eq!(identify(&[first, again]), named("listed.edu"));
}

#[test]
fn q4_t14_a_retry_changes_the_keys_and_the_hello_begins_anew() {
    let message = post_quantum();
    let retried = |frames: &[u8], number| {
        Initial::new(frames).to(&SERVER_ID).token(&[0x70; 90]).number(number, 1).seal()
    };
    let whole = [retried(&crypto(0, &message[..700]), 1), retried(&crypto(700, &message[700..]), 2)];
    let [first, second] = two_datagrams(&message, 700);
    // After the whole hello, after a part of it, and for an observer who comes only then.
    assert_eq!(identify(&[&first, &second, &whole[0], &whole[1]]), named("listed.edu"));
    assert_eq!(identify(&[&first, &whole[0], &whole[1]]), named("listed.edu"));
    assert_eq!(identify(&[&whole[0], &whole[1]]), named("listed.edu"));
    // A piece from before the Retry does not complete what comes after it.
    assert_eq!(identify(&[&second, &whole[0]]), none(Reason::Undecided));
    assert_eq!(identify(&[&first, &whole[0], &second]), none(Reason::Undecided));
    // Nor does it harm: it was late.
    assert_eq!(identify(&[&first, &whole[0], &second, &whole[1]]), named("listed.edu"));
    // Other bytes at the same place are no contradiction across a Retry: this is another handshake.
    let other = retried(&crypto(0, &hello("listed.edu")), 1);
    assert_eq!(identify(&[&first, &other]), named("listed.edu"));
}

#[test]
fn q4_an_observer_who_comes_after_the_first_datagram_learns_nothing_from_later_ones() {
    let message = hello("listed.edu");
    let late = Initial::of(&message).addressed(&SERVER_ID).seal();
    assert_eq!(identify(&[&late, &late, &late, &late, &late]), none(Reason::Undecided));
    let anew = Initial::of(&message).to(&[9; 8]).seal();
    assert_eq!(identify(&[&late, &late, &anew]), named("listed.edu"));
}

#[test]
fn q5_the_fixed_bit_may_be_cleared() {
    for version in [V1, V2, DRAFT_29] {
        let packet = Initial::of(&hello("listed.edu")).version(version).fixed_bit(false).seal();
        assert_eq!(packet[0] & 0x40, 0);
        assert_eq!(identify(&[packet]), named("listed.edu"));
    }
}

#[test]
fn q6_t14_packets_that_share_a_datagram_are_walked_by_their_length() {
    for version in [V1, V2] {
        let message = hello("listed.edu");
        let initial = Initial::of(&message).version(version).sized(0).seal();
        let early = opaque(version, ZERO_RTT, &ORIGIN, &[], &[0x0e; 600]);
        let handshake = opaque(version, HANDSHAKE, &ORIGIN, &[], &[0x4a; 60]);
        let short = [&[0x41][..], &ORIGIN, &[0x55; 40]].concat();
        assert_eq!(identify(&[[&initial[..], &early].concat()]), named("listed.edu"));
        assert_eq!(identify(&[[&early[..], &initial].concat()]), named("listed.edu"));
        assert_eq!(identify(&[[&early[..], &handshake, &initial, &short].concat()]), named("listed.edu"));
        assert_eq!(identify(&[early, initial.clone()]), named("listed.edu"), "early data came first");
        // What stands behind a short header or a Retry belongs to it.
        assert_eq!(identify(&[[&short[..], &initial].concat()]), none(Reason::NotRecognised));
        let retry = long_header(version, RETRY, &ORIGIN, &[]);
        assert_eq!(identify(&[[&retry[..], &initial].concat()]), none(Reason::Undecided));
        // Two Initials in one datagram, each with a piece.
        let (front, back) = message.split_at(50);
        let first = Initial::new(&crypto(0, front)).version(version).sized(0).seal();
        let second = Initial::new(&crypto(50, back)).version(version).number(1, 1).sized(0).seal();
        assert_eq!(identify(&[[&second[..], &first].concat()]), named("listed.edu"));
    }
}

#[test]
fn q7_t12_pieces_in_every_order_with_ping_and_padding_between() {
    let message = hello("listed.edu");
    for count in 1..=6 {
        let parts = pieces(&message, message.len().div_ceil(count));
        for order in orders(parts.len()) {
            let mut frames = vec![0, 1];
            for index in &order {
                frames.extend(&parts[*index]);
                frames.extend([1, 0, 0, 1]);
            }
            assert_eq!(identify(&[Initial::new(&frames).seal()]), named("listed.edu"), "{order:?}");
        }
    }
    // Each piece in a datagram of its own, one of them twice.
    let parts = pieces(&message, message.len().div_ceil(4));
    for order in orders(4) {
        let datagrams: Vec<_> =
            order.iter().chain([&0]).map(|index| Initial::new(&parts[*index]).seal()).collect();
        assert_eq!(identify(&datagrams), named("listed.edu"), "{order:?}");
    }
}

#[test]
fn q7_t12_twenty_eight_reversed_pieces_over_two_datagrams() {
    let message = post_quantum();
    for version in [V1, V2] {
        let mut parts = pieces(&message, message.len().div_ceil(28));
        assert_eq!(parts.len(), 28);
        parts.reverse();
        let datagram = |parts: &[Vec<u8>], number| {
            let frames: Vec<u8> = parts.iter().flat_map(|part| [&part[..], &[1, 0, 0]].concat()).collect();
            Initial::new(&frames).version(version).number(number, 1).seal()
        };
        let datagrams = [datagram(&parts[..14], 0), datagram(&parts[14..], 1)];
        assert_eq!(identify(&datagrams), named("listed.edu"));
        assert_eq!(identify(&[&datagrams[1], &datagrams[0]]), named("listed.edu"));
    }
}

#[test]
fn q7_fragments_at_the_limit_and_one_over_it() {
    let message = hello("listed.edu");
    let limit = QuicLimits::default().fragments_max;
    let in_pieces = |count: usize| {
        // One byte each, the last one takes the rest; from the back, so that none joins the one before.
        let mut parts: Vec<Vec<u8>> = (0..count - 1).map(|at| crypto(at as u64, &message[at..=at])).collect();
        parts.push(crypto((count - 1) as u64, &message[count - 1..]));
        parts.reverse();
        Initial::new(&parts.concat()).sized(1400).seal()
    };
    assert!(message.len() > limit);
    assert_eq!(identify(&[in_pieces(limit)]), named("listed.edu"));
    assert_eq!(identify(&[in_pieces(limit + 1)]), none(Reason::Oversize));
    // Repetition is not counted: a client may send again what was acknowledged late.
    let again = Initial::new(&crypto(1, &message[1..2]).repeat(200)).seal();
    assert_eq!(identify(&[again, in_pieces(limit - 1)]), named("listed.edu"));
}

#[test]
fn q8_t13_overlaps_that_agree_are_joined_and_others_are_ambiguous() {
    let message = hello("listed.edu");
    let length = message.len();
    let mut other = message.clone();
    other[length / 2] ^= 1;
    let (early, late) = (length / 2 - 20, length / 2 + 20);
    let agreeing = [crypto(0, &message[..late]), crypto(early as u64, &message[early..])];
    let disagreeing = [crypto(0, &message[..late]), crypto(early as u64, &other[early..])];
    let covered = [crypto(0, &message), crypto(early as u64, &other[early..late])];
    for order in [[0, 1], [1, 0]] {
        let together = |frames: &[Vec<u8>; 2]| {
            let frames = [&frames[order[0]][..], &frames[order[1]]].concat();
            identify(&[Initial::new(&frames).seal()])
        };
        let apart = |frames: &[Vec<u8>; 2]| {
            identify(&[Initial::new(&frames[order[0]]).seal(), Initial::new(&frames[order[1]]).seal()])
        };
        assert_eq!(together(&agreeing), named("listed.edu"));
        assert_eq!(apart(&agreeing), named("listed.edu"));
        assert_eq!(together(&disagreeing), none(Reason::Ambiguous));
        assert_eq!(apart(&disagreeing), none(Reason::Ambiguous));
        assert_eq!(together(&covered), none(Reason::Ambiguous), "also where one is complete");
    }
    // Every start and length of an overlap, agreeing and not.
    let short = &message[..40];
    for from in 0..40 {
        for to in from + 1..=40 {
            let rest = crypto(40, &message[40..]);
            let frames = [
                crypto(0, &short[..20]),
                crypto(from as u64, &short[from..to]),
                crypto(20, &short[20..]),
                rest,
            ];
            assert_eq!(identify(&[Initial::new(&frames.concat()).seal()]), named("listed.edu"));
            let mut wrong = short[from..to].to_vec();
            *wrong.last_mut().unwrap() ^= 0x80;
            let frames = [&frames[0][..], &crypto(from as u64, &wrong), &frames[2], &frames[3]];
            assert_eq!(identify(&[Initial::new(&frames.concat()).seal()]), none(Reason::Ambiguous));
        }
    }
}

#[test]
fn q9_t13_offsets_beyond_the_limit_allocate_nothing_and_end_the_reading() {
    let limit = QuicLimits::default().crypto_bytes_max as u64;
    let ended = |offset| identify(&[Initial::new(&crypto(offset, b"x")).seal()]);
    assert_eq!(ended(limit - 1), none(Reason::Undecided));
    for offset in [limit, limit + 1, 0xffff, 0x1_0000, 1 << 32, (1 << 62) - 1] {
        assert_eq!(ended(offset), none(Reason::Oversize), "{offset}");
    }
}

#[test]
fn q9_broken_headers_give_no_name() {
    let whole = Initial::of(&hello("listed.edu")).seal();
    let no_name = |datagram: Vec<u8>| assert_eq!(identify(&[datagram]).0, None);
    // Connection ids of 21 bytes, in either place.
    no_name(opaque(V1, INITIAL, &[7; 21], &[], &[0; 1150]));
    no_name(opaque(V1, INITIAL, &[7; 8], &[7; 21], &[0; 1150]));
    // A token or a packet longer than the datagram.
    let head = long_header(V1, INITIAL, &ORIGIN, &[]);
    for promised in [63, 16_383, (1 << 30) - 1, (1 << 62) - 1] {
        no_name([&head[..], &quic::varint(promised), &[0; 60]].concat());
        no_name([&head[..], &[0], &quic::varint(promised), &[0; 60]].concat());
    }
    no_name(whole[..whole.len() - 1].to_vec());
    // Too short for a sample, in every length; and 19 bytes in all.
    for length in 0..21 {
        let packet = opaque(V1, INITIAL, &ORIGIN, &[], &vec![0; length]);
        no_name(packet);
    }
    no_name(whole[..19].to_vec());
    // A flipped bit anywhere is no name: the authentication covers all of it, the version and the id make the keys.
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        // The fixed bit and the two reserved ones are covered as well.
        no_name(flipped);
    }
}

#[test]
fn q9_every_truncation_and_every_piece_alone_gives_no_name() {
    for datagram in two_datagrams(&post_quantum(), 700).iter().chain([&Initial::of(&hello("x.kz")).seal()]) {
        for cut in 0..datagram.len() {
            let mut identifier = QuicIdentifier::new(&QuicLimits::default());
            observe(&mut identifier, &datagram[..cut]);
            identifier.finish();
            assert_eq!(identifier.identity().unwrap().name, None, "cut at {cut}");
        }
    }
    let single: Vec<Vec<u8>> = Initial::of(&hello("x.kz")).seal().iter().map(|byte| vec![*byte]).collect();
    assert_eq!(identify(&single).0, None, "datagrams are not a stream");
}

#[test]
fn q10_packet_numbers_may_begin_anywhere_and_in_any_length() {
    for (number, bytes) in [(0, 1), (1, 1), (1, 4), (255, 1), (256, 2), (0xffff, 3), (0x0102_0304, 4)] {
        let packet = Initial::of(&hello("listed.edu")).number(number, bytes).seal();
        assert_eq!(identify(&[packet]), named("listed.edu"), "{number} in {bytes}");
    }
}

#[test]
fn q11_t15_an_unknown_version_waits_for_one_that_is_read() {
    let initial = Initial::of(&hello("listed.edu")).seal();
    let strange = |version: u32| {
        let mut datagram = opaque(version, INITIAL, &[3; 8], &[4; 8], &[0x11; 1180]);
        datagram.truncate(1200);
        datagram
    };
    for version in [0x0a0a_0a0a, 0xface_b002, 0xff00_001b, 0x5130_3530, 2] {
        assert_eq!(identify(&[strange(version), initial.clone()]), named("listed.edu"));
        assert_eq!(identify(&[strange(version)]), none(Reason::NotRecognised));
        let mut identifier = QuicIdentifier::new(&QuicLimits::default());
        assert_eq!(identifier.observe(&strange(version)), Progress::Undecided);
        assert_eq!(identifier.protocol(), Some(SeenIn::QuicSni));
        assert_eq!(identifier.deadline(), Progress::Settled);
        assert_eq!(told(identifier.identity().unwrap()), none(Reason::NotRecognised));
    }
    // gQUIC before Q046 has another header; a client may go over to version 1.
    let gquic = [&[0x0d][..], &[8; 8], b"Q043", &[1; 1300]].concat();
    assert_eq!(identify(&[&gquic]), none(Reason::NotRecognised));
    assert_eq!(identify(&[gquic, initial]), named("listed.edu"));
}

#[test]
fn t15_a_compatible_negotiation_goes_on_with_the_keys_of_the_new_version() {
    let message = post_quantum();
    let first = Initial::new(&crypto(0, &message[..700])).seal();
    let negotiated = Initial::new(&crypto(700, &message[700..])).version(V2).addressed(&SERVER_ID);
    assert_eq!(identify(&[&first, &negotiated.seal()]), named("listed.edu"));
    // The watch for another name goes over with it.
    let whole = hello("listed.edu");
    let behind = |frames: &[u8]| Initial::new(frames).version(V2).addressed(&SERVER_ID).number(1, 1).seal();
    let start = Initial::of(&whole).seal();
    assert_eq!(identify(&[&start, &behind(&[2, 0, 0, 0, 0])]), named("listed.edu"));
    let again = |name: &str| behind(&crypto(whole.len() as u64, &hello(name)));
    assert_eq!(identify(&[&start, &again("listed.edu")]), named("listed.edu"));
    assert_eq!(identify(&[&start, &again("other.example")]).1, Some(Reason::SecondName));
    // An incompatible one begins anew.
    let other = hello("listed.edu");
    let anew = Initial::of(&other).version(V2).to(&[5; 8]).seal();
    assert_eq!(identify(&[first, anew]), named("listed.edu"));
}
