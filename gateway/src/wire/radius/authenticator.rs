//! Who sent a request, and the answer that only we can have sent.
//!
//! The Request Authenticator of an Accounting-Request is the MD5 of the packet with sixteen zeros in its place, followed by
//! the secret (RFC 2866 §3). A Message-Authenticator is the HMAC-MD5 of the packet with sixteen zeros in its own place
//! (RFC 2869 §5.14). What stands meanwhile for the authenticator of the packet is not told by that RFC for accounting;
//! FreeRADIUS takes sixteen zeros in an Accounting-Request and in its answer, and so does everybody who works with it.
//! The one of a Status-Server is random, stands in its place, and stands in that of its answer (RFC 5997 §3).

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use super::attribute::{Attribute, number};
use super::{
    ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, AUTHENTICATOR_OCTETS, HEADER_OCTETS, Packet, STATUS_SERVER,
};

/// What stands in the place of an authenticator while one is computed.
const ZEROS: [u8; AUTHENTICATOR_OCTETS] = [0; AUTHENTICATOR_OCTETS];
/// Octets of an attribute in front of its value.
const ATTRIBUTE_HEADER_OCTETS: usize = 2;
/// Octets of a whole Message-Authenticator.
const MESSAGE_AUTHENTICATOR_OCTETS: u8 = 18;

/// A request of somebody who knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The packet.
    packet: Packet<'a>,
    /// What it asks.
    kind: RequestKind,
    /// Whether it has a Message-Authenticator.
    is_message_authenticated: bool,
}

impl<'a> Request<'a> {
    /// The packet.
    pub const fn packet(&self) -> Packet<'a> {
        self.packet
    }

    /// What it asks.
    pub const fn kind(&self) -> RequestKind {
        self.kind
    }
}

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// To take note of something (RFC 2866 §4.1).
    Accounting,
    /// Whether we are there (RFC 5997).
    StatusServer,
}

/// Why a packet is no request of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthentic {
    /// It is neither an Accounting-Request nor a Status-Server.
    #[error("code {0} is neither Accounting-Request (4) nor Status-Server (12)")]
    Code(u8),
    /// It was not made with the secret.
    #[error("the Request Authenticator was not made with this secret")]
    RequestAuthenticator,
    /// Its Message-Authenticator was not made with the secret, is not of 18 octets, or there are two.
    #[error("the Message-Authenticator was not made with this secret")]
    MessageAuthenticator,
    /// It is a Status-Server without Message-Authenticator (RFC 5997 §3: such are silently discarded).
    #[error("a Status-Server without Message-Authenticator")]
    NoMessageAuthenticator,
}

/// Holds a packet against the secret of the client it came from.
///
/// # Errors
/// [`Unauthentic`] where the packet is nothing that client may have asked us; it gets no answer (RFC 2866 §3).
pub fn authentic<'a>(packet: Packet<'a>, secret: &[u8]) -> Result<Request<'a>, Unauthentic> {
    let (kind, in_place) = match packet.code() {
        ACCOUNTING_REQUEST => (RequestKind::Accounting, ZEROS),
        STATUS_SERVER => (RequestKind::StatusServer, packet.authenticator),
        code => return Err(Unauthentic::Code(code)),
    };
    let expected = digest(packet.head, &ZEROS, packet.attributes, secret);
    if kind == RequestKind::Accounting && !bool::from(expected.ct_eq(&packet.authenticator)) {
        return Err(Unauthentic::RequestAuthenticator);
    }
    let is_message_authenticated = match MessageAuthenticator::find(packet) {
        MessageAuthenticator::None if kind == RequestKind::StatusServer => {
            return Err(Unauthentic::NoMessageAuthenticator);
        }
        MessageAuthenticator::None => false,
        MessageAuthenticator::Broken => return Err(Unauthentic::MessageAuthenticator),
        MessageAuthenticator::One { before, value, after } => {
            let expected = keyed_digest(packet.head, &in_place, [before, &ZEROS, after], secret);
            if !bool::from(expected.ct_eq(value)) {
                return Err(Unauthentic::MessageAuthenticator);
            }
            true
        }
    };
    Ok(Request { packet, kind, is_message_authenticated })
}

/// Writes the Accounting-Response to a request into `out`, in place of what it held: the request's Proxy-State attributes
/// in their order (RFC 2865 §5.33), in front of them a Message-Authenticator if the request had one. It is never longer
/// than the request, for it holds no attribute that the request does not.
pub fn answer(request: &Request<'_>, secret: &[u8], out: &mut Vec<u8>) {
    let Packet { head: [_, identifier, ..], authenticator, .. } = request.packet;
    let proxy_states = || {
        request.packet.attributes().filter(|attribute| attribute.kind == number::PROXY_STATE).flat_map(whole)
    };
    out.clear();
    out.extend([ACCOUNTING_RESPONSE, identifier, 0, 0]);
    out.extend(authenticator);
    if request.is_message_authenticated {
        out.extend([number::MESSAGE_AUTHENTICATOR, MESSAGE_AUTHENTICATOR_OCTETS]);
        out.extend(ZEROS);
    }
    for part in proxy_states() {
        out.extend_from_slice(part.as_ref());
    }
    // No more than the request's own length, which had room in these two octets.
    let [high, low] = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = [ACCOUNTING_RESPONSE, identifier, high, low];
    put(out, 0, &head);
    if request.is_message_authenticated {
        let in_place = match request.kind {
            RequestKind::Accounting => ZEROS,
            RequestKind::StatusServer => authenticator,
        };
        let attributes = out.get(HEADER_OCTETS..).unwrap_or_default();
        let value = keyed_digest(head, &in_place, [attributes, &[], &[]], secret);
        put(out, HEADER_OCTETS.saturating_add(ATTRIBUTE_HEADER_OCTETS), &value);
    }
    let attributes = out.get(HEADER_OCTETS..).unwrap_or_default();
    let response_authenticator = digest(head, &authenticator, attributes, secret);
    put(out, head.len(), &response_authenticator);
}

/// The octets of an attribute, its type and length first.
fn whole(attribute: Attribute<'_>) -> [Octets<'_>; 2] {
    let length = attribute.value.len().saturating_add(ATTRIBUTE_HEADER_OCTETS);
    // It came with this length, in one octet.
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    [Octets::Header([attribute.kind, length]), Octets::Value(attribute.value)]
}

/// A part of an attribute.
enum Octets<'a> {
    /// Type and length.
    Header([u8; 2]),
    /// The value.
    Value(&'a [u8]),
}

impl AsRef<[u8]> for Octets<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Octets::Header(header) => header,
            Octets::Value(value) => value,
        }
    }
}

/// Writes over the octets at a place that has them.
fn put(out: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = out.get_mut(at..at.saturating_add(octets.len())) {
        place.copy_from_slice(octets);
    }
}

/// The Message-Authenticator among the attributes of a packet.
enum MessageAuthenticator<'a> {
    /// There is none.
    None,
    /// There is one.
    One {
        /// The attributes up to its value.
        before: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// The attributes behind it.
        after: &'a [u8],
    },
    /// There are two, or one of another length: what a digest over the packet would mean is unknown.
    Broken,
}

impl<'a> MessageAuthenticator<'a> {
    /// Looks for it.
    fn find(packet: Packet<'a>) -> Self {
        let (mut attributes, mut found) = (packet.attributes(), MessageAuthenticator::None);
        while let Some(Attribute { kind, value }) = attributes.next() {
            if kind != number::MESSAGE_AUTHENTICATOR {
                continue;
            }
            let end = packet.attributes.len().saturating_sub(attributes.left());
            let parts = packet.attributes.split_at_checked(end);
            let before = parts.and_then(|(front, _)| front.get(..front.len().checked_sub(value.len())?));
            found = match (found, before, parts) {
                (MessageAuthenticator::None, Some(before), Some((_, after)))
                    if value.len() == AUTHENTICATOR_OCTETS =>
                {
                    MessageAuthenticator::One { before, value, after }
                }
                _ => return MessageAuthenticator::Broken,
            };
        }
        found
    }
}

/// MD5 over Code, Identifier, Length, what stands for the Authenticator, the attributes, and the secret.
fn digest(
    head: [u8; 4],
    authenticator: &[u8; AUTHENTICATOR_OCTETS],
    attributes: &[u8],
    secret: &[u8],
) -> [u8; AUTHENTICATOR_OCTETS] {
    let digest = Md5::new().chain_update(head).chain_update(authenticator).chain_update(attributes);
    digest.chain_update(secret).finalize().into()
}

/// HMAC-MD5 under the secret over Code, Identifier, Length, what stands for the Authenticator, and the attributes in parts.
fn keyed_digest(
    head: [u8; 4],
    authenticator: &[u8; AUTHENTICATOR_OCTETS],
    attributes: [&[u8]; 3],
    secret: &[u8],
) -> [u8; AUTHENTICATOR_OCTETS] {
    // A key of any length will do (RFC 2104 §3): the error has no case.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret) else { return ZEROS };
    mac.update(&head);
    mac.update(authenticator);
    for part in attributes {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
