//! Memory as the system tells of it: what this process holds, and what its control groups let it have.

use std::fs;
use std::path::Path;

/// The resident set of this process (proc(5), `statm`).
pub(super) fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

/// The least memory limit of the control groups that this process is in (cgroups(7), version 2).
pub(super) fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let limits = Path::new(group).ancestors().filter_map(|group| {
        fs::read_to_string(root.join(group).join("memory.max")).ok()?.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_known() {
        assert!(resident().unwrap() > 100_000);
    }
}
