//! `[allowance]`: how much of one subscriber's traffic may be exempt in a day or a month; what comes after is charged.

use crate::key::Key;
use crate::node::is_id;
use crate::quantity::{SIZE_FORM, show_size, size};
use crate::rating_group::SERVICE_ID_CHARS_MAX;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Found, Section, Stated};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// The keys of `[allowance]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("allowance", "zone"),
    Key::optional("allowance", "daily"),
    Key::optional("allowance", "monthly"),
    Key::optional("allowance", "shared_address_daily"),
    Key::optional("allowance", "shared_address_monthly"),
    Key::defaulted("allowance", "counters_max"),
];
/// The keys of `[[allowance.group]]`.
pub(crate) const GROUP_KEYS: &[Key] = &[
    Key::required("allowance.group", "id"),
    Key::required("allowance.group", "services"),
    Key::optional("allowance.group", "daily"),
    Key::optional("allowance.group", "monthly"),
];

/// Range of an allowance in bytes: none at all up to a pebibyte.
pub const BYTES_RANGE: RangeInclusive<u64> = 0..=1 << 50;
/// Most groups.
pub const GROUPS_MAX: usize = 1_000;
/// Longest id of a group.
pub const GROUP_ID_CHARS_MAX: usize = 40;
/// Longest name of a time zone.
pub const ZONE_CHARS_MAX: usize = 64;
/// Most counters at once: one for each subscriber, allowance and span of time, some 250 bytes each.
pub const COUNTERS_MAX_DEFAULT: usize = 1_000_000;
/// Range of `counters_max`.
pub const COUNTERS_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// What a time zone looks like, for messages.
const ZONE_FORM: &str = "a time zone of the IANA database in quotes, such as \"Asia/Almaty\" or \"UTC\"";
/// What services look like, for messages.
const SERVICES_FORM: &str = "an array of service ids";
/// What the id of a group looks like, for messages.
const ID_FORM: &str = "1 to 40 of a-z, 0-9 and -";

/// `[allowance]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Time zone whose midnight begins a day, as written; whoever has the database reports its faults at
    /// `Config::place("allowance.zone")`.
    pub zone: String,
    /// Of all services together.
    pub overall: Spans,
    /// Of bytes at addresses that are known to serve other sites too.
    pub shared_addresses: Spans,
    /// Of some services together.
    pub groups: Vec<Group>,
    /// Most counters at once; who has none then is charged as `overload`.
    pub counters_max: usize,
}

/// What may be exempt in each span of time, in bytes of both directions; none: without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// From midnight to midnight.
    pub daily: Option<u64>,
    /// From the first of a month to the first of the next.
    pub monthly: Option<u64>,
}

/// `[[allowance.group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// By which the ledger knows it.
    pub id: String,
    /// Its services, which share it.
    pub services: Vec<String>,
    /// How much.
    pub spans: Spans,
}

impl Allowance {
    /// Reads `[allowance]`; none when there is no such section, or its zone is missing or wrong (noted).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Allowance> {
        let section = reader.section("allowance");
        if !section.stands() {
            return None;
        }
        let found = section.read(reader, "zone", zone_of);
        let zone = section.required(reader, "zone", found, ZONE_FORM);
        let overall = spans(reader, &section, "daily", "monthly");
        let shared_addresses = spans(reader, &section, "shared_address_daily", "shared_address_monthly");
        let counters_max =
            section.count(reader, "counters_max", COUNTERS_MAX_DEFAULT, COUNTERS_MAX_RANGE).value;
        let sections = section.below(reader, "group", "allowance.group");
        if let Some(over) = sections.get(GROUPS_MAX) {
            let fault = Mismatch::new(format!("{} groups", sections.len()), format!("at most {GROUPS_MAX}"));
            reader.wrong("allowance.group", over.at, fault);
        }
        let mut taken = Taken::default();
        let groups = sections.iter().filter_map(|section| read_group(reader, section, &mut taken)).collect();
        let (zone, _) = zone?;
        Some(Allowance { zone, overall, shared_addresses, groups, counters_max })
    }
}

/// What earlier groups have taken, with its place.
#[derive(Default)]
struct Taken {
    ids: HashMap<String, String>,
    services: HashMap<String, String>,
}

/// Reads one group and compares it with the earlier ones.
fn read_group<'t>(reader: &mut Reader<'t>, section: &Section<'t>, taken: &mut Taken) -> Option<Group> {
    let found = section.read(reader, "id", |value| id_of(value, GROUP_ID_CHARS_MAX, ID_FORM));
    let id = section.required(reader, "id", found, ID_FORM);
    if let Some((id, at)) = &id
        && let Some(first) = taken.ids.insert(id.clone(), section.key("id"))
    {
        let fault = Mismatch::new(format!("\"{id}\", which {first} already has"), "an id of its own");
        reader.wrong(section.key("id"), *at, fault);
    }
    let spans = spans(reader, section, "daily", "monthly");
    if section.value("daily").is_none() && section.value("monthly").is_none() {
        let fault = Mismatch::new("neither daily nor monthly", "at least one of them");
        reader.missing(section.key("daily"), section.at, fault);
    }
    let Some((value, at)) = section.value("services") else {
        section.required::<()>(reader, "services", Found::Absent, SERVICES_FORM);
        return None;
    };
    let key = section.key("services");
    if value.as_array().is_some_and(|array| array.is_empty()) {
        reader.wrong(&key, at, Mismatch::new("no service", SERVICES_FORM));
    }
    let entries = section.read_each(reader, "services", SERVICES_FORM, |value| {
        id_of(value, SERVICE_ID_CHARS_MAX, "a service id (1 to 40 of a-z, 0-9 and -)")
    })?;
    for (index, (service, at)) in entries.iter().enumerate() {
        let here = format!("{key}[{index}]");
        if let Some(first) = taken.services.get(service) {
            let fault = Mismatch::new(
                format!("\"{service}\", which {first} already has"),
                "each service in one group",
            );
            reader.wrong(&here, *at, fault);
        } else {
            taken.services.insert(service.clone(), here);
        }
    }
    Some(Group { id: id?.0, services: entries.into_iter().map(|(service, _)| service).collect(), spans })
}

/// Reads a day's and a month's allowance; a day's that is above the month's is never reached.
fn spans<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    daily: &'static str,
    monthly: &'static str,
) -> Spans {
    let day = bytes(reader, section, daily);
    let month = bytes(reader, section, monthly);
    if let (Some(a_day), Some(a_month), true) = (day.value, month.value, day.sound && month.sound)
        && a_day > a_month
    {
        let wanted = format!("at most {} ({})", section.key(monthly), show_size(a_month));
        reader.wrong(section.key(daily), day.at, Mismatch::new(show_size(a_day), wanted));
    }
    Spans { daily: day.value, monthly: month.value }
}

/// Reads one amount.
fn bytes<'t>(reader: &mut Reader<'t>, section: &Section<'t>, name: &str) -> Stated<Option<u64>> {
    let found = section.read(reader, name, |value| {
        let bytes = value.as_str().and_then(size).ok_or_else(|| Mismatch::new(describe(value), SIZE_FORM))?;
        if BYTES_RANGE.contains(&bytes) {
            return Ok(Some(bytes));
        }
        let wanted = format!("from {} to {}", show_size(*BYTES_RANGE.start()), show_size(*BYTES_RANGE.end()));
        Err(Mismatch::new(show_size(bytes), wanted))
    });
    section.defaulted(found, None)
}

/// An id in quotes.
fn id_of(value: &DeValue<'_>, chars_max: usize, form: &str) -> Result<String, Mismatch> {
    match value.as_str() {
        Some(text) if is_id(text, chars_max) => Ok(text.to_owned()),
        _ => Err(Mismatch::new(describe(value), form)),
    }
}

/// The outward form of a zone's name.
pub(crate) fn zone_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let fits = |text: &&str| {
        (1..=ZONE_CHARS_MAX).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.chars().all(|one| one.is_ascii_alphanumeric() || "/_+-".contains(one))
    };
    match value.as_str().filter(fits) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Mismatch::new(describe(value), ZONE_FORM)),
    }
}
