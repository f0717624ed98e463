//! The commands, and the wiring of the floors to configuration, list and ledger.
//!
//! Only `start`, `reload`, `check` and `demo` know the configuration; only `export` knows ledger, store and sinks
//! (`demo` and `check` read manifests).

pub mod command;
pub mod export;
#[cfg(feature = "lab")]
pub mod lab;
pub mod node;

/// Exit code of wrong use (clap's own).
pub const EXIT_USAGE: u8 = 2;
/// Exit code for input and output errors (`EX_IOERR`).
pub const EXIT_IO: u8 = 74;
/// Exit code for faults of configuration or list (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;
