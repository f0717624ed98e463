//! What `app` tells the DNS plane: plain values, no configuration file.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The DNS plane's settings (a key of `config/examples/full.toml`).
pub struct Settings {
    /// The operator's resolvers, in the order of preference.
    pub servers: Vec<Server>,
    /// Whether whoever is in the subscriber table may ask.
    pub serves_subscribers: bool,
    /// Who else may ask.
    pub clients: Vec<IpNet>,
    /// Our own addresses, for names that are exempt; none: nothing is steered.
    pub steer_addresses: Vec<IpAddr>,
    /// Whether a steered listener takes datagrams, so that HTTP/3 may be offered.
    pub takes_datagrams: bool,
    /// Time to live of steered answers.
    pub steer_ttl: Duration,
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
    /// Those of one source.
    pub in_flight_per_client_max: u32,
    /// Time after which another server is asked besides.
    pub failover_after: Duration,
    /// Time for one try.
    pub try_timeout: Duration,
    /// Tries of one query.
    pub tries: u8,
    /// Time for all tries.
    pub total_timeout: Duration,
    /// Pairs of a source and a domain watched for tunnels.
    pub tunnel_places_max: usize,
    /// Distinct names below one domain from which a source is suspected.
    pub tunnel_names_max: u32,
    /// Source ports in use at once towards each server, of each worker.
    pub upstream_sockets: usize,
    /// Whether the letters of the question are written in random case (0x20).
    pub case_randomisation: bool,
    /// Replies that answer no query before TCP is used.
    pub bad_replies_max: u32,
    /// Largest answer over UDP.
    pub udp_answer_max: usize,
    /// Limits of clients' connections.
    pub connections: ConnectionLimits,
    /// Old answers; none: they are not given.
    pub stale: Option<StaleLimits>,
    /// Resolvers that send dnstap at once.
    pub dnstap_connections_max: usize,
}

/// A resolver of the operator.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is asked over TLS; none: over UDP and TCP.
    pub tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

/// Limits of clients' connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections of all clients.
    pub connections_max: usize,
    /// Connections of one client.
    pub connections_per_client_max: usize,
    /// For a handshake, the first byte, and the rest of a query that has begun.
    pub first_byte_timeout: Duration,
    /// Without a query.
    pub idle_timeout: Duration,
    /// Queries of one connection.
    pub queries_per_connection_max: u32,
}

/// When old answers are given, and how many are kept (RFC 8767).
#[derive(Clone, Copy, Debug)]
pub struct StaleLimits {
    /// Time of silence after which one is given.
    pub after: Duration,
    /// Time to live it is given.
    pub ttl: Duration,
    /// Age above which it is not given.
    pub age_max: Duration,
    /// Answers kept.
    pub entries_max: usize,
}
