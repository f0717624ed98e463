//! `[trusted_answers]`: how long and how many name–address pairs are believed, and those the operator states.

use crate::key::Key;
use crate::problem::quoted;
use crate::reader::{Fault, Reader, describe};
use crate::section::{Found, Section};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// The keys of `[trusted_answers]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("trusted_answers", "retention"),
    Key::defaulted("trusted_answers", "pairs_max"),
    Key::defaulted("trusted_answers", "addresses_per_name_max"),
];
/// The keys of `[[trusted_answers.static]]`.
pub(crate) const STATIC_KEYS: &[Key] =
    &[Key::required("trusted_answers.static", "name"), Key::required("trusted_answers.static", "addresses")];

/// How long a pair is believed after it was last seen (DESIGN §7).
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Range of `retention`.
pub const RETENTION_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
/// Most pairs (DESIGN §7).
pub const PAIRS_MAX_DEFAULT: usize = 1_000_000;
/// Range of `pairs_max`.
pub const PAIRS_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// Most addresses of one name (DESIGN §7).
pub const ADDRESSES_PER_NAME_MAX_DEFAULT: usize = 512;
/// Range of `addresses_per_name_max`.
pub const ADDRESSES_PER_NAME_MAX_RANGE: RangeInclusive<usize> = 1..=65_536;
/// Longest host name in its text form (RFC 1035 §2.3.4 less length octets).
const NAME_CHARS_MAX: usize = 253;
/// What a name looks like, for messages.
const NAME_FORM: &str = "a host name in quotes, such as \"www.example.kz\"";
/// What addresses look like, for messages.
const ADDRESSES_FORM: &str = "an array of addresses without port, such as [\"203.0.113.7\"]";

/// `[trusted_answers]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedAnswers {
    /// How long a pair is believed after it was last seen.
    pub retention: Duration,
    /// Most pairs.
    pub pairs_max: usize,
    /// Most addresses of one name.
    pub addresses_per_name_max: usize,
    /// Pairs the operator states; they do not expire.
    pub statics: Vec<StaticAnswer>,
}

/// `[[trusted_answers.static]]`: addresses the operator vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticAnswer {
    /// The name as written: no IP address, no white space, at most 253 characters; not yet normalised. Whoever makes
    /// a host name of it reports its faults at `Config::place("trusted_answers.static[0].name")`.
    pub name: String,
    /// Its addresses; IPv4-mapped ones are IPv4.
    pub addresses: Vec<IpAddr>,
}

impl TrustedAnswers {
    /// Reads `[trusted_answers]` and its static pairs.
    pub(crate) fn read(reader: &mut Reader<'_>) -> TrustedAnswers {
        let section = reader.section("trusted_answers");
        let retention = section.duration(reader, "retention", RETENTION_DEFAULT, RETENTION_RANGE).value;
        let pairs_max = section.count(reader, "pairs_max", PAIRS_MAX_DEFAULT, PAIRS_MAX_RANGE).value;
        let addresses_per_name_max = section
            .count(
                reader,
                "addresses_per_name_max",
                ADDRESSES_PER_NAME_MAX_DEFAULT,
                ADDRESSES_PER_NAME_MAX_RANGE,
            )
            .value;
        let mut statics = Vec::new();
        for one in section.below(reader, "static", "trusted_answers.static") {
            statics.extend(read_static(reader, &one, addresses_per_name_max));
        }
        TrustedAnswers { retention, pairs_max, addresses_per_name_max, statics }
    }
}

/// Reads one static answer.
fn read_static(reader: &mut Reader<'_>, section: &Section<'_>, addresses_max: usize) -> Option<StaticAnswer> {
    let found = section.read(reader, "name", name_of);
    let name = section.required(reader, "name", found, NAME_FORM);
    let Some((value, at)) = section.value("addresses") else {
        section.required::<()>(reader, "addresses", Found::Absent, ADDRESSES_FORM);
        return None;
    };
    let entries = section.read_each(reader, "addresses", ADDRESSES_FORM, |value| {
        let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let address = address.map(|address| address.to_canonical());
        address.ok_or_else(|| Fault::new(describe(value), "an address without port in quotes"))
    })?;
    let key = section.key("addresses");
    if value.as_array().is_some_and(|array| array.is_empty()) {
        reader.wrong(&key, at, Fault::new("no address", ADDRESSES_FORM));
    }
    if let Some((_, at)) = entries.get(addresses_max) {
        let wanted = format!("at most trusted_answers.addresses_per_name_max ({addresses_max})");
        reader.wrong(&key, *at, Fault::new(format!("{} addresses", entries.len()), wanted));
    }
    Some(StaticAnswer { name: name?.0, addresses: entries.into_iter().map(|(address, _)| address).collect() })
}

/// A host name's outward form; what it means is for the owner of host names to judge.
fn name_of(value: &DeValue<'_>) -> Result<String, Fault> {
    let Some(text) = value.as_str() else {
        return Err(Fault::new(describe(value), NAME_FORM));
    };
    if text.parse::<IpAddr>().is_ok() {
        return Err(Fault::new(format!("the address {}", quoted(text)), NAME_FORM));
    }
    let odd =
        |character: char| character.is_whitespace() || character.is_control() || "/:*@".contains(character);
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.contains(odd) {
        return Err(Fault::new(quoted(text), NAME_FORM).remedy("no scheme, port, path or wildcard"));
    }
    Ok(text.to_owned())
}
