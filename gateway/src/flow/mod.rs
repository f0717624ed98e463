//! Facts to verdicts: what a flow is called, and what that is worth.
//!
//! Everything here is pure: observations and a time go in, values and reasons come out. It speaks the words of
//! `allowlist` and `billing-export` and uses [`crate::wire`]; it opens no socket or file, reads no clock and logs nothing.

pub mod identify;
