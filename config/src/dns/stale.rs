//! Old answers: the keys of section [dns] that begin with `stale`, and `serve_stale`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::TIMEOUT_RANGE;
use crate::reader::Reader;
use crate::section::Section;

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

/// Reads the keys of old answers; `None` when they are not to be given.
pub(super) fn read_stale<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    total: Duration,
) -> Option<Stale> {
    let wanted = section.boolean(reader, "serve_stale", true).value;
    let after = section.duration(reader, "stale_after", STALE_AFTER_DEFAULT, TIMEOUT_RANGE);
    let ttl = section.duration(reader, "stale_ttl", STALE_TTL_DEFAULT, STALE_TTL_RANGE).value;
    let age_max = section.duration(reader, "stale_max", STALE_MAX_DEFAULT, STALE_MAX_RANGE).value;
    let entries_max =
        section.count(reader, "stale_entries_max", STALE_ENTRIES_MAX_DEFAULT, STALE_ENTRIES_MAX_RANGE).value;
    let stale = Stale { after: after.value.min(total), ttl, age_max, entries_max };
    wanted.then_some(stale)
}
