//! What is refused, where, and in which words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "problems/addresses.rs"]
mod addresses;
#[path = "problems/limits.rs"]
mod limits;
#[path = "problems/places.rs"]
mod places;
#[path = "problems/relations.rs"]
mod relations;
#[path = "problems/sinks.rs"]
mod sinks;

use config::Config;
use std::path::Path;

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");
const FULL: &str = include_str!("../../config/examples/full.toml");

/// All problems of a text, as displayed.
fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("/base")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The only problem of the minimal example with further lines at its end.
fn problem_of(more: &str) -> String {
    let found = problems(&format!("{MINIMAL}\n{more}"));
    assert_eq!(found.len(), 1, "{more}: {found:#?}");
    found.into_iter().next().unwrap()
}

/// The minimal example with further lines at its end, which must be right.
fn good(more: &str) -> Config {
    Config::parse(&format!("{MINIMAL}\n{more}"), Path::new("/base"))
        .unwrap_or_else(|e| panic!("{more}: {e:?}"))
}
