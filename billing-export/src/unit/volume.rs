//! Bytes in both directions. No sum wraps.

/// Bytes in both directions, seen from the subscriber: `up` to the Internet, `down` from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Volume {
    /// Bytes from the subscriber.
    pub up: u64,
    /// Bytes to the subscriber.
    pub down: u64,
}

impl Volume {
    /// No bytes.
    pub const ZERO: Volume = Volume { up: 0, down: 0 };

    /// Both directions added; `None` when one does not fit 64 bits.
    #[must_use]
    pub fn checked_add(self, other: Volume) -> Option<Volume> {
        Some(Volume { up: self.up.checked_add(other.up)?, down: self.down.checked_add(other.down)? })
    }

    /// Both directions subtracted; `None` when one would be negative.
    #[must_use]
    pub fn checked_sub(self, other: Volume) -> Option<Volume> {
        Some(Volume { up: self.up.checked_sub(other.up)?, down: self.down.checked_sub(other.down)? })
    }

    /// Whether neither direction carried anything.
    pub fn is_zero(self) -> bool {
        self == Volume::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_never_wrap() {
        let most = Volume { up: u64::MAX, down: 0 };
        assert_eq!(most.checked_add(Volume { up: 1, down: 0 }), None);
        assert_eq!(Volume::ZERO.checked_sub(Volume { up: 0, down: 1 }), None);
        assert_eq!(most.checked_sub(most), Some(Volume::ZERO));
    }
}
