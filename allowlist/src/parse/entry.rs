//! The tables of a list document: services, rules, denies, and what cannot be told apart.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use toml::de::DeTable;

use super::field::{Reader, Table, report_type, string};
use super::plain::Recent;
use crate::document::{Dates, Deny, EntryTarget, Moment, NotSeparable, Place, RuleEntry, Service};
use crate::name::{DomainName, NameError};
use crate::problem::quoted;
use crate::rule::{DENY_SERVICE, Evidence, PortRange, Ports, Scope, Transport};

/// Most port ranges of one rule; Zoom, the longest known, needs four.
const PORT_RANGES_MAX: usize = 64;

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// Keys of a service, in canonical order.
const SERVICE_KEYS: &[&str] = &["id", "name", "owner", "reference", "note", "rule"];

/// Keys of a rule, in canonical order.
const RULE_KEYS: &[&str] =
    &["host", "prefix", "scope", "protocol", "ports", "from", "to", "reason", "evidence", "dns_only", "note"];

/// Keys of a deny, in canonical order.
const DENY_KEYS: &[&str] = &["host", "scope", "reason"];

/// Keys of an entry of what cannot be told apart, in canonical order.
const NOT_SEPARABLE_KEYS: &[&str] = &["name", "reason"];

/// Reads `previous_sha256`.
pub(super) fn read_sha256(reader: &mut Reader<'_>, document: &Table<'_, '_>) -> Option<String> {
    const WANTED: &str = "64 lower-case hexadecimal digits, the SHA-256 of the edition before";
    let value = document.get("previous_sha256")?;
    let text = string(reader, value, WANTED)?;
    if text.len() != SHA256_DIGITS || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        reader.report(value.span().start, quoted(text), WANTED.to_owned());
        return None;
    }
    Some(text.to_owned())
}

/// Keeps the ids of services apart.
#[derive(Default)]
pub(super) struct ServiceIds {
    first_places: HashMap<String, Place>,
}

impl ServiceIds {
    /// Reports an id that stands before, at the offset of the later one.
    fn note(&mut self, reader: &mut Reader<'_>, id: &str, offset: usize) {
        if let Some(first) = self.first_places.get(id) {
            let found = format!("service id \"{id}\" again; it stands at line {}", first.line);
            reader.report(offset, found, "an id of its own for each service".to_owned());
        } else {
            self.first_places.insert(id.to_owned(), reader.place(offset));
        }
    }
}

/// Reads every `[[service]]`.
pub(super) fn read_services(reader: &mut Reader<'_>, document: &Table<'_, '_>) -> Vec<Service> {
    let mut services = Vec::new();
    let mut ids = ServiceIds::default();
    let mut recent = Recent::default();
    for (table, offset) in document.tables(reader, "service", "[[service]]") {
        let head = read_service(reader, &mut ids, table, offset);
        let service = Table::of(table, offset, "[[service]]");
        let mut rules = Vec::new();
        for (table, offset) in service.tables(reader, "rule", "[[service.rule]]") {
            if !reader.count_entry(offset) {
                break;
            }
            rules.extend(reader.soundly(|reader| read_rule(reader, table, offset, &mut recent)));
        }
        services.push(Service { rules, ..head });
    }
    services
}

/// Reads one service without its rules. Where its id is missing or wrong, which is reported, its line stands for it.
pub(super) fn read_service(
    reader: &mut Reader<'_>,
    ids: &mut ServiceIds,
    table: &DeTable<'_>,
    offset: usize,
) -> Service {
    let service = &Table::open(reader, table, offset, "[[service]]", SERVICE_KEYS);
    let id = service.required_identifier(reader, "id", "`id`, the service's word on the bill");
    if id.as_deref() == Some(DENY_SERVICE) {
        let wanted = "another id: reports use \"deny\" for deny rules".to_owned();
        reader.report(service.value_offset("id"), "service id \"deny\"".to_owned(), wanted);
    }
    let name = service.text(reader, "name");
    let owner = service.text(reader, "owner");
    let reference = service.text(reader, "reference");
    let note = service.text(reader, "note");
    let place = reader.place(service.offset());
    if let Some(id) = &id {
        ids.note(reader, id, service.value_offset("id"));
    }
    // No id has a blank.
    let id = id.unwrap_or_else(|| format!("line {}", place.line));
    Service { id, name, owner, reference, note, rules: Vec::new(), place }
}

/// Reads one rule.
pub(super) fn read_rule(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    offset: usize,
    recent: &mut Recent,
) -> Option<RuleEntry> {
    let rule = Table::open(reader, table, offset, "[[service.rule]]", RULE_KEYS);
    let target = read_target(reader, &rule);
    let ports = read_ports(reader, &rule);
    let from = rule.moment(reader, "from");
    let to = rule.moment(reader, "to");
    report_empty_window(reader, &rule, from, to);
    let reason = rule.text(reader, "reason").map(|reason| recent.share(0, &reason));
    let evidence = rule.word(reader, "evidence", &[("seen", Evidence::Seen), ("guess", Evidence::Guess)]);
    let note = rule.text(reader, "note").map(|note| recent.share(1, &note));
    let place = reader.place(offset);
    let dates = (from.is_some() || to.is_some()).then(|| Box::new(Dates { from, to }));
    Some(RuleEntry { target: target?, ports: ports?, dates, reason, evidence, note, place })
}

/// Reads what a rule speaks of.
fn read_target(reader: &mut Reader<'_>, rule: &Table<'_, '_>) -> Option<EntryTarget> {
    match (rule.has("host"), rule.has("prefix")) {
        (true, true) => {
            let wanted = "one of them: write two rules".to_owned();
            reader.report(rule.value_offset("prefix"), "`host` and `prefix` in one rule".to_owned(), wanted);
            None
        }
        (false, false) => {
            rule.report_absent(reader, "host", "`host = \"…\"`, or `prefix = \"…\"` with protocol and ports");
            None
        }
        (true, false) => {
            let scopes =
                [("exact", Scope::Exact), ("subtree", Scope::Subtree), ("one-label", Scope::OneLabel)];
            let scope = rule.word(reader, "scope", &scopes).unwrap_or(Scope::Exact);
            let dns_only = rule.boolean(reader, "dns_only").unwrap_or(false);
            Some(EntryTarget::Host { host: read_host(reader, rule)?, scope, dns_only })
        }
        (false, true) => {
            for key in ["scope", "dns_only"] {
                if rule.has(key) {
                    let found = format!("`{key}` in an address rule");
                    reader.report(rule.value_offset(key), found, "it in host rules only".to_owned());
                }
            }
            Some(EntryTarget::Prefix(read_prefix(reader, rule)?))
        }
    }
}

/// Reads the `host` of a rule or deny, which must be there.
fn read_host(reader: &mut Reader<'_>, table: &Table<'_, '_>) -> Option<DomainName> {
    let Some(value) = table.get("host") else {
        table.report_absent(reader, "host", "`host = \"…\"`");
        return None;
    };
    let text = string(reader, value, "`host` as a string")?;
    match DomainName::from_list_entry(text) {
        Ok(name) => Some(name),
        Err(error) => {
            reader.report(
                value.span().start,
                format!("{} ({error})", quoted(text)),
                host_remedy(error).to_owned(),
            );
            None
        }
    }
}

/// What to write instead of a host that is none.
fn host_remedy(error: NameError) -> &'static str {
    match error {
        NameError::IpLiteral => "a host name; an address rule has `prefix`, `protocol` and `ports`",
        NameError::Wildcard => "the host without asterisk, with scope = \"one-label\" or scope = \"subtree\"",
        NameError::PageAddress => {
            "the host alone: scheme, user, port and path cannot be seen in encrypted traffic"
        }
        NameError::Empty
        | NameError::TooLong
        | NameError::EmptyLabel
        | NameError::LabelTooLong
        | NameError::NotAscii
        | NameError::ForbiddenCharacter
        | NameError::HyphenAtEdge
        | NameError::NumericLastLabel
        | NameError::NotIdna => "a host name, such as \"bilimland.kz\" or \"білім.қаз\"",
    }
}

/// Reads `prefix`.
fn read_prefix(reader: &mut Reader<'_>, rule: &Table<'_, '_>) -> Option<IpNet> {
    let value = rule.get("prefix")?;
    let offset = value.span().start;
    let text = string(reader, value, "`prefix` as a string")?;
    let Ok(prefix) = IpNet::from_str(text) else {
        let wanted = match IpAddr::from_str(text) {
            Ok(IpAddr::V4(address)) => format!("a prefix: \"{address}/32\" is this one address"),
            Ok(IpAddr::V6(address)) => format!("a prefix: \"{address}/128\" is this one address"),
            Err(_) => "an address prefix, such as \"203.0.113.0/24\" or \"2001:db8::/48\"".to_owned(),
        };
        reader.report(offset, quoted(text), wanted);
        return None;
    };
    if prefix.trunc() != prefix {
        let found = format!("{} with address bits after the prefix", quoted(text));
        reader.report(offset, found, format!("\"{}\"", prefix.trunc()));
        return None;
    }
    if let IpNet::V6(prefix) = prefix
        && is_mapped(prefix)
    {
        let wanted = "the IPv4 prefix: flows to mapped addresses are judged as IPv4".to_owned();
        reader.report(offset, format!("the IPv4-mapped prefix {}", quoted(text)), wanted);
        return None;
    }
    Some(prefix)
}

/// Whether a prefix lies within, or is, the IPv4-mapped addresses (RFC 4291 §2.5.5.2).
fn is_mapped(prefix: Ipv6Net) -> bool {
    const MAPPED_LENGTH: u8 = 96;
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
    Ipv6Net::new(mapped, MAPPED_LENGTH).is_ok_and(|mapped| mapped.contains(&prefix))
}

/// Reads `protocol` and `ports`: both for an address rule, both or neither for a host rule.
fn read_ports(reader: &mut Reader<'_>, rule: &Table<'_, '_>) -> Option<Ports> {
    let stated = match (rule.has("protocol"), rule.has("ports")) {
        (false, false) if !rule.has("prefix") => return Some(Ports::Web),
        (protocol, ports) => protocol && ports,
    };
    if !stated {
        let absent = if rule.has("protocol") { "ports" } else { "protocol" };
        let wanted = if rule.has("prefix") {
            "both `protocol` and `ports` in an address rule"
        } else {
            "both `protocol` and `ports`, or neither, which means tcp 80, tcp 443 and udp 443"
        };
        rule.report_absent(reader, absent, wanted);
    }
    let transport = rule.word(reader, "protocol", &[("tcp", Transport::Tcp), ("udp", Transport::Udp)]);
    let ranges = read_ranges(reader, rule);
    Some(Ports::Stated { transport: transport?, ranges: ranges? })
}

/// Reads the array `ports`.
fn read_ranges(reader: &mut Reader<'_>, rule: &Table<'_, '_>) -> Option<Box<[PortRange]>> {
    const WANTED: &str = "port ranges as strings, such as [\"443\", \"8801-8810\"]";
    let value = rule.get("ports")?;
    let Some(items) = value.get_ref().as_array() else {
        report_type(reader, value, WANTED);
        return None;
    };
    if items.is_empty() || items.len() > PORT_RANGES_MAX {
        let found = format!("{} port ranges", items.len());
        reader.report(value.span().start, found, format!("1 to {PORT_RANGES_MAX} port ranges"));
        return None;
    }
    let mut ranges = Vec::with_capacity(items.len());
    for item in items.iter() {
        let Some(text) = string(reader, item, WANTED) else { continue };
        match PortRange::from_str(text) {
            Ok(range) => ranges.push(range),
            Err(_) => {
                let wanted = "\"N\" or \"A-B\" with 1 ≤ A ≤ B ≤ 65535".to_owned();
                reader.report(item.span().start, quoted(text), wanted);
            }
        }
    }
    (ranges.len() == items.len()).then(|| ranges.into())
}

/// Reports a rule that ends before it begins.
fn report_empty_window(
    reader: &mut Reader<'_>,
    rule: &Table<'_, '_>,
    from: Option<Moment>,
    to: Option<Moment>,
) {
    if let (Some(from), Some(to)) = (from, to)
        && from.instant() >= to.instant()
    {
        let found = format!("to {to}, not after from {from}");
        reader.report(rule.value_offset("to"), found, "`to` later than `from`".to_owned());
    }
}

/// Reads every `[[deny]]`.
pub(super) fn read_denies(reader: &mut Reader<'_>, document: &Table<'_, '_>) -> Vec<Deny> {
    let mut denies = Vec::new();
    for (table, offset) in document.tables(reader, "deny", "[[deny]]") {
        if !reader.count_entry(offset) {
            break;
        }
        denies.extend(reader.soundly(|reader| read_deny(reader, table, offset)));
    }
    denies
}

/// Reads one deny.
pub(super) fn read_deny(reader: &mut Reader<'_>, table: &DeTable<'_>, offset: usize) -> Option<Deny> {
    let deny = Table::open(reader, table, offset, "[[deny]]", DENY_KEYS);
    let host = read_host(reader, &deny);
    let scopes = [("exact", Scope::Exact), ("subtree", Scope::Subtree)];
    let scope = deny.word(reader, "scope", &scopes).unwrap_or(Scope::Subtree);
    let reason = deny.text(reader, "reason");
    let place = reader.place(offset);
    host.map(|host| Deny { host, scope, reason, place })
}

/// Reads every `[[not_separable]]`.
pub(super) fn read_not_separable(reader: &mut Reader<'_>, document: &Table<'_, '_>) -> Vec<NotSeparable> {
    let tables = document.tables(reader, "not_separable", "[[not_separable]]");
    tables.into_iter().filter_map(|(table, offset)| read_not_separable_entry(reader, table, offset)).collect()
}

/// Reads one entry of what cannot be told apart.
pub(super) fn read_not_separable_entry(
    reader: &mut Reader<'_>,
    table: &DeTable<'_>,
    offset: usize,
) -> Option<NotSeparable> {
    let entry = Table::open(reader, table, offset, "[[not_separable]]", NOT_SEPARABLE_KEYS);
    let name = entry.required_text(reader, "name", "`name`, what was asked for");
    let reason = entry.text(reader, "reason");
    let place = reader.place(offset);
    name.map(|name| NotSeparable { name, reason, place })
}
