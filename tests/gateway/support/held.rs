//! A fault that no switch makes: one thread of a running gateway stands still (ptrace(2)).

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// One thread of a process, held where it is; it goes on when this is dropped.
pub struct Held(Pid);

impl Held {
    /// Holds the thread of this name; none, with a line that says so, where threads of other processes may not be held.
    pub fn thread(process: u32, name: &str) -> Option<Self> {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
        let is_named = |thread: &std::fs::DirEntry| {
            std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let thread = threads.into_iter().find(is_named).unwrap();
        let number = Pid::from_raw(thread.file_name().to_str().unwrap().parse().unwrap());
        if let Err(error) = ptrace::seize(number, ptrace::Options::empty()) {
            println!("SKIPPED: no thread can be held here: {error}");
            return None;
        }
        ptrace::interrupt(number).unwrap();
        waitpid(number, Some(WaitPidFlag::__WALL)).unwrap();
        Some(Self(number))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ptrace::detach(self.0, None).unwrap();
    }
}
