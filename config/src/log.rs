//! `[log]`: how much is said, and in which form.

use crate::key::Key;
use crate::reader::Reader;
use toml::de::DeTable;

/// The keys of `[log]`.
pub(crate) const KEYS: &[Key] = &[Key::defaulted("log", "level"), Key::defaulted("log", "format")];

/// The levels as written.
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
/// The formats as written.
const FORMATS: [(&str, Format); 2] = [("text", Format::Text), ("json", Format::Json)];

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
}

/// How severe a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something asked for was not done.
    Error,
    /// Something is wrong and work goes on.
    Warn,
    /// What an operator wants to know of an ordinary day.
    Info,
    /// Names and addresses may stand here and below (decision 22).
    Debug,
    /// Every packet.
    Trace,
}

impl Level {
    /// The level as written.
    pub fn label(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Log {
    /// Reads `[log]`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Log {
        let section = reader.section("log");
        let level = section.word(reader, "level", &LEVELS, Level::Info).value;
        let format = section.word(reader, "format", &FORMATS, Format::Text).value;
        Log { level, format }
    }
}

/// The format that a text states, however wrong it is otherwise, for messages about it; the default where it states none.
pub fn format_of(text: &str) -> Format {
    if text.len() > crate::TEXT_BYTES_MAX {
        return Format::Text;
    }
    let (root, _) = DeTable::parse_recoverable(text);
    let log = root.get_ref().get("log").and_then(|log| log.get_ref().get("format"));
    let word = log.and_then(|format| format.get_ref().as_str());
    let known = FORMATS.iter().find(|(known, _)| word == Some(known));
    known.map_or(Format::Text, |(_, format)| *format)
}
