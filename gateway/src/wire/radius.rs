//! RADIUS accounting: who has which address, as a network access server (NAS) tells it.
//!
//! Covered: packets and attributes (RFC 2865 §3, §5), accounting (RFC 2866), Gigawords, Event-Timestamp and
//! Message-Authenticator (RFC 2869 §5), IPv6 (RFC 3162, RFC 4818, RFC 6911), the chargeable user identity (RFC 4372),
//! Status-Server (RFC 5997), extended attributes (RFC 6929 §2.1), port ranges (RFC 8045), and attributes of vendors.
//!
//! The steps: [`Packet::parse`] frames a datagram, [`authentic`] holds it against the client's secret, [`Facts::of`] reads
//! what an authentic request says, [`answer`] writes the answer. Nothing here knows the time, keeps anything between two
//! packets, or decides what a session is; every list has a limit, and nothing is allocated but the text that
//! [`Facts::subscriber`] makes of a binary Class, and the room of the caller's own answer.
//!
//! What a packet says of people (names, numbers, addresses) is not in its `Debug`, nor in that of its facts.

mod address;
mod attribute;
mod authenticator;
mod block;
mod bounded;
mod facts;
mod subscriber;

use core::fmt;

pub use address::{ADDRESSES_MAX, AddressKind, Addresses};
pub use attribute::{Attribute, Attributes, Name, Values};
pub use authenticator::{Request, RequestKind, Unauthentic, answer, authentic};
pub use block::{BLOCKS_MAX, BlockForm, Change, PortBlock};
pub use facts::{Facts, Mobile, Nas, Status};
pub use subscriber::{SubscriberAttribute, SubscriberKind, SubscriberWord, UnknownSubscriberWord};

use super::reader::{Malformed, Reader};

/// Octets in front of the attributes: Code, Identifier, Length, Authenticator (RFC 2865 §3).
pub const HEADER_OCTETS: usize = 20;
/// The longest packet (RFC 2865 §3).
pub const PACKET_OCTETS_MAX: usize = 4096;
/// Octets of an authenticator, and of the value of Message-Authenticator.
pub const AUTHENTICATOR_OCTETS: usize = 16;

/// Code of Accounting-Request (RFC 2866 §4.1).
pub const ACCOUNTING_REQUEST: u8 = 4;
/// Code of Accounting-Response (RFC 2866 §4.2).
pub const ACCOUNTING_RESPONSE: u8 = 5;
/// Code of Status-Server (RFC 5997 §4.1).
pub const STATUS_SERVER: u8 = 12;

/// A packet whose lengths are right; who sent it is not known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Code, Identifier and Length, as they came.
    head: [u8; 4],
    /// The Authenticator.
    authenticator: [u8; AUTHENTICATOR_OCTETS],
    /// The attributes: framed, and nothing behind them.
    attributes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the packet at the front of a datagram. Octets behind its Length are padding and ignored (RFC 2865 §3).
    ///
    /// # Errors
    /// [`Malformed`] with the field: a header that is cut, a Length below 20, above 4096 or beyond the datagram, an
    /// attribute whose length is below 2 or leads beyond the packet.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        let head @ [_, _, high, low] = reader.array("header")?;
        let authenticator = reader.array("authenticator")?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > PACKET_OCTETS_MAX {
            return Err(Malformed { field: "length" });
        }
        let count = length.checked_sub(HEADER_OCTETS).ok_or(Malformed { field: "length" })?;
        let attributes = reader.take(count, "length")?;
        if !Attributes::are_framed(attributes) {
            return Err(Malformed { field: "attribute length" });
        }
        Ok(Self { head, authenticator, attributes })
    }

    /// What kind of packet it is.
    pub const fn code(&self) -> u8 {
        let [code, ..] = self.head;
        code
    }

    /// By which the sender tells its requests apart.
    pub const fn identifier(&self) -> u8 {
        let [_, identifier, ..] = self.head;
        identifier
    }

    /// Octets of the packet, 20 to 4096.
    pub const fn length(&self) -> usize {
        HEADER_OCTETS.saturating_add(self.attributes.len())
    }

    /// The Authenticator. With the sender's address and port and the Identifier it tells a retransmission from another
    /// request (RFC 5080 §2.2.2).
    pub const fn authenticator(&self) -> &[u8; AUTHENTICATOR_OCTETS] {
        &self.authenticator
    }

    /// The attributes in their order, as they are framed.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.attributes)
    }

    /// The values in their order, with those of vendors and of extended types under names of their own.
    pub const fn values(&self) -> Values<'a> {
        Values::of(self.attributes())
    }
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("code", &self.code())
            .field("identifier", &self.identifier())
            .field("length", &self.length())
            .finish_non_exhaustive()
    }
}
