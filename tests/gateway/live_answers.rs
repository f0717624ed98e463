//! The running gateway and what vouches for an address: look-ups on demand and on schedule, a copy over a restart, and
//! resolvers that do not answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_answers/restart.rs"]
mod restart;
#[path = "live_answers/rotating.rs"]
mod rotating;
#[path = "live_answers/shares.rs"]
mod shares;
#[path = "live_answers/vouched.rs"]
mod vouched;

use support::client::*;
use support::hellos::Hello;
use support::world::World;

const LISTED: &str = "www.listed.example";

/// What a subscriber sends: a hello and application data, behind which no second hello can come.
fn visit(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends a visit and has it echoed.
fn exchange(world: &World, subscriber: u8, name: &str) -> u64 {
    let sent = visit(name);
    let mut client = world.proxied(subscriber);
    std::io::Write::write_all(&mut client, &sent).unwrap();
    assert_eq!(read_exactly(&mut client, sent.len()), sent);
    assert_eq!(finish(client), b"");
    sent.len() as u64
}
