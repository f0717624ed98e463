//! TCP reassembly against a naive model, and fragments and streams at their limits.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use gateway::wire::pcap::fragment::{DATAGRAMS_MAX, Reassembler};
use gateway::wire::pcap::ip::{Fragment, Packet};
use gateway::wire::pcap::layers::Layers;
use gateway::wire::pcap::stream::{AHEAD_BYTES_MAX, AHEAD_PIECES_MAX, KEPT_BYTES_MAX, Stream};
use proptest::prelude::*;

/// Feeds segments, as (offset, length, captured length), and gives what came out.
fn read(stream: &mut Stream, first: u32, data: &[u8], segments: &[(usize, usize, usize)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (offset, length, captured) in segments {
        let end = (offset + length).min(data.len());
        let whole = &data[(*offset).min(end)..end];
        let sequence = first.wrapping_add(*offset as u32);
        let cut = &whole[..whole.len().min(*captured)];
        stream.push(sequence, cut, whole.len(), false, &mut |bytes| out.extend_from_slice(bytes));
    }
    out
}

/// Segments of a stream of up to 400 bytes.
fn segments() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    let whole = (0..400_usize, 1..60_usize).prop_map(|(offset, length)| (offset, length, length));
    let cut = (0..400_usize, 1..60_usize, 0..60_usize);
    prop::collection::vec(prop_oneof![8 => whole, 1 => cut], 0..60)
}

/// The bytes from `start` up to the first that no segment captured.
fn expected(data: &[u8], start: usize, segments: &[(usize, usize, usize)]) -> Vec<u8> {
    let captured = |at: usize| {
        segments.iter().any(|(offset, length, cut)| at >= *offset && at < offset + length.min(cut))
    };
    (start..data.len()).take_while(|at| captured(*at)).map(|at| data[at]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn t1_with_syn_the_stream_is_what_was_captured_up_to_the_first_hole(
        segments in segments(), first in prop_oneof![any::<u32>(), (u32::MAX - 400)..=u32::MAX],
    ) {
        let data: Vec<u8> = (0..400_u32).map(|at| (at * 7 + at / 256) as u8).collect();
        let mut stream = Stream::starting_at(first);
        let out = read(&mut stream, first, &data, &segments);
        prop_assert_eq!(out, expected(&data, 0, &segments));
        prop_assert!(!stream.is_conflicting());
    }

    #[test]
    fn without_syn_it_starts_at_the_lowest_segment(
        segments in segments(), first in prop_oneof![any::<u32>(), (u32::MAX - 400)..=u32::MAX],
    ) {
        // No zero bytes: a lone one at the start would be a keep-alive probe.
        let data: Vec<u8> = (0..400_u32).map(|at| (at % 255 + 1) as u8).collect();
        let segments: Vec<_> = segments.into_iter().filter(|(offset, ..)| *offset < data.len()).collect();
        let mut stream = Stream::new();
        let mut out = read(&mut stream, first, &data, &segments);
        prop_assert!(out.is_empty());
        stream.settle_start(&mut |bytes| out.extend_from_slice(bytes));
        let lowest = segments.iter().map(|(offset, ..)| *offset).min().unwrap_or(data.len());
        prop_assert_eq!(out, expected(&data, lowest, &segments));
        prop_assert!(!stream.is_conflicting());
    }

    #[test]
    fn t28_one_other_byte_anywhere_is_a_conflict(
        cuts in prop::collection::vec(1..40_usize, 1..20), order in any::<u64>(), from in 0..200_usize,
        length in 2..60_usize, change in any::<prop::sample::Index>(), known in any::<bool>(), when in any::<prop::sample::Index>(),
    ) {
        let data: Vec<u8> = (0..260_u32).map(|at| (at % 255 + 1) as u8).collect();
        let mut segments = Vec::new();
        let mut at = 0;
        for cut in cuts.iter().cycle() {
            segments.push((at, *cut));
            at += cut;
            if at >= data.len() { break }
        }
        // A shuffle that the seed decides.
        segments.sort_by_key(|(at, _)| (*at as u64 + 1).wrapping_mul(order | 1));
        let forged_at = when.index(segments.len() + 1);
        let mut forged = data[from..from + length].to_vec();
        let changed = change.index(length);
        forged[changed] ^= 0x80;
        let mut stream = if known { Stream::starting_at(5) } else { Stream::new() };
        let mut out = Vec::new();
        for number in 0..=segments.len() {
            if number == forged_at {
                stream.push(5 + from as u32, &forged, length, false, &mut |bytes| out.extend_from_slice(bytes));
            }
            if let Some((at, cut)) = segments.get(number) {
                let end = (at + cut).min(data.len());
                // A segment of one byte at the end of what is known is taken for a keep-alive probe.
                let part = &data[*at..end];
                stream.push(5 + *at as u32, part, part.len(), false, &mut |bytes| out.extend_from_slice(bytes));
            }
        }
        stream.settle_start(&mut |bytes| out.extend_from_slice(bytes));
        let single = segments.iter().any(|(at, cut)| *cut == 1 && *at == from + changed);
        prop_assert!(stream.is_conflicting() || single);
        prop_assert_eq!(out.len(), data.len());
    }
}

#[test]
fn held_bytes_out_of_order_at_the_limit_and_one_over() {
    for (extra, comes_out) in [(0, true), (1, false)] {
        let mut stream = Stream::starting_at(0);
        let ahead = vec![7; AHEAD_BYTES_MAX + extra];
        let mut count = 0;
        stream.push(1, &ahead, ahead.len(), false, &mut |bytes| count += bytes.len());
        stream.push(0, b"x", 1, false, &mut |bytes| count += bytes.len());
        assert_eq!(count, if comes_out { 1 + ahead.len() } else { 1 });
        assert!(stream.held_bytes() <= AHEAD_BYTES_MAX * 2 + 128);
    }
}

#[test]
fn held_pieces_at_the_limit_and_one_over_and_a_hole_that_never_fills() {
    let mut stream = Stream::starting_at(0);
    for at in 0..100_000_u32 {
        stream.push(2 + at * 2, b"y", 1, false, &mut |_| panic!("nothing is in order"));
        assert!(stream.held_bytes() <= AHEAD_PIECES_MAX * 65);
    }
    assert_eq!(stream.held_bytes(), AHEAD_PIECES_MAX * 65);
}

#[test]
fn an_unknown_start_is_settled_when_the_window_is_full() {
    let mut stream = Stream::new();
    let mut count = 0;
    let segment = [1; 1024];
    for at in 0..(AHEAD_BYTES_MAX / 1024) as u32 {
        stream.push(at * 1024, &segment, 1024, false, &mut |bytes| count += bytes.len());
    }
    assert_eq!(count, 0, "at the limit all is held");
    stream.push(AHEAD_BYTES_MAX as u32, b"z", 1, false, &mut |bytes| count += bytes.len());
    assert_eq!(count, AHEAD_BYTES_MAX + 1);
    assert!(stream.held_bytes() <= KEPT_BYTES_MAX * 2);
}

#[test]
fn only_the_first_bytes_are_kept_for_comparison() {
    let mut stream = Stream::starting_at(0);
    let segment = [1; 1024];
    for at in 0..1_000_u32 {
        stream.push(at * 1024, &segment, 1024, false, &mut |_| {});
    }
    assert!(stream.held_bytes() <= KEPT_BYTES_MAX * 2);
    let last = KEPT_BYTES_MAX as u32;
    stream.push(last, b"22", 2, false, &mut |_| {});
    assert!(!stream.is_conflicting(), "behind what is kept");
    stream.push(last - 1, b"22", 2, false, &mut |_| {});
    assert!(stream.is_conflicting());
}

/// A fragment with the given identification.
fn fragment(identification: u32, offset_bytes: usize, more: bool, payload: &[u8]) -> Packet<'_> {
    Packet {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        protocol: 17,
        total_bytes: payload.len() as u64 + 20,
        payload,
        payload_bytes: payload.len(),
        fragment: Some(Fragment { identification, offset_bytes, more }),
        segment_routing: false,
        layers: Layers::default(),
    }
}

#[test]
fn above_the_limit_of_datagrams_the_oldest_is_forgotten() {
    for (count, completes) in [(DATAGRAMS_MAX, true), (DATAGRAMS_MAX + 1, false)] {
        let mut reassembler = Reassembler::default();
        for number in 0..count as u32 {
            assert!(reassembler.push(&fragment(number, 0, true, &[7; 8]), None).unwrap().complete.is_none());
        }
        let last = reassembler.push(&fragment(0, 8, false, &[8; 8]), None);
        assert_eq!(last.is_some_and(|progress| progress.complete == Some(16)), completes);
    }
}

#[test]
fn fragments_beyond_the_longest_payload_and_after_the_wait_are_not_joined() {
    let mut reassembler = Reassembler::default();
    assert!(reassembler.push(&fragment(1, 65_528, false, &[0; 8]), None).is_none(), "one over");
    assert!(reassembler.push(&fragment(1, 65_528, false, &[0; 7]), None).is_none(), "no first fragment yet");
    reassembler.push(&fragment(2, 0, true, &[1; 8]), Some(0));
    let sixty = 60_000_000_000;
    assert!(reassembler.push(&fragment(2, 8, false, &[1; 8]), Some(sixty)).unwrap().complete.is_some());
    reassembler.push(&fragment(3, 0, true, &[1; 8]), Some(0));
    assert!(reassembler.push(&fragment(3, 8, false, &[1; 8]), Some(sixty + 1)).is_none(), "too late");
}

#[test]
fn fragments_that_never_complete_stay_within_the_limit_and_cost_linear_time() {
    let mut reassembler = Reassembler::default();
    let payload = [5; 8];
    for identification in 0..40_u32 {
        for number in 0..8_000_usize {
            reassembler.push(&fragment(identification, number * 8, true, &payload), None);
        }
    }
    let debug = format!("{reassembler:?}");
    let held = debug.rsplit_once("held_bytes: ").unwrap().1;
    let held: usize = held.trim_end_matches([' ', '}']).parse().unwrap();
    assert!(held <= 16 * 1024 * 1024, "{held}");
}
