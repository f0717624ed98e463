//! Look-up of a name in lists of 30 to a million entries: 30 % hits, names of two to four labels; warm with 2,000 distinct
//! names, cold with 100,000.
//!
//! `cargo bench -p allowlist --bench matcher`

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that cannot be set up must stop"
)]

use std::fmt::Write;
use std::hint::black_box;

use allowlist::{Document, DomainName, Limits, Matcher, Transport};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Sizes of the lists.
const ENTRIES: [usize; 4] = [30, 1_000, 100_000, 1_000_000];

/// Numbers of distinct names asked for.
const NAMES: [(&str, usize); 2] = [("warm", 2_000), ("cold", 100_000)];

/// The host of an entry: two or three labels of the lengths that sites have.
fn host(entry: usize) -> String {
    let zone = ["kz", "edu.kz", "org", "online", "com"][entry % 5];
    format!("school-{:x}{}.{zone}", entry.wrapping_mul(0x9e37_79b9), entry % 7)
}

/// A list: two subtree rules to one exact one, and a few denies.
fn list(entries: usize) -> Document {
    let mut text = "format = 1\nlist_id = \"bench\"\nserial = 1\nissued = 2020-01-01T00:00:00Z\n\
        effective_from = 2020-01-01T00:00:00Z\nexpires = 2021-01-01T00:00:00Z\n[[service]]\nid = \"s\"\n"
        .to_owned();
    for entry in 0..entries {
        let scope = if entry % 3 == 0 { "exact" } else { "subtree" };
        let _ = writeln!(text, "[[service.rule]]\nhost = \"{}\"\nscope = \"{scope}\"", host(entry));
    }
    for entry in 0..3 {
        let _ = writeln!(text, "[[deny]]\nhost = \"ads.{}\"", host(entry));
    }
    let limits = Limits { bytes_max: 256 << 20, entries_max: 2_000_000 };
    Document::parse_within(&text, &limits).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Names to ask for: three of ten are listed or stand below a listed one.
fn names(entries: usize, count: usize) -> Vec<DomainName> {
    (0..count)
        .map(|number| {
            // A step prime to every size spreads the hits over the whole list.
            let entry = number.wrapping_mul(7_919) % entries;
            let text = match number % 10 {
                0 => host(entry - entry % 3),
                1 => format!("www.{}", host(entry / 3 * 3 + 1)),
                2 => format!("cdn.static.{}", host(entry / 3 * 3 + 1)),
                3..6 => format!("site-{number:x}.com"),
                6..9 => format!("www.site-{number:x}.co.uk"),
                _ => format!("r{number}.node.video-{number:x}.net"),
            };
            DomainName::from_wire(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
        })
        .collect()
}

/// Look-ups, one element per name.
fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/host");
    for entries in ENTRIES {
        let matcher = Matcher::new(&list(entries));
        for (heat, count) in NAMES {
            let names = names(entries, count);
            let hits = names.iter().filter(|name| matcher.covers(name)).count();
            eprintln!("{entries} entries, {heat}: {hits} of {count} names are listed");
            group.throughput(Throughput::Elements(count as u64));
            group.bench_with_input(BenchmarkId::new(heat, entries), &names, |bencher, names| {
                bencher.iter(|| {
                    for name in names {
                        black_box(matcher.host(black_box(name), Transport::Tcp, 443, None));
                    }
                });
            });
        }
    }
    group.finish();
}

/// Reading and compiling lists of a size that officers write and of a size that they do not.
fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matcher/build");
    group.sample_size(10);
    for entries in [1_000, 100_000] {
        let document = list(entries);
        group.throughput(Throughput::Elements(entries as u64));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| Matcher::new(black_box(&document)));
        });
    }
    group.finish();
}

/// Folding a name from the wire.
fn fold(criterion: &mut Criterion) {
    criterion.bench_function("name/from_wire", |bencher| {
        bencher.iter(|| DomainName::from_wire(black_box(b"Proctoring.Daryn.Online")));
    });
}

criterion_group!(benches, look_up, build, fold);
criterion_main!(benches);
