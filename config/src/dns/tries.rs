//! How the DNS plane asks its servers: the keys of section [dns] for tries, times and source ports.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::quantity::show_duration;
use crate::reader::Reader;
use crate::relation::at_least;
use crate::section::Section;

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

/// Reads how servers are asked; the times rise from one to the next.
pub(super) fn read_tries<'t>(reader: &mut Reader<'t>, section: &Section<'t>) -> Tries {
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
