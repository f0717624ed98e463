//! Whose an address is, with a million sessions: the table of sessions beside the trie of prefixes that was built anew for each
//! change, in one run and turn by turn; then the table while ten thousand sessions a second come and go. And what a session
//! takes of memory, and a change of time.
//!
//! `cargo bench -p gateway --bench sessions [-- SESSIONS]`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    reason = "benchmarks may panic, and show ratios"
)]

use std::hash::RandomState;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use billing_export::{Session, SubscriberType};
use gateway::flow::session::{Block, Change, Event, SessionSource, Sessions};
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;

/// Sessions in the table unless stated.
const SESSIONS: u32 = 1_000_000;
/// Look-ups of one turn.
const LOOKS: u32 = 1_000_000;
/// Sessions that are looked up again and again, of all that there are.
const BUSY: u32 = 10_000;
/// Turns of each.
const TURNS: usize = 5;
/// Changes of a second, and how often some of them come.
const CHANGES: u32 = 10_000;
const BEATS: u32 = 1_000;

/// The address of a session.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn session(number: u32, round: u32) -> Session {
    let id = format!("7701{number:07}");
    Session::new(SubscriberType::Msisdn, &id, &format!("{number:08x}@{round}")).unwrap()
}

/// Numbers below `count` in an order that no cache foresees: the same for all that are compared.
fn numbers(count: u32) -> impl Iterator<Item = u32> {
    let mut state = 0x9e37_79b9_u32;
    (0..LOOKS).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * u64::from(count)) >> 32) as u32
    })
}

/// Nanoseconds that this thread has run: what others do on the machine in the meantime is not in it.
fn run_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Nanoseconds of one look-up, and how many found somebody.
fn time(count: u32, find: impl Fn(Ipv4Addr) -> bool) -> (f64, u32) {
    let begun = run_ns();
    let found = numbers(count).filter(|number| find(black_box(address(*number)))).count();
    ((run_ns() - begun) / f64::from(LOOKS), found as u32)
}

/// Nanoseconds until a line of memory is there that no cache holds: what a look-up among so many waits for at least once.
fn memory_ns() -> f64 {
    const LINES: usize = 2_000_000;
    let mut next: Vec<[u32; 16]> = (0..LINES as u32).map(|number| [number; 16]).collect();
    // One cycle through all of them (Sattolo's shuffle).
    let mut state = 1_u64;
    for at in (1..LINES).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        next.swap(at, (state >> 33) as usize % at);
    }
    let begun = run_ns();
    let mut at = 0_u32;
    for _ in 0..LOOKS {
        at = next[at as usize][0];
    }
    black_box(at);
    (run_ns() - begun) / f64::from(LOOKS)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Binds and releases sessions, at most `CHANGES` a second, until told to end; how many.
fn churn(sessions: &Sessions, count: u32, done: &AtomicBool) -> u64 {
    let (begun, changes) = (Instant::now(), AtomicU64::new(0));
    for beat in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        for number in numbers(count).skip((beat * 10) as usize % 1_000).take((CHANGES / BEATS) as usize) {
            let event = Event::Bind(session(number, beat + 1));
            let block = Block::of(IpAddr::V4(address(number)));
            sessions.apply([Change { block, source: SessionSource::Static, event }]);
            changes.fetch_add(1, Ordering::Relaxed);
        }
        let next = begun + Duration::from_secs(1) / BEATS * (beat + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    changes.into_inner()
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(SESSIONS);
    let mut sessions = None;
    let memory = allocation_counter::measure(|| {
        let table = Sessions::new(count as usize, RandomState::new());
        table.replace_static(
            (0..count).map(|number| (Block::of(IpAddr::V4(address(number))), session(number, 0))),
        );
        sessions = Some(table);
    });
    let sessions = sessions.unwrap();
    println!("{count} sessions, {} bytes each with their words", memory.bytes_current / i64::from(count));
    let mut trie = PrefixMap::<Ipv4Net, Session>::default();
    for number in 0..count {
        trie.insert(Ipv4Net::from(address(number)), session(number, 0));
    }

    let find = |address: Ipv4Addr| sessions.find(IpAddr::V4(address)).is_some();
    let find_in_trie =
        |address: Ipv4Addr| trie.get_lpm(&Ipv4Net::from(address)).map(|(_, one)| one.clone()).is_some();
    let (mut of_table, mut of_trie, mut changing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut busy_table, mut busy_trie) = (Vec::new(), Vec::new());
    let mut rate = Vec::new();
    for _ in 0..TURNS {
        let (time_of_trie, found) = time(count, find_in_trie);
        assert_eq!(found, LOOKS);
        of_trie.push(time_of_trie);
        let (time_of_table, found) = time(count, find);
        assert_eq!(found, LOOKS);
        of_table.push(time_of_table);
        busy_trie.push(time(BUSY.min(count), find_in_trie).0);
        busy_table.push(time(BUSY.min(count), find).0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let begun = Instant::now();
            let writer = scope.spawn(|| churn(&sessions, count, &done));
            let (time, found) = time(count, find);
            assert_eq!(found, LOOKS);
            changing.push(time);
            done.store(true, Ordering::Relaxed);
            rate.push(writer.join().unwrap() as f64 / begun.elapsed().as_secs_f64());
        });
    }
    let (of_table, of_trie, changing) = (median(of_table), median(of_trie), median(changing));
    println!("a line of memory              {:7.1} ns", memory_ns());
    println!("look-up, trie as before       {of_trie:7.1} ns");
    println!("look-up, table of sessions    {of_table:7.1} ns, {:.2} of the trie", of_table / of_trie);
    println!(
        "look-up, with {:.0} changes/s {changing:7.1} ns, {:.2} of the trie, {:.2} of the table at rest",
        median(rate),
        changing / of_trie,
        changing / of_table
    );

    let (busy_table, busy_trie) = (median(busy_table), median(busy_trie));
    println!("of {BUSY} busy ones: trie      {busy_trie:7.1} ns");
    println!("of {BUSY} busy ones: table     {busy_table:7.1} ns, {:.2} of the trie", busy_table / busy_trie);

    let begun = run_ns();
    for number in numbers(count).take(100_000) {
        let block = Block::of(IpAddr::V4(address(number)));
        let event = Event::Bind(session(number, u32::MAX));
        sessions.apply([Change { block, source: SessionSource::Static, event }]);
    }
    println!("a change                      {:7.0} ns", (run_ns() - begun) / 100_000.0);
}
