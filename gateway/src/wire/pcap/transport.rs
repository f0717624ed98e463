//! TCP headers (RFC 9293 §3.1), and the ports that UDP (RFC 768) has in the same place.
//!
//! `etherparse` wants a header whole; a capture may end inside it. Ports alone are enough to count a packet's bytes, so
//! the fields are read one by one, as far as they were captured.

use super::{array_at, prefix, u16_at};

/// Bytes of a TCP header without options.
const TCP_HEADER_BYTES: usize = 20;
/// Bytes of a UDP header.
const UDP_HEADER_BYTES: usize = 8;
/// Bit of the flags byte: FIN.
const FIN: u8 = 0x01;
/// SYN.
const SYN: u8 = 0x02;
/// RST.
const RST: u8 = 0x04;
/// ACK.
const ACK: u8 = 0x10;

/// Source and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of the sender.
    pub source: u16,
    /// Of the receiver.
    pub destination: u16,
}

/// The first four bytes of both protocols; `None` when fewer were captured.
pub fn ports(payload: &[u8]) -> Option<Ports> {
    Some(Ports { source: u16_at(payload, 0)?, destination: u16_at(payload, 2)? })
}

/// The data of a UDP datagram, as far as it was captured; `None` when its header was not, or its length is impossible.
pub fn udp_data(payload: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16_at(payload, 4)?).checked_sub(UDP_HEADER_BYTES)?;
    Some(prefix(payload.get(UDP_HEADER_BYTES..)?, length))
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Sequence number of the first byte, or of SYN.
    pub sequence: u32,
    /// Next sequence number expected from the other side; only with [`Tcp::ack`].
    pub acknowledgment: u32,
    /// The acknowledgment counts.
    pub ack: bool,
    /// Opens the connection.
    pub syn: bool,
    /// Last segment of its side.
    pub fin: bool,
    /// Breaks the connection.
    pub rst: bool,
    /// What was captured of the data.
    pub data: &'a [u8],
    /// How long the data was on the wire.
    pub data_bytes: usize,
}

impl<'a> Tcp<'a> {
    /// Reads a segment of `wire_bytes` bytes of which `bytes` were captured.
    ///
    /// `None` when it is malformed, or cut before its flags.
    pub fn read(bytes: &'a [u8], wire_bytes: usize) -> Option<Self> {
        let [offset, flags] = array_at(bytes, 12)?;
        let header_bytes = usize::from(offset >> 4).saturating_mul(4);
        if header_bytes < TCP_HEADER_BYTES {
            return None;
        }
        let data_bytes = wire_bytes.checked_sub(header_bytes)?;
        Some(Self {
            sequence: array_at(bytes, 4).map(u32::from_be_bytes)?,
            acknowledgment: array_at(bytes, 8).map(u32::from_be_bytes)?,
            ack: flags & ACK != 0,
            syn: flags & SYN != 0,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            data: prefix(bytes.get(header_bytes..).unwrap_or_default(), data_bytes),
            data_bytes,
        })
    }
}
