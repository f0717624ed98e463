//! `[admin]`: where health, metrics and status are served.

use crate::key::Key;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Stated, read_set};
use crate::value::socket_of;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

/// The keys of `[admin]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("admin", "address"),
    Key::defaulted("admin", "connections_max"),
    Key::defaulted("admin", "hosts"),
];

/// Address when none is stated: loopback only.
pub const ADDRESS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// Connections at once.
pub const CONNECTIONS_MAX_DEFAULT: usize = 32;
/// Range of `connections_max`; the descriptors come out of the reserve of 256 (a key of `config/examples/full.toml`).
pub const CONNECTIONS_MAX_RANGE: RangeInclusive<usize> = 1..=128;
/// Most host names.
pub const HOSTS_MAX: usize = 16;
/// Longest host name (RFC 1035 §2.3.4 less length octets).
const HOST_CHARS_MAX: usize = 253;
/// What host names look like, for messages.
const HOSTS_FORM: &str = "an array of host names without port, such as [\"gw1.example.net\"]";

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Connections at once.
    pub connections_max: usize,
    /// Host names it is asked by, beside addresses, names of one label and the machine's own name.
    pub hosts: Vec<String>,
}

impl Admin {
    /// Reads `[admin]`; the address is given again with its place, for the comparison with listeners.
    pub(crate) fn read(reader: &mut Reader<'_>) -> (Admin, Stated<SocketAddr>) {
        let section = reader.section("admin");
        let found = section.read(reader, "address", socket_of);
        let address = section.defaulted(found, ADDRESS_DEFAULT);
        let connections_max =
            section.count(reader, "connections_max", CONNECTIONS_MAX_DEFAULT, CONNECTIONS_MAX_RANGE).value;
        let hosts = read_set(reader, &section, "hosts", HOSTS_FORM, HOSTS_MAX, |value| {
            let text = value.as_str().ok_or_else(|| Mismatch::new(describe(value), HOSTS_FORM))?;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            let is_name = (1..=HOST_CHARS_MAX).contains(&text.len()) && text.chars().all(fits);
            if is_name { Ok(text.to_owned()) } else { Err(Mismatch::new(describe(value), HOSTS_FORM)) }
        });
        (Admin { address: address.value, connections_max, hosts: hosts.unwrap_or_default() }, address)
    }
}
