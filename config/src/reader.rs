//! Walks the spanned TOML tree and gathers every problem with its place; the sections ask it for typed values.
//!
//! Reading never stops at a mistake: a wrong value is noted, its default stands in so that the rest can be judged, and
//! the caller refuses the whole at the end. Pure.

use crate::key::{Key, SECTIONS, nearest};
use crate::problem::{Cursor, Place, Problem, quoted};
use crate::section::Section;
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

/// What one value was and what it should have been.
pub(crate) struct Mismatch {
    /// What stands there.
    pub(crate) found: String,
    /// What may stand there.
    pub(crate) wanted: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

impl Mismatch {
    /// A fault whose `wanted` says what to do.
    pub(crate) fn new(found: impl Into<String>, wanted: impl Into<String>) -> Mismatch {
        Mismatch { found: found.into(), wanted: wanted.into(), remedy: None }
    }

    /// The same with a remedy.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Mismatch {
        Mismatch { remedy: Some(remedy.into()), ..self }
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
                let fault = Mismatch::new(format!("the unknown section {}", quoted(name)), one_of(known()));
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
    pub(crate) fn wrong(&mut self, key: impl Into<String>, offset: usize, fault: Mismatch) {
        let Mismatch { found, wanted, remedy } = fault;
        self.noted.push(Noted { offset, kind: Kind::Meaning, key: key.into(), found, wanted, remedy });
    }

    /// Notes that something required is not stated; `offset` is that of the place it belongs to.
    pub(crate) fn missing(&mut self, key: impl Into<String>, offset: usize, fault: Mismatch) {
        let Mismatch { found, wanted, remedy } = fault;
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
            let fault = Mismatch::new(describe(value.get_ref()), format!("one section [{kind}]"));
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
    pub(crate) fn elements(
        &mut self,
        kind: &'static str,
        value: &'t DeValue<'t>,
        at: usize,
    ) -> Vec<Section<'t>> {
        let wanted = format!("one or more sections [[{kind}]] in double brackets");
        let Some(array) = value.as_array() else {
            self.wrong(kind, at, Mismatch::new(describe(value), wanted));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let name = format!("{kind}[{index}]");
            let at = element.span().start;
            match element.get_ref().as_table() {
                Some(table) => sections.push(self.open(name, kind, table, at)),
                None => self.wrong(name, at, Mismatch::new(describe(element.get_ref()), wanted.clone())),
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
        let mut last_broken = 0;
        let mut problems: Vec<Problem> = placed
            .into_iter()
            .filter(|(place, noted)| !broken.explains(*place, noted))
            // What the TOML parser says further on in a broken line is noise.
            .filter(|(place, noted)| {
                noted.kind != Kind::Syntax || std::mem::replace(&mut last_broken, place.line) != place.line
            })
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
fn unknown_key(kind: &str, word: &str) -> Mismatch {
    let fault = Mismatch::new(
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
fn hinted(fault: Mismatch, near: Option<&str>) -> Mismatch {
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
