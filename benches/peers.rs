//! One worker of ours beside HAProxy, nginx and sniproxy in one run: CPU per gigabyte, CPU per new flow, memory per idle
//! flow, time to the first byte, alone and beside clients who drip a byte a second. Prints ratios
//! to HAProxy, and of the last to the same proxy alone; the machines are noisy, ratios of one run are not.
//!
//! `benches/run-peers` installs the peers and runs this. Numbers after `--` change the load: `cargo bench --bench peers --
//! [--veth] [GIGABYTES [FLOWS [IDLE [DRIPPING]]]] [PROXY]...`. With `--veth` the subscribers are in a network namespace of
//! their own, behind a veth pair; without it all is on loopback.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::panic,
    reason = "a measurement may panic, and its ratios are for people"
)]

#[path = "peers/load.rs"]
mod load;
#[path = "peers/proxy.rs"]
#[allow(dead_code, reason = "a part of it serves here")]
mod proxy;

use std::process::ExitCode;
use std::time::Duration;

use proxy::{Proxy, Target, has};
use support::dns;
use support::link::{GATEWAY, Link};

/// The name asked for.
const NAME: &str = "www.study.example";
/// Connections that download at once.
const BULK_CONNECTIONS: usize = 4;
/// Short connections at once.
const SHORT_AT_ONCE: usize = 16;
/// How often each measurement is taken; the smallest counts, for noise only adds.
const ROUNDS: usize = 3;

/// Starts a proxy.
type Start = fn(&Target<'_>) -> Proxy;

/// What one proxy came to.
struct Outcome {
    name: &'static str,
    cpu_per_gigabyte: Duration,
    cpu_per_flow: Duration,
    bytes_per_idle_flow: u64,
    p99: Duration,
    /// Beside clients who drip.
    p99_beside: Duration,
}

/// How much of each kind.
#[derive(Clone, Copy)]
struct Load {
    gigabytes: u64,
    flows: usize,
    idle: usize,
    dripping: usize,
}

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| word.parse::<u64>().is_err()).collect();
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let count =
        |place: usize, default| usize::try_from(numbers.get(place).copied().unwrap_or(default)).unwrap();
    let load = Load {
        gigabytes: numbers.first().copied().unwrap_or(8),
        flows: count(1, 10_000),
        idle: count(2, 2_000),
        dripping: count(3, 2_000),
    };
    let link = std::env::args().any(|word| word == "--veth").then(|| Link::plain().unwrap());
    if let Some(link) = &link {
        link.enter_gateway();
    }
    let host = if link.is_some() { GATEWAY[0] } else { "127.0.0.1" }.parse().unwrap();
    let hello = load::hello(NAME);
    let origin = load::origin(hello.len());
    let resolver = dns::Resolver::new(&[(NAME, [127, 0, 0, 2])]);
    let folder = tempfile::tempdir().unwrap();
    let target = Target { name: NAME, origin, resolver: resolver.address, folder: folder.path(), host };
    let starts: [(&str, Start); 4] = [
        ("haproxy", Proxy::haproxy),
        ("gateway", Proxy::gateway),
        ("nginx", Proxy::nginx),
        ("sniproxy", Proxy::sniproxy),
    ];
    println!(
        "{}: {} GB over {BULK_CONNECTIONS} connections, {} flows, {} idle flows, {} who drip; best of {ROUNDS} rounds",
        if link.is_some() { "veth" } else { "loopback" },
        load.gigabytes,
        load.flows,
        load.idle,
        load.dripping
    );
    let mut outcomes = Vec::new();
    let mut missing = Vec::new();
    for (name, start) in starts {
        let wanted = only.iter().all(|word| word.starts_with('-')) || only.iter().any(|word| word == name);
        if !wanted {
            continue;
        }
        if name != "gateway" && !has(name) {
            missing.push(name);
            continue;
        }
        outcomes.push(measure(&start(&target), &Subscribers { link: link.as_ref(), hello: &hello }, load));
    }
    print(&outcomes);
    // Beside nobody a figure says little.
    if !missing.is_empty() {
        println!("FAILED: not installed: {} (benches/run-peers installs them)", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Where the load comes from, and what it says first.
struct Subscribers<'a> {
    link: Option<&'a Link>,
    hello: &'a [u8],
}

impl Subscribers<'_> {
    /// Runs `load` where they are.
    fn run<T: Send>(&self, load: impl FnOnce() -> T + Send) -> T {
        match self.link {
            Some(link) => link.at_subscriber(load),
            None => load(),
        }
    }
}

/// Takes all measurements of one proxy.
fn measure(
    proxy: &Proxy,
    subscribers: &Subscribers<'_>,
    Load { gigabytes, flows, idle, dripping }: Load,
) -> Outcome {
    let spent = |work: &mut dyn FnMut()| {
        let before = proxy.cpu();
        work();
        proxy.cpu() - before
    };
    // The first flows pay for look-ups, pages and caches.
    let hello = subscribers.hello;
    subscribers.run(|| load::short(proxy.address, hello, 200, SHORT_AT_ONCE));
    // Before the allocator has room left over from other flows.
    let before = proxy.proportional_set_size();
    let held: Vec<std::net::TcpStream> =
        subscribers.run(|| (0..idle).map(|_| load::open(proxy.address, hello, load::STAY).0).collect());
    let bytes_per_idle_flow = proxy.proportional_set_size().saturating_sub(before) / held.len().max(1) as u64;
    drop(held);
    let each = gigabytes * 1_000_000_000 / BULK_CONNECTIONS as u64;
    let bulk = (0..ROUNDS)
        .map(|_| spent(&mut || subscribers.run(|| load::bulk(proxy.address, hello, BULK_CONNECTIONS, each))))
        .min()
        .unwrap();
    let mut p99 = Duration::MAX;
    let short = (0..ROUNDS)
        .map(|_| {
            spent(&mut || {
                let times = subscribers.run(|| load::short(proxy.address, hello, flows, SHORT_AT_ONCE));
                p99 = p99.min(times[times.len() * 99 / 100]);
            })
        })
        .min()
        .unwrap();
    let p99_beside = (0..ROUNDS)
        .map(|_| {
            let beside = || load::short(proxy.address, hello, flows, SHORT_AT_ONCE);
            let times = subscribers.run(|| load::drip(proxy.address, hello, dripping, beside));
            times[times.len() * 99 / 100]
        })
        .min()
        .unwrap();
    Outcome {
        name: proxy.name,
        cpu_per_gigabyte: bulk / u32::try_from(gigabytes.max(1)).unwrap(),
        cpu_per_flow: short / u32::try_from(flows).unwrap(),
        bytes_per_idle_flow,
        p99,
        p99_beside,
    }
}

/// The table, each figure with its ratio to HAProxy's.
fn print(outcomes: &[Outcome]) {
    let base = outcomes.iter().find(|outcome| outcome.name == "haproxy");
    let ratio = |one: f64, of: fn(&Outcome) -> f64| {
        base.map_or_else(String::new, |base| format!(" ({:.2})", one / of(base)))
    };
    println!(
        "{:<10}{:>20}{:>20}{:>22}{:>20}{:>20}",
        "", "CPU ms per GB", "CPU µs per flow", "bytes per idle flow", "p99 µs", "beside who drip"
    );
    for outcome in outcomes {
        let figures: [fn(&Outcome) -> f64; 4] = [
            |outcome| outcome.cpu_per_gigabyte.as_secs_f64() * 1e3,
            |outcome| outcome.cpu_per_flow.as_secs_f64() * 1e6,
            |outcome| outcome.bytes_per_idle_flow as f64,
            |outcome| outcome.p99.as_secs_f64() * 1e6,
        ];
        let cells: Vec<_> =
            figures.iter().map(|of| format!("{:.1}{}", of(outcome), ratio(of(outcome), *of))).collect();
        let beside = outcome.p99_beside.as_secs_f64();
        let own = beside / outcome.p99.as_secs_f64();
        println!(
            "{:<10}{:>20}{:>20}{:>22}{:>20}{:>20}",
            outcome.name,
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            format!("{:.1} ({own:.2})", beside * 1e6)
        );
    }
}
