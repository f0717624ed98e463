//! Sections of pcapng: blocks, and the interfaces that they describe.

use super::order::Order;
use super::packet::{enhanced_packet, obsolete_packet, simple_packet};
use super::place::{Advance, Unread};
use super::{FileError, INTERFACES_MAX, LinkType, RECORD_BYTES_MAX};
use crate::wire::pcap::array_at;

/// Bytes of a pcapng block without its body: type, length, and length again.
const BLOCK_FRAME_BYTES: usize = 12;
/// pcapng Section Header Block.
const BLOCK_SECTION: u32 = 0x0a0d_0d0a;
/// pcapng Interface Description Block.
const BLOCK_INTERFACE: u32 = 1;
/// pcapng Packet Block, obsolete.
const BLOCK_PACKET: u32 = 2;
/// pcapng Simple Packet Block.
const BLOCK_SIMPLE: u32 = 3;
/// pcapng Enhanced Packet Block.
const BLOCK_ENHANCED: u32 = 6;
/// pcapng byte-order magic of a Section Header Block.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// An interface of a pcapng section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Link type of its packets.
    pub(super) link: LinkType,
    /// Captured bytes of a packet at most; 0 is no limit. Simple Packet Blocks need it.
    pub(super) snap_bytes: u32,
    /// Time units per second; `None` when they do not fit.
    pub(super) units_per_second: Option<u64>,
    /// Seconds to add to each time.
    pub(super) offset_seconds: i64,
}

/// A pcapng block.
pub(super) enum Block {
    /// Read, so many bytes of it.
    Whole(usize, Advance),
    /// So many bytes without interest, not necessarily fed yet.
    Skip(u64),
}

impl Unread<'_> {
    /// A pcapng block; a Section Header Block changes byte order and empties the interfaces.
    pub(super) fn block(
        &self,
        order: &mut Order,
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Block>, FileError> {
        if self.bytes.len() < BLOCK_FRAME_BYTES {
            return Ok(None);
        }
        let mut section = false;
        if array_at(self.bytes, 0) == Some(BLOCK_SECTION.to_be_bytes()) {
            section = true;
            *order = match array_at::<4>(self.bytes, 8) {
                Some(magic) if magic == BYTE_ORDER_MAGIC.to_le_bytes() => Order::Little,
                Some(magic) if magic == BYTE_ORDER_MAGIC.to_be_bytes() => Order::Big,
                Some(magic) => {
                    let found = u32::from_be_bytes(magic).into();
                    return Err(self.damaged("byte-order magic", found, "0x1a2b3c4d in either order"));
                }
                None => return Ok(None),
            };
        }
        let kind = order.u32_at(self.bytes, 0).unwrap_or_default();
        let length = order.u32_at(self.bytes, 4).unwrap_or_default();
        if (length as usize) < BLOCK_FRAME_BYTES || !length.is_multiple_of(4) {
            return Err(self.damaged("block length", length.into(), "a multiple of 4, at least 12"));
        }
        let total = length as usize;
        let wanted =
            section || matches!(kind, BLOCK_INTERFACE | BLOCK_PACKET | BLOCK_SIMPLE | BLOCK_ENHANCED);
        // No network packet is so long; those of other buses may be, and a damaged length leads past the end.
        if !wanted || total > RECORD_BYTES_MAX {
            return Ok(Some(Block::Skip(length.into())));
        }
        let Some(body) = self.bytes.get(8..total.saturating_sub(4)) else { return Ok(None) };
        let Some(again) = order.u32_at(self.bytes, total.saturating_sub(4)) else { return Ok(None) };
        if again != length {
            return Err(self.damaged("second block length", again.into(), "the same as the first"));
        }
        let advance = match kind {
            BLOCK_INTERFACE => self.interface(*order, body, interfaces)?,
            BLOCK_PACKET => obsolete_packet(*order, body, interfaces),
            BLOCK_SIMPLE => simple_packet(*order, body, interfaces),
            BLOCK_ENHANCED => enhanced_packet(*order, body, interfaces),
            // Only a section header is left.
            _ => {
                interfaces.clear();
                Some(Advance::Other)
            }
        };
        let advance =
            advance.ok_or_else(|| self.damaged("block length", length.into(), "room for its fields"))?;
        // Offsets of packets count from the body.
        Ok(Some(Block::Whole(total, advance.shifted(8))))
    }

    /// An Interface Description Block.
    fn interface(
        &self,
        order: Order,
        body: &[u8],
        interfaces: &mut Vec<Interface>,
    ) -> Result<Option<Advance>, FileError> {
        let (Some(link), Some(snap_bytes)) = (order.u16_at(body, 0), order.u32_at(body, 4)) else {
            return Ok(None);
        };
        if interfaces.len() >= INTERFACES_MAX {
            let found = interfaces.len().saturating_add(1) as u64;
            return Err(self.damaged("interface number", found, "at most 4096 in a section"));
        }
        let mut interface = Interface {
            link: LinkType(link),
            snap_bytes,
            units_per_second: Some(1_000_000),
            offset_seconds: 0,
        };
        interface.options(order, body.get(8..).unwrap_or_default());
        interfaces.push(interface);
        Ok(Some(Advance::Other))
    }
}
