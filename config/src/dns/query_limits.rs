//! Limits on DNS queries, of each source and in all: defaults, ranges, and their keys in section [dns].

use std::ops::RangeInclusive;

use crate::reader::Reader;
use crate::section::Section;

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

/// Reads what one source may ask.
pub(super) fn read_query_limits<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Load {
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
