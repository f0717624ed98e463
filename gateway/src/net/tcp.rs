//! TCP connections on their way: bytes from one socket to the other, and what the kernel says of them.

pub mod relay;
pub mod splice;
pub mod stream;
