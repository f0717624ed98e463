//! The matcher against a naive judge and against aho-corasick, and the words of its contract one by one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "matcher/contract.rs"]
mod contract;
#[path = "matcher/judges.rs"]
mod judges;
#[path = "support/naive.rs"]
mod naive;
#[path = "support/random.rs"]
mod random;

use allowlist::DomainName;
use jiff::Timestamp;

fn name(text: &str) -> DomainName {
    DomainName::from_wire(text.as_bytes()).expect("the name of a test is a name")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("the time of a test is a time")
}
