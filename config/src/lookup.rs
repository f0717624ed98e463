//! `[lookup]`: limits of the gateway's own name look-ups.

use crate::key::Key;
use crate::quantity::show_duration;
use crate::reader::Reader;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The keys of `[lookup]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("lookup", "try_timeout"),
    Key::defaulted("lookup", "tries"),
    Key::defaulted("lookup", "total_timeout"),
    Key::defaulted("lookup", "stale_after"),
    Key::defaulted("lookup", "cnames_max"),
    Key::defaulted("lookup", "negative_ttl"),
    Key::defaulted("lookup", "per_second_max"),
    Key::defaulted("lookup", "in_flight_max"),
    Key::defaulted("lookup", "per_subscriber_minute_max"),
    Key::defaulted("lookup", "waiting_max"),
    Key::defaulted("lookup", "waiting_per_subscriber_max"),
    Key::defaulted("lookup", "names_max"),
    Key::defaulted("lookup", "scheduled_per_second_max"),
];

/// Time for one try (a key of `config/examples/full.toml`).
pub const TRY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Range of `try_timeout` and `total_timeout`.
pub const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
/// Tries of one look-up (a key of `config/examples/full.toml`).
pub const TRIES_DEFAULT: u8 = 2;
/// Range of `tries`.
pub const TRIES_RANGE: RangeInclusive<u8> = 1..=10;
/// Time for all tries (a key of `config/examples/full.toml`).
pub const TOTAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(4);
/// How long a steered flow waits for an answer when an address is known already: less than the 1.8 seconds of RFC 8767 §5.
pub const STALE_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Range of `stale_after`.
pub const STALE_AFTER_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
/// CNAMEs followed (a key of `config/examples/full.toml`).
pub const CNAMES_MAX_DEFAULT: u8 = 11;
/// Range of `cnames_max`.
pub const CNAMES_MAX_RANGE: RangeInclusive<u8> = 0..=64;
/// How long a failed look-up is remembered.
pub const NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(30);
/// Range of `negative_ttl`.
pub const NEGATIVE_TTL_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);
/// Look-ups started per second (default 200 queries a second per source).
pub const PER_SECOND_MAX_DEFAULT: u32 = 200;
/// Range of `per_second_max`.
pub const PER_SECOND_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Look-ups waiting for an answer at once.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 1_000;
/// Range of `in_flight_max`.
pub const IN_FLIGHT_MAX_RANGE: RangeInclusive<usize> = 1..=100_000;
/// Inquiries that flows of one subscriber start in a minute (notes on verification, §6).
pub const PER_SUBSCRIBER_MINUTE_MAX_DEFAULT: u32 = 20;
/// Range of `per_subscriber_minute_max`.
pub const PER_SUBSCRIBER_MINUTE_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;
/// Look-ups of each kind that wait for their turn.
pub const WAITING_MAX_DEFAULT: usize = 1_000;
/// Range of `waiting_max`.
pub const WAITING_MAX_RANGE: RangeInclusive<usize> = 1..=100_000;
/// Of these, one subscriber's.
pub const WAITING_PER_SUBSCRIBER_MAX_DEFAULT: usize = 16;
/// Range of `waiting_per_subscriber_max`.
pub const WAITING_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<usize> = 1..=10_000;
/// Names whose answers are kept.
pub const NAMES_MAX_DEFAULT: usize = 65_536;
/// Range of `names_max`.
pub const NAMES_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;
/// Scheduled look-ups started per second.
pub const SCHEDULED_PER_SECOND_MAX_DEFAULT: usize = 20;
/// Range of `scheduled_per_second_max`.
pub const SCHEDULED_PER_SECOND_MAX_RANGE: RangeInclusive<usize> = 0..=10_000;

/// `[lookup]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Time for one try.
    pub try_timeout: Duration,
    /// Tries of one look-up.
    pub tries: u8,
    /// Time for all tries together.
    pub total_timeout: Duration,
    /// How long a steered flow waits for an answer when an address is known already.
    pub stale_after: Duration,
    /// CNAMEs followed.
    pub cnames_max: u8,
    /// How long a failed look-up is remembered.
    pub negative_ttl: Duration,
    /// Look-ups started per second.
    pub per_second_max: u32,
    /// Look-ups waiting for an answer at once.
    pub in_flight_max: usize,
    /// Inquiries that flows of one subscriber start in a minute.
    pub per_subscriber_minute_max: u32,
    /// Look-ups of each kind that wait for their turn.
    pub waiting_max: usize,
    /// Of these, one subscriber's.
    pub waiting_per_subscriber_max: usize,
    /// Names whose answers are kept.
    pub names_max: usize,
    /// Scheduled look-ups started per second; 0: none.
    pub scheduled_per_second_max: usize,
}

impl Lookup {
    /// Reads `[lookup]`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Lookup {
        let section = reader.section("lookup");
        let try_timeout = section.duration(reader, "try_timeout", TRY_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
        let tries = section.count(reader, "tries", TRIES_DEFAULT, TRIES_RANGE).value;
        let total_timeout = section.duration(reader, "total_timeout", TOTAL_TIMEOUT_DEFAULT, TIMEOUT_RANGE);
        let total = ("lookup.total_timeout", &total_timeout);
        crate::relation::at_least(reader, total, ("lookup.try_timeout", &try_timeout), show_duration);
        Lookup {
            try_timeout: try_timeout.value,
            tries,
            total_timeout: total_timeout.value,
            stale_after: section
                .duration(reader, "stale_after", STALE_AFTER_DEFAULT, STALE_AFTER_RANGE)
                .value,
            cnames_max: section.count(reader, "cnames_max", CNAMES_MAX_DEFAULT, CNAMES_MAX_RANGE).value,
            negative_ttl: section
                .duration(reader, "negative_ttl", NEGATIVE_TTL_DEFAULT, NEGATIVE_TTL_RANGE)
                .value,
            per_second_max: section
                .count(reader, "per_second_max", PER_SECOND_MAX_DEFAULT, PER_SECOND_MAX_RANGE)
                .value,
            in_flight_max: section
                .count(reader, "in_flight_max", IN_FLIGHT_MAX_DEFAULT, IN_FLIGHT_MAX_RANGE)
                .value,
            per_subscriber_minute_max: section
                .count(
                    reader,
                    "per_subscriber_minute_max",
                    PER_SUBSCRIBER_MINUTE_MAX_DEFAULT,
                    PER_SUBSCRIBER_MINUTE_MAX_RANGE,
                )
                .value,
            waiting_max: section.count(reader, "waiting_max", WAITING_MAX_DEFAULT, WAITING_MAX_RANGE).value,
            waiting_per_subscriber_max: section
                .count(
                    reader,
                    "waiting_per_subscriber_max",
                    WAITING_PER_SUBSCRIBER_MAX_DEFAULT,
                    WAITING_PER_SUBSCRIBER_MAX_RANGE,
                )
                .value,
            names_max: section.count(reader, "names_max", NAMES_MAX_DEFAULT, NAMES_MAX_RANGE).value,
            scheduled_per_second_max: section
                .count(
                    reader,
                    "scheduled_per_second_max",
                    SCHEDULED_PER_SECOND_MAX_DEFAULT,
                    SCHEDULED_PER_SECOND_MAX_RANGE,
                )
                .value,
        }
    }
}
