//! Wiring: commands, start, reload.

pub mod classify;
