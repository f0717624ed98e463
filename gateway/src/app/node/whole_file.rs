//! Files of a node's state that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Mode of the files: the owner writes, the group reads.
const MODE: u32 = 0o640;

/// Writes `bytes` beside the file (ending `part`), to the disk, and puts them in its place. Two at once would write into one part:
/// whoever calls takes turns.
///
/// # Errors
/// The system's; the file is what it was before, unless only the folder could not be brought to the disk.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
