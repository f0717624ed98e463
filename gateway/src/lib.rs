//! The zero-rating gateway, in four floors; each uses only the floors below it.

pub mod wire;
