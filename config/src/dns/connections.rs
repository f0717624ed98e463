//! Limits of clients' connections: keys of section [dns].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::TIMEOUT_RANGE;
use crate::reader::Reader;
use crate::section::Section;

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

/// Reads the limits of clients' connections.
pub(super) fn read_connections<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Connections {
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
