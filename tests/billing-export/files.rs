//! What stands in the files: golden bytes, identities, sums, conservation, the greatest numbers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "files/conserved.rs"]
mod conserved;
#[path = "files/form.rs"]
mod form;
#[path = "files/numbers.rs"]
mod numbers;
#[path = "files/rows.rs"]
mod rows;
