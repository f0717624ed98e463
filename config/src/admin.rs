//! `[admin]`: where health, metrics and status are served.

use crate::key::Key;
use crate::reader::Reader;
use crate::section::Stated;
use crate::value::socket_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

/// The keys of `[admin]`.
pub(crate) const KEYS: &[Key] =
    &[Key::defaulted("admin", "address"), Key::defaulted("admin", "connections_max")];

/// Address when none is stated: loopback only (CONTRACT).
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Connections at once.
pub const CONNECTIONS_MAX_DEFAULT: usize = 32;
/// Range of `connections_max`; the descriptors come out of the reserve of 256 (DESIGN §7).
pub const CONNECTIONS_MAX_RANGE: RangeInclusive<usize> = 1..=128;

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
}

impl Admin {
    /// Reads `[admin]`; the address is given again with its place, for the comparison with listeners.
    pub(crate) fn read(reader: &mut Reader<'_>) -> (Admin, Stated<SocketAddr>) {
        let section = reader.section("admin");
        let found = section.read(reader, "address", socket_of);
        let address = section.defaulted(found, ADDRESS_DEFAULT);
        let connections_max =
            section.count(reader, "connections_max", CONNECTIONS_MAX_DEFAULT, CONNECTIONS_MAX_RANGE).value;
        (Admin { address: address.value, connections_max }, address)
    }
}
