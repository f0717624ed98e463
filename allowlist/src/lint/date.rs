//! Dates: of the list against the instant of reading, of rules against the list's.

use jiff::Timestamp;

use super::{Code, Findings, rules};
use crate::document::{Document, EntryTarget};

/// Checks all dates.
pub(super) fn check(document: &Document, at: Option<Timestamp>, findings: &mut Findings<'_>) {
    let (issued, from, expires) = (document.issued(), document.effective_from(), document.expires());
    let mut add = |place, code, reason, remedy: &str| {
        findings.add(place, code, || (reason, remedy));
    };
    if issued.instant() > from.instant() {
        let reason = format!("issued {issued}, after it takes effect at {from}");
        let remedy = "give operators time: let `effective_from` come after `issued`";
        add(document.place, Code::Retroactive, reason, remedy);
    }
    if let Some(at) = at {
        if at >= expires.instant() {
            let reason = format!("the list expired at {expires}: it exempts nothing any more");
            add(document.place, Code::NotInForce, reason, "issue a new edition with a later `expires`");
        } else if at < from.instant() {
            let reason = format!("the list takes effect only at {from}");
            add(document.place, Code::NotInForce, reason, "nothing, if that is meant");
        }
    }
    for (_, rule) in rules(document) {
        let (rule_from, rule_to) = (rule.from(), rule.to());
        if rule_from.is_none() && rule_to.is_none() {
            continue;
        }
        let shown = match rule.target() {
            EntryTarget::Host { host, .. } => super::both_forms(host),
            EntryTarget::Prefix(prefix) => prefix.to_string(),
        };
        if let Some(rule_to) = rule_to.filter(|to| to.instant() <= from.instant()) {
            let reason =
                format!("the rule for {shown} ends at {rule_to}, before the list takes effect at {from}");
            add(rule.place(), Code::NeverInForce, reason, "remove the rule or correct `to`");
        } else if let Some(rule_from) = rule_from.filter(|begin| begin.instant() >= expires.instant()) {
            let reason =
                format!("the rule for {shown} begins at {rule_from}, when the list is over at {expires}");
            add(rule.place(), Code::NeverInForce, reason, "remove the rule or correct `from`");
        } else {
            if let Some(rule_from) = rule_from.filter(|begin| begin.instant() < from.instant()) {
                let reason = format!("the rule for {shown} begins at {rule_from}, before the list at {from}");
                add(rule.place(), Code::OutsideWindow, reason, "nothing, if an earlier edition had it");
            }
            if let Some(rule_to) = rule_to.filter(|to| to.instant() > expires.instant()) {
                let reason = format!("the rule for {shown} ends at {rule_to}, after the list at {expires}");
                add(rule.place(), Code::OutsideWindow, reason, "nothing, if a later edition will have it");
            }
        }
    }
}
