//! A hello in pieces: in any order and number, over several datagrams, with holes, doubled, and overlapping.

use billing_export::Reason;
use gateway::wire::quic::QuicLimits;
use support::quic::{Initial, V1, V2, crypto, pieces, two_datagrams};
use support::quic_told::{hello, identify, named, none, post_quantum};

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
