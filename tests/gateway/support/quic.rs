//! Client Initials made to order and sealed with the keys of `rustls`.

use rustls::Side;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{DirectionalKeys, Version};

pub const V1: u32 = 0x0000_0001;
pub const V2: u32 = 0x6b33_43cf;
pub const DRAFT_29: u32 = 0xff00_001d;
/// The connection id of the examples in RFC 9001 and RFC 9369.
pub const ORIGIN: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
/// The length that datagrams are padded to.
pub const DATAGRAM_BYTES: usize = 1200;

/// Packet types, in the order of version 1.
pub const INITIAL: u8 = 0;
pub const ZERO_RTT: u8 = 1;
pub const HANDSHAKE: u8 = 2;
pub const RETRY: u8 = 3;

/// An Initial of a client; each part can be made wrong.
#[derive(Clone)]
pub struct Initial {
    pub version: u32,
    /// The version whose keys it is sealed with.
    pub keys_version: u32,
    /// The connection id that the keys follow from.
    pub origin: Vec<u8>,
    /// The one in the header.
    pub destination: Vec<u8>,
    pub source: Vec<u8>,
    pub token: Vec<u8>,
    pub number: u32,
    pub number_bytes: usize,
    pub fixed_bit: bool,
    pub frames: Vec<u8>,
    /// The whole packet is padded to this.
    pub packet_bytes: usize,
}

impl Initial {
    /// Of version 1, with these frames, in a datagram of its own.
    pub fn new(frames: &[u8]) -> Self {
        Self {
            version: V1,
            keys_version: V1,
            origin: ORIGIN.to_vec(),
            destination: ORIGIN.to_vec(),
            source: Vec::new(),
            token: Vec::new(),
            number: 0,
            number_bytes: 1,
            fixed_bit: true,
            frames: frames.to_vec(),
            packet_bytes: DATAGRAM_BYTES,
        }
    }

    /// With one CRYPTO frame of all of this.
    pub fn of(message: &[u8]) -> Self {
        Self::new(&crypto(0, message))
    }

    pub fn version(self, version: u32) -> Self {
        Self { version, keys_version: version, ..self }
    }

    /// Sealed with the keys of another version than it says.
    pub fn sealed_as(self, keys_version: u32) -> Self {
        Self { keys_version, ..self }
    }

    /// To this connection id, with keys that follow from it.
    pub fn to(self, id: &[u8]) -> Self {
        Self { origin: id.to_vec(), destination: id.to_vec(), ..self }
    }

    /// To the connection id of a server, with the keys as they were.
    pub fn addressed(self, id: &[u8]) -> Self {
        Self { destination: id.to_vec(), ..self }
    }

    pub fn from(self, id: &[u8]) -> Self {
        Self { source: id.to_vec(), ..self }
    }

    pub fn token(self, token: &[u8]) -> Self {
        Self { token: token.to_vec(), ..self }
    }

    pub fn number(self, number: u32, number_bytes: usize) -> Self {
        Self { number, number_bytes, ..self }
    }

    pub fn fixed_bit(self, fixed_bit: bool) -> Self {
        Self { fixed_bit, ..self }
    }

    pub fn sized(self, packet_bytes: usize) -> Self {
        Self { packet_bytes, ..self }
    }

    /// The sealed packet.
    pub fn seal(&self) -> Vec<u8> {
        let mut head = long_header(self.version, INITIAL, &self.destination, &self.source);
        head[0] |= u8::try_from(self.number_bytes - 1).unwrap();
        if !self.fixed_bit {
            head[0] &= !0x40;
        }
        head.extend(varint(self.token.len() as u64));
        head.extend(&self.token);
        // Length in two bytes, as everyone writes it; packet number; payload; tag.
        let mut payload = self.frames.clone();
        let without = head.len() + 2 + self.number_bytes + 16;
        payload.resize(payload.len().max(self.packet_bytes.saturating_sub(without)).max(4), 0);
        let length = u16::try_from(self.number_bytes + payload.len() + 16).unwrap();
        assert!(length < 0x4000);
        head.extend((length | 0x4000).to_be_bytes());
        let number_at = head.len();
        head.extend(&self.number.to_be_bytes()[4 - self.number_bytes..]);
        let keys = client_keys(self.keys_version, &self.origin);
        let tag = keys.packet.encrypt_in_place(u64::from(self.number), &head, &mut payload).unwrap();
        let mut packet = [&head[..], &payload, tag.as_ref()].concat();
        let sample = packet[number_at + 4..number_at + 20].to_vec();
        let (first, rest) = packet.split_at_mut(1);
        let number = &mut rest[number_at - 1..number_at - 1 + self.number_bytes];
        keys.header.encrypt_in_place(&sample, &mut first[0], number).unwrap();
        packet
    }
}

/// First byte, version and connection ids.
pub fn long_header(version: u32, kind: u8, destination: &[u8], source: &[u8]) -> Vec<u8> {
    let bits = if version == V2 { (kind + 1) % 4 } else { kind };
    let mut head = vec![0xc0 | bits << 4];
    head.extend(version.to_be_bytes());
    head.push(u8::try_from(destination.len()).unwrap());
    head.extend(destination);
    head.push(u8::try_from(source.len()).unwrap());
    head.extend(source);
    head
}

/// A packet of another type, with a Length and a payload that nobody here can open.
pub fn opaque(version: u32, kind: u8, destination: &[u8], source: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = long_header(version, kind, destination, source);
    if kind == INITIAL {
        packet.push(0);
    }
    packet.extend(varint(payload.len() as u64));
    packet.extend(payload);
    packet
}

fn client_keys(version: u32, origin: &[u8]) -> DirectionalKeys {
    let version = match version {
        V2 => Version::V2,
        0xff00_001d..=0xff00_0020 => Version::V1Draft,
        _ => Version::V1,
    };
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap().quic_suite().unwrap();
    suite.keys(origin, Side::Client, version).local
}

/// RFC 9000 §16, as short as may be.
pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..=0x3f => vec![u8::try_from(value).unwrap()],
        0x40..=0x3fff => (u16::try_from(value).unwrap() | 0x4000).to_be_bytes().to_vec(),
        0x4000..=0x3fff_ffff => (u32::try_from(value).unwrap() | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// A CRYPTO frame.
pub fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
    [vec![6], varint(offset), varint(data.len() as u64), data.to_vec()].concat()
}

/// The CRYPTO frames of a message in pieces of this size, in order.
pub fn pieces(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let frame = |(index, piece): (usize, &[u8])| crypto((index * size) as u64, piece);
    message.chunks(size).enumerate().map(frame).collect()
}

/// What a client says in two datagrams: the message cut at `at`.
pub fn two_datagrams(message: &[u8], at: usize) -> [Vec<u8>; 2] {
    let (front, back) = message.split_at(at);
    [Initial::new(&crypto(0, front)).seal(), Initial::new(&crypto(at as u64, back)).number(1, 1).seal()]
}
