//! A folder with everything a gateway is started from: its configuration made to order, its list, its table of subscribers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::running::Gateway;
use super::usage::Usage;
use super::{eventually, gateway, wait};

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
        assert!(runs && gateway.admin != nowhere, "does not start:\n{}", gateway.log());
        assert!(eventually(|| gateway.has_ended() || gateway.ask("/healthz").is_some()), "{}", gateway.log());
        gateway
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}
