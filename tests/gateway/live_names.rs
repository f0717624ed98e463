//! The running gateway and the names in flows: any cutting, no name, two names, forged names; what was carried arrives
//! byte-identical and what is exported of it is exact.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "live_names/cutting.rs"]
mod cutting;
#[path = "live_names/forged.rs"]
mod forged;
#[path = "live_names/look_ups.rs"]
mod look_ups;
#[path = "live_names/plain_http.rs"]
mod plain_http;
#[path = "live_names/whose.rs"]
mod whose;

const LISTED: &str = "www.listed.example";

/// Bytes of a slice as they are exported.
fn size(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// An HTTP request for a host.
fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}
