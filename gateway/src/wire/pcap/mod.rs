//! Captured packets: from the bytes of a capture file to the bytes of one TCP direction.
//!
//! Four steps, each pure and bounded, each usable alone:
//!
//! ```text
//!  bytes of the file ─► file::Decoder ─► Captured { link type, bytes, length on the wire }
//!                        link::network ─► the IP datagram in it
//!                             ip::read ─► addresses, protocol, payload, fragment
//!                        tunnel::inner ─► the datagram inside, when the payload wraps one; then again ip::read
//!              fragment::Reassembler   ─► whole payloads of fragmented datagrams
//!   transport::ports, transport::Tcp  ─► ports, sequence number, flags, data
//!                       stream::Stream ─► the bytes of one direction, in order
//! ```
//!
//! What it may not do: open, wait, log, or decide. Checksums are not looked at: captures taken on the sending machine
//! have wrong ones on every packet (checksum offload). Of a packet in a tunnel the inner one is read: at an operator's edge
//! that is the subscriber's.
//!
//! A packet may be captured only in part (`snaplen`). Lengths therefore come in two kinds that are never mixed: what
//! was on the wire, and what was captured of it. Wire bytes that were not captured are a hole, as if lost.

pub mod file;
pub mod fragment;
pub mod ip;
pub mod layers;
pub mod link;
pub mod stream;
pub mod transport;
pub mod tunnel;

/// The `N` bytes that start at `offset`, if there are so many.
fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// The big-endian 16-bit number at `offset`.
fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}

/// At most the first `length` bytes.
fn prefix(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(..length).unwrap_or(bytes)
}

/// Whether these bytes begin like an IP datagram: version, header length, and a total length that holds the header.
fn looks_like_ip(bytes: &[u8]) -> bool {
    let Some(first) = bytes.first() else { return false };
    let header = usize::from(first & 0x0f).saturating_mul(4);
    match first >> 4 {
        4 => header >= 20 && u16_at(bytes, 2).is_some_and(|total| total == 0 || usize::from(total) >= header),
        6 => bytes.len() >= 40,
        _ => false,
    }
}
