//! The cost of counting: one read's worth on a flow's tally, and a tick over the counters of many flows.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks may panic")]

use std::hint::black_box;

use billing_export::{Account, Entry, Flags, Reason, Session, SubscriberType, Volume};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::flow::tally::Tally;
use gateway::net::node::report::UsageMap;

/// Subscribers of the tick benchmark.
const SUBSCRIBERS: usize = 10_000;

fn accounts() -> Vec<Account> {
    (0..SUBSCRIBERS)
        .map(|number| Account {
            session: Session::new(SubscriberType::Account, &format!("A-{number}"), "").unwrap(),
            list: None,
            entry: Entry::Charged(Reason::NotListed),
        })
        .collect()
}

fn tally(criterion: &mut Criterion) {
    let mut tally = Tally::default();
    let mut total = 0_u64;
    criterion.bench_function("tally/raise", |bencher| {
        bencher.iter(|| {
            total = total.wrapping_add(1_448);
            tally.raise(black_box(Volume { up: total, down: total }));
            black_box(tally.carried())
        });
    });
    let accounts = accounts();
    let mut group = criterion.benchmark_group("usage");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    group.bench_function("tick_of_10000_accounts", |bencher| {
        bencher.iter(|| {
            let mut usage = UsageMap::default();
            for account in &accounts {
                usage.add(account, Flags::NONE, Volume { up: 100, down: 10_000 }, usize::MAX);
            }
            black_box(usage.take().len())
        });
    });
    group.finish();
}

criterion_group!(benches, tally);
criterion_main!(benches);
