//! The daemon: start, reload, hand-over and end, what it reads, and what it says of itself.

pub mod input;
pub mod lists;
pub mod log;
pub mod reload;
pub mod service;
pub mod shutdown;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod takeover;
mod whole_file;
