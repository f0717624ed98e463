//! The trusted answers at their largest, a million pairs: learning a known and a new pair, and the question of a flow.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "benchmarks may panic")]

use std::hash::RandomState;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use allowlist::DomainName;
use criterion::{Criterion, criterion_group, criterion_main};
use gateway::flow::binding::{AnswerLimits, Listing, Nat64, TrustedAnswers};
use gateway::flow::session::SubscriberKey;
use gateway::flow::time::Monotonic;
use gateway::wire::dns::{Found, question};

/// Names, each with four addresses: together a million pairs.
const NAMES: u32 = 250_000;
/// Addresses of a name.
const ADDRESSES: u32 = 4;
/// Of 64,000 subscribers each has looked up four pairs.
const SUBSCRIBERS: u32 = 64_000;

fn name(number: u32) -> DomainName {
    DomainName::from_wire(format!("n{number}.school-{}.example", number % 97).as_bytes()).unwrap()
}

fn address(number: u32, which: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x0500_0000 + number * ADDRESSES + which))
}

fn subscriber(number: u32) -> SubscriberKey {
    SubscriberKey::Address(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)))
}

fn found(number: u32) -> Found {
    let addresses = (0..ADDRESSES).map(|which| address(number, which)).collect();
    Found { addresses, ttl: 300, ..Found::default() }
}

fn answers(criterion: &mut Criterion) {
    let limits = AnswerLimits { pairs_max: 2_000_000, ..AnswerLimits::default() };
    let mut trusted = TrustedAnswers::new(limits, Nat64::default(), RandomState::new());
    let now = Monotonic::new(Duration::from_secs(1));
    for number in 0..NAMES {
        let who = subscriber(number % SUBSCRIBERS);
        let who = (number < SUBSCRIBERS).then_some(&who);
        trusted.learn_found(&name(number), &found(number), who, |_| true, |_| true, now);
    }
    assert_eq!(trusted.pairs(), 1_000_000);
    let names: Vec<DomainName> = (0..NAMES).map(name).collect();
    let mut turn = 0_u32;
    // A stride that is prime to the number of names: no look-up finds the cache warmed by its neighbour.
    let mut next = move || {
        turn = (turn + 104_729) % NAMES;
        turn
    };
    let mut group = criterion.benchmark_group("answers_of_a_million_pairs");
    group.bench_function("vouches_yes", |bencher| {
        bencher.iter(|| {
            let number = next();
            black_box(trusted.vouches(&names[number as usize], address(number, 3), now))
        });
    });
    group.bench_function("vouches_no", |bencher| {
        bencher.iter(|| {
            let number = next();
            black_box(trusted.vouches(&names[number as usize], address(number + 1, 0), now))
        });
    });
    group.bench_function("dns_only", |bencher| {
        bencher.iter(|| {
            let number = next() % SUBSCRIBERS;
            black_box(trusted.dns_only(&subscriber(number), address(number, 1), now))
        });
    });
    group.bench_function("learn_an_answer_of_four_again", |bencher| {
        bencher.iter(|| {
            let number = next();
            let (found, who) = (found(number), subscriber(number % SUBSCRIBERS));
            trusted.learn_found(&names[number as usize], &found, Some(&who), |_| true, |_| true, now)
        });
    });
    let mut fresh = NAMES;
    group.bench_function("learn_a_new_pair", |bencher| {
        bencher.iter(|| {
            fresh = fresh.wrapping_add(1);
            let number = NAMES + fresh % 60_000;
            black_box(trusted.learn(&name(number), address(fresh, 0), now))
        });
    });
    // Below one rule, each name with 16 addresses of its own: whoever does so displaces his own oldest.
    let mut made_up = 0_u32;
    group.bench_function("learn_a_made_up_name_of_sixteen_over_the_share", |bencher| {
        bencher.iter(|| {
            made_up = made_up.wrapping_add(1);
            let host = format!("m{made_up}.school-0.example");
            let addresses =
                (0..16).map(|which| address(2 * NAMES + made_up % 1_000_000 * 4, which)).collect();
            let found = Found { addresses, ttl: 300, ..Found::default() };
            let host = DomainName::from_wire(host.as_bytes()).unwrap();
            let below = |_: &DomainName| Listing::Below { host_bytes: "school-0.example".len() };
            trusted.learn_found(&host, &found, Some(&subscriber(1)), below, |_| true, now)
        });
    });
    assert!(trusted.pairs() < 1_100_000, "a share of a subscriber and what was new");
    group.bench_function("learn_an_unlisted_answer", |bencher| {
        bencher.iter(|| {
            let number = next();
            trusted.learn_found(&names[number as usize], &found(number), None, |_| false, |_| true, now)
        });
    });
    group.finish();
    let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x03www\x06listed\x02kz\0\0\x01\0\x01";
    criterion.bench_function("dns/question", |bencher| bencher.iter(|| question(black_box(query))));
}

criterion_group!(benches, answers);
criterion_main!(benches);
