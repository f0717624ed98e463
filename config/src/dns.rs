//! `[dns]`: the DNS plane: where subscribers ask, whom it asks, what it answers itself, and its limits. Absent: there is none.

mod address;
mod stale;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use self::stale::read_stale;
use crate::key::Key;
use crate::local::LocalSocket;
use crate::quantity::show_duration;
use crate::reader::{Fault, Reader};
use crate::relation::at_least;
use crate::section::{Found, Section};
use crate::value::path_text;
pub use address::{CLIENTS_MAX, Clients, PRIVATE_CLIENTS, SERVERS_MAX, STEER_ADDRESSES_MAX, Server};
pub(crate) use address::{read_clients, read_own_addresses};

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
/// Bits of an IPv4 address that are one customer's, where no session says who it is: each address.
pub const SOURCE_PREFIX_V4_DEFAULT: u8 = 32;
/// Range of `source_prefix_v4`: wider than /8 all would share.
pub const SOURCE_PREFIX_V4_RANGE: RangeInclusive<u8> = 8..=32;
/// Bits of an IPv6 address that are one customer's, where no session says who it is: what a home is given (RFC 6177 §2,
/// RIPE-690 §4.2). Counted by /64 it would have 256 allowances; a telephone with a /64 is a subscriber with a session.
pub const SOURCE_PREFIX_V6_DEFAULT: u8 = 56;
/// Range of `source_prefix_v6`: an operator's own network, up to one address.
pub const SOURCE_PREFIX_V6_RANGE: RangeInclusive<u8> = 32..=128;
/// Queries of one source per second (a key of `config/examples/full.toml`).
pub const QUERIES_PER_SECOND_MAX_DEFAULT: u32 = 200;
/// Range of `queries_per_second_max`.
pub const QUERIES_PER_SECOND_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Queries of one source at once (a key of `config/examples/full.toml`).
pub const BURST_MAX_DEFAULT: u32 = 300;
/// Range of `burst_max`.
pub const BURST_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Queries over the limit of one source that are told to come over TCP, per second: five times its limit. What is said is
/// never longer than what was asked.
pub const TRUNCATED_PER_SECOND_MAX_DEFAULT: u32 = 1_000;
/// Range of `truncated_per_second_max`; 0 is silence.
pub const TRUNCATED_PER_SECOND_MAX_RANGE: RangeInclusive<u32> = 0..=1_000_000;
/// Sources told apart; 20 bytes each. Above it two sources share one allowance.
pub const SOURCES_MAX_DEFAULT: usize = 262_144;
/// Range of `sources_max`.
pub const SOURCES_MAX_RANGE: RangeInclusive<usize> = 1..=16_777_216;
/// Queries under way (a key of `config/examples/full.toml`); about 600 bytes each.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 20_000;
/// Range of `in_flight_max`.
pub const IN_FLIGHT_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Queries under way of one source: about what its permitted rate comes to in `total_timeout`.
pub const IN_FLIGHT_PER_CLIENT_MAX_DEFAULT: u32 = 1_000;
/// Range of `in_flight_per_client_max`.
pub const IN_FLIGHT_PER_CLIENT_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Distinct names of a kind that carries data, below one domain in five minutes, from which a source is suspected.
pub const TUNNEL_NAMES_MAX_DEFAULT: u32 = 100;
/// Range of `tunnel_names_max`: what an estimate of 512 bits can tell.
pub const TUNNEL_NAMES_MAX_RANGE: RangeInclusive<u32> = 10..=1_000;
/// Pairs of a source and a domain watched for tunnels; some 110 bytes each.
pub const TUNNEL_PLACES_MAX_DEFAULT: usize = 16_384;
/// Range of `tunnel_places_max`.
pub const TUNNEL_PLACES_MAX_RANGE: RangeInclusive<usize> = 1..=16_777_216;
/// Time after which another server is asked besides; half of what a try may take.
pub const FAILOVER_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Time for one try (a key of `config/examples/full.toml`).
pub const TRY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Tries of one query (a key of `config/examples/full.toml`).
pub const TRIES_DEFAULT: u8 = 2;
/// Range of `tries`.
pub const TRIES_RANGE: RangeInclusive<u8> = 1..=10;
/// Time for all tries (a key of `config/examples/full.toml`).
pub const TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);
/// Range of the times of upstream queries.
pub const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
/// Source ports in use at once towards each server, of each worker.
pub const UPSTREAM_SOCKETS_DEFAULT: u16 = 8;
/// Range of `upstream_sockets`.
pub const UPSTREAM_SOCKETS_RANGE: RangeInclusive<u16> = 1..=256;
/// Replies that answer no query, on one source port, before it is given up and TCP is used.
pub const BAD_REPLIES_MAX_DEFAULT: u32 = 16;
/// Range of `bad_replies_max`.
pub const BAD_REPLIES_MAX_RANGE: RangeInclusive<u32> = 1..=100_000;
/// Largest answer over UDP: what passes unfragmented nearly everywhere (DNS Flag Day 2020).
pub const UDP_ANSWER_MAX_DEFAULT: usize = 1_232;
/// Range of `udp_answer_max`: RFC 1035 §2.3.4, up to what Ethernet carries unfragmented over both IP versions: 1,500 bytes
/// less 40 of IPv6 and 8 of UDP (RFC 9715 §3.1: no answer larger than the path's MTU; it advises 1,400 at most).
pub const UDP_ANSWER_MAX_RANGE: RangeInclusive<usize> = 512..=1_452;
/// Connections of all clients.
pub const CONNECTIONS_MAX_DEFAULT: usize = 1_000;
/// Range of `connections_max`.
pub const CONNECTIONS_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Connections of one client.
pub const CONNECTIONS_PER_CLIENT_MAX_DEFAULT: usize = 16;
/// Range of `connections_per_client_max`.
pub const CONNECTIONS_PER_CLIENT_MAX_RANGE: RangeInclusive<usize> = 1..=65_536;
/// Time for a client's handshake, for its first byte, and for the rest of a query that has begun (notes: 2 s).
pub const FIRST_BYTE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Time without a query after which a client's connection ends (a key of `config/examples/full.toml`).
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Queries of one connection.
pub const QUERIES_PER_CONNECTION_MAX_DEFAULT: u32 = 100;
/// Range of `queries_per_connection_max`.
pub const QUERIES_PER_CONNECTION_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Time after which an old answer is given while the servers are silent (RFC 8767 §5).
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_millis(1_800);
/// Time to live of an old answer (RFC 8767 §4).
pub const STALE_TTL_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `stale_ttl`.
pub const STALE_TTL_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Age above which no answer is given any more (RFC 8767 §5 advises one to three days).
pub const STALE_MAX_DEFAULT: Duration = Duration::from_secs(86_400);
/// Range of `stale_max`.
pub const STALE_MAX_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
/// Old answers kept; some 400 bytes each, at most 4 KiB.
pub const STALE_ENTRIES_MAX_DEFAULT: usize = 100_000;
/// Range of `stale_entries_max`.
pub const STALE_ENTRIES_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;
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

/// DNS over TLS for clients (RFC 7858).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where clients connect.
    pub listen: Vec<SocketAddr>,
    /// The certificate chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// What one source may ask, and all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bits of an IPv4 address that are one customer's, where no session says who it is.
    pub source_prefix_v4: u8,
    /// The same of an IPv6 address.
    pub source_prefix_v6: u8,
    /// Queries of one source per second.
    pub queries_per_second_max: u32,
    /// Queries of one source at once.
    pub burst_max: u32,
    /// Queries of one source over its limit that are told to come over TCP, per second.
    pub truncated_per_second_max: u32,
    /// Sources told apart.
    pub sources_max: usize,
    /// Queries under way.
    pub in_flight_max: usize,
    /// Queries under way of one source.
    pub in_flight_per_client_max: u32,
    /// Distinct names below one domain from which a source is suspected of a tunnel.
    pub tunnel_names_max: u32,
    /// Pairs of a source and a domain watched for tunnels.
    pub tunnel_places_max: usize,
}

/// How servers are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Time after which another server is asked besides.
    pub failover_after: Duration,
    /// Time for one try.
    pub try_timeout: Duration,
    /// Tries of one query.
    pub tries: u8,
    /// Time for all tries.
    pub total_timeout: Duration,
    /// Source ports in use at once towards each server, of each worker.
    pub upstream_sockets: u16,
    /// Whether the letters of the question are written in random case (0x20).
    pub case_randomisation: bool,
    /// Replies that answer no query before TCP is used.
    pub bad_replies_max: u32,
}

/// Clients' connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Connections of all clients.
    pub connections_max: usize,
    /// Connections of one client.
    pub connections_per_client_max: usize,
    /// Time for handshake, first byte, and the rest of a query that has begun.
    pub first_byte_timeout: Duration,
    /// Time without a query after which a connection ends.
    pub idle_timeout: Duration,
    /// Queries of one connection.
    pub queries_per_connection_max: u32,
}

/// Old answers while the servers are silent (RFC 8767).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Time after which one is given.
    pub after: Duration,
    /// Time to live it is given.
    pub ttl: Duration,
    /// Age above which it is not given.
    pub age_max: Duration,
    /// Old answers kept.
    pub entries_max: usize,
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
            let fault = Fault::new("no address to listen on", "listen, tls_listen or dnstap_socket");
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
            load: read_load(reader, &section),
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

/// Reads the keys of DNS over TLS: certificate and key are wanted with `tls_listen`, and only then.
fn read_tls<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Option<Tls> {
    let listen = address::read_listen(reader, section, "tls_listen");
    let certificate = read_path(reader, section, "tls_certificate");
    let key = read_path(reader, section, "tls_key");
    for name in ["tls_certificate", "tls_key"] {
        let stated = section.value(name);
        match (section.value("tls_listen"), stated) {
            (Some((_, at)), None) => {
                let fault = Fault::new("nothing", "the file's path, since tls_listen is there");
                reader.missing(section.key(name), at, fault.remedy(format!("add `{name} = \"…\"`")));
            }
            (None, Some((_, at))) => {
                let fault = Fault::new("it without tls_listen", "both or neither");
                reader.wrong(section.key(name), at, fault.remedy("add tls_listen, or remove this key"));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    Some(Tls { listen, certificate: certificate?, key: key? })
}

/// Reads what one source may ask.
fn read_load<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Load {
    let per_second = section.count(
        reader,
        "queries_per_second_max",
        QUERIES_PER_SECOND_MAX_DEFAULT,
        QUERIES_PER_SECOND_MAX_RANGE,
    );
    Load {
        source_prefix_v4: section
            .count(reader, "source_prefix_v4", SOURCE_PREFIX_V4_DEFAULT, SOURCE_PREFIX_V4_RANGE)
            .value,
        source_prefix_v6: section
            .count(reader, "source_prefix_v6", SOURCE_PREFIX_V6_DEFAULT, SOURCE_PREFIX_V6_RANGE)
            .value,
        queries_per_second_max: per_second.value,
        burst_max: section.count(reader, "burst_max", BURST_MAX_DEFAULT, BURST_MAX_RANGE).value,
        truncated_per_second_max: section
            .count(
                reader,
                "truncated_per_second_max",
                TRUNCATED_PER_SECOND_MAX_DEFAULT,
                TRUNCATED_PER_SECOND_MAX_RANGE,
            )
            .value,
        sources_max: section.count(reader, "sources_max", SOURCES_MAX_DEFAULT, SOURCES_MAX_RANGE).value,
        in_flight_max: section
            .count(reader, "in_flight_max", IN_FLIGHT_MAX_DEFAULT, IN_FLIGHT_MAX_RANGE)
            .value,
        in_flight_per_client_max: section
            .count(
                reader,
                "in_flight_per_client_max",
                IN_FLIGHT_PER_CLIENT_MAX_DEFAULT,
                IN_FLIGHT_PER_CLIENT_MAX_RANGE,
            )
            .value,
        tunnel_names_max: section
            .count(reader, "tunnel_names_max", TUNNEL_NAMES_MAX_DEFAULT, TUNNEL_NAMES_MAX_RANGE)
            .value,
        tunnel_places_max: section
            .count(reader, "tunnel_places_max", TUNNEL_PLACES_MAX_DEFAULT, TUNNEL_PLACES_MAX_RANGE)
            .value,
    }
}

/// Reads how servers are asked; the times rise from one to the next.
fn read_tries<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Tries {
    let failover = section.duration(reader, "failover_after", FAILOVER_AFTER_DEFAULT, TIMEOUT_RANGE);
    let one = section.duration(reader, "try_timeout", TRY_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
    let total = section.duration(reader, "total_timeout", TOTAL_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
    at_least(reader, ("dns.try_timeout", &one), ("dns.failover_after", &failover), show_duration);
    at_least(reader, ("dns.total_timeout", &total), ("dns.try_timeout", &one), show_duration);
    Tries {
        failover_after: failover.value,
        try_timeout: one.value,
        tries: section.count(reader, "tries", TRIES_DEFAULT, TRIES_RANGE).value,
        total_timeout: total.value,
        upstream_sockets: section
            .count(reader, "upstream_sockets", UPSTREAM_SOCKETS_DEFAULT, UPSTREAM_SOCKETS_RANGE)
            .value,
        case_randomisation: section.boolean(reader, "case_randomisation", true).value,
        bad_replies_max: section
            .count(reader, "bad_replies_max", BAD_REPLIES_MAX_DEFAULT, BAD_REPLIES_MAX_RANGE)
            .value,
    }
}

/// Reads the limits of clients' connections.
fn read_connections<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Connections {
    let all = section.count(reader, "connections_max", CONNECTIONS_MAX_DEFAULT, CONNECTIONS_MAX_RANGE);
    let one = section.count(
        reader,
        "connections_per_client_max",
        CONNECTIONS_PER_CLIENT_MAX_DEFAULT,
        CONNECTIONS_PER_CLIENT_MAX_RANGE,
    );
    let queries = section.count(
        reader,
        "queries_per_connection_max",
        QUERIES_PER_CONNECTION_MAX_DEFAULT,
        QUERIES_PER_CONNECTION_MAX_RANGE,
    );
    let first = section.duration(reader, "first_byte_timeout", FIRST_BYTE_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
    let idle = section.duration(reader, "idle_timeout", IDLE_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
    Connections {
        connections_max: all.value,
        connections_per_client_max: one.value,
        first_byte_timeout: first.value,
        idle_timeout: idle.value,
        queries_per_connection_max: queries.value,
    }
}

/// A path, joined to the configuration's folder.
fn read_path<'t>(reader: &mut Reader<'t>, section: &Section<'t>, name: &str) -> Option<PathBuf> {
    match section.read(reader, name, path_text) {
        Found::Is(text, _) => Some(reader.join(&text)),
        Found::Absent | Found::Wrong(_) => None,
    }
}
