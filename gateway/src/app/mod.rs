//! The commands, and the wiring of the floors to configuration, list and ledger.
//!
//! Only `start`, `reload`, `check` and `demo` know the configuration; only `export` knows ledger, store and sinks
//! (`demo` and `check` read manifests).

pub mod check;
pub mod classify;
pub mod conformance;
pub mod demo;
pub mod explain;
pub mod export;
mod folder;
pub mod input;
pub mod lists;
pub mod log;
pub mod nft;
pub mod reload;
pub mod service;
pub mod shutdown;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod takeover;

/// Exit code of wrong use (clap's own).
pub const EXIT_USAGE: u8 = 2;
/// Exit code for input and output errors (`EX_IOERR`).
pub const EXIT_IO: u8 = 74;
/// Exit code for faults of configuration or list (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
