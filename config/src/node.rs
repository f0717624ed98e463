//! `[node]`: who this gateway is, where its state lives, how many workers carry traffic.

use crate::key::Key;
use crate::problem::quoted;
use crate::reader::{Mismatch, Reader, describe};
use std::path::PathBuf;

/// The keys of `[node]`.
pub(crate) const KEYS: &[Key] = &[
    Key::required("node", "id"),
    Key::required("node", "state_dir"),
    Key::defaulted("node", "workers"),
    Key::defaulted("node", "core_dumps"),
];

/// Longest node id (`billing-export/docs/records.md`).
pub const NODE_ID_CHARS_MAX: usize = 32;
/// Most workers: more than the cores of any machine this is run on.
pub const WORKERS_MAX: u16 = 256;
/// What a node id looks like.
const ID_FORM: &str = "1 to 32 of a-z, 0-9 and -";

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name of this gateway in every record and file name: `[a-z0-9-]{1,32}`.
    pub id: String,
    /// Folder of the database and the other state that outlives the process.
    pub state_dir: PathBuf,
    /// How many workers carry traffic.
    pub workers: Workers,
    /// Whether the process may leave its memory behind when it crashes, and be looked into by programs of its user.
    pub core_dumps: bool,
}

/// How many workers carry traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core the process may run on (decision 23).
    Auto,
    /// This many: 1 to [`WORKERS_MAX`].
    Count(u16),
}

impl Node {
    /// Reads `[node]`; `None` when a required key is missing or wrong (noted).
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Node> {
        let section = reader.section("node");
        section.required_here(reader);
        let found = section.read(reader, "id", |value| match value.as_str() {
            Some(text) if is_id(text, NODE_ID_CHARS_MAX) => Ok(text.to_owned()),
            Some(text) => Err(Mismatch::new(quoted(text), ID_FORM)),
            None => Err(Mismatch::new(describe(value), format!("{ID_FORM} in quotes"))),
        });
        let id = section.required(reader, "id", found, ID_FORM);
        let state_dir = section.required_path(reader, "state_dir");
        let workers = section.count_or_auto(reader, "workers", 1..=WORKERS_MAX);
        let core_dumps = section.boolean(reader, "core_dumps", false).value;
        Some(Node {
            id: id?.0,
            state_dir: state_dir?.0,
            workers: workers.value.map_or(Workers::Auto, Workers::Count),
            core_dumps,
        })
    }
}

/// True for `[a-z0-9-]{1,max}`, the form of node and service ids.
pub(crate) fn is_id(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
