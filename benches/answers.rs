//! The cost of trusted answers with a million pairs held: a pair that is put in, one that is seen again, and look-ups that
//! hit and miss; for names of few addresses, and for names that have as many as are kept.
//!
//! The number of pairs stays the same while it is measured: where a pair is put in, the one seen longest ago leaves.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks may panic")]

use std::hash::RandomState;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use allowlist::DomainName;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway::flow::binding::{AnswerLimits, Learnt, Nat64, TrustedAnswers};
use gateway::flow::time::Monotonic;

/// Pairs that are held.
const PAIRS: u32 = 1_000_000;
/// Addresses of an ordinary name.
const FEW: u32 = 8;
/// Addresses that are kept of a name (DESIGN §7).
const MANY: u32 = 500;
/// A step through names and addresses that meets all of them, far from one another: odd, and no multiple of 5.
const STRIDE: u32 = 48_271;
/// The first of a million addresses, 11.0.0.0.
const FIRST: u32 = 0x0b00_0000;

/// Maps with a million pairs, each address of one name, and the names; names are full at `each` addresses.
fn full(each: u32) -> (TrustedAnswers, Vec<DomainName>) {
    let limits = AnswerLimits {
        addresses_per_name_max: usize::try_from(each).unwrap(),
        pairs_max: usize::try_from(PAIRS).unwrap(),
        ..AnswerLimits::default()
    };
    let mut answers = TrustedAnswers::new(limits, Nat64::default(), RandomState::new());
    let names: Vec<DomainName> = (0..PAIRS / each)
        .map(|number| DomainName::from_wire(format!("host-{number}.listed.example").as_bytes()).unwrap())
        .collect();
    for number in 0..PAIRS {
        let name = name(&names, number, each);
        assert_eq!(answers.learn(name, address(FIRST, number), Monotonic::default()), Learnt::New);
    }
    assert_eq!(answers.pairs(), limits.pairs_max);
    (answers, names)
}

/// The name that the address of this number is held for.
fn name(names: &[DomainName], number: u32, each: u32) -> &DomainName {
    names.get(usize::try_from(number / each).unwrap()).unwrap()
}

/// The address of a number.
fn address(first: u32, number: u32) -> IpAddr {
    IpAddr::from(first.wrapping_add(number).to_be_bytes())
}

fn answers(criterion: &mut Criterion) {
    for each in [FEW, MANY] {
        let (mut answers, names) = full(each);
        let mut group = criterion.benchmark_group(format!("answers/{each}_addresses_each"));
        let mut number = 0;
        let now = Monotonic::new(Duration::from_secs(1));
        let mut next = move || {
            number = (number + STRIDE) % PAIRS;
            number
        };
        group.bench_function("look_up_hit", |bencher| {
            bencher.iter(|| {
                let number = next();
                let hit = answers.vouches(name(&names, number, each), address(FIRST, number), now);
                assert!(black_box(hit));
            });
        });
        group.bench_function("look_up_miss", |bencher| {
            bencher.iter(|| {
                let number = next();
                let hit = answers.vouches(name(&names, number, each), address(FIRST + PAIRS, number), now);
                assert!(!black_box(hit));
            });
        });
        group.bench_function("see_again", |bencher| {
            bencher.iter(|| {
                let number = next();
                let learnt = answers.learn(name(&names, number, each), address(FIRST, number), now);
                assert_eq!(black_box(learnt), Learnt::Refreshed);
            });
        });
        // Last, for it changes which pairs are held. No address comes twice: 2^31 of them follow.
        let mut fresh = 0;
        group.bench_function("put_in_and_look_up", |bencher| {
            bencher.iter(|| {
                let name = name(&names, next(), each);
                fresh += 1;
                let new = address(FIRST + PAIRS, fresh);
                let learnt = answers.learn(name, new, now);
                assert_eq!(black_box(learnt), Learnt::New);
                assert!(black_box(answers.vouches(name, new, now)));
            });
        });
        group.finish();
        assert_eq!(answers.pairs(), usize::try_from(PAIRS).unwrap(), "still a million");
    }
}

criterion_group!(benches, answers);
criterion_main!(benches);
