//! A node: its folders, its process and its admin endpoint.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::load::{ORIGIN_PORT, Origin};
use super::{LISTED, PATIENCE, wait_for};

/// Port of the listener and of the admin endpoint, on an address of the node's own.
const LISTENER_PORT: u16 = 7080;
const ADMIN_PORT: u16 = 7064;

/// What a node is to be like; paths are relative to its folder unless absolute.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) state_dir: String,
    pub(crate) usage_dir: String,
    pub(crate) staging_dir: String,
    pub(crate) period: &'static str,
    pub(crate) checkpoint: &'static str,
    pub(crate) unsaved_max: &'static str,
    pub(crate) delivery_max: &'static str,
    pub(crate) drain: &'static str,
    pub(crate) drain_hard: &'static str,
    pub(crate) identify_deadline: &'static str,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape {
            state_dir: "state".into(),
            usage_dir: "usage".into(),
            staging_dir: "usage.staging".into(),
            period: "1 s",
            checkpoint: "200 ms",
            unsaved_max: "60 s",
            delivery_max: "30 s",
            drain: "20 s",
            drain_hard: "20 s",
            identify_deadline: "20 s",
        }
    }
}

/// A node's folders and addresses, with the origin behind it.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) state: PathBuf,
    pub(crate) usage: PathBuf,
    pub(crate) staging: PathBuf,
    pub(crate) listener: SocketAddr,
    admin: SocketAddr,
    pub(crate) origin: Arc<Origin>,
}

/// Distinguishes the nodes of one test process.
static LABS: AtomicU32 = AtomicU32::new(0);

/// Addresses that no other node has: of its listeners and of its origin, which holds the place.
fn addresses() -> (Ipv4Addr, Ipv4Addr, Arc<Origin>) {
    wait_for("free addresses", || {
        let number = std::process::id().wrapping_mul(64).wrapping_add(LABS.fetch_add(1, Ordering::Relaxed));
        let (high, low) =
            (u8::try_from(number / 250 % 250).unwrap(), u8::try_from(number % 250).unwrap() + 1);
        let origin_address = Ipv4Addr::new(127, 78, high, low);
        Some((Ipv4Addr::new(127, 77, high, low), origin_address, Origin::start(origin_address).ok()?))
    })
}

impl Lab {
    pub(crate) fn new(shape: &Shape) -> Lab {
        let folder = tempfile::Builder::new().prefix("zrgw-crash-").tempdir().unwrap();
        let (own, origin_address, origin) = addresses();
        let path = |name: &str| folder.path().join(name);
        let config = format!(
            "[node]\nid = \"crash-1\"\nstate_dir = \"{state}\"\nworkers = 2\n\
             [[listener]]\nmode = \"proxy_protocol\"\naddress = \"{own}:{LISTENER_PORT}\"\n\
             [list]\nfile = \"list.toml\"\nsignatures = \"none\"\n\
             [subscribers]\nfile = \"subscribers.csv\"\n\
             [export]\ndir = \"{usage}\"\nstaging_dir = \"{staging}\"\nperiod = \"{period}\"\n\
             checkpoint = \"{checkpoint}\"\nunsaved_max = \"{unsaved_max}\"\ndelivery_max = \"{delivery_max}\"\n\
             [upstream]\nresolvers = []\nport_map = {{ 80 = {ORIGIN_PORT} }}\nallow_private = true\n\
             [[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [\"{origin_address}\"]\n\
             [limits]\ndrain = \"{drain}\"\ndrain_hard = \"{drain_hard}\"\n\
             identify_deadline = \"{identify_deadline}\"\n\
             [admin]\naddress = \"{own}:{ADMIN_PORT}\"\n",
            state = shape.state_dir,
            usage = shape.usage_dir,
            staging = shape.staging_dir,
            period = shape.period,
            checkpoint = shape.checkpoint,
            unsaved_max = shape.unsaved_max,
            delivery_max = shape.delivery_max,
            drain = shape.drain,
            drain_hard = shape.drain_hard,
            identify_deadline = shape.identify_deadline,
        );
        fs::write(path("gateway.toml"), config).unwrap();
        fs::write(
            path("subscribers.csv"),
            "prefix,subscriber_type,subscriber_id\n127.66.0.1/32,msisdn,77010000001\n\
             127.66.0.2/32,msisdn,77010000002\n",
        )
        .unwrap();
        let lab = Lab {
            state: path(&shape.state_dir),
            usage: path(&shape.usage_dir),
            staging: path(&shape.staging_dir),
            listener: SocketAddr::new(IpAddr::V4(own), LISTENER_PORT),
            admin: SocketAddr::new(IpAddr::V4(own), ADMIN_PORT),
            origin,
            folder,
        };
        lab.write_list(1);
        lab
    }

    /// The node's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the list with this serial.
    pub(crate) fn write_list(&self, serial: u64) {
        let text = format!(
            "format = 1\nlist_id = \"crash-list\"\nserial = {serial}\nissued = 2020-04-04T10:00:00+06:00\n\
             effective_from = 2020-04-06T00:00:00+06:00\nexpires = 2099-07-06T00:00:00+06:00\n\n\
             [[service]]\nid = \"study\"\nname = \"Study\"\nowner = \"A school\"\nreference = \"Item 1\"\n\n\
             [[service.rule]]\nhost = \"{LISTED}\"\nscope = \"exact\"\nreason = \"a platform\"\n\
             evidence = \"seen\"\ndns_only = false\n"
        );
        fs::write(self.folder().join("list.toml"), text).unwrap();
    }

    /// Starts the node, with the test switch if one is given; does not wait for anything.
    pub(crate) fn spawn(&self, fault: Option<&str>) -> Daemon {
        let mut command = self.command();
        if let Some(fault) = fault {
            command.env("ZRGW_FAULT", fault);
        }
        Daemon { child: command.spawn().unwrap(), ended: None }
    }

    /// Starts a process that takes over from the one that runs; does not wait for anything.
    pub(crate) fn spawn_successor(&self) -> Daemon {
        Daemon { child: self.command().arg("--take-over").spawn().unwrap(), ended: None }
    }

    /// Starts the node with a library before all others, and waits until it serves.
    pub(crate) fn start_preloaded(&self, library: &Path, environment: (&str, &Path)) -> Daemon {
        let mut command = self.command();
        command.env("LD_PRELOAD", library).env(environment.0, environment.1);
        let mut daemon = Daemon { child: command.spawn().unwrap(), ended: None };
        wait_for("the admin endpoint", || {
            assert!(daemon.ended().is_none(), "the gateway ended at start:\n{}", self.log());
            self.get("/healthz").ok()
        });
        daemon
    }

    /// The command line of the node.
    fn command(&self) -> Command {
        let log = self.folder().join("gateway.log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["run", "--config"]).arg(self.folder().join("gateway.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).env_remove("ZRGW_FAULT");
        command
    }

    /// Starts the node and waits until it serves.
    pub(crate) fn start(&self, fault: Option<&str>) -> Daemon {
        let mut daemon = self.spawn(fault);
        wait_for("the admin endpoint", || {
            assert!(daemon.ended().is_none(), "the gateway ended at start:\n{}", self.log());
            self.get("/healthz").ok()
        });
        daemon
    }

    /// What the node said so far, in all its runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder().join("gateway.log")).unwrap_or_default()
    }

    /// Asks the admin endpoint: status code and body.
    pub(crate) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        code.zip(body).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// One value of `/metrics`, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until `/readyz` has a reason that contains `text`; it must then say 503.
    pub(crate) fn wait_not_ready(&self, text: &str) -> String {
        wait_for(&format!("readyz to say {text:?}"), || {
            let (code, body) = self.get("/readyz").ok()?;
            body.contains(text).then(|| {
                assert_eq!(code, 503, "{body}");
                body
            })
        })
    }

    /// Waits until `/readyz` says 200.
    pub(crate) fn wait_ready(&self) {
        let mut last = String::new();
        let begun = Instant::now();
        loop {
            match self.get("/readyz") {
                Ok((200, _)) => return,
                Ok((_, body)) => last = body,
                Err(_) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "not ready again: {last}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("the gateway to end", || self.ended())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// SIGTERM; it must end as asked.
    pub(crate) fn stop(mut self, lab: &Lab) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}\n{}", lab.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
