//! One flow's life without sockets: what it says it is called, when it is judged, and where its bytes go.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "tests may panic"
)]

use support::capture;
use support::quic;

#[path = "flow_engine/caps.rs"]
mod caps;
#[path = "flow_engine/carrier.rs"]
mod carrier;
#[path = "flow_engine/changes.rs"]
mod changes;
#[path = "flow_engine/claim.rs"]
mod claim;
#[path = "flow_engine/life.rs"]
mod life;
#[path = "flow_engine/orders.rs"]
mod orders;
#[path = "flow_engine/sessions.rs"]
mod sessions;
#[path = "flow_engine/verdicts.rs"]
mod verdicts;
#[path = "flow_engine/world.rs"]
mod world;
