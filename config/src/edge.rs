//! `[edge]`: what is told to the kernel so that flows reach transparent listeners, and how it falls through without us.

mod kernel;

pub use self::kernel::KernelPath;

use crate::key::Key;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::Section;
use crate::value::count_of;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// The keys of `[edge]`.
pub(crate) const KEYS: &[Key] = &[
    Key::defaulted("edge", "table"),
    Key::defaulted("edge", "intercept"),
    Key::defaulted("edge", "interfaces"),
    Key::defaulted("edge", "source_validation"),
    Key::defaulted("edge", "tcp_ports"),
    Key::defaulted("edge", "udp_ports"),
    Key::defaulted("edge", "divert_mark"),
    Key::defaulted("edge", "upstream_mark"),
    Key::defaulted("edge", "route_table"),
    Key::defaulted("edge", "rule_priority"),
    Key::defaulted("edge", "alive_timeout"),
    Key::defaulted("edge", "candidates_max"),
    Key::defaulted("edge", "silent_timeout"),
    Key::defaulted("edge", "silent_max"),
    Key::defaulted("edge", "silent_per_subscriber_max"),
    Key::defaulted("edge", "pin_dir"),
    Key::defaulted("edge", "slots_max"),
    Key::defaulted("edge", "slots_per_subscriber_max"),
    Key::defaulted("edge", "ring_max"),
    Key::defaulted("edge", "marks_timeout"),
    Key::defaulted("edge", "connection_timeout"),
];

/// Name of the nft table.
pub const TABLE_DEFAULT: &str = "zrgw";
/// Longest name of an nft table that we write.
pub const TABLE_CHARS_MAX: usize = 32;
/// Most interfaces and patterns; they become one set, which is looked up once for each packet.
pub const INTERFACES_MAX: usize = 4_096;
/// Longest name of an interface (IFNAMSIZ − 1).
pub const INTERFACE_CHARS_MAX: usize = 15;
/// Ports whose flows are taken: HTTP and HTTPS.
pub const PORTS_DEFAULT: [u16; 2] = [80, 443];
/// Most ports of one transport.
pub const PORTS_MAX: usize = 64;
/// Mark of packets that are led to our sockets.
pub const DIVERT_MARK_DEFAULT: u32 = 0x7a01;
/// Mark of what we send ourselves, which is never taken again.
pub const UPSTREAM_MARK_DEFAULT: u32 = 0x7a02;
/// Range of marks; 0 is no mark.
pub const MARK_RANGE: RangeInclusive<u32> = 1..=u32::MAX;
/// Number of the routing table that leads to our sockets.
pub const ROUTE_TABLE_DEFAULT: u32 = 31_233;
/// Range of `route_table`: 253 to 255 belong to the kernel, 0 is none.
pub const ROUTE_TABLE_RANGE: RangeInclusive<u32> = 256..=u32::MAX;
/// Priority of the routing rule: before the main table's 32766.
pub const RULE_PRIORITY_DEFAULT: u32 = 10_233;
/// Range of `rule_priority`.
pub const RULE_PRIORITY_RANGE: RangeInclusive<u32> = 1..=32_765;
/// How long the kernel sends flows to a gateway that says nothing (decision 24).
pub const ALIVE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// Range of `alive_timeout`.
pub const ALIVE_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// Most addresses in the sets of candidates.
pub const CANDIDATES_MAX_DEFAULT: usize = 200_000;
/// Range of `candidates_max`.
pub const CANDIDATES_MAX_RANGE: RangeInclusive<usize> = 1..=10_000_000;
/// How long flows pass by whose destination did not answer: what passes by is charged.
pub const SILENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// Range of `silent_timeout`.
pub const SILENT_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(3_600);
/// Most pairs of source and destination that do so, about 200 bytes each in the kernel and in the process.
pub const SILENT_MAX_DEFAULT: usize = 16_384;
/// Range of `silent_max`.
pub const SILENT_MAX_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Those of one subscriber: a page of many dead hosts.
pub const SILENT_PER_SUBSCRIBER_MAX_DEFAULT: usize = 64;
/// Range of `silent_per_subscriber_max`.
pub const SILENT_PER_SUBSCRIBER_MAX_RANGE: RangeInclusive<usize> = 1..=65_536;
/// What is taken, as written.
const INTERCEPTS: [(&str, Intercept); 2] = [("all", Intercept::All), ("candidates", Intercept::Candidates)];

/// `[edge]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Name of the nft table; nothing outside it is touched.
    pub table: String,
    /// Which flows are taken.
    pub intercept: Intercept,
    /// Interfaces on the subscribers' side, and patterns for them that end in `*`; none: all.
    pub interfaces: Vec<String>,
    /// Only flows whose source is routed back through the interface they come by are taken. Where interfaces are named it
    /// is so unless stated otherwise: without them nobody knows which side is the subscribers'.
    pub source_validation: bool,
    /// TCP ports whose flows are taken.
    pub tcp_ports: Vec<u16>,
    /// UDP ports whose flows are taken.
    pub udp_ports: Vec<u16>,
    /// Mark of packets that are led to our sockets.
    pub divert_mark: u32,
    /// Mark of what we send ourselves.
    pub upstream_mark: u32,
    /// Number of the routing table that leads to our sockets.
    pub route_table: u32,
    /// Priority of the routing rule.
    pub rule_priority: u32,
    /// How long the kernel sends flows to a gateway that says nothing.
    pub alive_timeout: Duration,
    /// Most addresses in the sets of candidates, and most prefixes.
    pub candidates_max: usize,
    /// How long flows pass by whose destination did not answer.
    pub silent_timeout: Duration,
    /// Most pairs of source and destination that do so.
    pub silent_max: usize,
    /// Most of one subscriber's.
    pub silent_per_subscriber_max: usize,
    /// What the kernel holds of interception "kernel".
    pub kernel: KernelPath,
}

/// Which flows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intercept {
    /// All on the ports of interest.
    All,
    /// Those to addresses that trusted answers and address rules name; the rest never leaves the kernel's path.
    Candidates,
}

impl Edge {
    /// Reads `[edge]`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Edge {
        let section = reader.section("edge");
        let found =
            section.read(reader, "table", |value| name_of(value, TABLE_CHARS_MAX, "a table's name", ""));
        let table = section.defaulted(found, TABLE_DEFAULT.to_owned()).value;
        let intercept = section.word(reader, "intercept", &INTERCEPTS, Intercept::All).value;
        let interfaces = interfaces(reader, &section, "interfaces");
        let validation = section.boolean(reader, "source_validation", !interfaces.is_empty());
        if validation.value && interfaces.is_empty() {
            let fault =
                Mismatch::new("true without edge.interfaces", "the interfaces on the subscribers' side");
            let remedy = "name them in edge.interfaces, or remove this key";
            reader.wrong("edge.source_validation", validation.at, fault.remedy(remedy));
        }
        let mut ports = |name: &str| {
            let read = section.read_each(reader, name, "an array of ports, such as [80, 443]", |value| {
                count_of(value, &(1..=u16::MAX))
            });
            let Some(read) = read else { return PORTS_DEFAULT.to_vec() };
            if let Some((port, at)) = read.get(PORTS_MAX) {
                let fault =
                    Mismatch::new(format!("more ports from {port} on"), format!("at most {PORTS_MAX}"));
                reader.wrong(section.key(name), *at, fault);
            }
            read.into_iter().map(|(port, _)| port).collect()
        };
        let (tcp_ports, udp_ports) = (ports("tcp_ports"), ports("udp_ports"));
        let divert_mark = section.count(reader, "divert_mark", DIVERT_MARK_DEFAULT, MARK_RANGE);
        let upstream_mark = section.count(reader, "upstream_mark", UPSTREAM_MARK_DEFAULT, MARK_RANGE);
        if divert_mark.sound && upstream_mark.sound && divert_mark.value == upstream_mark.value {
            let fault =
                Mismatch::new(format!("{}, which is edge.divert_mark", upstream_mark.value), "another mark");
            let remedy = "with one mark for both what the gateway sends would be led back to it";
            reader.wrong("edge.upstream_mark", upstream_mark.at, fault.remedy(remedy));
        }
        let kernel = KernelPath::read(reader, &section);
        Edge {
            table,
            intercept,
            source_validation: validation.value,
            interfaces,
            tcp_ports,
            udp_ports,
            divert_mark: divert_mark.value,
            upstream_mark: upstream_mark.value,
            route_table: section.count(reader, "route_table", ROUTE_TABLE_DEFAULT, ROUTE_TABLE_RANGE).value,
            rule_priority: section
                .count(reader, "rule_priority", RULE_PRIORITY_DEFAULT, RULE_PRIORITY_RANGE)
                .value,
            alive_timeout: section
                .duration(reader, "alive_timeout", ALIVE_TIMEOUT_DEFAULT, ALIVE_TIMEOUT_RANGE)
                .value,
            candidates_max: section
                .count(reader, "candidates_max", CANDIDATES_MAX_DEFAULT, CANDIDATES_MAX_RANGE)
                .value,
            silent_timeout: section
                .duration(reader, "silent_timeout", SILENT_TIMEOUT_DEFAULT, SILENT_TIMEOUT_RANGE)
                .value,
            silent_max: section.count(reader, "silent_max", SILENT_MAX_DEFAULT, SILENT_MAX_RANGE).value,
            silent_per_subscriber_max: section
                .count(
                    reader,
                    "silent_per_subscriber_max",
                    SILENT_PER_SUBSCRIBER_MAX_DEFAULT,
                    SILENT_PER_SUBSCRIBER_MAX_RANGE,
                )
                .value,
            kernel,
        }
    }
}

/// A name that stands in nft and ip commands as it is: letters, digits, `_`, `-`, `.` and not first a digit or `-`. It may end
/// Names of interfaces and patterns of them.
pub(crate) fn interfaces(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Vec<String> {
    let wanted = "an array of interface names, such as [\"eth1\", \"ppp*\"]";
    let name = |value: &DeValue<'_>| name_of(value, INTERFACE_CHARS_MAX, "an interface's name", "*");
    let read = section.read_each(reader, key, wanted, name).unwrap_or_default();
    if let Some((name, at)) = read.get(INTERFACES_MAX) {
        let fault =
            Mismatch::new(format!("more interfaces from {name} on"), format!("at most {INTERFACES_MAX}"));
        reader.wrong(section.key(key), *at, fault);
    }
    read.into_iter().map(|(name, _)| name).collect()
}

/// in `tail`, which makes it a pattern.
fn name_of(value: &DeValue<'_>, chars_max: usize, what: &str, tail: &str) -> Result<String, Mismatch> {
    let sound = |text: &str| {
        let name = text.strip_suffix(tail).unwrap_or(text);
        let begins = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let inner =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        begins && inner && text.len() <= chars_max
    };
    match value.as_str() {
        Some(text) if sound(text) => Ok(text.to_owned()),
        _ => {
            let pattern = if tail.is_empty() { "" } else { "; * at its end stands for any rest" };
            let wanted = format!("{what} (1 to {chars_max} of letters, digits, _, - and .{pattern})");
            Err(Mismatch::new(describe(value), wanted))
        }
    }
}
