//! What is wrong with a text, and where: the one form in which every mistake of this crate is reported.
//!
//! Pure. Knows nothing of TOML or CSV.

use std::fmt;

/// Longest piece of the reader's own text that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 60;

/// A place in a text: line and column, both from 1, columns counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The first character of a text.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One mistake: where it stands, what was found, what was wanted and, where there is more to say, what to do.
///
/// Displays as `line:column: key: found …; wanted …`, with `; remedy` appended when there is one. The order is by
/// place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The key with its section (`limits.drain`, `listener[1].address`), the column of a table, or `TOML`.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub wanted: String,
    /// What to do, when `wanted` does not say it already.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: found {}; wanted {}",
            self.line, self.column, self.key, self.found, self.wanted
        )?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Turns rising byte offsets of one text into places, in one pass over the text.
pub(crate) struct Cursor<'t> {
    /// The characters not yet passed.
    rest: std::iter::Peekable<std::str::CharIndices<'t>>,
    /// Place of the next character.
    place: Place,
}

impl<'t> Cursor<'t> {
    /// A cursor at the start of `text`.
    pub(crate) fn new(text: &'t str) -> Cursor<'t> {
        Cursor { rest: text.char_indices().peekable(), place: Place::START }
    }

    /// The place of the character at byte `offset`; offsets must not fall from call to call (an earlier one gives the
    /// place already reached).
    pub(crate) fn place_at(&mut self, offset: usize) -> Place {
        while let Some((_, passed)) = self.rest.next_if(|(index, _)| *index < offset) {
            // Saturating: the text is bounded far below 2^32 characters (`TEXT_BYTES_MAX`).
            self.place = if passed == '\n' {
                Place { line: self.place.line.saturating_add(1), column: 1 }
            } else {
                Place { line: self.place.line, column: self.place.column.saturating_add(1) }
            };
        }
        self.place
    }
}

/// `text` in double quotes, escaped and cut to a length a message can carry.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    let mut escaped = String::with_capacity(short.len().saturating_add(2));
    escaped.push('"');
    for character in short.chars() {
        if character.is_control() || matches!(character, '"' | '\\') {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped.push('"');
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Place, quoted};

    #[test]
    fn columns_count_characters_and_lines_count_newlines() {
        let text = "кі\nx";
        let mut cursor = Cursor::new(text);
        assert_eq!(cursor.place_at(0), Place { line: 1, column: 1 });
        assert_eq!(cursor.place_at(2), Place { line: 1, column: 2 });
        assert_eq!(cursor.place_at(5), Place { line: 2, column: 1 });
        assert_eq!(cursor.place_at(900), Place { line: 2, column: 2 }, "past the end: one after the last");
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}\"b"), r#""a\u{1b}\"b""#);
        assert_eq!(quoted(&"x".repeat(60)).chars().count(), 62);
        assert_eq!(quoted(&"x".repeat(61)).chars().count(), 63, "60 characters, the ellipsis and two quotes");
    }
}
