//! Old answers: the keys of section [dns] that begin with `stale`, and `serve_stale`.

use std::time::Duration;

use super::{
    STALE_AFTER_DEFAULT, STALE_ENTRIES_MAX_DEFAULT, STALE_ENTRIES_MAX_RANGE, STALE_MAX_DEFAULT,
    STALE_MAX_RANGE, STALE_TTL_DEFAULT, STALE_TTL_RANGE, Stale, TIMEOUT_RANGE,
};
use crate::reader::Reader;
use crate::section::Section;

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
