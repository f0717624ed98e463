//! The quick way to read a rule: the keys that a host rule has, one a line, as the canonical form writes them.
//!
//! It takes what it understands in full and says nothing of the rest: a rule that is not plain, or has a mistake, is read by
//! way of the syntax tree, which also says what is wrong. A differential test holds the two together.

use std::sync::Arc;

use super::field::TEXT_CHARACTERS_MAX;
use crate::document::{EntryTarget, Place, RuleEntry};
use crate::name::DomainName;
use crate::rule::{Evidence, Ports, Scope};

/// Texts of the rule before: rules of one list say the same of themselves again and again.
#[derive(Default)]
pub(super) struct Recent {
    texts: [Option<Arc<str>>; 2],
}

impl Recent {
    /// The text, shared with the rule before where it is the same. `of` tells reasons (0) from notes (1).
    pub(super) fn share(&mut self, of: usize, text: &str) -> Arc<str> {
        match self.texts.get_mut(of) {
            Some(Some(recent)) if **recent == *text => Arc::clone(recent),
            Some(recent) => Arc::clone(recent.insert(text.into())),
            None => text.into(),
        }
    }
}

/// Reads the keys of a rule; none when they are not plain.
pub(super) fn read_rule(body: &str, place: Place, recent: &mut Recent) -> Option<RuleEntry> {
    let (mut host, mut scope, mut dns_only, mut evidence) = (None, None, None, None);
    let (mut reason, mut note) = (None, None);
    for line in body.split('\n').filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(" = ")?;
        match key {
            "host" => once(&mut host, DomainName::from_list_entry(string(value)?).ok()?)?,
            "scope" => once(&mut scope, scope_of(string(value)?)?)?,
            "dns_only" => once(&mut dns_only, boolean(value)?)?,
            "evidence" => once(&mut evidence, evidence_of(string(value)?)?)?,
            "reason" => once(&mut reason, recent.share(0, text(value)?))?,
            "note" => once(&mut note, recent.share(1, text(value)?))?,
            _ => return None,
        }
    }
    let target = EntryTarget::Host {
        host: host?,
        scope: scope.unwrap_or(Scope::Exact),
        dns_only: dns_only.unwrap_or(false),
    };
    Some(RuleEntry { target, ports: Ports::Web, dates: None, reason, evidence, note, place })
}

/// Sets what is not set yet.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    if slot.is_some() {
        return None;
    }
    *slot = Some(value);
    Some(())
}

/// A basic string without escapes (TOML 1.0, "String").
fn string(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |byte: u8| byte >= 0x20 && byte != 0x7f && byte != b'"' && byte != b'\\';
    text.bytes().all(is_plain).then_some(text)
}

/// A free text of legal length, without control characters.
fn text(value: &str) -> Option<&str> {
    let text = string(value)?;
    let short = text.len() <= TEXT_CHARACTERS_MAX;
    (short && (text.is_ascii() || !text.chars().any(char::is_control))).then_some(text)
}

/// True or false.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A scope by its word.
fn scope_of(word: &str) -> Option<Scope> {
    [Scope::Exact, Scope::OneLabel, Scope::Subtree].into_iter().find(|scope| scope.label() == word)
}

/// Evidence by its word.
fn evidence_of(word: &str) -> Option<Evidence> {
    [Evidence::Seen, Evidence::Guess].into_iter().find(|evidence| evidence.label() == word)
}
