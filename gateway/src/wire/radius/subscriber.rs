//! Which attribute names the subscriber, in the operator's words.
//!
//! What an access network writes into User-Name or Calling-Station-Id may be a telephone number, an account, a hardware
//! address or one word for all, so the operator says which attributes are tried and as what. A value that cannot be what it
//! is tried as is as good as absent.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;

use super::attribute::{Name, number};
use super::facts::Facts;

/// Private enterprise numbers, and sub-attributes that are known in more than one place.
pub(super) mod vendor {
    /// Huawei.
    pub(crate) const HUAWEI: u32 = 2011;
    /// Nokia's service routers (formerly Timetra, Alcatel-Lucent).
    pub(crate) const NOKIA: u32 = 6527;
    /// 3GPP.
    pub(crate) const TGPP: u32 = 10_415;
    /// H3C.
    pub(crate) const H3C: u32 = 25_506;
    /// VAS Experts.
    pub(crate) const VAS_EXPERTS: u32 = 43_823;
    /// 3GPP-IMSI.
    pub(crate) const IMSI: (u32, u8) = (TGPP, 1);
    /// Alc-Subsc-ID-Str.
    pub(crate) const ALC_SUBSC_ID_STR: (u32, u8) = (NOKIA, 11);
}

/// Digits of an IMSI (ITU-T E.212: at most 15).
const IMSI_DIGITS: core::ops::RangeInclusive<usize> = 6..=15;
/// Digits of an MSISDN (ITU-T E.164: at most 15).
const MSISDN_DIGITS: core::ops::RangeInclusive<usize> = 5..=15;
/// Octets of an account: what the value of an attribute has (RFC 2865 §5).
const ACCOUNT_OCTETS_MAX: usize = 253;
/// The largest vendor: its number has three octets (RFC 2865 §5.26).
const VENDOR_MAX: u32 = 0x00ff_ffff;

/// What a subscriber's identifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriberKind {
    /// The identity of a SIM.
    Imsi,
    /// A telephone number.
    Msisdn,
    /// The name of an account.
    Account,
}

/// The attribute that a word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriberAttribute {
    /// `3gpp-imsi`: 3GPP-IMSI (10415-1).
    TgppImsi,
    /// `calling-station-id`.
    CallingStationId,
    /// `user-name`.
    UserName,
    /// `class`.
    Class,
    /// `chargeable-user-identity`.
    ChargeableUserIdentity,
    /// `alc-subsc-id-str`: Alc-Subsc-ID-Str (6527-11).
    AlcSubscIdStr,
    /// `vsa-VENDOR-TYPE`: a sub-attribute of a vendor, as text.
    Vendor {
        /// The vendor's private enterprise number, 1 to 16777215.
        vendor: u32,
        /// Its type among those of the vendor, 1 to 255.
        kind: u8,
    },
}

/// One word of `subscriber`: an attribute, and what it is tried as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriberWord {
    /// The attribute.
    pub attribute: SubscriberAttribute,
    /// What its value is tried as.
    pub kind: SubscriberKind,
}

/// A word that names no attribute, or not what it is tried as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} names no subscriber: wanted is one of 3gpp-imsi, calling-station-id, user-name, class, \
     chargeable-user-identity, alc-subsc-id-str, vsa-VENDOR-TYPE (vendor 1 to 16777215, type 1 to 255), followed by \
     :imsi, :msisdn or :account"
)]
pub struct UnknownSubscriberWord {
    /// The word.
    pub found: String,
}

impl SubscriberKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Imsi, Self::Msisdn, Self::Account];

    /// Its word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Imsi => "imsi",
            Self::Msisdn => "msisdn",
            Self::Account => "account",
        }
    }

    /// The kind and the identifier in a text such as `imsi:401770123456789`, if that is one.
    pub fn named(text: &[u8]) -> Option<(Self, &str)> {
        let end = text.iter().position(|octet| *octet == b':')?;
        let (word, rest) = text.split_at_checked(end)?;
        let kind = Self::ALL.into_iter().find(|kind| kind.label().as_bytes() == word)?;
        kind.identifier(rest.get(1..)?).map(|identifier| (kind, identifier))
    }

    /// The identifier in a value, if the value can be one of this kind.
    fn identifier(self, value: &[u8]) -> Option<&str> {
        let text = core::str::from_utf8(value).ok()?;
        let digits = |text: &str, count: &core::ops::RangeInclusive<usize>| {
            count.contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
        };
        match self {
            Self::Imsi => digits(text, &IMSI_DIGITS).then_some(text),
            Self::Msisdn => {
                let number = text.strip_prefix('+').unwrap_or(text);
                digits(number, &MSISDN_DIGITS).then_some(number)
            }
            Self::Account => {
                let fits = (1..=ACCOUNT_OCTETS_MAX).contains(&text.len());
                (fits && !text.chars().any(char::is_control)).then_some(text)
            }
        }
    }
}

impl SubscriberAttribute {
    /// Those with a name of their own.
    const NAMED: [Self; 6] = [
        Self::TgppImsi,
        Self::CallingStationId,
        Self::UserName,
        Self::Class,
        Self::ChargeableUserIdentity,
        Self::AlcSubscIdStr,
    ];

    /// The name of the values that it stands for.
    const fn name(self) -> Name {
        let ((vendor, kind), standard) = match self {
            Self::TgppImsi => (vendor::IMSI, None),
            Self::AlcSubscIdStr => (vendor::ALC_SUBSC_ID_STR, None),
            Self::Vendor { vendor, kind } => ((vendor, kind), None),
            Self::CallingStationId => ((0, 0), Some(number::CALLING_STATION_ID)),
            Self::UserName => ((0, 0), Some(number::USER_NAME)),
            Self::Class => ((0, 0), Some(number::CLASS)),
            Self::ChargeableUserIdentity => ((0, 0), Some(number::CHARGEABLE_USER_IDENTITY)),
        };
        match standard {
            Some(kind) => Name::Standard(kind),
            None => Name::Vendor { vendor, kind },
        }
    }
}

impl Facts<'_> {
    /// Who the session is of: the first word whose attribute is present with a value that can be what it is tried as. Of an
    /// attribute that stands more than once the first such value counts. A Class that is no text is an account in
    /// hexadecimal digits, if it has at most 126 octets; only that is allocated.
    pub fn subscriber(&self, words: &[SubscriberWord]) -> Option<(SubscriberKind, Cow<'_, str>)> {
        words.iter().find_map(|word| {
            let name = word.attribute.name();
            let mut values = self.values.clone().filter(|(found, _)| *found == name);
            let identifier = values.find_map(|(_, value)| word.identifier(value))?;
            Some((word.kind, identifier))
        })
    }
}

impl SubscriberWord {
    /// The identifier in a value of the attribute.
    fn identifier<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, str>> {
        let text = self.kind.identifier(value).map(Cow::Borrowed);
        match (self.attribute, self.kind) {
            (SubscriberAttribute::Class, SubscriberKind::Account) => text.or_else(|| hexadecimal(value)),
            _ => text,
        }
    }
}

/// The octets in hexadecimal digits, if there are any and the digits are no longer than an account.
fn hexadecimal(value: &[u8]) -> Option<Cow<'_, str>> {
    use fmt::Write as _;
    let digits = value.len().saturating_mul(2);
    if digits == 0 || digits > ACCOUNT_OCTETS_MAX {
        return None;
    }
    let mut text = String::with_capacity(digits);
    for octet in value {
        write!(text, "{octet:02x}").ok()?;
    }
    Some(Cow::Owned(text))
}

impl fmt::Display for SubscriberAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TgppImsi => f.write_str("3gpp-imsi"),
            Self::CallingStationId => f.write_str("calling-station-id"),
            Self::UserName => f.write_str("user-name"),
            Self::Class => f.write_str("class"),
            Self::ChargeableUserIdentity => f.write_str("chargeable-user-identity"),
            Self::AlcSubscIdStr => f.write_str("alc-subsc-id-str"),
            Self::Vendor { vendor, kind } => write!(f, "vsa-{vendor}-{kind}"),
        }
    }
}

impl fmt::Display for SubscriberWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.attribute, self.kind.label())
    }
}

impl FromStr for SubscriberWord {
    type Err = UnknownSubscriberWord;

    fn from_str(text: &str) -> Result<Self, UnknownSubscriberWord> {
        let word = || {
            let (attribute, kind) = text.split_once(':')?;
            let kind = SubscriberKind::ALL.into_iter().find(|known| known.label() == kind)?;
            let named = SubscriberAttribute::NAMED.into_iter().find(|known| known.to_string() == attribute);
            Some(Self { attribute: named.or_else(|| vendor_attribute(attribute))?, kind })
        };
        word().ok_or_else(|| UnknownSubscriberWord { found: text.to_owned() })
    }
}

/// The attribute that `vsa-VENDOR-TYPE` names.
fn vendor_attribute(word: &str) -> Option<SubscriberAttribute> {
    let (vendor, kind) = word.strip_prefix("vsa-")?.split_once('-')?;
    let vendor = super::address::decimal(vendor).filter(|vendor| (1..=VENDOR_MAX).contains(vendor))?;
    let kind = super::address::decimal(kind).filter(|kind| *kind != 0)?;
    Some(SubscriberAttribute::Vendor { vendor, kind })
}
