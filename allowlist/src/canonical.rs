//! The one canonical form of a list document: fixed key order, one space around `=`, one blank line between tables,
//! basic strings, defaults written where they decide what is exempt.
//!
//! Signatures cover these bytes, so the form may never change for a given content: the golden tests hold it.

use std::fmt::{self, Write};

use crate::document::{Deny, Document, EntryTarget, FORMAT, NotSeparable, RuleEntry, Service};
use crate::rule::{Ports, Scope};

impl Document {
    /// Writes the document in canonical form: TOML, UTF-8, lines ended by LF. Parsing it gives an equal document.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut out = String::new();
        // A String accepts every write; there is no error to report.
        let _ = write_document(&mut out, self);
        out
    }
}

/// Writes the whole document.
fn write_document(out: &mut String, document: &Document) -> fmt::Result {
    writeln!(out, "format = {FORMAT}")?;
    write_text(out, "list_id", &document.list_id)?;
    writeln!(out, "serial = {}", document.serial)?;
    writeln!(out, "issued = {}", document.issued)?;
    writeln!(out, "effective_from = {}", document.effective_from)?;
    writeln!(out, "expires = {}", document.expires)?;
    write_optional(out, "previous_sha256", document.previous_sha256.as_deref())?;
    write_optional(out, "note", document.note.as_deref())?;
    document.services.iter().try_for_each(|service| write_service(out, service))?;
    document.denies.iter().try_for_each(|deny| write_deny(out, deny))?;
    document.not_separable.iter().try_for_each(|entry| write_not_separable(out, entry))
}

/// Writes a service with its rules.
fn write_service(out: &mut String, service: &Service) -> fmt::Result {
    out.write_str("\n[[service]]\n")?;
    write_text(out, "id", &service.id)?;
    write_optional(out, "name", service.name.as_deref())?;
    write_optional(out, "owner", service.owner.as_deref())?;
    write_optional(out, "reference", service.reference.as_deref())?;
    write_optional(out, "note", service.note.as_deref())?;
    service.rules.iter().try_for_each(|rule| write_rule(out, rule))
}

/// Writes a rule.
fn write_rule(out: &mut String, rule: &RuleEntry) -> fmt::Result {
    out.write_str("\n[[service.rule]]\n")?;
    match &rule.target {
        EntryTarget::Host { host, scope, .. } => {
            write_text(out, "host", host.as_str())?;
            write_text(out, "scope", scope.label())?;
        }
        EntryTarget::Prefix(prefix) => write_text(out, "prefix", &prefix.to_string())?,
    }
    match &rule.ports {
        Ports::Web => {}
        Ports::Stated { transport, ranges } => {
            write_text(out, "protocol", transport.label())?;
            let ranges: Vec<String> = ranges.iter().map(|range| format!("\"{range}\"")).collect();
            writeln!(out, "ports = [{}]", ranges.join(", "))?;
        }
    }
    if let Some(from) = rule.from() {
        writeln!(out, "from = {from}")?;
    }
    if let Some(to) = rule.to() {
        writeln!(out, "to = {to}")?;
    }
    write_optional(out, "reason", rule.reason.as_deref())?;
    write_optional(out, "evidence", rule.evidence.map(|evidence| evidence.label()))?;
    match &rule.target {
        EntryTarget::Host { dns_only, .. } => writeln!(out, "dns_only = {dns_only}")?,
        EntryTarget::Prefix(_) => {}
    }
    write_optional(out, "note", rule.note.as_deref())
}

/// Writes a deny; its default scope is not written.
fn write_deny(out: &mut String, deny: &Deny) -> fmt::Result {
    out.write_str("\n[[deny]]\n")?;
    write_text(out, "host", deny.host.as_str())?;
    match deny.scope {
        Scope::Subtree => {}
        Scope::Exact | Scope::OneLabel => write_text(out, "scope", deny.scope.label())?,
    }
    write_optional(out, "reason", deny.reason.as_deref())
}

/// Writes an entry of what cannot be told apart.
fn write_not_separable(out: &mut String, entry: &NotSeparable) -> fmt::Result {
    out.write_str("\n[[not_separable]]\n")?;
    write_text(out, "name", &entry.name)?;
    write_optional(out, "reason", entry.reason.as_deref())
}

/// Writes a key with its text, if there is one.
fn write_optional(out: &mut String, key: &str, text: Option<&str>) -> fmt::Result {
    text.map_or(Ok(()), |text| write_text(out, key, text))
}

/// Writes a key with a TOML basic string (TOML 1.0, "String").
fn write_text(out: &mut String, key: &str, text: &str) -> fmt::Result {
    write!(out, "{key} = \"")?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            control if control.is_control() => write!(out, "\\u{:04X}", u32::from(control))?,
            plain => out.write_char(plain)?,
        }
    }
    out.write_str("\"\n")
}
