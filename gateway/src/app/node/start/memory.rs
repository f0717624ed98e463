//! The memory of the process stays its own: names and addresses of subscribers are there.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Leaves no memory behind in a crash, and lets no program of our user look into it (prctl(2), `PR_SET_DUMPABLE`; root may).
/// Files of /proc/PID belong to root from here on; those that this process reads of itself are readable to everybody.
pub(super) fn keep_to_ourselves() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none).map_err(std::io::Error::from);
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(std::io::Error::from);
    if let Err(error) = limited.and(hidden) {
        tracing::warn!(%error, "memory may be left behind in a crash: keep LimitCORE=0 in the service");
    }
}
