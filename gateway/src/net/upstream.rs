//! The way out: which of a name's addresses is dialled, how long an origin may take, and how our own connections are known when
//! they come back.

pub mod dial;
pub mod own_addresses;
pub mod own_ends;
pub mod patience;
