//! What socket filters and this process share (bpf(2)).

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use super::bpf_map;

/// Memory that socket filters and this process share; it stays mapped until the process ends.
pub struct Cells {
    pub(super) map: OwnedFd,
    pub(super) memory: &'static [AtomicU64],
}

impl Deref for Cells {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.memory
    }
}

impl AsFd for Cells {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// A map with room for so many entries of two numbers each; the one that was used longest ago makes room (bpf(2),
/// `BPF_MAP_TYPE_LRU_HASH`).
///
/// # Errors
/// As [`bpf_cells`](super::bpf_cells).
pub fn bpf_entries(count: u32) -> io::Result<OwnedFd> {
    bpf_map(9, [8, 16, count, 0])
}

/// Two numbers of 32 bits behind one another, as `union bpf_attr` has them.
pub(super) fn halves(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
