//! What the linter says of suspicious lists: traps T40 and M3, contradictions and dates.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "lint/contradictions.rs"]
mod contradictions;
#[path = "lint/gate.rs"]
mod gate;
#[path = "lint/mistakes.rs"]
mod mistakes;
#[path = "support/random.rs"]
mod random;
#[path = "lint/strangers.rs"]
mod strangers;

use allowlist::Limits;
use allowlist::lint::{self, Code};
use random::HEAD;

/// What is said of every entry, besides that it does not explain itself: code and line, after the head's six lines.
fn codes(tables: &str) -> Vec<(&'static str, u32)> {
    let text = format!("{HEAD}{tables}");
    let at = "2020-06-01T00:00:00Z".parse().unwrap();
    lint::text(&text, &Limits::default(), Some(at))
        .iter()
        .filter(|finding| ![Code::Unexplained, Code::NotCanonical].contains(&finding.code))
        .map(|finding| (finding.code.label(), finding.place.line - 6))
        .collect()
}
