//! Names that look like others: labels of two scripts, and entries that differ only to a machine.
//!
//! The tables hold Latin, Cyrillic and Greek, the scripts that are taken for one another on Kazakh keyboards.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use super::{Code, Findings, both_forms, rules};
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
pub(super) fn check_mixed(host: &DomainName, place: Place, findings: &mut Findings<'_>) {
    if !has_unicode_form(host) {
        return;
    }
    let unicode = host.to_unicode();
    for label in unicode.split('.').filter(|label| !label.is_ascii()) {
        let mut scripts: Vec<Script> = Vec::new();
        for script in label.chars().filter_map(script_of) {
            if !scripts.contains(&script) {
                scripts.push(script);
            }
        }
        if scripts.len() > 1 {
            findings.add(place, Code::MixedScript, || {
                let shown = both_forms(host);
                (
                    format!("the label \"{label}\" of {shown} mixes letters of several alphabets"),
                    "type the name anew in one alphabet; browsers and people cannot tell such names apart",
                )
            });
        } else if let latin = skeleton(label).collect::<String>()
            && latin.is_ascii()
        {
            findings.add(place, Code::LookAlike, || {
                let shown = both_forms(host);
                (
                    format!("the label \"{label}\" of {shown} reads like the Latin \"{latin}\""),
                    "check the registered name; type it in the alphabet it is registered in",
                )
            });
        }
    }
}

/// Reports hosts of rules that differ from an earlier one but look the same. Each with the first that looks so, as written.
pub(super) fn check_look_alikes(document: &Document, findings: &mut Findings<'_>) {
    let hosts: Vec<(&DomainName, Place)> = rules(document)
        .filter_map(|(_, rule)| match rule.target() {
            EntryTarget::Host { host, .. } => Some((host, rule.place())),
            EntryTarget::Prefix(_) => None,
        })
        .collect();
    // Sixteen bytes a host: those with one hash stand side by side and are compared in full.
    let keys = RandomState::new();
    let mut looks: Vec<(u64, usize)> = hosts
        .iter()
        .enumerate()
        .map(|(number, (host, _))| {
            let mut hasher = keys.build_hasher();
            with_look(host, |character| hasher.write_u32(u32::from(character)));
            (hasher.finish(), number)
        })
        .collect();
    looks.sort_unstable();
    for alike in looks.chunk_by(|(one, _), (other, _)| one == other).filter(|alike| alike.len() > 1) {
        // One text in nearly all groups; of several, each is compared with the first that looks like it.
        let mut first_by_look: HashMap<String, (&DomainName, Place)> = HashMap::new();
        for (host, place) in alike.iter().filter_map(|(_, number)| hosts.get(*number).copied()) {
            let mut look = String::new();
            with_look(host, |character| look.push(character));
            let (first, first_place) = *first_by_look.entry(look).or_insert((host, place));
            if first != host {
                findings.add(place, Code::LookAlike, || {
                    let line = first_place.line;
                    (
                        format!("{} looks like {} of line {line}", both_forms(host), both_forms(first)),
                        "keep the one that is the platform's",
                    )
                });
            }
        }
    }
}

/// Whether the name has labels in another script than Latin; of the others the readable form is the name itself.
fn has_unicode_form(host: &DomainName) -> bool {
    host.as_str().contains("xn--")
}

/// Hands each character of what a name looks like to `take`.
fn with_look(host: &DomainName, take: impl FnMut(char)) {
    if has_unicode_form(host) {
        skeleton(&host.to_unicode()).for_each(take);
    } else {
        skeleton(host.as_str()).for_each(take);
    }
}

/// The text with every look-alike replaced by what it is taken for.
fn skeleton(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|character| {
        LOOK_ALIKES.iter().find(|(shown, _)| *shown == character).map_or(character, |(_, read)| *read)
    })
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
