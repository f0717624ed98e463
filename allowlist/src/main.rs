//! The `allowlist` command.

fn main() {}
