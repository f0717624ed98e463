//! The unread bytes of a file, and what one step over them finds.

use super::{FileError, LinkType};

/// What one step over the buffer found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Advance {
    /// A packet: its place in the buffer and what the file says of it.
    Packet { link: Option<LinkType>, offset: usize, bytes: usize, wire_bytes: u32, unix_nanos: Option<u64> },
    /// Something else was read.
    Other,
    /// Nothing whole is left.
    NeedMore,
}

impl Advance {
    /// The same with a packet's offset counted from `start` bytes earlier.
    pub(super) fn shifted(self, start: usize) -> Self {
        match self {
            Self::Packet { link, offset, bytes, wire_bytes, unix_nanos } => {
                Self::Packet { link, offset: offset.saturating_add(start), bytes, wire_bytes, unix_nanos }
            }
            Self::Other | Self::NeedMore => self,
        }
    }
}

/// The unread bytes and where in the file they stand.
pub(super) struct Unread<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: u64,
}

impl Unread<'_> {
    /// A [`FileError::Damaged`] at this place.
    pub(super) fn damaged(&self, field: &'static str, found: u64, wanted: &'static str) -> FileError {
        FileError::Damaged { at: self.at, field, found, wanted }
    }
}
