//! The name in a client's Initials: one answer for every cutting, order and wrapping, or a reason for none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "quic_initial/broken.rs"]
mod broken;
#[path = "quic_initial/packets.rs"]
mod packets;
#[path = "quic_initial/pieces.rs"]
mod pieces;
#[path = "quic_initial/versions.rs"]
mod versions;
