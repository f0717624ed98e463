//! Typed access to the keys of one table; everything that is not as wanted is reported with its place.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PROBLEMS_MAX;
use super::place::PlaceIndex;
use crate::document::{Moment, Place};
use crate::problem::{Problem, quoted};

/// Longest free text, in characters.
pub(super) const TEXT_CHARACTERS_MAX: usize = 4_000;

/// Longest list or service id (`allowlist/docs/document.md`).
const IDENTIFIER_BYTES_MAX: usize = 40;

/// A value of the tree with its span.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// Collects problems and counts entries while a document is read.
pub(super) struct Reader<'t> {
    /// Offsets to places.
    places: PlaceIndex<'t>,
    /// Where the part begins that is read; offsets count from there, and what stands before it, a header, wraps around.
    base: usize,
    /// What was found so far.
    problems: Vec<Problem>,
    /// Lines with a syntax error: what the recovered tree holds there is a guess, so nothing more is said of them.
    broken_lines: BTreeSet<u32>,
    /// Rules and denies that may still come.
    entries_left: usize,
    /// Whether the entry limit has been reported.
    entries_reported: bool,
    /// Whether a rule or deny was left out.
    is_partial: bool,
}

impl<'t> Reader<'t> {
    /// Starts without problems.
    pub(super) fn new(places: PlaceIndex<'t>, entries_max: usize) -> Reader<'t> {
        Reader {
            places,
            base: 0,
            problems: Vec::new(),
            broken_lines: BTreeSet::new(),
            entries_left: entries_max,
            entries_reported: false,
            is_partial: false,
        }
    }

    /// Goes on to the part that begins at `base`; the offset of `header` as the part counts.
    pub(super) fn go_to(&mut self, base: usize, header: usize) -> usize {
        self.base = base;
        header.wrapping_sub(base)
    }

    /// Line and column of an offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        self.places.place(offset.wrapping_add(self.base))
    }

    /// Reports a problem at an offset.
    pub(super) fn report(&mut self, offset: usize, found: String, wanted: String) {
        let Place { line, column } = self.place(offset);
        if self.broken_lines.contains(&line) || self.problems.len() > PROBLEMS_MAX {
            return;
        }
        self.problems.push(Problem { line, column, found, wanted });
    }

    /// Whether anything was found so far.
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty()
    }

    /// What is read, unless something of it is wrong: half a rule is another rule.
    pub(super) fn soundly<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.problems.len();
        // Above the limit nothing more is noted.
        let read = read(self).filter(|_| self.problems.len() == before && before <= PROBLEMS_MAX);
        self.is_partial |= read.is_none();
        read
    }

    /// Notes that a rule or deny was left out.
    pub(super) fn leave_out(&mut self) {
        self.is_partial = true;
    }

    /// Whether one was.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Reports what the TOML reader says; one per line, for its recovery repeats itself.
    pub(super) fn report_syntax(&mut self, offset: usize, message: &str) {
        let (found, wanted) = match message.split_once(", expected ") {
            Some((found, wanted)) => (found.to_owned(), wanted.to_owned()),
            None if message == "duplicate key" => (message.to_owned(), "each key once in a table".to_owned()),
            None => (message.to_owned(), "TOML 1.0".to_owned()),
        };
        self.report(offset, found, wanted);
        self.broken_lines.insert(self.place(offset).line);
    }

    /// Counts one rule or deny; false when there are too many, which is reported once.
    pub(super) fn count_entry(&mut self, offset: usize) -> bool {
        if let Some(left) = self.entries_left.checked_sub(1) {
            self.entries_left = left;
            return true;
        }
        self.is_partial = true;
        if !self.entries_reported {
            self.entries_reported = true;
            let wanted = "fewer rules and denies; raise the entry limit for larger lists".to_owned();
            self.report(offset, "one rule or deny more than the limit".to_owned(), wanted);
        }
        false
    }

    /// The problems in order of place.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.problems.len() > PROBLEMS_MAX {
            self.problems.truncate(PROBLEMS_MAX);
            if let Some(last) = self.problems.last_mut() {
                last.found = format!("more than {PROBLEMS_MAX} problems");
                last.wanted = "a list document; further problems are not shown".to_owned();
            }
        }
        self.problems
    }
}

/// One table whose keys are read.
pub(super) struct Table<'v, 'i> {
    /// The keys and values.
    table: &'v DeTable<'i>,
    /// Where the table begins.
    offset: usize,
    /// What it is, for messages.
    what: &'static str,
}

impl<'v, 'i> Table<'v, 'i> {
    /// Opens a table and reports every key that is not known.
    pub(super) fn open(
        reader: &mut Reader<'_>,
        table: &'v DeTable<'i>,
        offset: usize,
        what: &'static str,
        keys: &'static [&'static str],
    ) -> Table<'v, 'i> {
        for (key, _) in table.iter() {
            if !keys.contains(&key.get_ref().as_ref()) {
                let found = format!("unknown key {} in {what}", quoted(key.get_ref()));
                reader.report(key.span().start, found, format!("one of {}", keys.join(", ")));
            }
        }
        Table::of(table, offset, what)
    }

    /// A table whose keys were looked at.
    pub(super) fn of(table: &'v DeTable<'i>, offset: usize, what: &'static str) -> Table<'v, 'i> {
        Table { table, offset, what }
    }

    /// Where the table begins.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the key's value stands; the table's beginning when the key is absent.
    pub(super) fn value_offset(&self, key: &str) -> usize {
        self.get(key).map_or(self.offset, |value| value.span().start)
    }

    /// The key's value.
    pub(super) fn get(&self, key: &str) -> Option<&'v Value<'i>> {
        self.table.get(key)
    }

    /// Reports an absent key.
    pub(super) fn report_absent(&self, reader: &mut Reader<'_>, key: &str, wanted: &str) {
        reader.report(self.offset, format!("{} without `{key}`", self.what), wanted.to_owned());
    }

    /// A free text, when it is there.
    pub(super) fn text(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        let value = self.get(key)?;
        let text = string(reader, value, &format!("`{key}` as a string"))?;
        if text.chars().count() > TEXT_CHARACTERS_MAX {
            let found = format!("a text of {} characters", text.chars().count());
            reader.report(value.span().start, found, format!("at most {TEXT_CHARACTERS_MAX} characters"));
            return None;
        }
        // Texts are shown on terminals: an escape sequence in a list must not steer one.
        if let Some(control) = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t') {
            let found = format!("the control character U+{:04X} in a text", u32::from(control));
            reader.report(value.span().start, found, "text, line ends and tabs".to_owned());
            return None;
        }
        Some(text.to_owned())
    }

    /// A free text that must be there and not be empty.
    pub(super) fn required_text(&self, reader: &mut Reader<'_>, key: &str, wanted: &str) -> Option<String> {
        if !self.has(key) {
            self.report_absent(reader, key, wanted);
            return None;
        }
        let text = self.text(reader, key)?;
        if text.trim().is_empty() {
            reader.report(self.value_offset(key), "an empty text".to_owned(), wanted.to_owned());
            return None;
        }
        Some(text)
    }

    /// An id of the form `[a-z0-9-]{1,40}` that must be there.
    pub(super) fn required_identifier(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        wanted: &str,
    ) -> Option<String> {
        let Some(value) = self.get(key) else {
            self.report_absent(reader, key, wanted);
            return None;
        };
        let text = string(reader, value, &format!("`{key}` as a string"))?;
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > IDENTIFIER_BYTES_MAX || !text.bytes().all(legal) {
            let wanted = format!("1 to {IDENTIFIER_BYTES_MAX} of a-z, 0-9 and hyphen");
            reader.report(value.span().start, quoted(text), wanted);
            return None;
        }
        Some(text.to_owned())
    }

    /// A whole number from 0 on that must be there.
    pub(super) fn required_integer(&self, reader: &mut Reader<'_>, key: &str, wanted: &str) -> Option<u64> {
        let Some(value) = self.get(key) else {
            self.report_absent(reader, key, wanted);
            return None;
        };
        let Some(integer) = value.get_ref().as_integer() else {
            report_type(reader, value, &format!("`{key}` as a whole number"));
            return None;
        };
        // TOML integers are signed 64-bit numbers (TOML 1.0, "Integer").
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.and_then(|number| u64::try_from(number).ok());
        if number.is_none() {
            let wanted = format!("a whole number from 0 to {}", i64::MAX);
            reader.report(value.span().start, format!("{integer}"), wanted);
        }
        number
    }

    /// True or false, when it is there.
    pub(super) fn boolean(&self, reader: &mut Reader<'_>, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            report_type(reader, value, &format!("`{key}` as true or false"));
        }
        boolean
    }

    /// An instant, when it is there.
    pub(super) fn moment(&self, reader: &mut Reader<'_>, key: &str) -> Option<Moment> {
        const WANTED: &str = "a date-time with offset, such as 2020-04-06T00:00:00+06:00";
        let value = self.get(key)?;
        let Some(datetime) = value.get_ref().as_datetime() else {
            report_type(reader, value, WANTED);
            return None;
        };
        let moment = Moment::from_toml(*datetime);
        if moment.is_none() {
            reader.report(value.span().start, format!("{datetime}"), WANTED.to_owned());
        }
        moment
    }

    /// An instant that must be there.
    pub(super) fn required_moment(&self, reader: &mut Reader<'_>, key: &str) -> Option<Moment> {
        if !self.has(key) {
            self.report_absent(reader, key, &format!("`{key}`, a date-time with offset"));
        }
        self.moment(reader, key)
    }

    /// One of a few words, when the key is there.
    pub(super) fn word<W: Copy>(&self, reader: &mut Reader<'_>, key: &str, words: &[(&str, W)]) -> Option<W> {
        let value = self.get(key)?;
        let wanted = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let text = string(reader, value, &wanted)?;
        let word = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if word.is_none() {
            reader.report(value.span().start, quoted(text), wanted);
        }
        word
    }

    /// The tables of `[[key]]`, each with its offset.
    pub(super) fn tables(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        header: &str,
    ) -> Vec<(&'v DeTable<'i>, usize)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            report_type(reader, value, &format!("{header}, with two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push((table, item.span().start)),
                None => report_type(reader, item, header),
            }
        }
        tables
    }
}

/// The text of a value, or a report.
pub(super) fn string<'v>(reader: &mut Reader<'_>, value: &'v Value<'_>, wanted: &str) -> Option<&'v str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        report_type(reader, value, wanted);
    }
    text
}

/// Reports a value of the wrong type.
pub(super) fn report_type(reader: &mut Reader<'_>, value: &Value<'_>, wanted: &str) {
    reader.report(
        value.span().start,
        format!("a value of type {}", value.get_ref().type_str()),
        wanted.to_owned(),
    );
}
