//! Writes RADIUS packets as clients do: the tests' own encoder, which shares no code with the reader but the MD5.
//! HMAC-MD5 is made by hand (RFC 2104 §2).

use md5::{Digest as _, Md5};

/// Where the authenticator stands.
const AUTHENTICATOR: std::ops::Range<usize> = 4..20;
/// The Request Authenticator of Status-Server packets; random elsewhere.
pub const RANDOM: [u8; 16] = *b"a random number!";

/// A packet before it is signed.
#[derive(Clone)]
pub struct Encoder {
    code: u8,
    identifier: u8,
    attributes: Vec<u8>,
}

/// An Accounting-Request with nothing in it.
pub fn request() -> Encoder {
    Encoder { code: 4, identifier: 7, attributes: Vec::new() }
}

/// An Accounting-Request of this status, of a session and a NAS.
pub fn accounting(status: u32) -> Encoder {
    request().integer(40, status).attribute(44, b"4ffd4832").attribute(4, &[192, 0, 2, 1])
}

/// A Status-Server.
pub fn status_server() -> Encoder {
    Encoder { code: 12, identifier: 8, attributes: Vec::new() }
}

impl Encoder {
    /// With another code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// With another identifier.
    pub fn identifier(mut self, identifier: u8) -> Self {
        self.identifier = identifier;
        self
    }

    /// With octets as they are where the next attribute would begin.
    pub fn raw(mut self, octets: &[u8]) -> Self {
        self.attributes.extend(octets);
        self
    }

    /// With one more attribute.
    pub fn attribute(self, kind: u8, value: &[u8]) -> Self {
        let framed = tlv(kind, value);
        self.raw(&framed)
    }

    /// With one more attribute of four octets.
    pub fn integer(self, kind: u8, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// With one more Vendor-Specific attribute, holding these.
    pub fn vendor(self, vendor: u32, subs: &[(u8, &[u8])]) -> Self {
        let mut value = vendor.to_be_bytes().to_vec();
        value.extend(subs.iter().flat_map(|(kind, value)| tlv(*kind, value)));
        self.attribute(26, &value)
    }

    /// With one more attribute of an extended type, holding these TLVs.
    pub fn tlvs(self, kind: u8, extended: u8, tlvs: &[(u8, &[u8])]) -> Self {
        let mut value = vec![extended];
        value.extend(tlvs.iter().flat_map(|(kind, value)| tlv(*kind, value)));
        self.attribute(kind, &value)
    }

    /// With a Message-Authenticator, which signing fills.
    pub fn message_authenticator(self) -> Self {
        self.attribute(80, &[0; 16])
    }

    /// The packet as a client with this secret sends it.
    pub fn signed(&self, secret: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + self.attributes.len()).unwrap();
        let mut packet = vec![self.code, self.identifier];
        packet.extend(length.to_be_bytes());
        packet.extend(if self.code == 12 { RANDOM } else { [0; 16] });
        packet.extend(&self.attributes);
        if let Some(at) = message_authenticator_at(&packet) {
            packet[at..at + 16].fill(0);
            let value = keyed(secret, &packet);
            packet[at..at + 16].copy_from_slice(&value);
        }
        if self.code != 12 {
            let authenticator = hash(&[&packet, secret]);
            packet[AUTHENTICATOR].copy_from_slice(&authenticator);
        }
        packet
    }
}

/// Type, length, value.
pub fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut octets = vec![kind, u8::try_from(value.len() + 2).unwrap()];
    octets.extend(value);
    octets
}

/// Attributes of a packet that is framed, and where their values begin.
pub fn attributes(packet: &[u8]) -> Vec<(u8, usize, &[u8])> {
    let (mut at, mut found) = (20, Vec::new());
    while at < packet.len() {
        let length = usize::from(packet[at + 1]);
        found.push((packet[at], at + 2, &packet[at + 2..at + length]));
        at += length;
    }
    found
}

/// Where the value of the Message-Authenticator stands, in a packet that is framed.
fn message_authenticator_at(packet: &[u8]) -> Option<usize> {
    let (mut at, end) = (20, packet.len());
    while at + 18 <= end && packet[at + 1] >= 2 {
        if packet[at] == 80 && packet[at + 1] == 18 {
            return Some(at + 2);
        }
        at += usize::from(packet[at + 1]);
    }
    None
}

/// Holds an answer against its request as a client does: codes, identifiers, Proxy-State, both authenticators.
pub fn assert_answers(answer: &[u8], request: &[u8], secret: &[u8]) {
    assert_eq!((answer[0], answer[1]), (5, request[1]));
    assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len());
    assert!(answer.len() <= request.len());
    let mut plain = answer.to_vec();
    plain[AUTHENTICATOR].copy_from_slice(&request[AUTHENTICATOR]);
    assert_eq!(answer[AUTHENTICATOR], hash(&[&plain, secret]), "Response Authenticator");
    let of = |packet, kind| -> Vec<Vec<u8>> {
        let of_kind = attributes(packet).into_iter().filter(|(found, ..)| *found == kind);
        of_kind.map(|(_, _, value)| value.to_vec()).collect()
    };
    assert_eq!(of(answer, 33), of(request, 33), "Proxy-State");
    assert_eq!(of(answer, 80).len(), of(request, 80).len(), "Message-Authenticator");
    if let Some(at) = message_authenticator_at(answer) {
        if request[0] == 4 {
            plain[AUTHENTICATOR].fill(0);
        }
        plain[at..at + 16].fill(0);
        assert_eq!(answer[at..at + 16], keyed(secret, &plain), "Message-Authenticator");
    }
    let others = attributes(answer).iter().filter(|(kind, ..)| ![33, 80].contains(kind)).count();
    assert_eq!(others, 0, "nothing else is answered");
}

/// MD5 of parts.
pub fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// HMAC-MD5.
pub fn keyed(secret: &[u8], message: &[u8]) -> [u8; 16] {
    let mut key = [0; 64];
    if secret.len() > 64 {
        key[..16].copy_from_slice(&hash(&[secret]));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let inner = hash(&[&key.map(|octet| octet ^ 0x36), message]);
    hash(&[&key.map(|octet| octet ^ 0x5c), &inner])
}
