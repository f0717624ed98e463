//! The running gateway at its limits: flows, descriptors, deadlines, slow clients; and how it refuses to start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_limits/descriptor_limit.rs"]
mod descriptor_limit;
#[path = "live_limits/reloads.rs"]
mod reloads;
#[path = "live_limits/room.rs"]
mod room;
#[path = "live_limits/slow.rs"]
mod slow;
#[path = "live_limits/start.rs"]
mod start;

use std::io::Write;
use std::net::TcpStream;

use support::Gateway;
use support::client::*;
use support::hellos::{self, Hello};

const LISTED: &str = "www.listed.example";

/// A hello for this name, with application data behind it that settles the verdict.
fn visit_of(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), hellos::record(23, &[1; 50])].concat()
}

/// Sends `bytes` and reads them back.
fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    assert_eq!(read_exactly(client, bytes.len()), bytes);
}

/// A visit to an echoing origin from its beginning to its end.
fn whole(mut client: TcpStream, bytes: &[u8]) {
    exchange(&mut client, bytes);
    assert_eq!(finish(client), b"");
}

/// Open descriptors of a process.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}
