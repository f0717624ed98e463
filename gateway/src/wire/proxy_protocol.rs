//! The PROXY protocol header, versions 1 and 2: which addresses the connection in front of the peer had.
//!
//! Specification: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.1 (text), §2.2 (binary).
//!
//! A header is read or refused, never guessed: a listener either requires one or takes none. The text is read to the
//! letter, lengths are exact, and what we could not carry (AF_UNIX) is refused. Checksums and TLS facts in the TLVs are
//! not judged, but their framing is; [`tlv`] gives one. No allocation; give the bytes from the connection's first one again, with more of
//! them, after `NeedMore`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::reader::{Malformed, Reader};

/// The first bytes of version 1.
const V1_SIGNATURE: &[u8; 6] = b"PROXY ";
/// The longest header of version 1, its CR LF included (§2.1).
pub const V1_BYTES_MAX: usize = 107;
/// The first bytes of version 2 (§2.2).
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length (§2.2).
const V2_HEADER_BYTES: usize = 16;
/// The longest header of version 2 without further room for TLVs: what the sender may count on to arrive in one piece
/// (§2.2, the smallest MTU's payload).
pub const V2_BYTES_MAX: usize = 536;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header; the client's own bytes follow.
    pub length: usize,
    /// What it says.
    pub carried: Carried,
}

/// What a header says of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// Nothing (LOCAL, UNKNOWN, UNSPEC): the peer speaks for itself, and the connection's own addresses hold.
    Nothing,
    /// The addresses of a connection or datagram that the peer passes on; IPv4-mapped ones are given as IPv4.
    Addresses {
        /// Stream or datagram.
        transport: Transport,
        /// Who opened it.
        source: SocketAddr,
        /// Where it was to go.
        destination: SocketAddr,
    },
}

/// What the addresses belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// What the bytes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The header is incomplete and may become valid.
    NeedMore,
    /// A complete header.
    Header(Header),
    /// It begins as a header and breaks the format.
    Malformed {
        /// The field that breaks it.
        field: &'static str,
    },
    /// Longer than the version allows, or than the cap.
    Oversize,
    /// The first bytes are no PROXY header.
    NotProxy,
}

/// Reads the header at the front of `bytes`, the connection's bytes from its first one on. A header of version 2 may have
/// [`V2_BYTES_MAX`] and `tlv_bytes_max` more bytes.
pub fn header(bytes: &[u8], tlv_bytes_max: usize) -> Outcome {
    match (signature(bytes, V1_SIGNATURE), signature(bytes, V2_SIGNATURE)) {
        (Signature::Whole(rest), _) => text(rest),
        (_, Signature::Whole(rest)) => binary(rest, tlv_bytes_max),
        (Signature::Partial, _) | (_, Signature::Partial) => Outcome::NeedMore,
        (Signature::Other, Signature::Other) => Outcome::NotProxy,
    }
}

/// What a header has of a type of TLV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tlv<'a> {
    /// None, as in every header of version 1.
    Absent,
    /// One, with this value.
    Value(&'a [u8]),
    /// More than one: nobody can tell which is meant.
    Repeated,
}

/// The TLV of a type in a whole header at the front of `bytes`, which [`header`] has read (§2.2.7).
pub fn tlv<'a>(bytes: &'a [u8], header: &Header, kind: u8) -> Tlv<'a> {
    let block = match signature(bytes, V2_SIGNATURE) {
        Signature::Whole(_) => bytes.get(V2_HEADER_BYTES..header.length),
        Signature::Partial | Signature::Other => None,
    };
    let addresses = match (bytes.get(V2_SIGNATURE.len().saturating_add(1)), header.carried) {
        (Some(family), Carried::Addresses { .. }) if family >> 4 == 1 => 12,
        (_, Carried::Addresses { .. }) => 36,
        (_, Carried::Nothing) => return Tlv::Absent,
    };
    let mut reader = Reader::new(block.and_then(|block| block.get(addresses..)).unwrap_or_default());
    let mut found = Tlv::Absent;
    while let (Ok(own), Ok(value)) = (reader.u8("TLV type"), reader.block16("TLV value")) {
        found = match found {
            _ if own != kind => found,
            Tlv::Absent => Tlv::Value(value),
            Tlv::Value(_) | Tlv::Repeated => Tlv::Repeated,
        };
    }
    found
}

/// Whether a datagram begins with a whole signature of version 2, the only one that may stand in front of datagrams.
pub fn begins_v2(datagram: &[u8]) -> bool {
    datagram.starts_with(V2_SIGNATURE)
}

/// How some bytes begin.
enum Signature<'a> {
    /// With the whole signature; what follows it.
    Whole(&'a [u8]),
    /// With a part of it, and there they end.
    Partial,
    /// With something else.
    Other,
}

/// Compares the front of `bytes` with `signature`.
fn signature<'a>(bytes: &'a [u8], signature: &[u8]) -> Signature<'a> {
    match bytes.strip_prefix(signature) {
        Some(rest) => Signature::Whole(rest),
        None if signature.starts_with(bytes) => Signature::Partial,
        None => Signature::Other,
    }
}

/// Reads version 1 behind its signature.
fn text(rest: &[u8]) -> Outcome {
    let room = V1_BYTES_MAX.saturating_sub(V1_SIGNATURE.len());
    let seen = rest.get(..room).unwrap_or(rest);
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() >= room { Outcome::Oversize } else { Outcome::NeedMore };
    };
    let length = V1_SIGNATURE.len().saturating_add(end).saturating_add(1);
    match seen.get(..end).and_then(|line| line.strip_suffix(b"\r")) {
        None => Outcome::Malformed { field: "line end" },
        Some(line) => outcome(text_line(line), length),
    }
}

/// A read header, or the field that is wrong.
fn outcome(carried: Result<Carried, Malformed>, length: usize) -> Outcome {
    match carried {
        Ok(carried) => Outcome::Header(Header { length, carried }),
        Err(Malformed { field }) => Outcome::Malformed { field },
    }
}

/// Reads what stands between `PROXY ` and CR LF, §2.1.
fn text_line(line: &[u8]) -> Result<Carried, Malformed> {
    let mut words = line.split(|byte| *byte == b' ');
    let family = words.next().unwrap_or_default();
    match family {
        // The receiver must ignore anything presented before the CRLF.
        b"UNKNOWN" => return Ok(Carried::Nothing),
        b"TCP4" | b"TCP6" => {}
        _ => return Err(Malformed { field: "protocol and family" }),
    }
    let address = |word: Option<&[u8]>, field| {
        let word = word.and_then(|word| core::str::from_utf8(word).ok()).unwrap_or_default();
        let address = match family {
            b"TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            _ => word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        };
        address.map(|address| address.to_canonical()).ok_or(Malformed { field })
    };
    let source = address(words.next(), "source address")?;
    let destination = address(words.next(), "destination address")?;
    let source_port = text_port(words.next()).ok_or(Malformed { field: "source port" })?;
    let destination_port = text_port(words.next()).ok_or(Malformed { field: "destination port" })?;
    if words.next().is_some() {
        return Err(Malformed { field: "end of header" });
    }
    Ok(Carried::Addresses {
        transport: Transport::Stream,
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// A port of decimal digits, without leading zeros (§2.1).
fn text_port(word: Option<&[u8]>) -> Option<u16> {
    let word = word?;
    if !word.iter().all(u8::is_ascii_digit) || (word.len() > 1 && word.starts_with(b"0")) {
        return None;
    }
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// Reads version 2 behind its signature. What stands in the fixed part is judged as soon as it is there.
fn binary(rest: &[u8], tlv_bytes_max: usize) -> Outcome {
    match rest.first() {
        None => return Outcome::NeedMore,
        Some(0x20 | 0x21) => {}
        Some(byte) if byte >> 4 != 2 => return Outcome::Malformed { field: "version" },
        Some(_) => return Outcome::Malformed { field: "command" },
    }
    let [command, family, high, low, rest @ ..] = rest else { return Outcome::NeedMore };
    let declared = usize::from(u16::from_be_bytes([*high, *low]));
    let length = V2_HEADER_BYTES.saturating_add(declared);
    if length > V2_BYTES_MAX.saturating_add(tlv_bytes_max) {
        return Outcome::Oversize;
    }
    let Some(block) = rest.get(..declared) else { return Outcome::NeedMore };
    outcome(binary_block(*command, *family, block), length)
}

/// Reads the addresses and TLVs of version 2, §2.2.
fn binary_block(command: u8, family: u8, block: &[u8]) -> Result<Carried, Malformed> {
    // LOCAL: the receiver must take the connection's own addresses and discard the block.
    if command == 0x20 {
        return Ok(Carried::Nothing);
    }
    let mut reader = Reader::new(block);
    let transport = match family {
        0x00 => return Ok(Carried::Nothing),
        0x11 | 0x21 => Transport::Stream,
        0x12 | 0x22 => Transport::Datagram,
        _ => return Err(Malformed { field: "protocol and family" }),
    };
    let (source, destination) = if family >> 4 == 1 {
        (
            IpAddr::from(reader.array::<4>("source address")?),
            IpAddr::from(reader.array::<4>("destination address")?),
        )
    } else {
        (
            IpAddr::from(reader.array::<16>("source address")?),
            IpAddr::from(reader.array::<16>("destination address")?),
        )
    };
    let source = SocketAddr::new(source.to_canonical(), reader.u16("source port")?);
    let destination = SocketAddr::new(destination.to_canonical(), reader.u16("destination port")?);
    while !reader.is_empty() {
        reader.u8("TLV type")?;
        reader.block16("TLV value")?;
    }
    Ok(Carried::Addresses { transport, source, destination })
}
