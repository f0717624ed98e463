//! The zero-rating gateway, in four floors; each uses only the floors below it.
//!
//! - [`wire`]: bytes in, facts out. Pure, knows nobody.
//! - [`flow`]: facts in, verdicts out. Pure; speaks the words of `allowlist` and `billing-export`.
//! - [`net`]: sockets, clock and metrics. Carries the bytes and counts them.
//! - [`app`]: the commands. Wires the floors to configuration, list and ledger.

pub mod app;
pub mod flow;
pub mod net;
pub mod wire;
