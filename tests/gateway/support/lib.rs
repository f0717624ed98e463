//! A gateway of its own for each test: started as a process from a configuration made to order, with resolver, origins
//! and clients around it on loopback, and its usage files read by another CSV reader.
//!
//! Addresses: listeners on 127.0.0.1 at ports the system chose, origins on 127.0.2.0/24, subscribers on 127.0.1.0/24
//! (steered) and 10.7.0.0/24 (in PROXY headers). `sN` is the subscriber of both 127.0.1.N and 10.7.0.N, N from 1 to 9.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

pub mod ask;
pub mod bind;
pub mod capture;
pub mod client;
pub mod datagrams;
pub mod dns;
pub mod dnstap;
pub mod edge;
pub mod held;
pub mod hellos;
pub mod http3;
pub mod link;
pub mod messages;
pub mod metered;
pub mod origin;
pub mod plane;
pub mod quic;
pub mod quic_pages;
pub mod quic_told;
pub mod quinn_peers;
pub mod raw_tcp;
pub mod scripted;
pub mod successor;
pub mod udp_world;
pub mod unbound;
pub mod usage;
pub mod world;
pub mod zone;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use usage::Usage;

/// The longest a behaviour without a deadline of its own is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The list of `Setup::new`: `listed.example` with all below it and `other-listed.example`, of two services.
pub const LIST: &str = r#"format = 1
list_id = "test-list"
serial = 3
issued = 2020-04-04T10:00:00+06:00
effective_from = 2020-04-06T00:00:00+06:00
expires = 2099-07-06T00:00:00+06:00

[[service]]
id = "school"
name = "School"
owner = "A school"
reference = "Test"

[[service.rule]]
host = "listed.example"
scope = "subtree"
reason = "test"
evidence = "seen"

[[service]]
id = "library"
name = "Library"
owner = "A library"
reference = "Test"

[[service.rule]]
host = "other-listed.example"
reason = "test"
evidence = "seen"

[[deny]]
host = "ads.listed.example"
reason = "advertising"
"#;

/// A folder with everything a gateway is started from; it outlives the processes started from it.
pub struct Setup {
    folder: TempDir,
    listeners: Vec<String>,
    sections: BTreeMap<String, Vec<String>>,
    raw: String,
    environment: Vec<(String, String)>,
    started_by: Vec<String>,
}

impl Setup {
    /// No listener yet; loopback destinations permitted, ticks of 100 ms, all else at its default.
    pub fn new() -> Self {
        let setup = Self {
            folder: tempfile::tempdir().unwrap(),
            listeners: Vec::new(),
            sections: BTreeMap::new(),
            raw: String::new(),
            environment: Vec::new(),
            started_by: Vec::new(),
        };
        let mut table = String::from("prefix,subscriber_type,subscriber_id\n");
        for number in 1..=9 {
            table +=
                &format!("127.0.1.{number}/32,account,s{number}\n10.7.0.{number}/32,account,s{number}\n");
        }
        setup.write("subscribers.csv", &table);
        setup.write("list.toml", LIST);
        setup
            .set("node", "id = \"test-node\"")
            .set("node", "state_dir = \"state\"")
            .set("list", "file = \"list.toml\"")
            .set("list", "signatures = \"none\"")
            .set("subscribers", "file = \"subscribers.csv\"")
            .set("export", "dir = \"usage\"")
            .set("export", "checkpoint = \"100 ms\"")
            .set("upstream", "allow_private = true")
            .set("limits", "drain = \"2 s\"")
            .set("limits", "drain_hard = \"4 s\"")
            .set("admin", "address = \"127.0.0.1:0\"")
    }

    /// One more listener for subscribers that DNS led here.
    pub fn steered(self) -> Self {
        self.listener("mode = \"steered\"\naddress = \"127.0.0.1:0\"\n")
    }

    /// One more listener behind a PROXY header.
    pub fn proxied(self) -> Self {
        self.listener("mode = \"proxy_protocol\"\naddress = \"127.0.0.1:0\"\n")
    }

    /// One more listener with these keys.
    pub fn listener(mut self, keys: &str) -> Self {
        self.listeners.push(keys.to_owned());
        self
    }

    /// A key of a section, replacing the same key: `set("limits", "drain = \"1 s\"")`.
    pub fn set(mut self, section: &str, line: &str) -> Self {
        let key = line.split('=').next().unwrap().trim().to_owned();
        let lines = self.sections.entry(section.to_owned()).or_default();
        lines.retain(|known| known.split('=').next().unwrap().trim() != key);
        lines.push(line.to_owned());
        self
    }

    /// Leaves a key at its default.
    pub fn unset(mut self, section: &str, key: &str) -> Self {
        if let Some(lines) = self.sections.get_mut(section) {
            lines.retain(|known| known.split('=').next().unwrap().trim() != key);
        }
        self
    }

    /// TOML behind all sections, for arrays of tables.
    pub fn raw(mut self, text: &str) -> Self {
        self.raw += text;
        self
    }

    /// The resolver to ask.
    pub fn resolver(self, address: SocketAddr) -> Self {
        self.set("upstream", &format!("resolvers = [\"{address}\"]"))
    }

    /// Destination ports 443 and 80 (and any other given) are dialled at these ports instead.
    pub fn port_map(self, pairs: &[(u16, u16)]) -> Self {
        let pairs: Vec<_> = pairs.iter().map(|(from, to)| format!("{from} = {to}")).collect();
        self.set("upstream", &format!("port_map = {{ {} }}", pairs.join(", ")))
    }

    /// A variable of the process's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable away again.
    pub fn without_environment(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// The variables so far.
    pub fn variables(&self) -> impl Iterator<Item = (&String, &String)> {
        self.environment.iter().map(|(name, value)| (name, value))
    }

    /// A command in front of the gateway's, such as `prlimit --nofile=64`, that becomes the gateway.
    pub fn started_by(mut self, command: &[&str]) -> Self {
        self.started_by = command.iter().map(ToString::to_string).collect();
        self
    }

    /// The gateway's command line without arguments.
    fn program(&self) -> Command {
        let gateway = gateway();
        match self.started_by.split_first() {
            None => Command::new(gateway),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(gateway);
                command
            }
        }
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The configuration as it stands.
    pub fn configuration(&self) -> String {
        let mut text = String::new();
        for (section, lines) in &self.sections {
            text += &format!("[{section}]\n{}\n\n", lines.join("\n"));
        }
        for listener in &self.listeners {
            text += &format!("[[listener]]\n{listener}\n");
        }
        text + &self.raw
    }

    /// Writes the configuration file.
    pub fn write_configuration(&self) -> PathBuf {
        self.write("gateway.toml", self.configuration());
        self.path("gateway.toml")
    }

    /// Everything the processes of this folder logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log.txt")).unwrap_or_default()
    }

    /// What the usage files say.
    pub fn usage(&self) -> Usage {
        Usage::read(&self.path("usage"))
    }

    /// `gateway ARGUMENTS` to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(gateway())
            .args(arguments)
            .envs(self.variables())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// `gateway run` where it is expected to end by itself: exit code and standard error.
    pub fn run_to_end(&self) -> (i32, String) {
        self.write_configuration();
        let mut child = self
            .program()
            .args(["run", "--config", "gateway.toml"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = wait(&mut child).unwrap_or_else(|| {
            child.kill().unwrap();
            panic!("still running:\n{}", self.configuration())
        });
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code().unwrap_or(-1), said)
    }

    /// Starts a gateway and waits until it serves.
    pub fn start(self) -> Gateway {
        self.write_configuration();
        let log = File::options().create(true).append(true).open(self.path("log.txt")).unwrap();
        let before = self.log().len();
        let child = self
            .program()
            .args(["run", "--config", "gateway.toml"])
            .envs(self.variables())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Gateway { setup: Some(self), child, listeners: Vec::new(), admin: nowhere };
        let runs = eventually(|| gateway.has_ended() || gateway.learn_addresses(before));
        assert!(runs && !gateway.listeners.is_empty(), "does not start:\n{}", gateway.log());
        assert!(eventually(|| gateway.has_ended() || gateway.ask("/healthz").is_some()), "{}", gateway.log());
        gateway
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A running gateway; killed when it is dropped.
pub struct Gateway {
    setup: Option<Setup>,
    child: Child,
    listeners: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Gateway {
    /// Reads from the log where the gateway listens.
    fn learn_addresses(&mut self, from: usize) -> bool {
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
        self.listeners = listeners.split(',').map(|text| text.trim().parse().unwrap()).collect();
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

    /// Waits until a metric has this value.
    pub fn await_metric(&self, name: &str, value: u64) {
        let reached = eventually(|| self.metric(name) == value);
        assert!(reached, "{name} is {}, not {value}\n{}", self.metric(name), self.log());
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

/// Waits for a child to end, at most [`PATIENCE`].
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    eventually(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status
}

/// A process that ends with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `condition` becomes true within [`PATIENCE`].
pub fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that nobody listens at, below those the system gives to connections (32,768 to 60,999 unless changed): one of
/// them would be taken again before the gateway starts.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(37).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 12_000 + u16::try_from(number % 20_000).unwrap();
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// The gateway's command, which cargo builds for its tests and benches.
pub fn gateway() -> PathBuf {
    sibling("gateway")
}

/// A command of the workspace (`tests/run` builds them all): beside the folder of the program that asks.
pub fn sibling(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let path = program.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    path
}

/// `billing-export verify` on a folder: whether it found nothing wrong, and what it said.
pub fn verify(folder: &Path) -> (bool, String) {
    let output = Command::new(sibling("billing-export")).arg("verify").arg(folder).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Whether a peer's command is there; says `SKIPPED:` when not.
pub fn has(command: &str) -> bool {
    let there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(command).exists())
    });
    if !there {
        println!("SKIPPED: {command} is not installed");
    }
    there
}
