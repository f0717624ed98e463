//! Attributes: a type, a length that counts itself and the type, a value (RFC 2865 §5).
//!
//! The same frame holds the sub-attributes of a vendor (RFC 2865 §5.26) and the TLVs of an extended type (RFC 6929 §2.3).
//! A frame broken inside a value breaks that value only: not every vendor keeps to it, so the value is passed over.

use super::super::reader::Reader;

/// Numbers of the attributes that are read. RFC 2865 where nothing else is said.
pub(super) mod number {
    /// User-Name, text.
    pub(crate) const USER_NAME: u8 = 1;
    /// NAS-IP-Address.
    pub(crate) const NAS_IP_ADDRESS: u8 = 4;
    /// Framed-IP-Address.
    pub(crate) const FRAMED_IP_ADDRESS: u8 = 8;
    /// Framed-Route, text.
    pub(crate) const FRAMED_ROUTE: u8 = 22;
    /// Class.
    pub(crate) const CLASS: u8 = 25;
    /// Vendor-Specific.
    pub(crate) const VENDOR_SPECIFIC: u8 = 26;
    /// Calling-Station-Id, text.
    pub(crate) const CALLING_STATION_ID: u8 = 31;
    /// NAS-Identifier.
    pub(crate) const NAS_IDENTIFIER: u8 = 32;
    /// Proxy-State.
    pub(crate) const PROXY_STATE: u8 = 33;
    /// Acct-Status-Type (RFC 2866 §5.1).
    pub(crate) const ACCT_STATUS_TYPE: u8 = 40;
    /// Acct-Delay-Time, seconds (RFC 2866 §5.2).
    pub(crate) const ACCT_DELAY_TIME: u8 = 41;
    /// Acct-Input-Octets (RFC 2866 §5.3).
    pub(crate) const ACCT_INPUT_OCTETS: u8 = 42;
    /// Acct-Output-Octets (RFC 2866 §5.4).
    pub(crate) const ACCT_OUTPUT_OCTETS: u8 = 43;
    /// Acct-Session-Id (RFC 2866 §5.5).
    pub(crate) const ACCT_SESSION_ID: u8 = 44;
    /// Acct-Session-Time, seconds (RFC 2866 §5.7).
    pub(crate) const ACCT_SESSION_TIME: u8 = 46;
    /// Acct-Input-Gigawords: how often the octets passed 2^32 (RFC 2869 §5.1).
    pub(crate) const ACCT_INPUT_GIGAWORDS: u8 = 52;
    /// Acct-Output-Gigawords (RFC 2869 §5.2).
    pub(crate) const ACCT_OUTPUT_GIGAWORDS: u8 = 53;
    /// Event-Timestamp, seconds since 1970 (RFC 2869 §5.3).
    pub(crate) const EVENT_TIMESTAMP: u8 = 55;
    /// Message-Authenticator (RFC 2869 §5.14).
    pub(crate) const MESSAGE_AUTHENTICATOR: u8 = 80;
    /// Chargeable-User-Identity (RFC 4372 §2.2).
    pub(crate) const CHARGEABLE_USER_IDENTITY: u8 = 89;
    /// NAS-IPv6-Address (RFC 3162 §2.1).
    pub(crate) const NAS_IPV6_ADDRESS: u8 = 95;
    /// Framed-IPv6-Prefix (RFC 3162 §2.3).
    pub(crate) const FRAMED_IPV6_PREFIX: u8 = 97;
    /// Framed-IPv6-Route, text (RFC 3162 §2.5).
    pub(crate) const FRAMED_IPV6_ROUTE: u8 = 99;
    /// Delegated-IPv6-Prefix (RFC 4818 §3).
    pub(crate) const DELEGATED_IPV6_PREFIX: u8 = 123;
    /// Framed-IPv6-Address (RFC 6911 §3.1).
    pub(crate) const FRAMED_IPV6_ADDRESS: u8 = 168;
    /// The first type whose values begin with a type of their own (RFC 6929 §2.1).
    pub(crate) const EXTENDED_TYPE_1: u8 = 241;
    /// The last of those that are read so; the two behind it may be cut into fragments (RFC 6929 §2.2).
    pub(crate) const EXTENDED_TYPE_4: u8 = 244;
}

/// An attribute, a vendor's sub-attribute or a TLV.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: u8,
    /// Its value, 0 to 253 octets.
    pub value: &'a [u8],
}

/// Attributes one behind another.
#[derive(Clone)]
pub struct Attributes<'a> {
    /// What has not been given out.
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// The attributes in `octets`, up to the first one that breaks the frame.
    pub(super) const fn of(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Whether the octets are attributes from the first to the last.
    pub(super) fn are_framed(octets: &[u8]) -> bool {
        let mut attributes = Attributes::of(octets);
        attributes.by_ref().for_each(drop);
        attributes.rest.is_empty()
    }

    /// The attributes in `octets`, if they are nothing else.
    pub(super) fn framed(octets: &'a [u8]) -> Option<Self> {
        Self::are_framed(octets).then(|| Self::of(octets))
    }

    /// How many octets have not been given out.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let [kind, length, rest @ ..] = self.rest else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*length).checked_sub(2)?)?;
        self.rest = rest;
        Some(Attribute { kind: *kind, value })
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// An attribute of this type.
    Standard(u8),
    /// A sub-attribute of a vendor (RFC 2865 §5.26).
    Vendor {
        /// The vendor's private enterprise number.
        vendor: u32,
        /// Its type among those of the vendor.
        kind: u8,
    },
    /// An attribute of an extended type (RFC 6929 §2.1).
    Extended {
        /// The type, 241 to 244.
        kind: u8,
        /// The type behind it.
        extended: u8,
    },
}

/// Values one behind another, under their names.
#[derive(Clone)]
pub struct Values<'a> {
    /// Attributes that have not been given out.
    attributes: Attributes<'a>,
    /// The vendor whose sub-attributes are given out, and what is left of them.
    vendor: Option<(u32, Attributes<'a>)>,
}

impl<'a> Values<'a> {
    /// The values of some attributes.
    pub(super) const fn of(attributes: Attributes<'a>) -> Self {
        Self { attributes, vendor: None }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (Name, &'a [u8]);

    fn next(&mut self) -> Option<(Name, &'a [u8])> {
        loop {
            if let Some((vendor, subs)) = &mut self.vendor
                && let Some(Attribute { kind, value }) = subs.next()
            {
                return Some((Name::Vendor { vendor: *vendor, kind }, value));
            }
            self.vendor = None;
            let Attribute { kind, value } = self.attributes.next()?;
            match kind {
                number::VENDOR_SPECIFIC => self.vendor = sub_attributes(value),
                number::EXTENDED_TYPE_1..=number::EXTENDED_TYPE_4 => {
                    let [extended, value @ ..] = value else { continue };
                    return Some((Name::Extended { kind, extended: *extended }, value));
                }
                _ => return Some((Name::Standard(kind), value)),
            }
        }
    }
}

/// The vendor of a Vendor-Specific attribute and its sub-attributes (RFC 2865 §5.26); none where the vendor frames them
/// in a way of its own.
fn sub_attributes(value: &[u8]) -> Option<(u32, Attributes<'_>)> {
    let mut reader = Reader::new(value);
    let vendor = reader.array("vendor").map(u32::from_be_bytes).ok()?;
    let subs = reader.take(reader.left(), "sub-attributes").ok()?;
    Some((vendor, Attributes::framed(subs)?))
}

/// The value as an integer or time of four octets.
pub(super) fn integer(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// The value as text or a string of at least one octet: RFC 2865 §5 knows no empty ones.
pub(super) const fn string(value: &[u8]) -> Option<&[u8]> {
    if value.is_empty() { None } else { Some(value) }
}
