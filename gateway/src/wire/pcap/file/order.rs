//! Numbers in the byte order of a file or section.

use crate::wire::pcap::array_at;

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// The 16-bit number at `offset`.
    pub(super) fn u16_at(self, bytes: &[u8], offset: usize) -> Option<u16> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => u16::from_le_bytes(raw),
            Self::Big => u16::from_be_bytes(raw),
        })
    }

    /// The 32-bit number at `offset`.
    pub(super) fn u32_at(self, bytes: &[u8], offset: usize) -> Option<u32> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => u32::from_le_bytes(raw),
            Self::Big => u32::from_be_bytes(raw),
        })
    }

    /// The signed 64-bit number at `offset`.
    pub(super) fn i64_at(self, bytes: &[u8], offset: usize) -> Option<i64> {
        let raw = array_at(bytes, offset)?;
        Some(match self {
            Self::Little => i64::from_le_bytes(raw),
            Self::Big => i64::from_be_bytes(raw),
        })
    }
}
