//! The packets of a datagram, by their headers; nothing is decrypted.
//!
//! Sections: RFC 8999 §5 (what holds for every version), RFC 9000 §17.2 (long headers of version 1) and §12.2 (packets
//! in one datagram), RFC 9369 §3.2 (the types of version 2), RFC 9287 (the fixed bit may be anything).

use super::super::reader::{Malformed, Reader};

/// The first bit of a long header, RFC 8999 §5.1.
const LONG_HEADER: u8 = 0x80;
/// The longest connection id of the versions that are read, RFC 9000 §17.2.
const CONNECTION_ID_BYTES_MAX: usize = 20;
/// The least a client's first datagram carries in any version, RFC 9000 §14.1; servers negotiate no version for less.
const FIRST_DATAGRAM_BYTES_MIN: usize = 1200;
/// The version of a Version Negotiation packet, RFC 8999 §6.
const NEGOTIATION: u32 = 0;
/// The version that every server of QUIC speaks, RFC 9000 §15.
const VERSION_1: u32 = 1;
/// gQUIC before Q046: the public flags that say that version and connection id follow.
const GQUIC_FLAGS: u8 = 0x09;

/// A version that is read. Drafts share the packet types of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// RFC 9000; drafts 33 and 34 have its salt.
    V1,
    /// RFC 9369.
    V2,
    /// Drafts 29 to 32, with their own salt.
    Draft29,
}

impl Version {
    /// The version of this number, if it is read.
    fn from_number(number: u32) -> Option<Self> {
        match number {
            0x0000_0001 | 0xff00_0021..=0xff00_0022 => Some(Self::V1),
            0x6b33_43cf => Some(Self::V2),
            0xff00_001d..=0xff00_0020 => Some(Self::Draft29),
            _ => None,
        }
    }

    /// What the two type bits of a long header mean, RFC 9000 §17.2 and RFC 9369 §3.2.
    fn kind(self, first: u8) -> Option<Kind> {
        let bits = first >> 4 & 3;
        match (self, bits) {
            (Self::V1 | Self::Draft29, 0) | (Self::V2, 1) => Some(Kind::Initial),
            (Self::V1 | Self::Draft29, 1) | (Self::V2, 2) => Some(Kind::ZeroRtt),
            (Self::V1 | Self::Draft29, 2) | (Self::V2, 3) => Some(Kind::Handshake),
            _ => None,
        }
    }
}

/// The type of a packet that has a Length; a Retry has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The only type whose keys an observer has.
    Initial,
    /// Early data.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
}

/// A connection id of the versions that are read: at most 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// The bytes, zero behind the last one.
    bytes: [u8; CONNECTION_ID_BYTES_MAX],
    /// How many count.
    length: u8,
}

impl ConnectionId {
    /// The connection id of these bytes; `None` when they are more than 20.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self { bytes: [0; CONNECTION_ID_BYTES_MAX], length: u8::try_from(bytes.len()).ok()? };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// One packet with a long header and a Length.
pub(super) struct Packet<'a> {
    /// Its version.
    pub(super) version: Version,
    /// Its type.
    pub(super) kind: Kind,
    /// Whom it is for.
    pub(super) destination: ConnectionId,
    /// Who sent it.
    pub(super) source: ConnectionId,
    /// All of it, from its first byte to the end that its Length gives.
    pub(super) bytes: &'a [u8],
    /// Where its packet number stands.
    pub(super) number_at: usize,
}

/// What a datagram, or the rest of one, begins with.
pub(super) enum Front<'a> {
    /// A packet of a version that is read.
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// What stands behind it.
        rest: &'a [u8],
    },
    /// A long header of a version that is read, without a Length to go by: a Retry, or broken.
    Unwalkable,
    /// What another version of QUIC may send first, also a Version Negotiation.
    Foreign,
    /// A short header, or no QUIC.
    Other,
}

/// Whether a datagram begins with a short header, or is no QUIC.
pub(super) fn is_short(datagram: &[u8]) -> bool {
    datagram.first().is_none_or(|first| first & LONG_HEADER == 0)
}

/// Reads the header at the front of `bytes`, the rest of a datagram.
pub(super) fn front(bytes: &[u8]) -> Front<'_> {
    let mut reader = Reader::new(bytes);
    let Ok(first) = reader.u8("first byte") else { return Front::Other };
    if first & LONG_HEADER == 0 {
        return if is_old_gquic(first, bytes) { Front::Foreign } else { Front::Other };
    }
    let Ok(number) = reader.array("version").map(u32::from_be_bytes) else { return Front::Other };
    match Version::from_number(number) {
        Some(version) => long_packet(version, first, reader, bytes).unwrap_or(Front::Unwalkable),
        None if is_plausible(number, reader, bytes.len()) => Front::Foreign,
        None => Front::Other,
    }
}

/// Whether a long header of a strange version may be QUIC: both connection ids are there, and the datagram is as long
/// as a first one must be, or negotiates (RFC 8999 §5.1 and §6).
fn is_plausible(version: u32, mut reader: Reader<'_>, datagram_bytes: usize) -> bool {
    let ids = reader.block8("destination").and_then(|_| reader.block8("source"));
    ids.is_ok() && (version == NEGOTIATION || datagram_bytes >= FIRST_DATAGRAM_BYTES_MIN)
}

/// What a server answers to a client's first datagram of a version that is not read (RFC 8999 §6, RFC 9000 §6.1): a Version
/// Negotiation packet, less than half as long as the datagram. None for any other datagram.
pub fn negotiation(datagram: &[u8]) -> Option<Vec<u8>> {
    if datagram.len() < FIRST_DATAGRAM_BYTES_MIN || is_short(datagram) {
        return None;
    }
    let mut reader = Reader::new(datagram);
    reader.u8("first byte").ok()?;
    let version = reader.array("version").map(u32::from_be_bytes).ok()?;
    if version == NEGOTIATION || Version::from_number(version).is_some() {
        return None;
    }
    let destination = reader.block8("destination").ok()?;
    let source = reader.block8("source").ok()?;
    let mut packet = vec![LONG_HEADER | 0x40];
    packet.extend(NEGOTIATION.to_be_bytes());
    for id in [source, destination] {
        packet.push(u8::try_from(id.len()).ok()?);
        packet.extend(id);
    }
    // The origin's other versions are not known: a client that chose one of them would not be told twice.
    packet.extend(VERSION_1.to_be_bytes());
    Some(packet)
}

/// Whether these are the flags, connection id and version of gQUIC before Q046.
fn is_old_gquic(first: u8, bytes: &[u8]) -> bool {
    first & GQUIC_FLAGS == GQUIC_FLAGS && matches!(bytes, [_, _, _, _, _, _, _, _, _, b'Q', b'0', ..])
}

/// Reads on behind the version: connection ids, token, Length (RFC 9000 §17.2).
fn long_packet<'a>(
    version: Version,
    first: u8,
    mut reader: Reader<'a>,
    bytes: &'a [u8],
) -> Result<Front<'a>, Malformed> {
    let too_long = |field| Malformed { field };
    let destination =
        ConnectionId::new(reader.block8("destination")?).ok_or_else(|| too_long("destination"))?;
    let source = ConnectionId::new(reader.block8("source")?).ok_or_else(|| too_long("source"))?;
    let Some(kind) = version.kind(first) else { return Ok(Front::Unwalkable) };
    if kind == Kind::Initial {
        reader.block_varint("token")?;
    }
    let protected = reader.block_varint("length")?;
    let split = bytes.len().saturating_sub(reader.left());
    let (whole, rest) = bytes.split_at_checked(split).ok_or_else(|| too_long("length"))?;
    let number_at = split.saturating_sub(protected.len());
    Ok(Front::Packet { packet: Packet { version, kind, destination, source, bytes: whole, number_at }, rest })
}
