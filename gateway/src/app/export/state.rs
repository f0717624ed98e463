//! The state folder of a node as `check` sees it: whose ledger it holds, and whether a gateway holds it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use billing_export::Exporter;

/// Every file lock of the system (proc_locks(5)).
const LOCKS: &str = "/proc/locks";

/// Why a node of this id could not use the ledger in `state_dir`; none where it could, or where there is none yet.
pub fn problem(state_dir: &Path, node_id: &str) -> Option<String> {
    match Exporter::owner(state_dir) {
        Ok(Some(owner)) if owner != node_id => Some(format!(
            "found the ledger of node \"{owner}\", wanted that of node \"{node_id}\"; correct node.id, or give this node a state folder of its own"
        )),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The process that holds the state folder, which a gateway does for as long as it writes the ledger. Nothing is locked to
/// find out: a start at this moment would meet the lock.
pub fn holder(state_dir: &Path) -> Option<u32> {
    let lock = fs::metadata(state_dir.join(billing_export::LOCK_NAME)).ok()?;
    let inode = lock.ino().to_string();
    let device = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
    let is_ours = |place: &str| {
        let mut parts = place.split(':');
        let mut number = || u32::from_str_radix(parts.next().unwrap_or_default(), 16).ok();
        (number(), number()) == (Some(device.0), Some(device.1)) && parts.next() == Some(inode.as_str())
    };
    fs::read_to_string(LOCKS).ok()?.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; `->` before the kind says that it waits.
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, "FLOCK", _, _, process, place, ..] = words.as_slice() else { return None };
        is_ours(place).then(|| process.parse().unwrap_or_default())
    })
}
