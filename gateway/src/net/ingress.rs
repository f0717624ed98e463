//! The ways in: listeners, who may use them, and the mode by which a connection says where it is going.

pub mod accept;
pub mod access;
pub mod inherited;
pub mod local;
pub mod proxied;
mod refuse;
pub mod said;
pub mod steered;
pub mod transparent;
