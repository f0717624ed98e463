//! `[dns]`: the DNS plane: where subscribers ask, whom it asks, what it answers itself, and its limits. Absent: there is none.

mod address;
mod connections;
mod query_limits;
mod stale;
mod tls;
mod tries;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use self::connections::read_connections;
use self::query_limits::read_query_limits;
use self::stale::read_stale;
use self::tls::read_tls;
use self::tries::read_tries;
use crate::key::Key;
use crate::local::LocalSocket;
use crate::reader::{Mismatch, Reader};
use crate::section::{Found, Section};
use crate::value::path_text;
pub use address::{CLIENTS_MAX, Clients, PRIVATE_CLIENTS, SERVERS_MAX, STEER_ADDRESSES_MAX, Server};
pub(crate) use address::{read_clients, read_own_addresses};
pub use connections::{
    CONNECTIONS_MAX_DEFAULT, CONNECTIONS_MAX_RANGE, CONNECTIONS_PER_CLIENT_MAX_DEFAULT,
    CONNECTIONS_PER_CLIENT_MAX_RANGE, Connections, FIRST_BYTE_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT,
    QUERIES_PER_CONNECTION_MAX_DEFAULT, QUERIES_PER_CONNECTION_MAX_RANGE,
};
pub use query_limits::{
    BURST_MAX_DEFAULT, BURST_MAX_RANGE, IN_FLIGHT_MAX_DEFAULT, IN_FLIGHT_MAX_RANGE,
    IN_FLIGHT_PER_CLIENT_MAX_DEFAULT, IN_FLIGHT_PER_CLIENT_MAX_RANGE, Load, QUERIES_PER_SECOND_MAX_DEFAULT,
    QUERIES_PER_SECOND_MAX_RANGE, SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE, SOURCE_PREFIX_V6_DEFAULT,
    SOURCE_PREFIX_V6_RANGE, SOURCES_MAX_DEFAULT, SOURCES_MAX_RANGE, TRUNCATED_PER_SECOND_MAX_DEFAULT,
    TRUNCATED_PER_SECOND_MAX_RANGE, TUNNEL_NAMES_MAX_DEFAULT, TUNNEL_NAMES_MAX_RANGE,
    TUNNEL_PLACES_MAX_DEFAULT, TUNNEL_PLACES_MAX_RANGE,
};
pub use stale::{
    STALE_AFTER_DEFAULT, STALE_ENTRIES_MAX_DEFAULT, STALE_ENTRIES_MAX_RANGE, STALE_MAX_DEFAULT,
    STALE_MAX_RANGE, STALE_TTL_DEFAULT, STALE_TTL_RANGE, Stale,
};
pub use tls::Tls;
pub use tries::{
    BAD_REPLIES_MAX_DEFAULT, BAD_REPLIES_MAX_RANGE, FAILOVER_AFTER_DEFAULT, TIMEOUT_RANGE,
    TOTAL_TIMEOUT_DEFAULT, TRIES_DEFAULT, TRIES_RANGE, TRY_TIMEOUT_DEFAULT, Tries, UPSTREAM_SOCKETS_DEFAULT,
    UPSTREAM_SOCKETS_RANGE,
};

/// The keys of `[dns]`.
pub(crate) const KEYS: &[Key] = &[
    Key::optional("dns", "listen"),
    Key::optional("dns", "tls_listen"),
    Key::optional("dns", "tls_certificate"),
    Key::optional("dns", "tls_key"),
    Key::defaulted("dns", "upstream"),
    Key::defaulted("dns", "upstream_roots"),
    Key::defaulted("dns", "clients"),
    Key::defaulted("dns", "steer_addresses"),
    Key::defaulted("dns", "steer_ttl"),
    Key::defaulted("dns", "source_prefix_v4"),
    Key::defaulted("dns", "source_prefix_v6"),
    Key::defaulted("dns", "queries_per_second_max"),
    Key::defaulted("dns", "burst_max"),
    Key::defaulted("dns", "truncated_per_second_max"),
    Key::defaulted("dns", "sources_max"),
    Key::defaulted("dns", "in_flight_max"),
    Key::defaulted("dns", "in_flight_per_client_max"),
    Key::defaulted("dns", "tunnel_names_max"),
    Key::defaulted("dns", "tunnel_places_max"),
    Key::defaulted("dns", "failover_after"),
    Key::defaulted("dns", "try_timeout"),
    Key::defaulted("dns", "tries"),
    Key::defaulted("dns", "total_timeout"),
    Key::defaulted("dns", "upstream_sockets"),
    Key::defaulted("dns", "case_randomisation"),
    Key::defaulted("dns", "bad_replies_max"),
    Key::defaulted("dns", "udp_answer_max"),
    Key::defaulted("dns", "connections_max"),
    Key::defaulted("dns", "connections_per_client_max"),
    Key::defaulted("dns", "first_byte_timeout"),
    Key::defaulted("dns", "idle_timeout"),
    Key::defaulted("dns", "queries_per_connection_max"),
    Key::defaulted("dns", "serve_stale"),
    Key::defaulted("dns", "stale_after"),
    Key::defaulted("dns", "stale_ttl"),
    Key::defaulted("dns", "stale_max"),
    Key::defaulted("dns", "stale_entries_max"),
    Key::optional("dns", "dnstap_socket"),
    Key::optional("dns", "dnstap_group"),
    Key::defaulted("dns", "dnstap_connections_max"),
];
/// Where Debian keeps the certificates of authorities.
pub const UPSTREAM_ROOTS_DEFAULT: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Time to live of steered answers: how long a name stays steered after it stops being exempt.
pub const STEER_TTL_DEFAULT: Duration = Duration::from_secs(60);
/// Range of `steer_ttl`.
pub const STEER_TTL_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Largest answer over UDP: what passes unfragmented nearly everywhere (DNS Flag Day 2020).
pub const UDP_ANSWER_MAX_DEFAULT: usize = 1_232;
/// Range of `udp_answer_max`: RFC 1035 §2.3.4, up to what Ethernet carries unfragmented over both IP versions: 1,500 bytes
/// less 40 of IPv6 and 8 of UDP (RFC 9715 §3.1: no answer larger than the path's MTU; it advises 1,400 at most).
pub const UDP_ANSWER_MAX_RANGE: RangeInclusive<usize> = 512..=1_452;
/// Resolvers that send dnstap at once.
pub const DNSTAP_CONNECTIONS_MAX_DEFAULT: usize = 16;
/// Range of `dnstap_connections_max`.
pub const DNSTAP_CONNECTIONS_MAX_RANGE: RangeInclusive<usize> = 1..=1_024;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where clients ask over UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// DNS over TLS for clients, if any.
    pub tls: Option<Tls>,
    /// The operator's resolvers, in the order of preference.
    pub upstream: Vec<Server>,
    /// Certificates of the authorities that vouch for resolvers asked over TLS (PEM).
    pub upstream_roots: PathBuf,
    /// Who may ask.
    pub clients: Vec<Clients>,
    /// The gateway's own addresses, answered for listed names; none: nothing is steered.
    pub steer_addresses: Vec<IpAddr>,
    /// Time to live of steered answers.
    pub steer_ttl: Duration,
    /// What one source may ask, and all together.
    pub load: Load,
    /// How servers are asked.
    pub tries: Tries,
    /// Largest answer over UDP.
    pub udp_answer_max: usize,
    /// Clients' connections.
    pub connections: Connections,
    /// Old answers; none when `serve_stale` is false.
    pub stale: Option<Stale>,
    /// Where resolvers send dnstap.
    pub dnstap_socket: Option<LocalSocket>,
    /// Resolvers that send dnstap at once.
    pub dnstap_connections_max: usize,
}

impl Dns {
    /// Reads `[dns]`; `None` when the section is absent. `resolvers` are those of `[upstream]`.
    pub(crate) fn read<'t>(reader: &mut Reader<'t>, resolvers: &[SocketAddr]) -> Option<Dns> {
        let section = reader.section("dns");
        if !section.stands() {
            return None;
        }
        let listen = address::read_listen(reader, &section, "listen");
        let tls = read_tls(reader, &section);
        let dnstap_socket = LocalSocket::read(reader, &section, "dnstap_socket", "dnstap_group");
        let stated = ["listen", "tls_listen", "dnstap_socket"].map(|key| section.value(key).is_some());
        if !stated.contains(&true) {
            let fault = Mismatch::new("no address to listen on", "listen, tls_listen or dnstap_socket");
            let remedy = "add `listen = [\"…\"]`, or remove the section: without it there is no DNS plane";
            reader.missing("dns.listen", section.at, fault.remedy(remedy));
        }
        let tls_listen = tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let listens: Vec<SocketAddr> = listen.iter().chain(tls_listen).copied().collect();
        let upstream = address::read_upstream(reader, &section, resolvers, &listens);
        let roots = read_path(reader, &section, "upstream_roots");
        let tries = read_tries(reader, &section);
        Some(Dns {
            listen,
            tls,
            upstream,
            upstream_roots: roots.unwrap_or_else(|| UPSTREAM_ROOTS_DEFAULT.into()),
            clients: read_clients(reader, &section, &[Clients::Subscribers]),
            steer_addresses: address::read_steer_addresses(reader, &section),
            steer_ttl: section.duration(reader, "steer_ttl", STEER_TTL_DEFAULT, STEER_TTL_RANGE).value,
            load: read_query_limits(reader, &section),
            stale: read_stale(reader, &section, tries.total_timeout),
            tries,
            udp_answer_max: section
                .size(reader, "udp_answer_max", UDP_ANSWER_MAX_DEFAULT, UDP_ANSWER_MAX_RANGE)
                .value,
            connections: read_connections(reader, &section),
            dnstap_socket,
            dnstap_connections_max: section
                .count(
                    reader,
                    "dnstap_connections_max",
                    DNSTAP_CONNECTIONS_MAX_DEFAULT,
                    DNSTAP_CONNECTIONS_MAX_RANGE,
                )
                .value,
        })
    }
}

/// A path, joined to the configuration's folder.
fn read_path<'t>(reader: &mut Reader<'t>, section: &Section<'t>, name: &str) -> Option<PathBuf> {
    match section.read(reader, name, path_text) {
        Found::Is(text, _) => Some(reader.join(&text)),
        Found::Absent | Found::Wrong(_) => None,
    }
}
