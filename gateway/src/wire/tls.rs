//! The ClientHello: which name the client asks for.
//!
//! [`hello_message`] reads a hello whose handshake bytes lie in one piece (QUIC's CRYPTO stream, RFC 9001 §4.1.3);
//! [`HelloStream`] reads it from a TCP stream in any cutting over segments and over TLS records.
//!
//! Sections: RFC 8446 §4.1.2 and §5.1 (message, records), RFC 5246 §7.4.1.2 (hellos without extensions), RFC 6066 §3
//! (server_name), RFC 9849 §5 (encrypted_client_hello).
//!
//! Rules. A hello with one `host_name` has a name; entries of other name types are skipped; lengths must be exact. Two
//! `host_name` entries or two server_name extensions are ambiguous, for two readers could take either. Extensions that do
//! not speak of the name are skipped unread, so a hello that some server would refuse for another reason still has a
//! name. Versions are not looked at: servers are told to ignore them (RFC 8446 §4.1.2, §5.1). The name is handed out as
//! raw bytes. No allocation.

mod records;

pub use records::{HelloLimits, HelloStream, Step};

use super::reader::{Malformed, Reader};

/// `HandshakeType client_hello`, RFC 8446 §4.
const CLIENT_HELLO: u8 = 1;
/// Type and length in front of a handshake message, RFC 8446 §4.
pub(super) const MESSAGE_HEADER_BYTES: usize = 4;
/// `Random`, RFC 8446 §4.1.2.
const RANDOM_BYTES: usize = 32;
/// `legacy_session_id<0..32>`, RFC 8446 §4.1.2.
const SESSION_ID_BYTES_MAX: usize = 32;
/// `ExtensionType server_name`, RFC 6066 §3.
const SERVER_NAME: u16 = 0;
/// `ExtensionType encrypted_client_hello`, RFC 9849 §5.
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// `NameType host_name`, RFC 6066 §3.
const HOST_NAME: u8 = 0;
/// `ECHClientHelloType outer`, RFC 9849 §5.
const ECH_OUTER: u8 = 0;

/// What a complete hello says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The one `host_name`, as its raw bytes (never empty); `None` without one.
    pub name: Option<&'a [u8]>,
    /// The encrypted_client_hello extension, if it is there; GREASE and the real one look alike.
    pub ech: Option<Ech>,
}

/// An encrypted_client_hello extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ech {
    /// The `config_id` of an outer hello; `None` when the extension is of another type or too short to have one.
    pub config_id: Option<u8>,
}

/// What the bytes so far come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No complete hello yet, or (after the first) nothing that matters yet.
    NeedMore,
    /// A complete hello. A [`HelloStream`] may bring a second one later.
    Hello(Facts<'a>),
    /// No further hello can follow: application data or encrypted handshake messages have begun.
    Ended,
    /// These bytes are TLS handshake records, but no well-formed ClientHello.
    Malformed {
        /// The field that breaks the format.
        field: &'static str,
    },
    /// Two names, or two server_name extensions: two readers could take either.
    Ambiguous,
    /// A hello longer than the caps, or in a record longer than TLS allows.
    Oversize,
    /// The first bytes are no TLS handshake record; also an SSLv2 hello.
    NotTls,
}

/// The handshake message at the front of some bytes.
enum Message<'a> {
    /// Its header or body is not all there.
    Partial,
    /// A hello of this body.
    Hello {
        /// What stands behind type and length.
        body: &'a [u8],
        /// Bytes of header and body.
        length: usize,
    },
    /// It is of another type.
    OtherType,
    /// Its length, header included, is over the cap.
    TooLong,
}

/// Reads the hello at the front of `bytes`, the handshake bytes from their first on, with at most
/// `handshake_bytes_max` bytes of header and body. What follows the hello is not looked at. RFC 8446 §4.
///
/// Answers [`Outcome::NeedMore`] while the message is incomplete and never [`Outcome::Ended`] or [`Outcome::NotTls`].
pub fn hello_message(bytes: &[u8], handshake_bytes_max: usize) -> Outcome<'_> {
    match first_message(bytes, handshake_bytes_max) {
        Message::Partial => Outcome::NeedMore,
        Message::Hello { body, .. } => read_body(body),
        Message::OtherType => Outcome::Malformed { field: "handshake type" },
        Message::TooLong => Outcome::Oversize,
    }
}

/// Bytes of the message at the front of `bytes`, header included, once its header is there.
pub(super) fn message_bytes(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [_, high, middle, low, ..] => Some(message_length(*high, *middle, *low)),
        _ => None,
    }
}

/// Finds the first message of `bytes`; type and length are judged as soon as they are there.
fn first_message(bytes: &[u8], handshake_bytes_max: usize) -> Message<'_> {
    match bytes {
        [] => Message::Partial,
        [kind, ..] if *kind != CLIENT_HELLO => Message::OtherType,
        [_, high, middle, low, rest @ ..] => {
            let length = message_length(*high, *middle, *low);
            if length > handshake_bytes_max {
                return Message::TooLong;
            }
            match rest.get(..length.saturating_sub(MESSAGE_HEADER_BYTES)) {
                Some(body) => Message::Hello { body, length },
                None => Message::Partial,
            }
        }
        _ => Message::Partial,
    }
}

/// Bytes of a message with its header, from the three length bytes of the header.
fn message_length(high: u8, middle: u8, low: u8) -> usize {
    let [.., third, fourth] = [0, high, middle, low];
    (usize::from(high) << 16 | usize::from(u16::from_be_bytes([third, fourth])))
        .saturating_add(MESSAGE_HEADER_BYTES)
}

/// Reads the complete body of a hello.
fn read_body(body: &[u8]) -> Outcome<'_> {
    match facts(body) {
        Ok(Some(facts)) => Outcome::Hello(facts),
        Ok(None) => Outcome::Ambiguous,
        Err(Malformed { field }) => Outcome::Malformed { field },
    }
}

/// The facts of a complete hello body, RFC 8446 §4.1.2; `None` when it names two.
fn facts(body: &[u8]) -> Result<Option<Facts<'_>>, Malformed> {
    let mut hello = Reader::new(body);
    hello.u16("legacy_version")?;
    hello.take(RANDOM_BYTES, "random")?;
    if hello.block8("legacy_session_id")?.len() > SESSION_ID_BYTES_MAX {
        return Err(Malformed { field: "legacy_session_id" });
    }
    let suites = hello.block16("cipher_suites")?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(Malformed { field: "cipher_suites" });
    }
    if hello.block8("legacy_compression_methods")?.is_empty() {
        return Err(Malformed { field: "legacy_compression_methods" });
    }
    let mut facts = Facts { name: None, ech: None };
    if hello.is_empty() {
        return Ok(Some(facts));
    }
    let mut extensions = Reader::new(hello.block16("extensions")?);
    hello.end("extensions")?;

    let (mut server_names, mut host_names) = (0_u32, 0_u32);
    while !extensions.is_empty() {
        let kind = extensions.u16("extension_type")?;
        let data = extensions.block16("extension_data")?;
        if kind == SERVER_NAME {
            server_names = server_names.saturating_add(1);
            let (name, count) = server_name(data)?;
            host_names = host_names.saturating_add(count);
            facts.name = facts.name.or(name);
        } else if kind == ENCRYPTED_CLIENT_HELLO && facts.ech.is_none() {
            facts.ech = Some(Ech { config_id: config_id(data) });
        }
    }
    Ok(if server_names > 1 || host_names > 1 { None } else { Some(facts) })
}

/// The first `host_name` of a server_name extension and how many there are, RFC 6066 §3.
fn server_name(data: &[u8]) -> Result<(Option<&[u8]>, u32), Malformed> {
    let mut extension = Reader::new(data);
    let mut list = Reader::new(extension.block16("server_name_list")?);
    extension.end("server_name_list")?;
    if list.is_empty() {
        return Err(Malformed { field: "server_name_list" });
    }
    let (mut first, mut count, mut strange) = (None, 0_u32, false);
    while !list.is_empty() {
        let kind = list.u8("name_type")?;
        strange |= kind != HOST_NAME;
        // A strange name type should begin with a two-byte length (RFC 6066 §3), so it is stepped over. Where that
        // leads nowhere, a name in front of it stands: rustls takes it, and the other stacks refuse the hello.
        let name = match list.block16("host_name") {
            Ok([]) if kind == HOST_NAME => Err(Malformed { field: "host_name" }),
            name => name,
        };
        let name = match name {
            Err(_) if strange && first.is_some() => break,
            name => name?,
        };
        if kind == HOST_NAME {
            count = count.saturating_add(1);
            first = first.or(Some(name));
        }
    }
    Ok((first, count))
}

/// The `config_id` of an outer ECH extension: type, two cipher suite numbers, then the id (RFC 9849 §5).
fn config_id(data: &[u8]) -> Option<u8> {
    match data {
        [ECH_OUTER, _, _, _, _, id, ..] => Some(*id),
        _ => None,
    }
}
