//! `[trusted_answers]`: how long and how many name–address pairs are believed, and those the operator states.

use crate::key::Key;
use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Found, Section};
use crate::value::prefix_of;
use ipnet::{IpNet, Ipv6Net};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// The keys of `[trusted_answers]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("trusted_answers", "retention"),
    Key::defaulted("trusted_answers", "pairs_max"),
    Key::defaulted("trusted_answers", "pairs_per_rule_max"),
    Key::defaulted("trusted_answers", "pairs_per_subscriber_max"),
    Key::defaulted("trusted_answers", "wildcard_names_min"),
    Key::defaulted("trusted_answers", "addresses_per_name_max"),
    Key::defaulted("trusted_answers", "names_per_address_max"),
    Key::defaulted("trusted_answers", "shared_addresses"),
    Key::defaulted("trusted_answers", "dedicated_addresses"),
    Key::defaulted("trusted_answers", "shared_subscribers_min"),
    Key::defaulted("trusted_answers", "shared_domains_min"),
    Key::defaulted("trusted_answers", "dns_only_pairs_max"),
    Key::defaulted("trusted_answers", "dns_only_pairs_per_subscriber_max"),
    Key::defaulted("trusted_answers", "nat64_prefixes"),
    Key::defaulted("trusted_answers", "snapshot_interval"),
];
/// The keys of `[[trusted_answers.static]]`.
pub(crate) const STATIC_KEYS: &[Key] =
    &[Key::required("trusted_answers.static", "name"), Key::required("trusted_answers.static", "addresses")];

/// How long a pair is believed after it was last seen (a key of `config/examples/full.toml`).
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Range of `retention`.
pub const RETENTION_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
/// Most pairs (a key of `config/examples/full.toml`).
pub const PAIRS_MAX_DEFAULT: usize = 1_000_000;
/// Range of `pairs_max`.
pub const PAIRS_MAX_RANGE: RangeInclusive<usize> = 1..=100_000_000;
/// Rules, and subscribers, that together use up `pairs_max` when their shares are left out.
pub const RULES_PER_PAIRS_MAX: usize = 4;
/// The same of subscribers.
pub const SUBSCRIBERS_PER_PAIRS_MAX: usize = 64;
/// Names below one rule that were answered with an address before it is kept once for all of them.
pub const WILDCARD_NAMES_MIN_DEFAULT: usize = 32;
/// Range of `wildcard_names_min`.
pub const WILDCARD_NAMES_MIN_RANGE: RangeInclusive<usize> = 2..=65_536;
/// Most addresses of one name (a key of `config/examples/full.toml`).
pub const ADDRESSES_PER_NAME_MAX_DEFAULT: usize = 512;
/// Range of `addresses_per_name_max`.
pub const ADDRESSES_PER_NAME_MAX_RANGE: RangeInclusive<usize> = 1..=65_536;
/// Entries of the list that have one address; with more it counts as shared (notes on DNS, §4.3).
pub const NAMES_PER_ADDRESS_MAX_DEFAULT: u32 = 256;
/// Range of `names_per_address_max`.
pub const NAMES_PER_ADDRESS_MAX_RANGE: RangeInclusive<u32> = 1..=65_536;
/// Most prefixes that are stated as shared, or as dedicated; they are walked once for each address learnt.
pub const STATED_PREFIXES_MAX: usize = 1_024;
/// Subscribers to whom a domain must have been answered with an address before it is a witness that the address is shared.
pub const SHARED_SUBSCRIBERS_MIN_DEFAULT: usize = 32;
/// Range of `shared_subscribers_min`: one subscriber's questions never change another's bill.
pub const SHARED_SUBSCRIBERS_MIN_RANGE: RangeInclusive<usize> = 2..=1_024;
/// Domains that must be such witnesses.
pub const SHARED_DOMAINS_MIN_DEFAULT: usize = 8;
/// Range of `shared_domains_min`.
pub const SHARED_DOMAINS_MIN_RANGE: RangeInclusive<usize> = 2..=64;
/// Most pairs of all subscribers' own look-ups.
pub const DNS_ONLY_PAIRS_MAX_DEFAULT: usize = 1_000_000;
/// Pairs of one subscriber's own look-ups (notes on DNS, §4.3).
pub const DNS_ONLY_PAIRS_PER_SUBSCRIBER_MAX_DEFAULT: usize = 512;
/// NAT64 prefixes when nothing is said: the well-known one (RFC 6052 §2.1).
pub const NAT64_PREFIXES_DEFAULT: [&str; 1] = ["64:ff9b::/96"];
/// Most NAT64 prefixes; they are walked once per flow.
pub const NAT64_PREFIXES_MAX: usize = 16;
/// Time between two snapshots.
pub const SNAPSHOT_INTERVAL_DEFAULT: Duration = Duration::from_secs(300);
/// Range of `snapshot_interval`.
pub const SNAPSHOT_INTERVAL_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);
/// What NAT64 prefixes look like, for messages.
const NAT64_FORM: &str =
    "an array of IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits, such as [\"64:ff9b::/96\"]";
/// What prefixes of addresses look like, for messages.
const PREFIXES_FORM: &str = "an array of prefixes, such as [\"203.0.113.0/24\", \"2001:db8::/32\"]";
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
    /// Most pairs of names below one rule.
    pub pairs_per_rule_max: usize,
    /// Most pairs of names below rules that one subscriber was the first to have looked up.
    pub pairs_per_subscriber_max: usize,
    /// Names below one rule that were answered with an address before it is kept once for all of them.
    pub wildcard_names_min: usize,
    /// Most addresses of one name.
    pub addresses_per_name_max: usize,
    /// Entries of the list that have one address; with more it counts as shared.
    pub names_per_address_max: u32,
    /// Prefixes of addresses that serve other sites too.
    pub shared_addresses: Vec<IpNet>,
    /// Prefixes of addresses that serve listed sites alone, whatever subscribers are answered.
    pub dedicated_addresses: Vec<IpNet>,
    /// Subscribers to whom a domain must have been answered with an address before it is a witness that it is shared.
    pub shared_subscribers_min: usize,
    /// Domains that must be such witnesses.
    pub shared_domains_min: usize,
    /// Most pairs of all subscribers' own look-ups.
    pub dns_only_pairs_max: usize,
    /// Pairs of one subscriber's own look-ups.
    pub dns_only_pairs_per_subscriber_max: usize,
    /// Prefixes behind which IPv4 stands.
    pub nat64_prefixes: Vec<Ipv6Net>,
    /// Time between two snapshots.
    pub snapshot_interval: Duration,
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
        let share = |of: usize| pairs_max.checked_div(of).unwrap_or(pairs_max).max(1);
        let default = share(RULES_PER_PAIRS_MAX);
        let pairs_per_rule_max = section.count(reader, "pairs_per_rule_max", default, PAIRS_MAX_RANGE).value;
        let default = share(SUBSCRIBERS_PER_PAIRS_MAX);
        let pairs_per_subscriber_max =
            section.count(reader, "pairs_per_subscriber_max", default, PAIRS_MAX_RANGE).value;
        let (default, range) = (WILDCARD_NAMES_MIN_DEFAULT, WILDCARD_NAMES_MIN_RANGE);
        let wildcard_names_min = section.count(reader, "wildcard_names_min", default, range).value;
        let addresses_per_name_max = section
            .count(
                reader,
                "addresses_per_name_max",
                ADDRESSES_PER_NAME_MAX_DEFAULT,
                ADDRESSES_PER_NAME_MAX_RANGE,
            )
            .value;
        let (default, range) = (NAMES_PER_ADDRESS_MAX_DEFAULT, NAMES_PER_ADDRESS_MAX_RANGE);
        let names_per_address_max = section.count(reader, "names_per_address_max", default, range).value;
        let shared_addresses = prefixes(reader, &section, "shared_addresses", &[]);
        let dedicated_addresses = prefixes(reader, &section, "dedicated_addresses", &shared_addresses);
        let (default, range) = (SHARED_SUBSCRIBERS_MIN_DEFAULT, SHARED_SUBSCRIBERS_MIN_RANGE);
        let shared_subscribers_min = section.count(reader, "shared_subscribers_min", default, range).value;
        let (default, range) = (SHARED_DOMAINS_MIN_DEFAULT, SHARED_DOMAINS_MIN_RANGE);
        let shared_domains_min = section.count(reader, "shared_domains_min", default, range).value;
        let dns_only_pairs_max =
            section.count(reader, "dns_only_pairs_max", DNS_ONLY_PAIRS_MAX_DEFAULT, PAIRS_MAX_RANGE).value;
        let dns_only_pairs_per_subscriber_max = section
            .count(
                reader,
                "dns_only_pairs_per_subscriber_max",
                DNS_ONLY_PAIRS_PER_SUBSCRIBER_MAX_DEFAULT,
                ADDRESSES_PER_NAME_MAX_RANGE,
            )
            .value;
        let nat64_prefixes = nat64_prefixes(reader, &section);
        let snapshot_interval = section
            .duration(reader, "snapshot_interval", SNAPSHOT_INTERVAL_DEFAULT, SNAPSHOT_INTERVAL_RANGE)
            .value;
        let mut statics = Vec::new();
        for one in section.below(reader, "static", "trusted_answers.static") {
            statics.extend(read_static(reader, &one, addresses_per_name_max));
        }
        TrustedAnswers {
            retention,
            pairs_max,
            pairs_per_rule_max,
            pairs_per_subscriber_max,
            wildcard_names_min,
            addresses_per_name_max,
            names_per_address_max,
            shared_addresses,
            dedicated_addresses,
            shared_subscribers_min,
            shared_domains_min,
            dns_only_pairs_max,
            dns_only_pairs_per_subscriber_max,
            nat64_prefixes,
            snapshot_interval,
            statics,
        }
    }
}

/// Reads prefixes of addresses, none of which stands in `others`.
fn prefixes(reader: &mut Reader<'_>, section: &Section<'_>, name: &str, others: &[IpNet]) -> Vec<IpNet> {
    let read = section.read_each(reader, name, PREFIXES_FORM, |value| {
        let prefix = prefix_of(value)?;
        if others.contains(&prefix) {
            let found = format!("{prefix}, which stands in shared_addresses too");
            return Err(Mismatch::new(found, "a prefix of addresses that no other site has"));
        }
        Ok(prefix)
    });
    let Some(entries) = read else { return Vec::new() };
    if let Some((_, at)) = entries.get(STATED_PREFIXES_MAX) {
        let fault =
            Mismatch::new(format!("{} prefixes", entries.len()), format!("at most {STATED_PREFIXES_MAX}"));
        reader.wrong(section.key(name), *at, fault);
    }
    entries.into_iter().map(|(prefix, _)| prefix).collect()
}

/// Reads the NAT64 prefixes; an empty array says that there is no NAT64.
fn nat64_prefixes(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Ipv6Net> {
    if section.value("nat64_prefixes").is_none() {
        return NAT64_PREFIXES_DEFAULT.iter().filter_map(|text| text.parse().ok()).collect();
    }
    let read = section.read_each(reader, "nat64_prefixes", NAT64_FORM, |value| {
        let prefix = value.as_str().and_then(|text| text.parse::<Ipv6Net>().ok());
        let prefix = prefix.filter(|prefix| {
            matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) && *prefix == prefix.trunc()
        });
        prefix
            .ok_or_else(|| Mismatch::new(describe(value), "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits"))
    });
    let Some(entries) = read else { return Vec::new() };
    if let Some((_, at)) = entries.get(NAT64_PREFIXES_MAX) {
        let fault =
            Mismatch::new(format!("{} prefixes", entries.len()), format!("at most {NAT64_PREFIXES_MAX}"));
        reader.wrong(section.key("nat64_prefixes"), *at, fault);
    }
    entries.into_iter().map(|(prefix, _)| prefix).collect()
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
        address.ok_or_else(|| Mismatch::new(describe(value), "an address without port in quotes"))
    })?;
    let key = section.key("addresses");
    if value.as_array().is_some_and(|array| array.is_empty()) {
        reader.wrong(&key, at, Mismatch::new("no address", ADDRESSES_FORM));
    }
    if let Some((_, at)) = entries.get(addresses_max) {
        let wanted = format!("at most trusted_answers.addresses_per_name_max ({addresses_max})");
        reader.wrong(&key, *at, Mismatch::new(format!("{} addresses", entries.len()), wanted));
    }
    Some(StaticAnswer { name: name?.0, addresses: entries.into_iter().map(|(address, _)| address).collect() })
}

/// A host name's outward form; what it means is for the owner of host names to judge.
fn name_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let Some(text) = value.as_str() else {
        return Err(Mismatch::new(describe(value), NAME_FORM));
    };
    if text.parse::<IpAddr>().is_ok() {
        return Err(Mismatch::new(format!("the address {}", quoted(text)), NAME_FORM));
    }
    let odd =
        |character: char| character.is_whitespace() || character.is_control() || "/:*@".contains(character);
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.contains(odd) {
        return Err(Mismatch::new(quoted(text), NAME_FORM).remedy("no scheme, port, path or wildcard"));
    }
    Ok(text.to_owned())
}
