//! What the machine knows that no copy of its disk brings back: its boot, and a directory in its memory.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A random id that the kernel draws at every boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Where services keep what a boot forgets (file-hierarchy(7)).
const RUN: &str = "/run";
/// Our directory in it.
const NAME: &str = "zrgw";
/// Our user alone: whoever could write there could make epochs begin.
const MODE: u32 = 0o700;
/// Bits of those who may write and are not the owner.
const OTHERS_WRITE: u32 = 0o022;

/// The machine's boot; none where the system does not say.
pub(super) fn boot_id() -> Option<String> {
    let text = fs::read_to_string(BOOT_ID).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

/// A directory in memory that is ours alone: the one that the service manager made (`RUNTIME_DIRECTORY`, systemd.exec(5)),
/// else `/run/zrgw`, else one of the user's own (`XDG_RUNTIME_DIR`). None where there is no such place.
pub(super) fn memory_dir() -> Option<PathBuf> {
    let given = std::env::var_os("RUNTIME_DIRECTORY");
    let given = given.as_ref().and_then(|given| std::env::split_paths(given).next());
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(|base| PathBuf::from(base).join(NAME));
    let places = [given, Some(Path::new(RUN).join(NAME)), of_user];
    places.into_iter().flatten().find(|place| place.is_absolute() && is_ours(place))
}

/// Whether the directory is there, or can be made, and nobody else may write into it.
fn is_ours(place: &Path) -> bool {
    let _ = DirBuilder::new().mode(MODE).create(place);
    fs::symlink_metadata(place).is_ok_and(|found| {
        found.is_dir()
            && found.uid() == rustix::process::geteuid().as_raw()
            && found.mode() & OTHERS_WRITE == 0
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn f63_a_directory_that_others_may_write_into_or_a_link_is_not_ours() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("zrgw");
        assert!(is_ours(&place) && is_ours(&place));
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_ours(&place));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(!is_ours(&link));
        assert!(!is_ours(&root.path().join("missing/zrgw")));
        assert!(boot_id().is_some_and(|id| id.len() == 36));
    }
}
