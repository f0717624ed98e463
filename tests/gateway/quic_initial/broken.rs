//! Broken packets give no name: offsets, headers, lengths, flipped bits, truncations.

use billing_export::Reason;
use gateway::flow::identify::QuicIdentifier;
use gateway::wire::quic::QuicLimits;
use support::quic::{self, INITIAL, Initial, ORIGIN, V1, crypto, long_header, opaque, two_datagrams};
use support::quic_told::{hello, identify, none, observe, post_quantum};

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
