//! GRE, and the mirrored frames in it.

use super::Wrapped;
use crate::wire::pcap::layers::{Layer, PassedOver};
use crate::wire::pcap::link::{Datagram, Kind};
use crate::wire::pcap::{looks_like_ip, u16_at};

/// GRE (RFC 2784 §2, RFC 2890 §2): flags, an EtherType, and fields that the flags announce. Version 1 is PPTP's (RFC 2637
/// §4.1), with an acknowledgement behind.
pub(super) fn gre<'a>(wrapped: &Wrapped<'a>) -> Result<Datagram<'a>, PassedOver> {
    /// Checksum and offset.
    const CHECKSUM: u16 = 0x8000;
    /// Source routes (RFC 1701), which nobody sends.
    const ROUTING: u16 = 0x4000;
    /// A key.
    const KEY: u16 = 0x2000;
    /// A sequence number.
    const SEQUENCE: u16 = 0x1000;
    /// An acknowledgement, in version 1.
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    /// EtherType of redirected packets (WCCP), in front of which four bytes may stand.
    const WCCP: u16 = 0x883e;
    let flags = u16_at(wrapped.bytes, 0).ok_or(PassedOver::Header)?;
    let kind = u16_at(wrapped.bytes, 2).ok_or(PassedOver::Header)?;
    let field = |flag: u16| if flags & flag == 0 { 0_usize } else { 4 };
    let length = match flags & 0x0007 {
        0 if flags & ROUTING == 0 => {
            4_usize.saturating_add(field(CHECKSUM)).saturating_add(field(KEY)).saturating_add(field(SEQUENCE))
        }
        1 => 8_usize.saturating_add(field(SEQUENCE)).saturating_add(field(ACKNOWLEDGEMENT)),
        _ => return Err(PassedOver::Header),
    };
    match kind {
        0x88be | 0x22eb => erspan(&wrapped.layer(Layer::Erspan)?, length, kind, field(SEQUENCE) > 0),
        WCCP => {
            let wrapped = wrapped.layer(Layer::Gre)?;
            let rest = wrapped.bytes.get(length..).unwrap_or_default();
            let redirect = if looks_like_ip(rest) { 0 } else { 4 };
            wrapped.at(length.saturating_add(redirect), Kind::Ip)
        }
        kind => wrapped.layer(Layer::Gre)?.at(length, Kind::Ether(kind)),
    }
}

/// A mirrored frame: type I has no header of its own, type II one of 8 bytes, type III one of 12 and perhaps 8 more.
fn erspan<'a>(
    wrapped: &Wrapped<'a>,
    length: usize,
    kind: u16,
    has_sequence: bool,
) -> Result<Datagram<'a>, PassedOver> {
    let header = match (kind, has_sequence) {
        (0x22eb, _) => {
            let flags = *wrapped.bytes.get(length.saturating_add(11)).ok_or(PassedOver::Header)?;
            if flags & 1 == 0 { 12 } else { 20 }
        }
        (_, true) => 8,
        (_, false) => 0,
    };
    wrapped.at(length.saturating_add(header), Kind::Frame)
}
