//! Copies of accepted lists in the state directory: written whole or not at all, the oldest removed.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::app::node::input::InputFault;
use crate::app::node::whole_file;

/// Permissions of the folders of a node's state, which holds subscribers: the owner writes, the group reads.
const STATE_MODE: u32 = 0o750;
/// Lists kept: the newest, and those whose names steered mode goes on carrying; the oldest makes room.
const KEPT_LISTS_MAX: usize = allowlist::FORMER_LISTS_MAX as usize + 1;

/// The folder of the copies.
pub(super) struct Kept {
    folder: PathBuf,
}

/// One copy.
pub(super) struct Copy {
    /// Where it is.
    pub(super) path: PathBuf,
    /// The serial its name states.
    pub(super) serial: u64,
}

impl Kept {
    /// The copies in a state directory.
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("lists") }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the copy of an edition is.
    pub(super) fn path(&self, serial: u64) -> PathBuf {
        self.folder.join(format!("{serial:020}.toml"))
    }

    /// The copies, oldest first, and what keeps them from being read.
    pub(super) fn copies(&self) -> (Vec<Copy>, Option<InputFault>) {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
            Err(error) => {
                let message = format!(
                    "cannot be read: {error}; an older list could be taken for a new one: give the gateway's user read permission"
                );
                return (Vec::new(), Some(InputFault::whole(&self.folder, &message)));
            }
        };
        let mut copies: Vec<Copy> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                if path.extension()? != "toml" {
                    return None;
                }
                let serial = path.file_stem()?.to_str()?.parse().ok()?;
                Some(Copy { path, serial })
            })
            .collect();
        copies.sort_by_key(|copy| copy.serial);
        (copies, None)
    }

    /// Writes the copy whole or not at all, and removes copies over the limit.
    pub(super) fn keep(&self, serial: u64, text: &str) -> io::Result<()> {
        // Closed to others, and so is the state directory above it where this comes before the ledger.
        fs::DirBuilder::new().recursive(true).mode(STATE_MODE).create(&self.folder)?;
        whole_file::write(&self.path(serial), text.as_bytes())?;
        let (copies, _) = self.copies();
        let surplus = copies.len().saturating_sub(KEPT_LISTS_MAX);
        for copy in copies.into_iter().take(surplus) {
            fs::remove_file(copy.path)?;
        }
        Ok(())
    }
}
