//! Reads a list as a careful officer would: what would exempt strangers, nobody, or the wrong site.
//!
//! The structural part: the document against itself, against the public suffix list and against the hosts known to be
//! shared. It looks nothing up; whether a host exists or moved is another question. Cost is linear in the entries.

mod code;
mod date;
mod form;
mod gather;
mod known;
mod overlap;
mod prefix;
mod script;
mod suffix;

use std::fmt;

use jiff::Timestamp;

use self::gather::Findings;
use crate::document::{Document, EntryTarget, Place, RuleEntry, Service};
use crate::name::DomainName;
use crate::parse::{self, Head, Limits, Reading};
use crate::problem::{NO_LIST, Problem};
use crate::rule::Scope;

pub use code::{Code, Severity};
pub use known::is_ech_cover_name;

/// One thing an officer should see.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Where it stands.
    pub place: Place,
    /// What kind it is.
    pub code: Code,
    /// What was found, and why it matters.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// How much it weighs.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        let (severity, code) = (self.severity().label(), self.code.label());
        write!(formatter, "{line}:{column}: {severity} [{code}] {}; {}", self.reason, self.remedy)
    }
}

/// Lints a text: what makes it unreadable, everything [`document`] finds in the rest, and whether the form is canonical.
///
/// `at` is the instant of reading; without it, nothing is said about lists that are over or not yet in force.
#[must_use]
pub fn text(text: &str, limits: &Limits, at: Option<Timestamp>) -> Vec<Finding> {
    let Reading { document, head, is_partial, problems } = match parse::read(text, limits) {
        Ok(reading) => reading,
        Err(problems) => return problems.into_iter().map(unreadable).collect(),
    };
    let mut findings = document_with(&document, at, head);
    if is_partial {
        findings.retain(|finding| !is_of_absence(finding.code));
    }
    if problems.is_empty() && head == Head::Whole {
        findings.extend(form::check_canonical(text, &document));
    }
    // What is wrong with a rule is told once: the rule itself was left out.
    findings.extend(problems.into_iter().map(unreadable));
    in_order(findings)
}

/// Whether a finding says that something is not there, which cannot be said of a list of which some is left out.
fn is_of_absence(code: Code) -> bool {
    matches!(code, Code::EmptyList | Code::EmptyService | Code::IdleDeny)
}

/// Whether these are the findings of a text that is no list at all: whoever pasted addresses wants to know how one is made.
#[must_use]
pub fn is_no_list(findings: &[Finding]) -> bool {
    let says =
        |one: &Finding| one.reason.strip_prefix("found ").is_some_and(|found| found.starts_with(NO_LIST));
    matches!(findings, [one] if one.code == Code::Unreadable && says(one))
}

/// What could not be read, as a finding.
fn unreadable(problem: Problem) -> Finding {
    Finding {
        place: Place { line: problem.line, column: problem.column },
        code: Code::Unreadable,
        reason: format!("found {}", problem.found),
        remedy: format!("wanted {}", problem.wanted),
    }
}

/// Lints a document against itself and against what is known of shared and public names; sorted by place.
#[must_use]
pub fn document(document: &Document, at: Option<Timestamp>) -> Vec<Finding> {
    document_with(document, at, Head::Whole)
}

/// The same of a document whose head may not have been readable: of what is not known of it nothing is said.
fn document_with(document: &Document, at: Option<Timestamp>, head: Head) -> Vec<Finding> {
    let mut findings = Findings::all();
    match head {
        Head::Whole => {
            form::check_head(document, &mut findings);
            date::check(document, at, &mut findings);
        }
        Head::Dated => date::check(document, at, &mut findings),
        Head::Unknown => {}
    }
    form::check_entries(document, &mut findings);
    overlap::check(document, &mut findings);
    check_reach(document, &mut findings);
    in_order(findings.kept)
}

/// What makes a node refuse a list: the errors among what [`document()`] finds, without those whose code is in `accepted`.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// Errors that refuse the list, the first in the order of the checks; sorted by place.
    pub refusing: Vec<Finding>,
    /// How many more there are.
    pub refusing_left_out: usize,
    /// Errors that were accepted, likewise.
    pub accepted: Vec<Finding>,
    /// How many more there are.
    pub accepted_left_out: usize,
}

/// The errors of a document, at most `shown_max` of each sort with their words. Cost is linear in the entries, and memory
/// does not grow with the number of findings: this is done at every start and reload, with lists of up to a million.
#[must_use]
pub fn errors(document: &Document, accepted: &[Code], shown_max: usize) -> Errors {
    let mut findings = Findings::errors_only(accepted, shown_max);
    form::check_empty(document, &mut findings);
    check_reach(document, &mut findings);
    Errors {
        refusing: in_order(findings.kept),
        refusing_left_out: findings.kept_left_out,
        accepted: in_order(findings.accepted),
        accepted_left_out: findings.accepted_left_out,
    }
}

/// Checks whom the rules reach, and who could be taken for whom.
fn check_reach(document: &Document, findings: &mut Findings<'_>) {
    for (_, entry) in rules(document) {
        match entry.target() {
            EntryTarget::Host { host, scope, .. } => check_host(host, *scope, entry.place(), findings),
            EntryTarget::Prefix(address_prefix) => prefix::check(*address_prefix, entry.place(), findings),
        }
    }
    for deny in document.denies() {
        script::check_mixed(deny.host(), deny.place(), findings);
    }
    script::check_look_alikes(document, findings);
}

/// Checks of one host rule that need no other rule.
fn check_host(host: &DomainName, scope: Scope, place: Place, findings: &mut Findings<'_>) {
    // One finding on what the rule reaches is enough: the first is the plainest.
    let _ = suffix::check(host, scope, place, findings)
        || known::check_cover(host, scope, place, findings)
        || known::check_shared(host, scope, place, findings);
    script::check_mixed(host, place, findings);
}

/// All rules with their services, in the order written.
fn rules(document: &Document) -> impl Iterator<Item = (&Service, &RuleEntry)> {
    document.services().iter().flat_map(|service| service.rules().iter().map(move |rule| (service, rule)))
}

/// A host for people: as it is, or in both forms when they differ.
fn both_forms(host: &DomainName) -> String {
    let unicode = host.to_unicode();
    if unicode == host.as_str() { host.to_string() } else { format!("{unicode} ({host})") }
}

/// Sorts by place, then weight, then kind.
fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings
        .sort_by_key(|finding| (finding.place.line, finding.place.column, finding.severity(), finding.code));
    findings
}
