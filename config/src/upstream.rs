//! `[upstream]`: who resolves names for us, and how destinations are dialled.

use crate::dns::read_own_addresses;
use crate::key::Key;
use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::Section;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// The keys of `[upstream]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("upstream", "resolvers"),
    Key::defaulted("upstream", "port_map"),
    Key::defaulted("upstream", "allow_private"),
    Key::defaulted("upstream", "connect_timeout"),
    Key::defaulted("upstream", "original_connect_timeout"),
    Key::defaulted("upstream", "original_connect_timeout_ipv6"),
    Key::defaulted("upstream", "failed_timeout"),
    Key::defaulted("upstream", "failed_max"),
    Key::defaulted("upstream", "source_addresses"),
];

/// Port of a resolver when none is written (RFC 1035 §4.2).
pub const RESOLVER_PORT: u16 = 53;
/// Most resolvers: each is a further try.
pub const RESOLVERS_MAX: usize = 16;
/// Time for a connection to the destination (a key of `config/examples/full.toml`).
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Range of `connect_timeout`.
pub const CONNECT_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// Time for a connection to where the subscriber was going, who has an open connection and waits as long as he likes: as long
/// as systems repeat their SYNs (Linux: 127 s).
pub const ORIGINAL_CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(130);
/// The same to an IPv6 address, whose clients have IPv4 beside it and begin anew (RFC 8305): four SYNs, the last after 7 s.
pub const ORIGINAL_CONNECT_TIMEOUT_IPV6_DEFAULT: Duration = Duration::from_secs(9);
/// Range of `original_connect_timeout`: RFC 1122 §4.2.3.5 wants SYNs to be repeated for three minutes at least.
pub const ORIGINAL_CONNECT_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);
/// How long an address that failed is tried behind a name's others.
pub const FAILED_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Range of `failed_timeout`.
pub const FAILED_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
/// Such addresses that are remembered, about 100 bytes each.
pub const FAILED_MAX_DEFAULT: usize = 8_192;
/// Range of `failed_max`.
pub const FAILED_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Most further addresses to connect from: each is a further try.
pub const SOURCE_ADDRESSES_MAX: usize = 16;
/// What resolvers look like, for messages.
const RESOLVERS_FORM: &str =
    "an array of addresses with or without port, such as [\"127.0.0.1:53\", \"9.9.9.9\"]";
/// What a port map looks like, for messages.
const PORT_MAP_FORM: &str = "a table of ports, such as { 443 = 8443 }";

/// `[upstream]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The operator's own resolvers, in the order they are asked.
    pub resolvers: Vec<SocketAddr>,
    /// Tests and labs: instead of the first port, dial the second.
    pub port_map: BTreeMap<u16, u16>,
    /// Tests and labs: loopback and private destinations may be dialled.
    pub allow_private: bool,
    /// Time for a connection to one of a name's addresses.
    pub connect_timeout: Duration,
    /// Time for a connection to where the subscriber was going; `connect_timeout` where that is stated and this is not.
    pub original_connect_timeout: Duration,
    /// The same where that is an IPv6 address with no IPv4 address behind it; whichever of the two others is stated where this
    /// is not.
    pub original_connect_timeout_ipv6: Duration,
    /// How long an address that failed is tried behind a name's others.
    pub failed_timeout: Duration,
    /// Such addresses that are remembered.
    pub failed_max: usize,
    /// Further addresses of the gateway to connect from, when its ports towards a destination are used up.
    pub source_addresses: Vec<IpAddr>,
}

impl Upstream {
    /// Reads `[upstream]`. `steered` names a steered listener, if there is one: it cannot work without a resolver.
    pub(crate) fn read(reader: &mut Reader<'_>, steered: Option<usize>) -> Upstream {
        let section = reader.section("upstream");
        let resolvers = read_resolvers(reader, &section, steered);
        let port_map = read_port_map(reader, &section);
        let allow_private = section.boolean(reader, "allow_private", false).value;
        let connect_timeout =
            section.duration(reader, "connect_timeout", CONNECT_TIMEOUT_DEFAULT, CONNECT_TIMEOUT_RANGE);
        let (range, stated) = (ORIGINAL_CONNECT_TIMEOUT_RANGE, connect_timeout.written);
        let default = if stated { connect_timeout.value } else { ORIGINAL_CONNECT_TIMEOUT_DEFAULT };
        let original = section.duration(reader, "original_connect_timeout", default, range.clone());
        let default =
            if stated || original.written { original.value } else { ORIGINAL_CONNECT_TIMEOUT_IPV6_DEFAULT };
        let original_connect_timeout_ipv6 =
            section.duration(reader, "original_connect_timeout_ipv6", default, range).value;
        let original_connect_timeout = original.value;
        let connect_timeout = connect_timeout.value;
        let source_addresses = read_own_addresses(reader, &section, "source_addresses", SOURCE_ADDRESSES_MAX);
        Upstream {
            resolvers,
            port_map,
            allow_private,
            connect_timeout,
            original_connect_timeout,
            original_connect_timeout_ipv6,
            failed_timeout: section
                .duration(reader, "failed_timeout", FAILED_TIMEOUT_DEFAULT, FAILED_TIMEOUT_RANGE)
                .value,
            failed_max: section.count(reader, "failed_max", FAILED_MAX_DEFAULT, FAILED_MAX_RANGE).value,
            source_addresses,
        }
    }
}

/// Reads the resolvers; repeats are refused, and none at all beside a steered listener.
fn read_resolvers(reader: &mut Reader<'_>, section: &Section<'_>, steered: Option<usize>) -> Vec<SocketAddr> {
    let entries = section.read_each(reader, "resolvers", RESOLVERS_FORM, resolver_of);
    let stated = section.value("resolvers");
    let empty = stated.is_none_or(|(value, _)| value.as_array().is_some_and(|array| array.is_empty()));
    if let (true, Some(listener)) = (empty, steered) {
        let fault = Mismatch::new("no resolver", "at least one, since a listener is steered");
        let at = stated.map_or(if section.stands() { section.at } else { listener }, |(_, at)| at);
        reader.missing("upstream.resolvers", at, fault.remedy("name the operator's resolver in [upstream]"));
    }
    let entries = entries.unwrap_or_default();
    if let Some((_, at)) = entries.get(RESOLVERS_MAX) {
        let fault = Mismatch::new(format!("{} resolvers", entries.len()), format!("at most {RESOLVERS_MAX}"));
        reader.wrong(section.key("resolvers"), *at, fault);
    }
    let mut resolvers: Vec<SocketAddr> = Vec::with_capacity(entries.len().min(RESOLVERS_MAX));
    for (resolver, at) in entries.into_iter().take(RESOLVERS_MAX) {
        if resolvers.contains(&resolver) {
            let fault = Mismatch::new(format!("{resolver} again"), "each resolver once");
            reader.wrong(section.key("resolvers"), at, fault);
        } else {
            resolvers.push(resolver);
        }
    }
    resolvers
}

/// An address with or without port.
pub(crate) fn resolver_of(value: &DeValue<'_>) -> Result<SocketAddr, Mismatch> {
    let wanted = "an address with or without port in quotes, such as \"9.9.9.9\" or \"[2620:fe::fe]:53\"";
    let Some(text) = value.as_str() else {
        return Err(Mismatch::new(describe(value), wanted));
    };
    let bare = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, RESOLVER_PORT));
    match text.parse::<SocketAddr>().or_else(|_| bare()) {
        Ok(address) if address.port() == 0 => Err(Mismatch::new(quoted(text), "a port from 1 to 65535")),
        Ok(address) if address.ip().is_unspecified() => {
            Err(Mismatch::new(quoted(text), "the address of a resolver, not the unspecified one"))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(Mismatch::new(quoted(text), wanted)),
    }
}

/// Reads the port map; keys and values are ports.
fn read_port_map(reader: &mut Reader<'_>, section: &Section<'_>) -> BTreeMap<u16, u16> {
    let mut map = BTreeMap::new();
    let Some((value, at)) = section.value("port_map") else { return map };
    let key = section.key("port_map");
    let Some(table) = value.as_table() else {
        reader.wrong(key, at, Mismatch::new(describe(value), PORT_MAP_FORM));
        return map;
    };
    for (from, to) in table {
        let word: &str = from.get_ref();
        let here = format!("{key}.{word}");
        let port = word.parse::<u16>().ok().filter(|port| *port != 0 && !word.starts_with(['+', '0']));
        if port.is_none() {
            reader.wrong(
                &here,
                from.span().start,
                Mismatch::new(quoted(word), "a port from 1 to 65535 on the left"),
            );
        }
        match (port, crate::value::count_of(to.get_ref(), &(1..=u16::MAX))) {
            (Some(from), Ok(to)) => {
                map.insert(from, to);
            }
            (None, Ok(_)) => {}
            (_, Err(fault)) => reader.wrong(&here, to.span().start, fault),
        }
    }
    map
}
