//! A gateway that runs as a process: what it is asked, what is waited for, and how it ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ExitStatus};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::setup::Setup;
use super::usage::Usage;
use super::{PATIENCE, eventually, wait};

/// A running gateway; killed when it is dropped.
pub struct Gateway {
    pub(crate) setup: Option<Setup>,
    pub(crate) child: Child,
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Reads from the log where the gateway listens.
    pub(crate) fn learn_addresses(&mut self, from: usize) -> bool {
        let log = self.log();
        let Some(line) = log[from..].lines().find(|line| line.contains("gateway runs")) else { return false };
        let Some((_, rest)) = line.split_once("listeners=[") else { return false };
        let Some((listeners, rest)) = rest.split_once("] ") else { return false };
        let Some(admin) = rest.split_once("admin=").and_then(|(_, rest)| rest.split_whitespace().next())
        else {
            return false;
        };
        let Ok(admin) = admin.parse() else { return false };
        self.admin = admin;
        let listeners = listeners.split(',').map(str::trim).filter(|text| !text.is_empty());
        self.listeners = listeners.map(|text| text.parse().unwrap()).collect();
        true
    }

    /// The folder it was started from.
    pub fn setup(&self) -> &Setup {
        self.setup.as_ref().unwrap()
    }

    /// Its log up to here.
    pub fn log(&self) -> String {
        self.setup().log()
    }

    /// Where the listener of this number, in the order of the configuration, listens.
    pub fn listener(&self, number: usize) -> SocketAddr {
        self.listeners[number]
    }

    /// Where the admin endpoint listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory of the process that is in use, in bytes (proc(5), `VmRSS`).
    pub fn resident_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1_024 * line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Status code and body of an admin page; none when nobody answers.
    pub fn ask(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// The value of a metric, labels included in the name, 0 when there is none.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.ask("/metrics").expect("admin endpoint");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has this value, as long as it goes on changing.
    pub fn await_metric(&self, name: &str, value: u64) {
        let (mut last, begun) = (self.metric(name), Instant::now());
        while last != value {
            let before = last;
            let changes = eventually(|| {
                last = self.metric(name);
                last != before
            });
            let goes_on = changes && begun.elapsed() < 20 * PATIENCE;
            assert!(goes_on, "{name} is {last}, not {value}\n{}", self.log());
        }
    }

    /// Waits until every flow that has been carried to its end is counted and closed. The gauge is that of the last tick, which
    /// may have been before the flow: it speaks of now when a whole tick has passed.
    pub fn await_flows_closed(&self) {
        let ticks = || self.metric("zrgw_ticks_total");
        let before = ticks();
        // The first may have been under way already.
        let passed = eventually(|| ticks() >= before + 2);
        assert!(passed, "no tick in time\n{}", self.log());
        self.await_metric("zrgw_flows_open", 0);
    }

    /// Waits until the readiness answer fits.
    pub fn await_readiness(&self, fits: impl Fn(u16, &str) -> bool) {
        let reached = eventually(|| self.ask("/readyz").is_some_and(|(code, body)| fits(code, &body)));
        assert!(reached, "{:?}\n{}", self.ask("/readyz"), self.log());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGHUP, and waits until the reload is through: the log says so.
    pub fn reload(&self) {
        let before = self.log().len();
        self.signal(Signal::HUP);
        // "subscribers prefixes=N" is logged once per reading, behind everything it came to but faults.
        let told = eventually(|| self.log()[before..].contains("subscribers prefixes="));
        assert!(told, "no reload:\n{}", self.log());
    }

    /// SIGTERM, and waits for the orderly end; the folder is given back for another start.
    pub fn stop(mut self) -> Setup {
        self.signal(Signal::TERM);
        let Some(status) = wait(&mut self.child) else { panic!("does not stop:\n{}", self.log()) };
        assert!(status.success(), "{status}:\n{}", self.log());
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        self.setup.take().unwrap()
    }

    /// SIGTERM, then what the usage files say; bytes are conserved in every one of them.
    pub fn stop_and_count(self) -> Usage {
        let setup = self.stop();
        let usage = setup.usage();
        assert!(usage.conserved, "{usage:?}\n{}", setup.log());
        usage
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.take().unwrap()
    }

    /// Waits for an end that was caused by something else (a fault injected, a signal).
    pub fn wait(mut self) -> (ExitStatus, Setup) {
        let Some(status) = wait(&mut self.child) else { panic!("still running:\n{}", self.log()) };
        (status, self.setup.take().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Some(setup) = &self.setup
        {
            eprintln!("--- log of the gateway\n{}", setup.log());
        }
    }
}
