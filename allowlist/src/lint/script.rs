//! Names that look like others: labels of two scripts, and entries that differ only to a machine.
//!
//! The tables hold Latin, Cyrillic and Greek, the scripts that are taken for one another on Kazakh keyboards.

use std::collections::HashMap;

use super::{Code, Finding, both_forms, rules};
use crate::document::{Document, EntryTarget, Place};
use crate::name::DomainName;

/// A script, as far as names are taken for one another. Digits, hyphen and marks belong to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    Greek,
    Other,
}

/// Characters that are read as another: the left one is shown in place of the right one (UTS 39, confusables, the part
/// that host names can have).
const LOOK_ALIKES: &[(char, char)] = &[
    ('а', 'a'),
    ('с', 'c'),
    ('ԁ', 'd'),
    ('е', 'e'),
    ('һ', 'h'),
    ('і', 'i'),
    ('ј', 'j'),
    ('ӏ', 'l'),
    ('о', 'o'),
    ('р', 'p'),
    ('ԛ', 'q'),
    ('ѕ', 's'),
    ('ԝ', 'w'),
    ('х', 'x'),
    ('у', 'y'),
    ('ү', 'y'),
    ('к', 'k'),
    ('ο', 'o'),
    ('ν', 'v'),
    ('ι', 'i'),
    ('α', 'a'),
    ('ρ', 'p'),
    ('κ', 'k'),
    ('υ', 'u'),
    ('0', 'o'),
    ('1', 'l'),
];

/// Reports labels that mix scripts, and whole labels that only look Latin.
pub(super) fn check_mixed(host: &DomainName, place: Place, findings: &mut Vec<Finding>) {
    let unicode = host.to_unicode();
    if unicode.is_ascii() {
        return;
    }
    for label in unicode.split('.') {
        let mut scripts: Vec<Script> = Vec::new();
        for script in label.chars().filter_map(script_of) {
            if !scripts.contains(&script) {
                scripts.push(script);
            }
        }
        let shown = both_forms(host);
        if scripts.len() > 1 {
            findings.push(Finding {
                place,
                code: Code::MixedScript,
                reason: format!("the label \"{label}\" of {shown} mixes letters of several alphabets"),
                remedy:
                    "type the name anew in one alphabet; browsers and people cannot tell such names apart"
                        .to_owned(),
            });
        } else if !label.is_ascii() && skeleton(label).is_ascii() {
            findings.push(Finding {
                place,
                code: Code::LookAlike,
                reason: format!(
                    "the label \"{label}\" of {shown} reads like the Latin \"{}\"",
                    skeleton(label)
                ),
                remedy: "check the registered name; type it in the alphabet it is registered in".to_owned(),
            });
        }
    }
}

/// Reports hosts of rules that differ from an earlier one but look the same.
pub(super) fn check_look_alikes(document: &Document, findings: &mut Vec<Finding>) {
    let mut first_by_skeleton: HashMap<String, (&DomainName, u32)> = HashMap::new();
    for (_, rule) in rules(document) {
        let EntryTarget::Host { host, .. } = rule.target() else { continue };
        let place = rule.place();
        let key = skeleton(&host.to_unicode());
        let (first, line) = *first_by_skeleton.entry(key).or_insert((host, place.line));
        if first != host {
            findings.push(Finding {
                place,
                code: Code::LookAlike,
                reason: format!("{} looks like {} of line {line}", both_forms(host), both_forms(first)),
                remedy: "keep the one that is the platform's".to_owned(),
            });
        }
    }
}

/// The text with every look-alike replaced by what it is taken for.
fn skeleton(text: &str) -> String {
    text.chars()
        .map(|character| {
            LOOK_ALIKES.iter().find(|(shown, _)| *shown == character).map_or(character, |(_, read)| *read)
        })
        .collect()
}

/// The script of a letter (Unicode block ranges).
fn script_of(character: char) -> Option<Script> {
    match character {
        'a'..='z' | '\u{00df}'..='\u{024f}' | '\u{1e00}'..='\u{1eff}' => Some(Script::Latin),
        '\u{0370}'..='\u{03ff}' | '\u{1f00}'..='\u{1fff}' => Some(Script::Greek),
        '\u{0400}'..='\u{052f}' | '\u{1c80}'..='\u{1c8f}' | '\u{a640}'..='\u{a69f}' => Some(Script::Cyrillic),
        letter if letter.is_alphabetic() => Some(Script::Other),
        _ => None,
    }
}
