//! The running gateway as a relay: who speaks first, half-closed and reset connections, changes of list in mid-flow, and
//! headers of a balancer, good and bad.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_tcp/balancer.rs"]
mod balancer;
#[path = "live_tcp/list_changes.rs"]
mod list_changes;
#[path = "live_tcp/streams.rs"]
mod streams;

use std::io::Write;
use std::net::TcpStream;

use support::client::*;

const LISTED: &str = "www.listed.example";

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}
