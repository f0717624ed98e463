//! Packets around the hello: sent again, after a Retry, in one datagram with others, with any packet number.

use billing_export::Reason;
use support::quic::{
    DRAFT_29, HANDSHAKE, Initial, ORIGIN, RETRY, V1, V2, ZERO_RTT, crypto, long_header, opaque, two_datagrams,
};
use support::quic_told::{SERVER_ID, hello, identify, named, none, post_quantum};

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
fn q10_packet_numbers_may_begin_anywhere_and_in_any_length() {
    for (number, bytes) in [(0, 1), (1, 1), (1, 4), (255, 1), (256, 2), (0xffff, 3), (0x0102_0304, 4)] {
        let packet = Initial::of(&hello("listed.edu")).number(number, bytes).seal();
        assert_eq!(identify(&[packet]), named("listed.edu"), "{number} in {bytes}");
    }
}
