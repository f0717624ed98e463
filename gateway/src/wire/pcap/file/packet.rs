//! The packets of pcapng: enhanced, simple and obsolete blocks, with their interface's clock.

use super::NANOS;
use super::order::Order;
use super::place::Advance;
use super::sections::Interface;

/// Option `if_tsresol`.
const OPTION_RESOLUTION: u16 = 9;
/// Option `if_tsoffset`.
const OPTION_OFFSET: u16 = 14;

/// An Enhanced Packet Block; `None` when its fields do not fit.
pub(super) fn enhanced_packet(order: Order, body: &[u8], interfaces: &[Interface]) -> Option<Advance> {
    let interface = interfaces.get(order.u32_at(body, 0)? as usize);
    packet(order, body, interface)
}

/// The obsolete Packet Block: the interface has 16 bits, the rest is as in the enhanced one.
pub(super) fn obsolete_packet(order: Order, body: &[u8], interfaces: &[Interface]) -> Option<Advance> {
    let interface = interfaces.get(usize::from(order.u16_at(body, 0)?));
    packet(order, body, interface)
}

/// What both have behind the interface: time, captured length, length on the wire, bytes.
pub(super) fn packet(order: Order, body: &[u8], interface: Option<&Interface>) -> Option<Advance> {
    let (high, low) = (order.u32_at(body, 4)?, order.u32_at(body, 8)?);
    let bytes = order.u32_at(body, 12)? as usize;
    let wire_bytes = order.u32_at(body, 16)?;
    let offset = 20;
    // Bytes beyond the block are not there: the packet ends where the block does.
    let bytes = bytes.min(body.len().checked_sub(offset)?);
    let unix_nanos = interface.and_then(|interface| interface.unix_nanos(high, low));
    Some(Advance::Packet {
        link: interface.map(|interface| interface.link),
        offset,
        bytes,
        wire_bytes,
        unix_nanos,
    })
}

/// A Simple Packet Block: of the section's first interface, cut at its snap length, without time.
pub(super) fn simple_packet(order: Order, body: &[u8], interfaces: &[Interface]) -> Option<Advance> {
    let wire_bytes = order.u32_at(body, 0)?;
    let offset = 4;
    let interface = interfaces.first();
    let snap = interface.map_or(0, |interface| interface.snap_bytes);
    let snap = if snap == 0 { usize::MAX } else { snap as usize };
    let bytes = (wire_bytes as usize).min(snap).min(body.len().checked_sub(offset)?);
    let link = interface.map(|interface| interface.link);
    Some(Advance::Packet { link, offset, bytes, wire_bytes, unix_nanos: None })
}

/// Time units per second of an `if_tsresol` value: a power of ten, or of two when the top bit is set.
pub(super) fn units(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10_u64.checked_pow(exponent) } else { 1_u64.checked_shl(exponent) }
}

/// The low 16 bits.
pub(super) fn low_half(number: u32) -> u16 {
    let [_, _, high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

impl Interface {
    /// Reads the options that change how times are read; options that break their format end the list.
    pub(super) fn options(&mut self, order: Order, mut rest: &[u8]) {
        while let (Some(code), Some(length)) = (order.u16_at(rest, 0), order.u16_at(rest, 2)) {
            let padded = usize::from(length).next_multiple_of(4);
            let Some(value) = rest.get(4..4_usize.saturating_add(usize::from(length))) else { return };
            match (code, value) {
                (0, _) => return,
                (OPTION_RESOLUTION, [resolution, ..]) => self.units_per_second = units(*resolution),
                (OPTION_OFFSET, value) => {
                    self.offset_seconds = order.i64_at(value, 0).unwrap_or_default();
                }
                _ => {}
            }
            rest = rest.get(4_usize.saturating_add(padded)..).unwrap_or_default();
        }
    }

    /// A time of this interface in nanoseconds since 1970; `None` when it cannot be expressed.
    fn unix_nanos(&self, high: u32, low: u32) -> Option<u64> {
        let units = u128::from(self.units_per_second?);
        let count = (u128::from(high) << 32) | u128::from(low);
        let nanos = count.checked_mul(NANOS.into())?.checked_div(units)?;
        let shift = i128::from(self.offset_seconds).checked_mul(NANOS.into())?;
        u64::try_from(i128::try_from(nanos).ok()?.checked_add(shift)?).ok()
    }
}
