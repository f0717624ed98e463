//! The addresses of `[dns]`: where it listens, whom it asks, who may ask, and what listed names are answered with.

use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Section, read_set};
use crate::upstream::resolver_of;
use crate::value::{SOCKET_FORM, prefix_of, socket_of};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use toml::de::DeValue;

/// Most addresses to listen on: each is one socket per worker.
const LISTEN_MAX: usize = 16;
/// Most servers: each is a further try.
pub const SERVERS_MAX: usize = 16;
/// Most prefixes of clients; they are walked once per query.
pub const CLIENTS_MAX: usize = 256;
/// Most addresses a listed name is answered with: more would not fit an answer of 512 bytes beside a long name.
pub const STEER_ADDRESSES_MAX: usize = 8;
/// Port of a resolver asked over TLS when none is written (RFC 7858 §3.1).
const TLS_PORT: u16 = 853;
/// Longest name in its text form (RFC 1035 §2.3.4 less length octets).
const NAME_CHARS_MAX: usize = 253;
/// What servers look like, for messages.
const SERVERS_FORM: &str =
    "an array of servers, such as [\"127.0.0.1:53\", \"tls://9.9.9.9:853#dns.example\"]";
/// What one server over TLS looks like, for messages.
const TLS_SERVER_FORM: &str = "\"tls://\" address \"#\" name, such as \"tls://9.9.9.9:853#dns.example\"";
/// What "private" means: space that nobody has in the internet (RFC 1918, 6598, 1122, 3927, 4193, 4291).
pub const PRIVATE_CLIENTS: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
];
/// What clients look like, for messages.
const CLIENTS_FORM: &str =
    "an array of \"subscribers\", \"private\" and prefixes, such as [\"subscribers\", \"203.0.113.0/24\"]";
/// What the gateway's own addresses look like, for messages.
const OWN_ADDRESSES_FORM: &str =
    "an array of addresses without port, such as [\"203.0.113.10\", \"2001:db8::10\"]";

/// A resolver of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// Asked over UDP, and over TCP where that is wanted.
    Plain(SocketAddr),
    /// Asked over TLS only (RFC 7858).
    Tls {
        /// Where it listens.
        address: SocketAddr,
        /// The name its certificate must be for.
        name: String,
    },
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Server::Plain(address) | Server::Tls { address, .. } => *address,
        }
    }
}

/// Who may ask, or use a steered listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Every address of the subscriber table.
    Subscribers,
    /// Every address of [`PRIVATE_CLIENTS`].
    Private,
    /// Every address of a prefix.
    Prefix(IpNet),
}

/// Reads addresses to listen on; repeats are refused, an empty array too.
pub(super) fn read_listen<'t>(reader: &mut Reader<'t>, section: &Section<'t>, name: &str) -> Vec<SocketAddr> {
    let wanted = format!("an array of at least one address: {SOCKET_FORM}");
    let addresses = read_set(reader, section, name, &wanted, LISTEN_MAX, socket_of).unwrap_or_default();
    if let Some((value, at)) = section.value(name)
        && value.as_array().is_some_and(|array| array.is_empty())
    {
        reader.wrong(section.key(name), at, Mismatch::new("no address", wanted).remedy("remove the key"));
    }
    addresses
}

/// Reads the servers, `resolvers` when none are stated. None at all is a problem where something is listened on.
pub(super) fn read_upstream<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    resolvers: &[SocketAddr],
    listens: &[SocketAddr],
) -> Vec<Server> {
    let stated = section.value("upstream");
    let at = stated.map_or(section.at, |(_, at)| at);
    let servers = match read_set(reader, section, "upstream", SERVERS_FORM, SERVERS_MAX, server_of) {
        Some(servers) => servers,
        None => resolvers.iter().copied().map(Server::Plain).collect(),
    };
    let empty = stated.is_none_or(|(value, _)| value.as_array().is_some_and(|array| array.is_empty()));
    if servers.is_empty() && empty && !listens.is_empty() {
        let fault = Mismatch::new("no server", "at least one, since clients ask here");
        let remedy = "name the operator's resolver in upstream.resolvers or dns.upstream";
        reader.missing("dns.upstream", at, fault.remedy(remedy));
    }
    if let Some(own) = servers.iter().map(Server::address).find(|server| listens.contains(server)) {
        let fault = Mismatch::new(format!("{own}, where the DNS plane itself listens"), "another server");
        reader.wrong("dns.upstream", at, fault.remedy("a query would go round for ever"));
    }
    servers
}

impl Clients {
    /// The prefixes of these clients; of subscribers none, for the table has them.
    pub fn prefixes(&self) -> Vec<IpNet> {
        match self {
            Clients::Subscribers => Vec::new(),
            Clients::Private => PRIVATE_CLIENTS.iter().filter_map(|text| text.parse().ok()).collect(),
            Clients::Prefix(prefix) => vec![*prefix],
        }
    }
}

/// Reads who may come in, `default` when nothing is said; an empty array is refused.
pub(crate) fn read_clients(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    default: &[Clients],
) -> Vec<Clients> {
    let clients = read_set(reader, section, "clients", CLIENTS_FORM, CLIENTS_MAX, |value| {
        if value.as_str() == Some("subscribers") {
            return Ok(Clients::Subscribers);
        }
        if value.as_str() == Some("private") {
            return Ok(Clients::Private);
        }
        prefix_of(value).map(Clients::Prefix)
    });
    if let Some((value, at)) = section.value("clients")
        && value.as_array().is_some_and(|array| array.is_empty())
    {
        let fault = Mismatch::new("nobody", CLIENTS_FORM);
        reader.wrong(section.key("clients"), at, fault.remedy("without clients nobody would be served"));
    }
    clients.unwrap_or_else(|| default.to_vec())
}

/// Reads what listed names are answered with.
pub(super) fn read_steer_addresses<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Vec<IpAddr> {
    read_own_addresses(reader, section, "steer_addresses", STEER_ADDRESSES_MAX)
}

/// Reads addresses of the gateway itself, at most `max`; repeats are refused.
pub(crate) fn read_own_addresses<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    name: &str,
    max: usize,
) -> Vec<IpAddr> {
    let addresses = read_set(reader, section, name, OWN_ADDRESSES_FORM, max, |value| {
        let wanted = "an address of this gateway without port in quotes";
        let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let address = address.ok_or_else(|| Mismatch::new(describe(value), wanted))?;
        if address.is_unspecified() || address.is_multicast() || address != address.to_canonical() {
            return Err(Mismatch::new(describe(value), wanted));
        }
        Ok(address)
    });
    addresses.unwrap_or_default()
}

/// A server: an address with or without port, or one over TLS with its name.
fn server_of(value: &DeValue<'_>) -> Result<Server, Mismatch> {
    let Some(text) = value.as_str() else {
        return Err(Mismatch::new(describe(value), SERVERS_FORM));
    };
    let Some(rest) = text.strip_prefix("tls://") else {
        return resolver_of(value).map(Server::Plain);
    };
    let fault = || Mismatch::new(quoted(text), TLS_SERVER_FORM);
    let (address, name) = rest.split_once('#').ok_or_else(fault)?;
    let bare = || address.parse::<IpAddr>().map(|address| SocketAddr::new(address, TLS_PORT));
    let address = address.parse::<SocketAddr>().or_else(|_| bare()).map_err(|_| fault())?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let named = !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(fits);
    if address.port() == 0 || address.ip().is_unspecified() || !named {
        return Err(fault());
    }
    Ok(Server::Tls { address, name: name.to_ascii_lowercase() })
}
