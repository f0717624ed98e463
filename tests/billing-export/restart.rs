//! Starts after something went wrong: restored copies, torn files, unclean stops, locks, foreign states.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

mod support;

#[path = "restart/copies.rs"]
mod copies;
#[path = "restart/damage.rs"]
mod damage;
#[path = "restart/refused.rs"]
mod refused;
#[path = "restart/stops.rs"]
mod stops;

use support::*;

/// A copy of a node in a directory of its own.
fn clone_of(node: &Node) -> Node {
    let mut copy = Node::new();
    copy.starts = node.starts;
    for directory in ["state", "pickup", "staging"] {
        copy_dir(&node.root.path().join(directory), &copy.root.path().join(directory));
    }
    copy
}
