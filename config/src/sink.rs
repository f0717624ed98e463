//! `[[sink]]`: further ways out for sealed records, beside the folder of usage files.

mod tdf;

pub use self::tdf::{HeaderLayout, Tdf};

use crate::export::STAGING_SUFFIX;
use crate::key::Key;
use crate::node::is_id;
use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Found, Section};
use crate::value::{path_text, word_of};
use std::collections::HashMap;
use std::path::PathBuf;
use toml::de::DeValue;

/// The keys of `[[sink]]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("sink", "id"),
    Key::optional("sink", "from"),
    Key::required("sink", "kind"),
    Key::required("sink", "dir"),
    Key::defaulted("sink", "staging_dir"),
    Key::defaulted("sink", "header"),
    Key::defaulted("sink", "release"),
    Key::defaulted("sink", "version"),
    Key::defaulted("sink", "zone"),
    Key::defaulted("sink", "node_name"),
    Key::required("sink", "address"),
    Key::defaulted("sink", "pgw_address"),
    Key::defaulted("sink", "classes"),
    Key::defaulted("sink", "msisdn_nature"),
    Key::optional("sink", "service_identifiers"),
    Key::optional("sink", "sponsor"),
    Key::defaulted("sink", "extension_oid"),
];

/// Most sinks.
pub const SINKS_MAX: usize = 16;
/// Longest id of one.
pub const ID_CHARS_MAX: usize = 32;
/// The sink that `[export] dir` is.
const FILES: &str = "files";
/// What an id looks like, for messages.
const ID_FORM: &str = "1 to 32 of a-z, 0-9 and - in quotes";
/// The kinds, as written.
const KINDS: [(&str, Kind); 2] = [("file", Kind::File), ("tdf", Kind::Tdf)];
/// Kinds that this version does not have.
const KINDS_TO_COME: [&str; 3] = ["sftp", "radius", "nats"];
/// Where a new sink begins, as written; where nothing is said, with the next record.
const FROM: [(&str, Begin); 1] = [("oldest", Begin::Oldest)];

/// `[[sink]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its id in the ledger and in metrics: `[a-z0-9-]{1,32}`, and never `files`.
    pub id: String,
    /// Where it begins when the ledger has not heard of it.
    pub from: Begin,
    /// Where its files are complete.
    pub dir: PathBuf,
    /// Folder on the same file system where they grow.
    pub staging_dir: PathBuf,
    /// What they are.
    pub form: Form,
}

/// Where a sink begins that the ledger has not heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the next file that is sealed.
    Next,
    /// With the oldest that there is.
    Oldest,
}

/// What the files of a sink are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Usage files and manifests, as in `[export] dir`.
    Usage,
    /// Charging records of TS 32.298 in files of TS 32.297.
    Tdf(Box<Tdf>),
}

/// The kind as written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Tdf,
}

/// A sink with the places its folders stand at, for the comparison with other folders.
pub(crate) struct Placed {
    /// The sink.
    pub(crate) sink: Sink,
    /// Its name for messages: `sink[0]`.
    pub(crate) name: String,
    /// Byte offset of `dir`.
    pub(crate) dir_at: usize,
    /// Byte offset of `staging_dir`, or of the section when the default stands.
    pub(crate) staging_at: usize,
}

/// Reads all `[[sink]]` sections; `node_id` is `node.id`, the default of a name in files.
pub(crate) fn read(reader: &mut Reader<'_>, node_id: Option<&str>) -> Vec<Placed> {
    let sections = reader.sections("sink");
    if let Some(over) = sections.get(SINKS_MAX) {
        let fault = Mismatch::new(format!("{} sinks", sections.len()), format!("at most {SINKS_MAX}"));
        reader.wrong("sink", over.at, fault);
    }
    let mut taken = HashMap::new();
    sections.iter().filter_map(|section| read_one(reader, section, node_id, &mut taken)).collect()
}

/// Reads one sink.
fn read_one<'t>(
    reader: &mut Reader<'t>,
    section: &Section<'t>,
    node_id: Option<&str>,
    taken: &mut HashMap<String, String>,
) -> Option<Placed> {
    let found = section.read(reader, "id", id_of);
    let id = section.required(reader, "id", found, ID_FORM);
    if let Some((id, at)) = &id
        && let Some(first) = taken.insert(id.clone(), section.key("id"))
    {
        let fault = Mismatch::new(format!("\"{id}\", which {first} already has"), "an id of its own");
        reader.wrong(section.key("id"), *at, fault);
    }
    let from = section.word(reader, "from", &FROM, Begin::Next).value;
    let found = section.read(reader, "kind", kind_of);
    let kind = section.required(reader, "kind", found, "\"file\" or \"tdf\"").map(|(kind, _)| kind);
    let dir = section.required_path(reader, "dir");
    let staging = section.read(reader, "staging_dir", path_text);
    let of_tdf = tdf::read(reader, section, node_id, kind == Some(Kind::Tdf));
    if kind == Some(Kind::File) {
        for key in tdf::NAMES {
            if let Some((_, at)) = section.value(key) {
                let fault =
                    Mismatch::new("a key of kind \"tdf\"", "none of these in a sink of kind \"file\"");
                reader.wrong(section.key(key), at, fault.remedy("leave it out"));
            }
        }
    }
    let (dir, dir_at) = dir?;
    let (staging_dir, staging_at) = match staging {
        Found::Is(text, at) => (reader.join(&text), at),
        Found::Absent | Found::Wrong(_) => {
            let mut beside: PathBuf = dir.components().collect();
            beside.as_mut_os_string().push(STAGING_SUFFIX);
            (beside, section.at)
        }
    };
    let form = match kind? {
        Kind::File => Form::Usage,
        Kind::Tdf => Form::Tdf(Box::new(of_tdf?)),
    };
    let sink = Sink { id: id?.0, from, dir, staging_dir, form };
    Some(Placed { sink, name: section.name.clone(), dir_at, staging_at })
}

/// An id.
fn id_of(value: &DeValue<'_>) -> Result<String, Mismatch> {
    match value.as_str() {
        Some(FILES) => Err(Mismatch::new("\"files\", which is the folder of [export] dir", "another id")),
        Some(text) if is_id(text, ID_CHARS_MAX) => Ok(text.to_owned()),
        Some(text) => Err(Mismatch::new(quoted(text), ID_FORM)),
        None => Err(Mismatch::new(describe(value), ID_FORM)),
    }
}

/// A kind; those that this version does not have are told from words that are none.
fn kind_of(value: &DeValue<'_>) -> Result<Kind, Mismatch> {
    match value.as_str().filter(|word| KINDS_TO_COME.contains(word)) {
        Some(word) => {
            Err(Mismatch::new(format!("\"{word}\", which this version does not have"), "\"file\" or \"tdf\""))
        }
        None => word_of(value, &KINDS),
    }
}
