//! Unpredictable numbers for ids, ports and letter case: the kernel's, fetched a block at a time.

/// Bytes fetched at once.
const BLOCK_BYTES: usize = 1_024;

/// A block of random bytes, used once each.
pub(super) struct Random {
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Random {
    /// Nothing fetched yet.
    pub(super) const fn new() -> Self {
        Self { block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }

    /// Two bytes; `None` when the kernel gives none: what cannot be unpredictable is not sent.
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take::<2>().map(u16::from_be_bytes)
    }

    /// Eight bytes.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take::<8>().map(u64::from_be_bytes)
    }

    /// The next bytes of the block, or of a new one.
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.block.len().saturating_sub(self.used) < N {
            let got = rustix::rand::getrandom(&mut self.block, rustix::rand::GetRandomFlags::empty()).ok()?;
            if got < BLOCK_BYTES {
                return None;
            }
            self.used = 0;
        }
        let taken = self.block.get(self.used..)?.first_chunk::<N>().copied()?;
        self.used = self.used.saturating_add(N);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_do_not_repeat_over_blocks() {
        let mut random = Random::new();
        let drawn: HashSet<u64> = (0..10_000).map(|_| random.u64().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
        let ids: HashSet<u16> = (0..20_000).map(|_| random.u16().unwrap()).collect();
        assert!(ids.len() > 15_000, "{} of 65,536", ids.len());
    }
}
