//! What addresses a packet says a subscriber has, by the kind of attribute that says so.
//!
//! A value that names everybody (a prefix of length 0) or nobody (`0.0.0.0`, `::`) is passed over. A prefix with bits set
//! behind its length is the prefix of that length: RFC 3162 §2.3 wants zeros there, and not every NAS writes them.

use core::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::bounded::Bounded;

/// How many addresses of each kind are kept; a session has one or two, and Nokia's at most 16 routes.
pub const ADDRESSES_MAX: usize = 32;

/// Framed-IP-Address: the subscriber chose its own address (RFC 2865 §5.8).
const USER_SELECTS: Ipv4Addr = Ipv4Addr::BROADCAST;
/// Framed-IP-Address: the NAS chose, and does not say which (RFC 2865 §5.8).
const NAS_SELECTS: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 254);
/// The longest prefix of IPv6.
const IPV6_BITS: u8 = 128;

/// What kind of attribute gave an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// Framed-IP-Address, as a prefix of 32 bits.
    FramedIp,
    /// Framed-IPv6-Address and Alc-IPv6-Address, as prefixes of 128 bits.
    FramedIpv6,
    /// Framed-IPv6-Prefix.
    FramedIpv6Prefix,
    /// Delegated-IPv6-Prefix.
    DelegatedIpv6Prefix,
    /// Framed-Route: a network behind the subscriber.
    FramedRoute,
    /// Framed-IPv6-Route.
    FramedIpv6Route,
}

impl AddressKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::FramedIp,
        Self::FramedIpv6,
        Self::FramedIpv6Prefix,
        Self::DelegatedIpv6Prefix,
        Self::FramedRoute,
        Self::FramedIpv6Route,
    ];

    /// Whether it tells of a network behind the subscriber, and counts only where the client's routes do.
    pub const fn is_route(self) -> bool {
        match self {
            Self::FramedRoute | Self::FramedIpv6Route => true,
            Self::FramedIp | Self::FramedIpv6 | Self::FramedIpv6Prefix | Self::DelegatedIpv6Prefix => false,
        }
    }
}

/// The addresses of a packet.
#[derive(Clone, Copy)]
pub struct Addresses {
    /// Framed-IP-Address.
    framed_ip: Bounded<IpNet, ADDRESSES_MAX>,
    /// Framed-IPv6-Address and Alc-IPv6-Address.
    framed_ipv6: Bounded<IpNet, ADDRESSES_MAX>,
    /// Framed-IPv6-Prefix.
    framed_ipv6_prefix: Bounded<IpNet, ADDRESSES_MAX>,
    /// Delegated-IPv6-Prefix.
    delegated_ipv6_prefix: Bounded<IpNet, ADDRESSES_MAX>,
    /// Framed-Route.
    framed_route: Bounded<IpNet, ADDRESSES_MAX>,
    /// Framed-IPv6-Route.
    framed_ipv6_route: Bounded<IpNet, ADDRESSES_MAX>,
}

impl Addresses {
    /// None of any kind.
    pub(super) const fn none() -> Self {
        let none = Bounded::new(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)));
        Self {
            framed_ip: none,
            framed_ipv6: none,
            framed_ipv6_prefix: none,
            delegated_ipv6_prefix: none,
            framed_route: none,
            framed_ipv6_route: none,
        }
    }

    /// Those of a kind, each once, in their order. None: the packet says nothing of this kind.
    pub fn of(&self, kind: AddressKind) -> &[IpNet] {
        self.list(kind)
    }

    /// Whether addresses of some kind found no room.
    pub fn is_over(&self) -> bool {
        AddressKind::ALL.into_iter().any(|kind| self.list(kind).is_over())
    }

    /// Takes what an attribute of this kind says, if it says an address.
    pub(super) fn take(&mut self, kind: AddressKind, value: &[u8]) {
        let prefix = match kind {
            AddressKind::FramedIp => host(value).map(Ipv4Net::from).map(IpNet::V4),
            AddressKind::FramedIpv6 => ipv6(value).map(Ipv6Net::from).map(IpNet::V6),
            AddressKind::FramedIpv6Prefix | AddressKind::DelegatedIpv6Prefix => ipv6_prefix(value),
            AddressKind::FramedRoute => route(value),
            AddressKind::FramedIpv6Route => ipv6_route(value),
        };
        if let Some(prefix) = prefix {
            self.list_mut(kind).insert(prefix);
        }
    }

    /// The list of a kind.
    const fn list(&self, kind: AddressKind) -> &Bounded<IpNet, ADDRESSES_MAX> {
        match kind {
            AddressKind::FramedIp => &self.framed_ip,
            AddressKind::FramedIpv6 => &self.framed_ipv6,
            AddressKind::FramedIpv6Prefix => &self.framed_ipv6_prefix,
            AddressKind::DelegatedIpv6Prefix => &self.delegated_ipv6_prefix,
            AddressKind::FramedRoute => &self.framed_route,
            AddressKind::FramedIpv6Route => &self.framed_ipv6_route,
        }
    }

    /// The list of a kind.
    const fn list_mut(&mut self, kind: AddressKind) -> &mut Bounded<IpNet, ADDRESSES_MAX> {
        match kind {
            AddressKind::FramedIp => &mut self.framed_ip,
            AddressKind::FramedIpv6 => &mut self.framed_ipv6,
            AddressKind::FramedIpv6Prefix => &mut self.framed_ipv6_prefix,
            AddressKind::DelegatedIpv6Prefix => &mut self.delegated_ipv6_prefix,
            AddressKind::FramedRoute => &mut self.framed_route,
            AddressKind::FramedIpv6Route => &mut self.framed_ipv6_route,
        }
    }
}

/// The value as an IPv4 address that somebody may have.
pub(super) fn host(value: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = value.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    let is_none = address.is_unspecified() || address == NAS_SELECTS || address == USER_SELECTS;
    (!is_none).then_some(address)
}

/// The value as an IPv6 address that somebody may have.
pub(super) fn ipv6(value: &[u8]) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = value.try_into().ok()?;
    let address = Ipv6Addr::from(octets);
    (!address.is_unspecified()).then_some(address)
}

/// The value as a prefix of IPv6 (RFC 3162 §2.3): a reserved octet, the length in bits, up to 16 octets of the address,
/// of which those that are left out are zero.
fn ipv6_prefix(value: &[u8]) -> Option<IpNet> {
    let [_, length, front @ ..] = value else { return None };
    let mut octets = [0; 16];
    octets.get_mut(..front.len())?.copy_from_slice(front);
    // A prefix that is cut within its length says less than it means to.
    let is_whole = front.len().saturating_mul(8) >= usize::from(*length);
    is_whole.then_some(())?;
    ipv6_net(Ipv6Addr::from(octets), *length)
}

/// A prefix of IPv6 that is somebody's.
fn ipv6_net(address: Ipv6Addr, length: u8) -> Option<IpNet> {
    if length == 0 || length > IPV6_BITS || (length == IPV6_BITS && address.is_unspecified()) {
        return None;
    }
    Ipv6Net::new(address, length).ok().map(|net| IpNet::V6(net.trunc()))
}

/// The prefix of a Framed-Route (RFC 2865 §5.22): `PREFIX[/LENGTH] GATEWAY METRICS`. Without a length it has that of its
/// class, unless a mask stands in the gateway's place, as some write it; bits behind the length of a class are no prefix.
fn route(value: &[u8]) -> Option<IpNet> {
    let mut words = words(value)?;
    let (address, length) = match words.next()?.split_once('/') {
        Some((address, length)) => (address.parse().ok()?, decimal::<u8>(length)?),
        None => classful(words_first(value)?, words.next())?,
    };
    if length == 0 {
        return None;
    }
    Ipv4Net::new(address, length).ok().map(|net| IpNet::V4(net.trunc()))
}

/// An address without a length, and the length that the next word or its class gives it.
fn classful(address: &str, next: Option<&str>) -> Option<(Ipv4Addr, u8)> {
    let address: Ipv4Addr = address.parse().ok()?;
    let mask =
        next.and_then(|word| word.parse::<Ipv4Addr>().ok()).filter(|mask| mask.octets().starts_with(&[255]));
    if let Some(mask) = mask {
        return ipnet::ipv4_mask_to_prefix(mask).ok().map(|length| (address, length));
    }
    let [first, ..] = address.octets();
    let length = match first {
        1..=127 => 8,
        128..=191 => 16,
        192..=223 => 24,
        _ => return None,
    };
    let net = Ipv4Net::new(address, length).ok()?;
    (net.network() == address).then_some((address, length))
}

/// The prefix of a Framed-IPv6-Route (RFC 3162 §2.5): `PREFIX/LENGTH GATEWAY METRICS`.
fn ipv6_route(value: &[u8]) -> Option<IpNet> {
    let (address, length) = words_first(value)?.split_once('/')?;
    ipv6_net(address.parse().ok()?, decimal(length)?)
}

/// The words of a text.
fn words(value: &[u8]) -> Option<impl Iterator<Item = &str>> {
    core::str::from_utf8(value).ok().map(str::split_ascii_whitespace)
}

/// The first word of a text.
fn words_first(value: &[u8]) -> Option<&str> {
    words(value)?.next()
}

/// A number of decimal digits and nothing else.
pub(super) fn decimal<N: core::str::FromStr>(word: &str) -> Option<N> {
    let is_digits = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
    is_digits.then(|| word.parse().ok())?
}
