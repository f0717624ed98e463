//! Classic files: which format the first bytes tell, the header of a file, and its records.

use super::order::Order;
use super::packet::low_half;
use super::place::{Advance, Unread};
use super::{FileError, Format, LinkType, NANOS, PACKET_BYTES_MAX};
use crate::wire::pcap::array_at;

/// Bytes of the header of a classic file.
const FILE_HEADER_BYTES: usize = 24;
/// Bytes in front of a classic record's packet.
const RECORD_HEADER_BYTES: usize = 16;
/// The same in the modified format: interface index, protocol, packet type and padding more.
const RECORD_HEADER_MODIFIED_BYTES: usize = 24;

/// What a classic file's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classic {
    /// Byte order of all headers.
    order: Order,
    /// The second time field counts nanoseconds, not microseconds.
    nanos: bool,
    /// Bytes in front of each packet.
    record_header_bytes: usize,
    /// Files before version 2.3 have the two lengths of a record swapped; 2.3 has them either way.
    version_minor: u16,
    /// One link type for all.
    link: LinkType,
}

impl Unread<'_> {
    /// The file's format and the bytes of its header; `None` when more bytes are needed.
    pub(super) fn format(&self) -> Result<Option<(usize, Format)>, FileError> {
        let Some(magic) = array_at::<4>(self.bytes, 0) else { return Ok(None) };
        let (order, nanos, record_header_bytes) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (Order::Little, false, RECORD_HEADER_BYTES),
            [0xa1, 0xb2, 0xc3, 0xd4] => (Order::Big, false, RECORD_HEADER_BYTES),
            [0x4d, 0x3c, 0xb2, 0xa1] => (Order::Little, true, RECORD_HEADER_BYTES),
            [0xa1, 0xb2, 0x3c, 0x4d] => (Order::Big, true, RECORD_HEADER_BYTES),
            [0x34, 0xcd, 0xb2, 0xa1] => (Order::Little, false, RECORD_HEADER_MODIFIED_BYTES),
            [0xa1, 0xb2, 0xcd, 0x34] => (Order::Big, false, RECORD_HEADER_MODIFIED_BYTES),
            [0x0a, 0x0d, 0x0d, 0x0a] => return Ok(Some((0, Format::Sections(Order::Little, Vec::new())))),
            found => return Err(FileError::NotACapture { found }),
        };
        if self.bytes.len() < FILE_HEADER_BYTES {
            return Ok(None);
        }
        let version_minor = order.u16_at(self.bytes, 6).unwrap_or_default();
        // The upper half of the field tells about frame check sequences.
        let link = LinkType(low_half(order.u32_at(self.bytes, 20).unwrap_or_default()));
        let classic = Classic { order, nanos, record_header_bytes, version_minor, link };
        Ok(Some((FILE_HEADER_BYTES, Format::Classic(classic))))
    }

    /// A record of a classic file.
    pub(super) fn record(&self, classic: &Classic) -> Result<Option<(usize, Advance)>, FileError> {
        let number = |offset| classic.order.u32_at(self.bytes, offset).unwrap_or_default();
        if self.bytes.len() < classic.record_header_bytes {
            return Ok(None);
        }
        let (mut captured, mut wire_bytes) = (number(8), number(12));
        if classic.version_minor < 3 || (classic.version_minor == 3 && captured > wire_bytes) {
            (captured, wire_bytes) = (wire_bytes, captured);
        }
        if captured > PACKET_BYTES_MAX {
            return Err(self.damaged("captured length", captured.into(), "at most 262144"));
        }
        let bytes = captured as usize;
        let offset = classic.record_header_bytes;
        let total = offset.saturating_add(bytes);
        if self.bytes.len() < total {
            return Ok(None);
        }
        let unit = if classic.nanos { 1 } else { 1_000 };
        let nanos = u64::from(number(4)).saturating_mul(unit);
        let unix_nanos = Some(u64::from(number(0)).saturating_mul(NANOS).saturating_add(nanos));
        let link = Some(classic.link);
        Ok(Some((total, Advance::Packet { link, offset, bytes, wire_bytes, unix_nanos })))
    }
}
