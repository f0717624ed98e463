//! The table of every key the parser knows, and the nearest known key to one it does not.
//!
//! Each section states its own rows beside the code that reads them; the examples are compared with the whole by test.

/// A key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The section it stands in, as in the file: `node`, `listener`, `trusted_answers.static`.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// What happens when it is not stated.
    pub need: Need,
}

/// What happens when a key is not stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The configuration is refused.
    Required,
    /// It has a default (a constant of its section).
    Defaulted,
    /// It has no value then.
    Optional,
}

impl Key {
    /// A key that must be stated.
    pub(crate) const fn required(section: &'static str, name: &'static str) -> Key {
        Key { section, name, need: Need::Required }
    }

    /// A key with a default.
    pub(crate) const fn defaulted(section: &'static str, name: &'static str) -> Key {
        Key { section, name, need: Need::Defaulted }
    }

    /// A key that may be left out and then has no value.
    pub(crate) const fn optional(section: &'static str, name: &'static str) -> Key {
        Key { section, name, need: Need::Optional }
    }
}

/// A section of the configuration: its name, whether it repeats, and its keys.
#[derive(Clone, Copy, Debug)]
pub struct SectionKeys {
    /// Name as in the file.
    pub name: &'static str,
    /// Written `[[name]]`, any number of times.
    pub repeated: bool,
    /// Its keys in the order of the documentation.
    pub keys: &'static [Key],
}

/// Every section the parser knows, in the order of the documentation.
pub const SECTIONS: [SectionKeys; 20] = [
    SectionKeys { name: "node", repeated: false, keys: crate::node::KEYS },
    SectionKeys { name: "listener", repeated: true, keys: crate::listener::KEYS },
    SectionKeys { name: "list", repeated: false, keys: crate::list::KEYS },
    SectionKeys { name: "subscribers", repeated: false, keys: crate::subscribers::KEYS },
    SectionKeys { name: "radius", repeated: false, keys: crate::radius::KEYS },
    SectionKeys { name: "radius.client", repeated: true, keys: crate::radius::CLIENT_KEYS },
    SectionKeys { name: "export", repeated: false, keys: crate::export::KEYS },
    SectionKeys { name: "sink", repeated: true, keys: crate::sink::KEYS },
    SectionKeys { name: "rating_group", repeated: true, keys: crate::rating_group::KEYS },
    SectionKeys { name: "allowance", repeated: false, keys: crate::allowance::KEYS },
    SectionKeys { name: "allowance.group", repeated: true, keys: crate::allowance::GROUP_KEYS },
    SectionKeys { name: "upstream", repeated: false, keys: crate::upstream::KEYS },
    SectionKeys { name: "lookup", repeated: false, keys: crate::lookup::KEYS },
    SectionKeys { name: "trusted_answers", repeated: false, keys: crate::trusted_answers::KEYS },
    SectionKeys { name: "trusted_answers.static", repeated: true, keys: crate::trusted_answers::STATIC_KEYS },
    SectionKeys { name: "dns", repeated: false, keys: crate::dns::KEYS },
    SectionKeys { name: "edge", repeated: false, keys: crate::edge::KEYS },
    SectionKeys { name: "limits", repeated: false, keys: crate::limits::KEYS },
    SectionKeys { name: "admin", repeated: false, keys: crate::admin::KEYS },
    SectionKeys { name: "log", repeated: false, keys: crate::log::KEYS },
];

/// Longest unknown key for which a near one is looked for, in bytes; the search costs length × known length.
const HINT_BYTES_MAX: usize = 64;

/// The known name nearest to `unknown`, if it is near enough to be meant (a third of its letters may differ, at least
/// one and at most three).
pub(crate) fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if unknown.len() > HINT_BYTES_MAX {
        return None;
    }
    let far = unknown.chars().count().div_ceil(3).clamp(1, 3);
    known
        .map(|name| (edits(unknown, name), name))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Number of single-character insertions, deletions and replacements between two words (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut previous = index.saturating_add(1);
        let mut next = vec![previous];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(a != *b));
            previous = replaced.min(above.saturating_add(1)).min(previous.saturating_add(1));
            diagonal = *above;
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn edits_of_known_pairs() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
        assert_eq!(edits("drain", "drain"), 0);
        assert_eq!(edits("flaw", "lawn"), 2);
    }

    #[test]
    fn the_nearest_key_is_offered_only_when_near() {
        let known = ["state_dir", "id", "workers"];
        assert_eq!(nearest("statedir", known.into_iter()), Some("state_dir"));
        assert_eq!(nearest("state-dir", known.into_iter()), Some("state_dir"));
        assert_eq!(nearest("worker", known.into_iter()), Some("workers"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(65), known.into_iter()), None);
    }
}
