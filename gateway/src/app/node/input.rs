//! The operator's files: text within a limit, and what is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is wrong with an input: one line for each problem, each with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputFault {
    /// `file:line:column: …`, or `file: …` where there is no place in it.
    pub lines: Vec<String>,
    /// Whether the file could not be read at all.
    pub unreadable: bool,
}

impl InputFault {
    /// A fault of the file as a whole.
    pub fn whole(path: &Path, message: &str) -> Self {
        Self { lines: vec![format!("{}: {message}", path.display())], unreadable: false }
    }

    /// The first line and how many more there are, for one log line or a readiness reason.
    pub fn summary(&self) -> String {
        let first = self.lines.first().cloned().unwrap_or_default();
        match self.lines.len() {
            0 | 1 => first,
            count => format!("{first} (and {} more problems)", count.saturating_sub(1)),
        }
    }
}

/// Reads a text of at most `bytes_max` bytes.
///
/// # Errors
/// The path with what the system says, or with its size.
pub fn read_text(path: &Path, bytes_max: usize, key: &str) -> Result<String, InputFault> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| {
        let message =
            format!("cannot be read: {error}; check the path and the permissions of the gateway's user");
        InputFault { unreadable: true, ..InputFault::whole(path, &message) }
    })?;
    if bytes.len() > bytes_max {
        return Err(InputFault::whole(
            path,
            &format!("found more than {bytes_max} bytes, wanted at most that; raise {key}"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        InputFault::whole(
            path,
            &format!("found bytes that are not UTF-8 at offset {}", error.utf8_error().valid_up_to()),
        )
    })
}
