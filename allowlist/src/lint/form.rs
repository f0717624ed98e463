//! Whether the document says all it should: names, reasons, the chain, the canonical form.

use super::{Code, Finding, Findings, both_forms};
use crate::document::{Document, EntryTarget, Place, RuleEntry};
use crate::rule::Evidence;

/// Checks that the list exempts anything at all.
pub(super) fn check_empty(document: &Document, findings: &mut Findings<'_>) {
    if document.services().is_empty() {
        findings.add(document.place, Code::EmptyList, || {
            let reason = "the list has no service: it exempts nothing".to_owned();
            (reason, "add a [[service]] with rules")
        });
    }
}

/// Checks the document's own keys.
pub(super) fn check_head(document: &Document, findings: &mut Findings<'_>) {
    check_empty(document, findings);
    let mut add = |place: Place, code: Code, reason: String, remedy: &str| {
        findings.add(place, code, || (reason, remedy));
    };
    if document.serial() > 1 && document.previous_sha256().is_none() {
        let reason = format!("serial {} without `previous_sha256`", document.serial());
        add(document.place, Code::Chain, reason, "state the SHA-256 of the edition before");
    }
    if document.serial() == 1 && document.previous_sha256().is_some() {
        let reason = "serial 1 with `previous_sha256`: nothing comes before the first edition".to_owned();
        add(document.place, Code::Chain, reason, "remove it, or raise the serial");
    }
}

/// Checks that services, rules and denies explain themselves.
pub(super) fn check_entries(document: &Document, findings: &mut Findings<'_>) {
    let mut add = |place: Place, code: Code, reason: String, remedy: &str| {
        findings.add(place, code, || (reason, remedy));
    };
    for service in document.services() {
        let id = service.id();
        if service.rules().is_empty() {
            let reason = format!("service \"{id}\" has no rule: it exempts nothing");
            add(
                service.place(),
                Code::EmptyService,
                reason,
                "add a rule, or state it under [[not_separable]]",
            );
        }
        for (key, text) in
            [("name", service.name()), ("owner", service.owner()), ("reference", service.reference())]
        {
            if is_blank(text) {
                let reason = format!("service \"{id}\" has no `{key}`");
                add(service.place(), Code::Unexplained, reason, "state it: people read the list");
            }
        }
        for rule in service.rules() {
            check_rule(rule, &mut add);
        }
    }
    for deny in document.denies() {
        if is_blank(deny.reason()) {
            let reason = format!("the deny of {} has no `reason`", both_forms(deny.host()));
            add(deny.place(), Code::Unexplained, reason, "state why the name is charged");
        }
    }
    for entry in document.not_separable() {
        if is_blank(entry.reason()) {
            let reason = "a [[not_separable]] entry has no `reason`".to_owned();
            add(entry.place(), Code::Unexplained, reason, "state what it shares names or addresses with");
        }
    }
}

/// Checks that a rule explains itself.
fn check_rule(rule: &RuleEntry, add: &mut impl FnMut(Place, Code, String, &str)) {
    let shown = || match rule.target() {
        EntryTarget::Host { host, .. } => both_forms(host),
        EntryTarget::Prefix(prefix) => prefix.to_string(),
    };
    if is_blank(rule.reason()) {
        let reason = format!("the rule for {} has no `reason`", shown());
        add(rule.place(), Code::Unexplained, reason, "state why it is there");
    }
    match rule.evidence() {
        None => {
            let reason = format!("the rule for {} has no `evidence`", shown());
            add(rule.place(), Code::Unexplained, reason, "state \"seen\" or \"guess\"");
        }
        Some(Evidence::Guess) => {
            let reason = format!("the rule for {} is a guess", shown());
            add(rule.place(), Code::Guess, reason, "confirm it with the platform before billing on it");
        }
        Some(Evidence::Seen) => {}
    }
    match rule.target() {
        EntryTarget::Host { dns_only: true, .. } => {
            let reason = format!("the rule for {} lets DNS evidence alone exempt a flow", shown());
            let remedy = "be sure that its addresses serve nothing else, or set dns_only = false";
            add(rule.place(), Code::DnsOnly, reason, remedy);
        }
        EntryTarget::Host { .. } | EntryTarget::Prefix(_) => {}
    }
}

/// Finds the first line in which a text departs from canonical form.
pub(super) fn check_canonical(text: &str, document: &Document) -> Option<Finding> {
    let canonical = document.to_canonical();
    if text == canonical {
        return None;
    }
    let same = text.lines().zip(canonical.lines()).take_while(|(found, wanted)| found == wanted).count();
    // A text that only lacks its last line end departs in its last line.
    let line = same.saturating_add(1).min(text.lines().count().max(1));
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Some(Finding {
        place: Place { line, column: 1 },
        code: Code::NotCanonical,
        reason: "the text departs from canonical form from here on, and only that form can be signed"
            .to_owned(),
        remedy: "write it with `allowlist show LIST --canonical`".to_owned(),
    })
}

/// Whether a text is absent or blank.
fn is_blank(text: Option<&str>) -> bool {
    text.is_none_or(|text| text.trim().is_empty())
}
