//! Commands that answer a question and end.

pub mod check;
pub mod classify;
pub mod explain;
pub mod nft;
pub mod session;
