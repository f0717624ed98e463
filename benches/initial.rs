//! Cost of reading a QUIC client's first datagrams, and of watching its flow afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench may panic"
)]

use support::hellos;
use support::quic;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gateway::flow::identify::{Progress, QuicIdentifier};
use gateway::wire::quic::{QuicLimits, server_connection_id};
use hellos::Hello;
use quic::{HANDSHAKE, Initial, V1, crypto, opaque, pieces, two_datagrams};

/// Reads datagrams up to the name.
fn named(datagrams: &[Vec<u8>]) -> QuicIdentifier {
    let mut identifier = QuicIdentifier::new(&QuicLimits::default());
    let mut progress = Progress::Undecided;
    for datagram in black_box(datagrams) {
        progress = identifier.observe(datagram);
    }
    assert_eq!(progress, Progress::Identified);
    identifier
}

fn initial(criterion: &mut Criterion) {
    let small = Initial::of(&Hello::named("listed.edu").message()).seal();
    let message = Hello::post_quantum("listed.edu").message();
    let mut shuffled = pieces(&message, message.len().div_ceil(28));
    shuffled.reverse();
    let shuffled = [&shuffled[..14], &shuffled[14..]].map(|parts| Initial::new(&parts.concat()).seal());
    let mut broken = small.clone();
    *broken.last_mut().unwrap() ^= 1;

    let mut group = criterion.benchmark_group("first datagrams of a QUIC client");
    group.bench_function("to the name: one Initial of 1,200 bytes", |bench| {
        bench.iter(|| named(std::slice::from_ref(&small)));
    });
    group.bench_function("to the name: post-quantum, two Initials", |bench| {
        let datagrams = two_datagrams(&message, 700);
        bench.iter(|| named(&datagrams));
    });
    group.bench_function("to the name: post-quantum, 28 reversed pieces in two Initials", |bench| {
        bench.iter(|| named(&shuffled));
    });
    group.bench_function("an Initial that cannot be opened", |bench| {
        bench.iter(|| {
            let mut identifier = QuicIdentifier::new(&QuicLimits::default());
            assert_eq!(identifier.observe(black_box(&broken)), Progress::Undecided);
            identifier
        });
    });
    group.bench_function("what is no QUIC", |bench| {
        bench.iter(|| QuicIdentifier::new(&QuicLimits::default()).observe(black_box(&[7; 1200])));
    });
    group.finish();
}

fn watch(criterion: &mut Criterion) {
    let small = Initial::of(&Hello::named("listed.edu").message()).seal();
    let short = [&[0x41][..], &[0x5e; 1199]].concat();
    let handshake = opaque(V1, HANDSHAKE, &[0x5e; 8], &[], &[0x4a; 1150]);
    let acknowledgment = Initial::new(&[2, 0, 0, 0, 0]).addressed(&[0x5e; 8]).number(1, 1).seal();
    let again = Initial::new(&crypto(0, &Hello::named("listed.edu").message())).number(2, 1).seal();
    let mut group = criterion.benchmark_group("a datagram after the name");
    for (name, datagram) in [
        ("short header", &short),
        ("Handshake packet", &handshake),
        ("Initial that acknowledges", &acknowledgment),
        ("the hello again", &again),
    ] {
        let mut identifier = named(std::slice::from_ref(&small));
        group.bench_function(name, |bench| {
            bench.iter(|| assert_eq!(identifier.observe(black_box(datagram)), Progress::Identified));
        });
    }
    group.bench_function("connection id of the server", |bench| {
        bench.iter_batched(
            || &handshake,
            |datagram| server_connection_id(black_box(datagram)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, initial, watch);
criterion_main!(benches);
