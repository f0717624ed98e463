//! Checkpoint of 100,000 dirty counters, seal and rendering of as many rows, and verification of their file.
//!
//! The directory is on the disk of the temporary directory, with every sync: what is measured is what production does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench may panic"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use billing_export::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::SignedDuration;

/// The number the design asks for in one second.
const COUNTERS: u64 = 100_000;

/// The instant this many seconds after a first school day's noon.
fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2020-04-06T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

/// An exporter on disk.
fn open(root: &Path) -> Exporter {
    let node = "bench".parse().unwrap();
    let dirs = ["state", "pickup", "staging"].map(|name| root.join(name));
    let [state, pickup, staging] = dirs;
    let settings = Settings::new(node, state, pickup, staging, ByteBasis::Payload);
    Exporter::open(settings, at(0), [7; 16], Box::new(NoFault)).unwrap()
}

/// A tick in which every counter moved.
fn tick(sequence: u64, from: i64) -> Tick {
    let usage: Vec<Usage> = (0..COUNTERS)
        .map(|number| {
            let id = format!("7701{number:07}");
            let session = Session::new(SubscriberType::Msisdn, &id, "s-1").unwrap();
            let entry = Entry::Exempt {
                service: "bilimland".into(),
                rating_group: 1,
                disposition: Disposition::Observed,
            };
            let list = Some(ListVersion { id: "kz-education".into(), serial: 3 });
            let volume = Volume { up: 100, down: 10_000 };
            Usage { account: Account { session, list, entry }, flags: Flags::NONE, volume }
        })
        .collect();
    let seen = Volume { up: COUNTERS * 100, down: COUNTERS * 10_000 };
    Tick {
        sequence,
        from: at(from),
        at: at(from + 1),
        seen,
        pending_after: Volume::ZERO,
        usage,
        capped: Vec::new(),
        spent: Vec::new(),
        stepped: false,
    }
}

/// The same, and all subscribers have an allowance of a day and a month.
fn spending(tick: Tick) -> Tick {
    let spent = tick.usage.iter().flat_map(|usage| {
        ["day 2020-04-06", "month 2020-04-01"].map(|span| Spent {
            subscriber: usage.account.session.clone(),
            allowance: "overall".to_owned(),
            span: span.to_owned(),
            bytes: tick.sequence * 10_100,
        })
    });
    Tick { spent: spent.collect(), ..tick }
}

/// Time of `work`, for a measurement with its own preparation.
fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// All measurements.
fn checkpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("export");
    group.sample_size(10).throughput(Throughput::Elements(COUNTERS));

    let root = tempfile::tempdir().unwrap();
    let mut exporter = open(root.path());
    let mut sequence = 0;
    let mut dirty = tick(0, 0);
    let mut next = |from: i64| {
        sequence += 1;
        (dirty.sequence, dirty.from, dirty.at) = (sequence, at(from), at(from + 1));
        dirty.clone()
    };
    exporter.checkpoint(&next(0)).unwrap();
    group.bench_function("checkpoint_100k_open_counters", |bencher| {
        bencher.iter_custom(|rounds| {
            let ticks = (0..rounds).map(|_| next(0)).collect::<Vec<_>>();
            ticks.iter().map(|tick| timed(|| exporter.checkpoint(tick).unwrap())).sum()
        });
    });
    group.bench_function("checkpoint_100k_open_counters_with_day_and_month", |bencher| {
        bencher.iter_custom(|rounds| {
            let ticks = (0..rounds).map(|_| spending(next(0))).collect::<Vec<_>>();
            ticks.iter().map(|tick| timed(|| exporter.checkpoint(tick).unwrap())).sum()
        });
    });
    // Each round is a period: the first checkpoint opens every counter, the seal closes it, the file holds it.
    let mut period = 0;
    let mut round = |rounds: u64, which: usize| {
        let mut sums = [Duration::ZERO; 3];
        for _ in 0..rounds {
            period += 900;
            exporter.seal_due(at(period)).unwrap();
            exporter.courier().deliver().unwrap();
            let tick = next(period);
            sums[0] += timed(|| exporter.checkpoint(&tick).unwrap());
            sums[1] += timed(|| {
                black_box(exporter.seal_due(at(period + 900)).unwrap());
            });
            sums[2] += timed(|| {
                black_box(exporter.courier().deliver().unwrap());
            });
        }
        sums[which]
    };
    for (which, name) in
        ["checkpoint_100k_new_counters", "seal_100k_records", "publish_100k_records"].into_iter().enumerate()
    {
        group.bench_function(name, |bencher| bencher.iter_custom(|rounds| round(rounds, which)));
    }

    let pickup = root.path().join("pickup");
    let pairs = pickup::pairs(&[pickup]).unwrap();
    let largest = pairs.iter().max_by_key(|pair| pair.data_len()).unwrap().clone();
    group.bench_function("verify_100k_records", |bencher| {
        bencher.iter(|| verify::verify(std::slice::from_ref(&largest), &mut |_| ()).unwrap());
    });
    group.finish();
}

criterion_group!(benches, checkpoint);
criterion_main!(benches);
