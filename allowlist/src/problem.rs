//! A mistake in a list document: where it stands, what was found, what was wanted.

use std::fmt;

/// How the word on a text begins that is no list at all.
pub(crate) const NO_LIST: &str = "no list document";

/// Characters of a found text that are shown before it is cut off.
const SHOWN_CHARACTERS_MAX: usize = 80;

/// One mistake in a list document. Shown as `line:column: found …, wanted …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// What stands there.
    pub found: String,
    /// What should stand there; the remedy.
    pub wanted: String,
}

impl Problem {
    /// Whether it says that the text is no list at all.
    #[must_use]
    pub fn is_of_no_list(&self) -> bool {
        self.found.starts_with(NO_LIST)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: found {}, wanted {}", self.line, self.column, self.found, self.wanted)
    }
}

impl std::error::Error for Problem {}

/// Quotes a text of the list for a message: invisible characters escaped, long text cut off.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    let mut characters = text.chars();
    for character in characters.by_ref().take(SHOWN_CHARACTERS_MAX) {
        shown.extend(character.escape_debug());
    }
    shown.push('"');
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
