//! The running gateway when something is wrong: broken lists and tables, a resolver that is down, a state folder that
//! cannot be used; its reload and its end; and what it must not tell.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_operation/end.rs"]
mod end;
#[path = "live_operation/faults.rs"]
mod faults;
#[path = "live_operation/renewals.rs"]
mod renewals;
#[path = "live_operation/untold.rs"]
mod untold;

use std::io::Write;
use std::net::TcpStream;

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
