//! Unix sockets that programs on the same machine connect to: where, and which group may.

use crate::reader::{Mismatch, Reader, describe};
use crate::section::{Found, Section};
use crate::value::path_text;
use std::path::PathBuf;

/// Longest path of a socket: `sun_path` of unix(7) has room for 107 bytes, of which the name it is made under takes five more.
pub const SOCKET_BYTES_MAX: usize = 102;
/// Longest name of a group (useradd(8)).
const GROUP_CHARS_MAX: usize = 32;
/// What a group looks like, for messages.
const GROUP_FORM: &str = "the name or number of a group in quotes, such as \"haproxy\"";

/// A Unix socket. Its owner and its group may connect (mode 0660), whatever the umask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Where it stands.
    pub path: PathBuf,
    /// Whose it is beside our user's; none: our own group's.
    pub group: Option<String>,
}

impl LocalSocket {
    /// Reads a socket and its group from two keys; `None` when there is none, or a wrong one (noted).
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        section: &Section<'_>,
        path_key: &str,
        group_key: &str,
    ) -> Option<LocalSocket> {
        let group = section.read(reader, group_key, |value| {
            let text = value.as_str().ok_or_else(|| Mismatch::new(describe(value), GROUP_FORM))?;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let is_group = (1..=GROUP_CHARS_MAX).contains(&text.len()) && text.chars().all(fits);
            if is_group { Ok(text.to_owned()) } else { Err(Mismatch::new(describe(value), GROUP_FORM)) }
        });
        let (path, at) = match section.read(reader, path_key, path_text) {
            Found::Is(text, at) => (reader.join(&text), at),
            Found::Absent => {
                if let Found::Is(_, at) = group {
                    let fault = Mismatch::new(format!("a group and no {path_key}"), "both, or neither");
                    reader.wrong(section.key(group_key), at, fault);
                }
                return None;
            }
            Found::Wrong(_) => return None,
        };
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_BYTES_MAX {
            let fault = Mismatch::new(
                format!("a path of {bytes} bytes: {}", path.display()),
                format!("at most {SOCKET_BYTES_MAX} bytes for a socket"),
            );
            reader.wrong(section.key(path_key), at, fault);
        }
        let group = match group {
            Found::Is(group, _) => Some(group),
            Found::Absent | Found::Wrong(_) => None,
        };
        Some(LocalSocket { path, group })
    }
}
