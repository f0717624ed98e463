//! Allowances of a running gateway: crossed within a flow and by several at once, over restarts and midnight, and what they
//! bound that nothing else can (traps T22, T24, T31).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_allowance/bounds.rs"]
mod bounds;
#[path = "live_allowance/crossing.rs"]
mod crossing;
#[path = "live_allowance/kept.rs"]
mod kept;
#[path = "live_allowance/renewed.rs"]
mod renewed;
#[path = "live_allowance/stated.rs"]
mod stated;

use std::io::Write as _;
use std::net::TcpStream;

use support::Setup;
use support::client::*;
use support::hellos::Hello;
use support::usage::Usage;
use support::zone;

const LISTED: &str = "www.listed.example";
/// What may be exempt: both directions.
const LIMIT: u64 = 1 << 20;
/// Bytes of one exchange, each way.
const STEP: usize = 16_384;

/// A configuration with this allowance, on a day that lasts as long as the test.
fn with(line: &'static str) -> impl FnOnce(Setup) -> Setup {
    move |setup| zone::far_from_midnight(setup).set("allowance", line)
}

/// The same for the tests' limit a day.
const DAILY: &str = "daily = \"1 MiB\"";

/// A hello that settles the name.
fn hello() -> Vec<u8> {
    [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends bytes and waits for their echo.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(read_exactly(stream, bytes.len()), bytes);
}

/// Echoes a hello and at least `bytes` more; how much went each way.
fn browse(stream: &mut TcpStream, bytes: u64) -> u64 {
    echo(stream, &hello());
    hello().len() as u64 + go_on(stream, bytes)
}

/// Echoes at least `bytes`; how much went each way.
fn go_on(stream: &mut TcpStream, bytes: u64) -> u64 {
    let steps = bytes.div_ceil(STEP as u64);
    (0..steps).for_each(|_| echo(stream, &[7; STEP]));
    steps * STEP as u64
}

/// Both directions together.
fn sum((up, down): (u64, u64)) -> u64 {
    up + down
}

/// Exempt bytes reach the limit but for `missing` at most, never pass it, and the rest is charged for that reason.
fn assert_capped(usage: &Usage, subscriber: &str, carried: u64, missing: u64) {
    let exempt = sum(usage.exempt(subscriber));
    assert!(usage.conserved);
    assert!(exempt <= LIMIT && exempt + missing >= LIMIT, "{exempt} of {LIMIT}");
    assert_eq!(exempt + sum(usage.charged(subscriber, "cap_reached")), carried);
    assert_eq!(usage.reasons(subscriber), ["cap_reached"]);
}
