//! One section of the file: its keys, read one by one into typed values or noted problems.

use crate::key::{Need, SECTIONS};
use crate::reader::{Mismatch, Reader, describe};
use toml::de::{DeTable, DeValue};

/// One section of the file (or one element of a repeated one), or its absence.
pub(crate) struct Section<'t> {
    /// Name for messages: `limits`, `listener[1]`.
    pub(crate) name: String,
    /// Name in the key table: `limits`, `listener`.
    pub(crate) kind: &'static str,
    /// Its table, when the section is in the file.
    pub(crate) table: Option<&'t DeTable<'t>>,
    /// Byte offset of its header; 0 when it is not in the file.
    pub(crate) at: usize,
}

/// What a key turned out to be.
pub(crate) enum Found<T> {
    /// Not stated.
    Absent,
    /// Stated and wrong, with the byte offset of the value; the problem is noted.
    Wrong(usize),
    /// Stated and right, with the byte offset of the value.
    Is(T, usize),
}

impl<T> Found<T> {
    /// The same of another type.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Absent => Found::Absent,
            Found::Wrong(at) => Found::Wrong(at),
            Found::Is(value, at) => Found::Is(change(value), at),
        }
    }
}

/// A value to go on with: stated, or the default.
pub(crate) struct Stated<T> {
    /// The value, or the default when none or a wrong one was stated.
    pub(crate) value: T,
    /// Byte offset of the value, or of the section when the default stands.
    pub(crate) at: usize,
    /// False when a wrong value was stated: nothing may be concluded from `value`.
    pub(crate) sound: bool,
    /// True when the file states it.
    pub(crate) written: bool,
}

impl<'t> Section<'t> {
    /// Name of one of its keys for messages.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// True when the file has this section.
    pub(crate) fn stands(&self) -> bool {
        self.table.is_some()
    }

    /// The raw value of a key and its byte offset.
    pub(crate) fn value(&self, name: &str) -> Option<(&'t DeValue<'t>, usize)> {
        let value = self.table?.get(name)?;
        Some((value.get_ref(), value.span().start))
    }

    /// Reads one key by `parse`; a fault is noted at the value.
    pub(crate) fn read<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Mismatch>,
    ) -> Found<T> {
        let Some((value, at)) = self.value(name) else { return Found::Absent };
        match parse(value) {
            Ok(value) => Found::Is(value, at),
            Err(fault) => {
                reader.wrong(self.key(name), at, fault);
                Found::Wrong(at)
            }
        }
    }

    /// Reads each element of an array key by `parse`; faults are noted at the elements. `None` when the key is absent
    /// or no array (noted).
    pub(crate) fn read_each<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        wanted: &str,
        mut parse: impl FnMut(&DeValue<'_>) -> Result<T, Mismatch>,
    ) -> Option<Vec<(T, usize)>> {
        let (value, at) = self.value(name)?;
        let Some(array) = value.as_array() else {
            reader.wrong(self.key(name), at, Mismatch::new(describe(value), wanted));
            return None;
        };
        let mut elements = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let at = element.span().start;
            match parse(element.get_ref()) {
                Ok(value) => elements.push((value, at)),
                Err(fault) => reader.wrong(format!("{}[{index}]", self.key(name)), at, fault),
            }
        }
        Some(elements)
    }

    /// The elements of a repeated section below this one.
    pub(crate) fn below(&self, reader: &mut Reader<'t>, name: &str, kind: &'static str) -> Vec<Section<'t>> {
        match self.value(name) {
            Some((value, at)) => reader.elements(kind, value, at),
            None => Vec::new(),
        }
    }

    /// A found value, or the default when none is stated.
    pub(crate) fn defaulted<T>(&self, found: Found<T>, default: T) -> Stated<T> {
        match found {
            Found::Absent => Stated { value: default, at: self.at, sound: true, written: false },
            Found::Wrong(at) => Stated { value: default, at, sound: false, written: true },
            Found::Is(value, at) => Stated { value, at, sound: true, written: true },
        }
    }

    /// A found value; its absence is noted (once for the whole section when that is absent too: see `required_here`).
    pub(crate) fn required<T>(
        &self,
        reader: &mut Reader<'_>,
        name: &str,
        found: Found<T>,
        wanted: &str,
    ) -> Option<(T, usize)> {
        match found {
            Found::Is(value, at) => Some((value, at)),
            Found::Wrong(_) => None,
            Found::Absent => {
                if self.stands() {
                    let remedy = format!("add `{name} = …` to this section");
                    reader.missing(self.key(name), self.at, Mismatch::new("nothing", wanted).remedy(remedy));
                }
                None
            }
        }
    }

    /// Notes the absence of a section that has required keys.
    pub(crate) fn required_here(&self, reader: &mut Reader<'_>) {
        if !self.stands() && !reader.has(self.kind) {
            let required = SECTIONS
                .iter()
                .filter(|section| section.name == self.kind)
                .flat_map(|section| section.keys)
                .filter(|key| key.need == Need::Required)
                .map(|key| key.name);
            let wanted =
                format!("a section [{}] with {}", self.kind, required.collect::<Vec<_>>().join(", "));
            reader.missing(self.kind, 0, Mismatch::new("no such section", wanted));
        }
    }
}

/// Reads an array whose elements are all different, at most `max` of them.
pub(crate) fn read_set<T: PartialEq>(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    name: &str,
    wanted: &str,
    max: usize,
    parse: impl FnMut(&DeValue<'_>) -> Result<T, Mismatch>,
) -> Option<Vec<T>> {
    let entries = section.read_each(reader, name, wanted, parse)?;
    if let Some((_, at)) = entries.get(max) {
        let fault = Mismatch::new(format!("{} entries", entries.len()), format!("at most {max}"));
        reader.wrong(section.key(name), *at, fault);
    }
    let mut set: Vec<T> = Vec::with_capacity(entries.len().min(max));
    for (entry, at) in entries.into_iter().take(max) {
        if set.contains(&entry) {
            reader.wrong(section.key(name), at, Mismatch::new("the same again", "each entry once"));
        } else {
            set.push(entry);
        }
    }
    Some(set)
}
