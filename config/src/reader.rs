//! Walks the spanned TOML tree and gathers every problem with its place; the sections ask it for typed values.
//!
//! Reading never stops at a mistake: a wrong value is noted, its default stands in so that the rest can be judged, and
//! the caller refuses the whole at the end. Pure.

use crate::key::{Key, SECTIONS, nearest};
use crate::problem::{Cursor, Place, Problem, quoted};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Why a problem was noted; decides what is left out when the text is not valid TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The text is not valid TOML there.
    Syntax,
    /// Something required is not stated; may be the consequence of a syntax error.
    Missing,
    /// A value, key or relation is wrong.
    Meaning,
}

/// A problem with the byte offset it stands at.
struct Noted {
    /// Byte offset in the text.
    offset: usize,
    /// Why it was noted.
    kind: Kind,
    /// Full key.
    key: String,
    /// What stands there.
    found: String,
    /// What may stand there.
    wanted: String,
    /// What to do.
    remedy: Option<String>,
}

/// Gathers problems and places while the sections are read.
pub(crate) struct Reader<'t> {
    /// Folder that relative paths are joined to.
    base: &'t Path,
    /// The whole tree.
    root: &'t DeTable<'t>,
    /// Problems so far, in the order they were met.
    noted: Vec<Noted>,
    /// Byte offsets of the stated keys' values.
    stated: Vec<(usize, String)>,
}

/// One section of the file (or one element of a repeated one), or its absence.
pub(crate) struct Section<'t> {
    /// Name for messages: `limits`, `listener[1]`.
    name: String,
    /// Name in the key table: `limits`, `listener`.
    kind: &'static str,
    /// Its table, when the section is in the file.
    table: Option<&'t DeTable<'t>>,
    /// Byte offset of its header; 0 when it is not in the file.
    pub(crate) at: usize,
}

/// What a key turned out to be.
pub(crate) enum Found<T> {
    /// Not stated.
    Absent,
    /// Stated and wrong; the problem is noted.
    Wrong,
    /// Stated and right, with the byte offset of the value.
    Is(T, usize),
}

impl<T> Found<T> {
    /// The same of another type.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Absent => Found::Absent,
            Found::Wrong => Found::Wrong,
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

/// What one value was and what it should have been.
pub(crate) struct Fault {
    /// What stands there.
    pub(crate) found: String,
    /// What may stand there.
    pub(crate) wanted: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

impl Fault {
    /// A fault whose `wanted` says what to do.
    pub(crate) fn new(found: impl Into<String>, wanted: impl Into<String>) -> Fault {
        Fault { found: found.into(), wanted: wanted.into(), remedy: None }
    }

    /// The same with a remedy.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Fault {
        Fault { remedy: Some(remedy.into()), ..self }
    }
}

impl<'t> Reader<'t> {
    /// A reader of `root` whose relative paths stand in `base`.
    pub(crate) fn new(root: &'t DeTable<'t>, base: &'t Path) -> Reader<'t> {
        let mut reader = Reader { base, root, noted: Vec::new(), stated: Vec::new() };
        let known = || SECTIONS.iter().map(|section| section.name).filter(|name| !name.contains('.'));
        for (key, _) in root {
            let name: &str = key.get_ref();
            if !known().any(|section| section == name) {
                let fault = Fault::new(format!("the unknown section {}", quoted(name)), one_of(known()));
                reader.wrong(name, key.span().start, hinted(fault, nearest(name, known())));
            }
        }
        reader
    }

    /// Notes a syntax error of the TOML parser.
    pub(crate) fn syntax(&mut self, error: &toml::de::Error) {
        let message = error.message().replace('\n', "; ");
        let (found, wanted) = match message.split_once(", expected ") {
            Some((found, expected)) => (found.to_owned(), format!("{expected} (TOML)")),
            None => (message, "valid TOML".to_owned()),
        };
        let offset = error.span().map_or(0, |span| span.start);
        let key = "TOML".to_owned();
        self.noted.push(Noted { offset, kind: Kind::Syntax, key, found, wanted, remedy: None });
    }

    /// Notes a wrong value, key or relation at byte `offset`.
    pub(crate) fn wrong(&mut self, key: impl Into<String>, offset: usize, fault: Fault) {
        let Fault { found, wanted, remedy } = fault;
        self.noted.push(Noted { offset, kind: Kind::Meaning, key: key.into(), found, wanted, remedy });
    }

    /// Notes that something required is not stated; `offset` is that of the place it belongs to.
    pub(crate) fn missing(&mut self, key: impl Into<String>, offset: usize, fault: Fault) {
        let Fault { found, wanted, remedy } = fault;
        self.noted.push(Noted { offset, kind: Kind::Missing, key: key.into(), found, wanted, remedy });
    }

    /// The whole tree.
    pub(crate) fn root(&self) -> &'t DeTable<'t> {
        self.root
    }

    /// A section that may stand once; absent sections give their defaults.
    pub(crate) fn section(&mut self, kind: &'static str) -> Section<'t> {
        let Some(value) = self.root.get(kind) else {
            return Section { name: kind.to_owned(), kind, table: None, at: 0 };
        };
        let at = value.span().start;
        let Some(table) = value.get_ref().as_table() else {
            let fault = Fault::new(describe(value.get_ref()), format!("one section [{kind}]"));
            self.wrong(kind, at, fault);
            return Section { name: kind.to_owned(), kind, table: None, at };
        };
        self.open(kind.to_owned(), kind, table, at)
    }

    /// True when the file has the section, right or wrong.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.root.contains_key(kind)
    }

    /// All elements of a repeated section `[[kind]]`, in the order of the file.
    pub(crate) fn sections(&mut self, kind: &'static str) -> Vec<Section<'t>> {
        match self.root.get(kind) {
            Some(value) => self.elements(kind, value.get_ref(), value.span().start),
            None => Vec::new(),
        }
    }

    /// The elements of the array of tables `value`.
    fn elements(&mut self, kind: &'static str, value: &'t DeValue<'t>, at: usize) -> Vec<Section<'t>> {
        let wanted = format!("one or more sections [[{kind}]] in double brackets");
        let Some(array) = value.as_array() else {
            self.wrong(kind, at, Fault::new(describe(value), wanted));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let name = format!("{kind}[{index}]");
            let at = element.span().start;
            match element.get_ref().as_table() {
                Some(table) => sections.push(self.open(name, kind, table, at)),
                None => self.wrong(name, at, Fault::new(describe(element.get_ref()), wanted.clone())),
            }
        }
        sections
    }

    /// Opens one table: unknown keys are refused, places of the known ones kept.
    fn open(&mut self, name: String, kind: &'static str, table: &'t DeTable<'t>, at: usize) -> Section<'t> {
        for (key, value) in table {
            let word: &str = key.get_ref();
            let full = format!("{name}.{word}");
            if known_keys(kind).any(|known| known == word) {
                self.stated.push((value.span().start, full));
            } else {
                self.wrong(full, key.span().start, unknown_key(kind, word));
            }
        }
        self.stated.push((at, name.clone()));
        Section { name, kind, table: Some(table), at }
    }

    /// Joins a stated path to the configuration's folder.
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// All problems by place, and the places of all stated keys; the reader is done.
    pub(crate) fn finish(mut self, text: &str) -> (Vec<Problem>, BTreeMap<String, Place>) {
        self.noted.sort_by_key(|noted| noted.offset);
        self.stated.sort_by_key(|(offset, _)| *offset);
        let mut cursor = Cursor::new(text);
        let placed: Vec<(Place, Noted)> =
            self.noted.into_iter().map(|noted| (cursor.place_at(noted.offset), noted)).collect();
        let broken = Broken::new(text, &placed);
        let mut problems: Vec<Problem> = placed
            .into_iter()
            .filter(|(place, noted)| !broken.explains(*place, noted))
            .map(|(Place { line, column }, Noted { key, found, wanted, remedy, .. })| Problem {
                line,
                column,
                key,
                found,
                wanted,
                remedy,
            })
            .collect();
        problems.sort();
        problems.dedup();
        let mut cursor = Cursor::new(text);
        let places = self.stated.into_iter().map(|(offset, key)| (key, cursor.place_at(offset))).collect();
        (problems, places)
    }
}

/// The lines that are not valid TOML: what they were meant to say is lost, so its absence is not reported again.
struct Broken<'t> {
    /// The broken lines by number.
    lines: BTreeMap<u32, &'t str>,
}

impl<'t> Broken<'t> {
    /// Gathers the lines with syntax errors.
    fn new(text: &'t str, placed: &[(Place, Noted)]) -> Broken<'t> {
        let numbers: std::collections::BTreeSet<u32> = placed
            .iter()
            .filter(|(_, noted)| noted.kind == Kind::Syntax)
            .map(|(place, _)| place.line)
            .collect();
        if numbers.is_empty() {
            return Broken { lines: BTreeMap::new() };
        }
        Broken { lines: (1..).zip(text.lines()).filter(|(number, _)| numbers.contains(number)).collect() }
    }

    /// True when the problem is only the consequence of a syntax error reported beside it.
    fn explains(&self, place: Place, noted: &Noted) -> bool {
        match noted.kind {
            Kind::Syntax => false,
            Kind::Meaning => self.lines.contains_key(&place.line),
            Kind::Missing => {
                let word = noted.key.rsplit('.').next().unwrap_or(&noted.key);
                self.lines.values().any(|line| line.contains(word))
            }
        }
    }
}

/// The keys (and sub-sections) a section may hold.
pub(crate) fn known_keys(kind: &str) -> impl Iterator<Item = &'static str> {
    let keys = SECTIONS.iter().filter(move |section| section.name == kind).flat_map(|section| section.keys);
    let below = SECTIONS.iter().filter_map(move |section| section.name.strip_prefix(kind)?.strip_prefix('.'));
    keys.map(|key: &Key| key.name).chain(below)
}

/// The fault of a key its section does not know, with the nearest known one or the section it belongs to.
fn unknown_key(kind: &str, word: &str) -> Fault {
    let fault = Fault::new(
        format!("the unknown key {}", quoted(word)),
        format!("in [{kind}] {}", one_of(known_keys(kind))),
    );
    let elsewhere = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == word));
    match (nearest(word, known_keys(kind)), elsewhere) {
        (Some(near), _) => hinted(fault, Some(near)),
        (None, Some(section)) => fault.remedy(format!("`{word}` belongs in [{}]", section.name)),
        (None, None) => fault,
    }
}

/// Adds "did you mean" to a fault.
fn hinted(fault: Fault, near: Option<&str>) -> Fault {
    match near {
        Some(near) => fault.remedy(format!("did you mean `{near}`?")),
        None => fault,
    }
}

/// `one of a, b, c`.
pub(crate) fn one_of<'k>(names: impl Iterator<Item = &'k str>) -> String {
    let names: Vec<&str> = names.collect();
    format!("one of {}", names.join(", "))
}

/// A value in the words of a message.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => format!("the bare number {}", clip(&number.to_string())),
        DeValue::Float(number) => format!("the fraction {}", clip(&number.to_string())),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(array) => format!("an array of {}", array.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A number's text cut to a length a message can carry.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
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
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Found<T> {
        let Some((value, at)) = self.value(name) else { return Found::Absent };
        match parse(value) {
            Ok(value) => Found::Is(value, at),
            Err(fault) => {
                reader.wrong(self.key(name), at, fault);
                Found::Wrong
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
        mut parse: impl FnMut(&DeValue<'_>) -> Result<T, Fault>,
    ) -> Option<Vec<(T, usize)>> {
        let (value, at) = self.value(name)?;
        let Some(array) = value.as_array() else {
            reader.wrong(self.key(name), at, Fault::new(describe(value), wanted));
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
            Found::Wrong => Stated { value: default, at: self.at, sound: false, written: true },
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
            Found::Wrong => None,
            Found::Absent => {
                if self.stands() {
                    let remedy = format!("add `{name} = …` to this section");
                    reader.missing(self.key(name), self.at, Fault::new("nothing", wanted).remedy(remedy));
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
                .filter(|key| key.need == crate::key::Need::Required)
                .map(|key| key.name);
            let wanted =
                format!("a section [{}] with {}", self.kind, required.collect::<Vec<_>>().join(", "));
            reader.missing(self.kind, 0, Fault::new("no such section", wanted));
        }
    }
}
