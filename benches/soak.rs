//! A soak: short flows at full rate through one worker for ten minutes, with downloads among them, while memory and
//! descriptors are watched. Prints a line every ten seconds, then the slope of memory behind the first fifth of the time,
//! and whether descriptors came back; ends with 1 when they did not or memory grows.
//!
//! `cargo bench -p gateway --bench soak -- [SECONDS]`

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::panic,
    reason = "a measurement may panic, and its figures are for people"
)]

#[path = "../tests/gateway/support/dns.rs"]
mod dns;
#[path = "peers/load.rs"]
mod load;
#[path = "peers/proxy.rs"]
mod proxy;

use std::time::{Duration, Instant};

use proxy::{Proxy, Target};

/// The name asked for.
const NAME: &str = "www.study.example";
/// Short connections at once.
const SHORT_AT_ONCE: usize = 16;
/// Flows between two looks at the clock.
const FLOWS_PER_LOOK: usize = 2_000;
/// Bytes of the download among them.
const DOWNLOAD: u64 = 50_000_000;
/// Time between two lines.
const LINE: Duration = Duration::from_secs(10);
/// Memory that may be added in an hour at this rate, in KiB (notes on reliability §6: 1 MiB an hour after ten minutes).
const SLOPE_MAX_KIB: f64 = 6.0 * 1024.0;

/// Seconds from the start, resident KiB, open descriptors.
type Sample = (f64, f64, usize);

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse::<u64>().ok()).unwrap_or(600);
    let hello = load::hello(NAME);
    let origin = load::origin(hello.len());
    let resolver = dns::Resolver::new(&[(NAME, [127, 0, 0, 2])]);
    let folder = tempfile::tempdir().unwrap();
    let host = "127.0.0.1".parse().unwrap();
    let target = Target { name: NAME, origin, resolver: resolver.address, folder: folder.path(), host };
    let proxy = Proxy::gateway(&target);
    load::short(proxy.address, &hello, 200, SHORT_AT_ONCE);
    let (base, begun) = (proxy.descriptors(), Instant::now());
    let (mut flows, mut samples, mut line) = (0_usize, Vec::<Sample>::new(), Instant::now());
    while begun.elapsed() < Duration::from_secs(seconds) {
        load::short(proxy.address, &hello, FLOWS_PER_LOOK, SHORT_AT_ONCE);
        load::bulk(proxy.address, &hello, 2, DOWNLOAD);
        flows += FLOWS_PER_LOOK + 2;
        if line.elapsed() >= LINE {
            line = Instant::now();
            let sample = (begun.elapsed().as_secs_f64(), proxy.resident_kib() as f64, proxy.descriptors());
            println!(
                "{:>6.0} s {:>10} flows {:>10.0} KiB resident {:>6} descriptors",
                sample.0, flows, sample.1, sample.2
            );
            samples.push(sample);
        }
    }
    // Time for the last flows to be acknowledged and closed.
    std::thread::sleep(Duration::from_secs(6));
    let after = proxy.descriptors();
    let settled: Vec<Sample> =
        samples.iter().copied().filter(|sample| sample.0 >= seconds as f64 / 5.0).collect();
    let slope = slope(&settled) * 3_600.0;
    println!(
        "{flows} flows, {:.0} a second; memory {slope:+.0} KiB an hour behind the first fifth; descriptors {base} before, {after} after",
        flows as f64 / begun.elapsed().as_secs_f64()
    );
    let grows = slope > SLOPE_MAX_KIB;
    if grows || after > base {
        println!("FAILED: {}", if grows { "memory grows" } else { "descriptors do not come back" });
        std::process::exit(1);
    }
}

/// Least squares: KiB a second.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let covariance: f64 = samples.iter().map(|sample| (sample.0 - time) * (sample.1 - memory)).sum();
    let variance: f64 = samples.iter().map(|sample| (sample.0 - time).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}
