//! A process that takes over from a running gateway of the same folder.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{Setup, eventually, gateway, wait};

/// Killed when dropped.
pub struct Successor(Child);

impl Successor {
    /// Starts it; does not wait for anything.
    pub fn spawn(setup: &Setup) -> Self {
        let log = File::options().append(true).open(setup.path("log.txt")).unwrap();
        let child = Command::new(gateway())
            .args(["run", "--config", "gateway.toml", "--take-over"])
            .envs(setup.variables())
            .current_dir(setup.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Starts it and waits until the process before drains.
    pub fn take_over(setup: &Setup) -> Self {
        let said = || setup.log().matches("another process accepts").count();
        let before = said();
        let successor = Self::spawn(setup);
        assert!(eventually(|| said() > before), "{}", setup.log());
        successor
    }

    /// SIGTERM, and waits for its orderly end.
    pub fn stop(mut self) {
        let process = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        self.await_end();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its orderly end.
    pub fn await_end(&mut self) {
        assert!(wait(&mut self.0).expect("it ends").success());
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
