//! A soak: short flows at full rate through one worker for ten minutes, with downloads among them, while memory and
//! descriptors are watched. Prints a line every ten seconds, then how memory went behind the first fifth of the time, and
//! whether descriptors came back; ends with 1 when they did not or memory grows.
//!
//! One step is told apart from growth: the allocator takes a chunk more when the load rises and keeps it. A leak goes on.
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

use support::dns;

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
/// Memory that may be added in an hour at this rate, in KiB, beside one step (notes on reliability §6: 1 MiB an hour after
/// ten minutes).
const SLOPE_MAX_KIB: f64 = 6.0 * 1024.0;
/// The largest step that is no growth, in KiB.
const STEP_MAX_KIB: f64 = 4.0 * 1024.0;
/// Parts of the time whose memory is compared, each by its median.
const PARTS: usize = 8;

/// Seconds from the start, resident KiB, open descriptors.
type Sample = (f64, f64, usize);

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse::<u64>().ok()).unwrap_or(600);
    check_judge();
    let hello = load::hello(NAME);
    let origin = load::origin(hello.len());
    let resolver = dns::Resolver::new(&[(NAME, [127, 0, 0, 2])]);
    let folder = tempfile::tempdir().unwrap();
    let host = "127.0.0.1".parse().unwrap();
    let target = Target { name: NAME, origin, resolver: resolver.address, folder: folder.path(), host };
    let proxy = Proxy::gateway(&target);
    load::short(proxy.address, &hello, 200, SHORT_AT_ONCE);
    // The pipes that downloads move through stay in their pool.
    load::bulk(proxy.address, &hello, 2, DOWNLOAD);
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
    let Trend { slope, step } = trend(&settled);
    println!(
        "{flows} flows, {:.0} a second; memory {slope:+.0} KiB an hour and one step of {step:.0} KiB behind the first fifth; descriptors {base} before, {after} after",
        flows as f64 / begun.elapsed().as_secs_f64()
    );
    let grows = slope > SLOPE_MAX_KIB || step > STEP_MAX_KIB;
    // An exit code ends the process without the end of anything else.
    drop(proxy);
    if grows || after > base {
        println!("FAILED: {}", if grows { "memory grows" } else { "descriptors do not come back" });
        std::process::exit(1);
    }
}

/// How memory went.
struct Trend {
    /// KiB an hour, without the step.
    slope: f64,
    /// The largest rise between two parts of the time, in KiB.
    step: f64,
}

/// Compares the medians of [`PARTS`] parts of the time.
fn trend(samples: &[Sample]) -> Trend {
    let parts: Vec<Sample> = samples.chunks(samples.len().div_ceil(PARTS).max(1)).map(median).collect();
    let step = parts.windows(2).map(|pair| pair[1].1 - pair[0].1).fold(0.0, f64::max);
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Trend { slope: 0.0, step } };
    let time = (last.0 - first.0).max(1.0);
    Trend { slope: (last.1 - first.1 - step) / time * 3_600.0, step }
}

/// The sample of the middle by memory, at the time of the part's first.
fn median(part: &[Sample]) -> Sample {
    let mut sorted = part.to_vec();
    sorted.sort_by(|one, other| one.1.total_cmp(&other.1));
    let middle = sorted[sorted.len() / 2];
    (part[0].0, middle.1, middle.2)
}

/// The judge itself: what passes and what does not, by series that are known.
fn check_judge() {
    let series = |memory: &dyn Fn(f64) -> f64| -> Trend {
        let samples: Vec<Sample> =
            (12..60).map(|line| (f64::from(line) * 10.0, memory(f64::from(line)), 0)).collect();
        trend(&samples)
    };
    let grows = |trend: Trend| trend.slope > SLOPE_MAX_KIB || trend.step > STEP_MAX_KIB;
    let noise = |line: f64| (line * 7.3).sin() * 200.0;
    assert!(!grows(series(&|_| 17_000.0)), "flat");
    assert!(!grows(series(&|line| 17_000.0 + noise(line))), "noise");
    assert!(!grows(series(&|line| if line < 50.0 { 17_100.0 } else { 19_300.0 } + noise(line))), "one step");
    assert!(!grows(series(&|line| 19_000.0 - line * 20.0)), "falling");
    assert!(grows(series(&|line| 17_000.0 + line * 40.0 + noise(line))), "a byte a flow and more");
    assert!(grows(series(&|line| 17_000.0 + (line / 10.0).floor() * 900.0)), "steps that go on");
    assert!(grows(series(&|line| if line < 30.0 { 17_000.0 } else { 25_000.0 })), "a step too large");
}
