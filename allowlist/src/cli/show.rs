//! `allowlist show LIST`.

use std::fmt::{self, Write};

use allowlist::Document;
use allowlist::document::{EntryTarget, RuleEntry, Service};
use allowlist::rule::{Ports, Scope};
use serde::Serialize;

use super::{Answer, Failure, Format, ListArguments, print, problems};

/// Arguments of `allowlist show`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  allowlist show kz-education-2020.toml
  allowlist show --format json list.toml
  allowlist show --canonical draft.toml > list.toml

Exit status: 0 shown, 2 wrong use, 74 the list cannot be read from disk, 78 it is not a list document.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    list: ListArguments,
    /// How the list is printed
    #[arg(long, value_enum, default_value_t = Format::Plain, conflicts_with = "canonical")]
    format: Format,
    /// Write the canonical form, the only one that can be signed
    #[arg(long)]
    canonical: bool,
}

/// Shows a list.
pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let text = arguments.list.read()?;
    let document = Document::parse_within(&text, &arguments.list.limits())
        .map_err(|found| problems(&arguments.list.shown(), &found))?;
    let shown = match arguments.format {
        _ if arguments.canonical => document.to_canonical(),
        Format::Json => super::json(&List::from(&document))?,
        Format::Plain => {
            let mut out = String::new();
            // A String accepts every write.
            let _ = write_plain(&mut out, &document);
            out
        }
    };
    print(&shown)?;
    Ok(Answer::Yes)
}

/// Writes the list in words.
fn write_plain(out: &mut String, document: &Document) -> fmt::Result {
    writeln!(out, "List {}, serial {}", document.list_id(), document.serial())?;
    writeln!(out, "  issued {}", document.issued())?;
    writeln!(out, "  in force from {} until {}", document.effective_from(), document.expires())?;
    write_line(out, "  ", "note", document.note())?;
    for service in document.services() {
        write_service(out, service)?;
    }
    if !document.denies().is_empty() {
        writeln!(out, "\nCharged all the same:")?;
    }
    for deny in document.denies() {
        let host = forms(deny.host());
        match deny.scope() {
            Scope::Subtree => writeln!(out, "  {host} and everything below it")?,
            Scope::Exact | Scope::OneLabel => writeln!(out, "  {host} alone")?,
        }
        write_line(out, "    ", "because", deny.reason())?;
    }
    if !document.not_separable().is_empty() {
        writeln!(out, "\nCannot be told apart, and is charged:")?;
    }
    for entry in document.not_separable() {
        writeln!(out, "  {}", entry.name())?;
        write_line(out, "    ", "because", entry.reason())?;
    }
    Ok(())
}

/// Writes a service with its rules.
fn write_service(out: &mut String, service: &Service) -> fmt::Result {
    writeln!(out, "\n{} ({})", service.name().unwrap_or(service.id()), service.id())?;
    write_line(out, "  ", "owner", service.owner())?;
    write_line(out, "  ", "reference", service.reference())?;
    write_line(out, "  ", "note", service.note())?;
    for rule in service.rules() {
        writeln!(out, "  {}", rule_in_words(rule))?;
        write_line(out, "    ", "because", rule.reason())?;
        write_line(out, "    ", "evidence", rule.evidence().map(|evidence| evidence.label()))?;
        write_line(out, "    ", "note", rule.note())?;
    }
    Ok(())
}

/// Writes a labelled text, its own line ends replaced, if there is one.
fn write_line(out: &mut String, indent: &str, label: &str, text: Option<&str>) -> fmt::Result {
    match text {
        Some(text) => writeln!(out, "{indent}{label}: {}", text.replace('\n', " ")),
        None => Ok(()),
    }
}

/// A rule as one line of words.
fn rule_in_words(rule: &RuleEntry) -> String {
    let mut words = match rule.target() {
        EntryTarget::Host { host, scope, .. } => {
            let host = forms(host);
            match scope {
                Scope::Exact => format!("{host} alone"),
                Scope::OneLabel => format!("every host one label below {host}"),
                Scope::Subtree => format!("{host} and everything below it"),
            }
        }
        EntryTarget::Prefix(prefix) => format!("addresses {prefix}"),
    };
    match rule.ports() {
        Ports::Web => words.push_str(", web (tcp 80, tcp 443, udp 443)"),
        Ports::Stated { transport, ranges } => {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            words.push_str(&format!(", {transport} {}", ranges.join(", ")));
        }
    }
    if let Some(from) = rule.from() {
        words.push_str(&format!(", from {from}"));
    }
    if let Some(to) = rule.to() {
        words.push_str(&format!(", until {to}"));
    }
    if let EntryTarget::Host { dns_only: true, .. } = rule.target() {
        words.push_str(", DNS evidence is enough");
    }
    words
}

/// A host in its readable form, with the ASCII form behind it when they differ.
fn forms(host: &allowlist::DomainName) -> String {
    let unicode = host.to_unicode();
    if unicode == host.as_str() { unicode } else { format!("{unicode} ({host})") }
}

/// The list as JSON; keys as in the document, both forms of hosts.
#[derive(Serialize)]
struct List<'a> {
    list_id: &'a str,
    serial: u64,
    issued: String,
    effective_from: String,
    expires: String,
    previous_sha256: Option<&'a str>,
    note: Option<&'a str>,
    services: Vec<ServiceRow<'a>>,
    deny: Vec<DenyRow<'a>>,
    not_separable: Vec<NotSeparableRow<'a>>,
}

/// A service as JSON.
#[derive(Serialize)]
struct ServiceRow<'a> {
    id: &'a str,
    name: Option<&'a str>,
    owner: Option<&'a str>,
    reference: Option<&'a str>,
    note: Option<&'a str>,
    rules: Vec<RuleRow<'a>>,
}

/// A rule as JSON; keys that do not apply are null.
#[derive(Serialize)]
struct RuleRow<'a> {
    host: Option<&'a str>,
    host_unicode: Option<String>,
    prefix: Option<String>,
    scope: Option<&'a str>,
    protocol: Option<&'a str>,
    ports: Option<Vec<String>>,
    from: Option<String>,
    to: Option<String>,
    reason: Option<&'a str>,
    evidence: Option<&'a str>,
    dns_only: Option<bool>,
    note: Option<&'a str>,
}

/// A deny as JSON.
#[derive(Serialize)]
struct DenyRow<'a> {
    host: &'a str,
    host_unicode: String,
    scope: &'a str,
    reason: Option<&'a str>,
}

/// What cannot be told apart, as JSON.
#[derive(Serialize)]
struct NotSeparableRow<'a> {
    name: &'a str,
    reason: Option<&'a str>,
}

impl<'a> From<&'a Document> for List<'a> {
    fn from(document: &'a Document) -> List<'a> {
        let denies = document.denies().iter().map(|deny| DenyRow {
            host: deny.host().as_str(),
            host_unicode: deny.host().to_unicode(),
            scope: deny.scope().label(),
            reason: deny.reason(),
        });
        let not_separable = document.not_separable().iter();
        List {
            list_id: document.list_id(),
            serial: document.serial(),
            issued: document.issued().to_string(),
            effective_from: document.effective_from().to_string(),
            expires: document.expires().to_string(),
            previous_sha256: document.previous_sha256(),
            note: document.note(),
            services: document.services().iter().map(ServiceRow::from).collect(),
            deny: denies.collect(),
            not_separable: not_separable
                .map(|entry| NotSeparableRow { name: entry.name(), reason: entry.reason() })
                .collect(),
        }
    }
}

impl<'a> From<&'a Service> for ServiceRow<'a> {
    fn from(service: &'a Service) -> ServiceRow<'a> {
        ServiceRow {
            id: service.id(),
            name: service.name(),
            owner: service.owner(),
            reference: service.reference(),
            note: service.note(),
            rules: service.rules().iter().map(RuleRow::from).collect(),
        }
    }
}

impl<'a> From<&'a RuleEntry> for RuleRow<'a> {
    fn from(rule: &'a RuleEntry) -> RuleRow<'a> {
        let (protocol, ports) = match rule.ports() {
            Ports::Web => (None, None),
            Ports::Stated { transport, ranges } => {
                (Some(transport.label()), Some(ranges.iter().map(ToString::to_string).collect()))
            }
        };
        let (host, prefix) = match rule.target() {
            EntryTarget::Host { host, scope, dns_only } => (Some((host, scope, dns_only)), None),
            EntryTarget::Prefix(prefix) => (None, Some(prefix.to_string())),
        };
        RuleRow {
            host: host.map(|(host, _, _)| host.as_str()),
            host_unicode: host.map(|(host, _, _)| host.to_unicode()),
            prefix,
            scope: host.map(|(_, scope, _)| scope.label()),
            protocol,
            ports,
            from: rule.from().map(|from| from.to_string()),
            to: rule.to().map(|to| to.to_string()),
            reason: rule.reason(),
            evidence: rule.evidence().map(|evidence| evidence.label()),
            dns_only: host.map(|(_, _, dns_only)| *dns_only),
            note: rule.note(),
        }
    }
}
