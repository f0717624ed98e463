//! The node under audit: this program as `gateway run`, a process in the gateway's namespace, with files written for it.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::network::{ACCESS_LINK, Network, Zone, run};
use super::plan::{EXEMPT_DSCP, Family, HTTPS, LISTED_NAME, SERVICE, Site, Who};
use super::{Audited, Stop};

/// Name of the node.
const NODE_ID: &str = "conformance";
/// The configuration's file.
const CONFIGURATION: &str = "gateway.toml";
/// The folder's part that billing picks up.
pub(super) const USAGE: &str = "usage";
/// Where the bpf file system is mounted.
const PINS: &str = "bpf";
/// Where the node's messages go.
const LOG: &str = "gateway.log";
/// Port of the transparent listeners: nobody else is in the namespace.
const LISTENER_PORT: u16 = 8443;
/// Port of the admin listener.
const ADMIN_PORT: u16 = 9090;
/// Name of the node's nft table.
const TABLE: &str = "zrgw";
/// Longest wait for the node to be ready, and to end.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often either is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Seconds of a day.
const DAY: i64 = 86_400;
/// Last bytes of the node's messages that an error shows.
const LOG_BYTES_MAX: usize = 2_000;

/// How the list names the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedBy {
    /// By its name, as it should.
    Name,
    /// By its addresses.
    Address,
}

/// The running node; killed when dropped.
pub(super) struct RunningNode {
    /// The process.
    child: Child,
    /// The folder of its files.
    folder: PathBuf,
    /// Where the kernel keeps what outlives the process.
    _pins: Option<Pins>,
}

/// A bpf file system of the audit's own; unmounted when dropped, and with it goes what the kernel holds.
struct Pins(PathBuf);

impl Pins {
    /// Mounts one in the folder.
    fn mount(folder: &Path) -> io::Result<Self> {
        let pins = folder.join(PINS);
        fs::create_dir_all(&pins)?;
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&pins))?;
        Ok(Self(pins))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.0)) {
            eprintln!("conformance: the bpf file system stays: {error}");
        }
    }
}

impl RunningNode {
    /// Writes the files, tells the kernel to lead flows to the node, starts it and waits until it is ready.
    ///
    /// # Errors
    /// What the system says, or the node.
    pub(super) fn start(
        network: &Network,
        folder: &Path,
        (listed, audited): (ListedBy, Audited),
        stop: &Stop,
    ) -> io::Result<Self> {
        let pins = match audited {
            Audited::Tproxy => None,
            Audited::Kernel => Some(Pins::mount(folder)?),
        };
        fs::write(folder.join("list.toml"), list(Timestamp::now(), listed))?;
        fs::write(folder.join("subscribers.csv"), subscribers())?;
        fs::write(folder.join(CONFIGURATION), configuration(audited))?;
        let program = env::current_exe()?;
        let mut rules = network.command(Zone::Gateway, &program);
        run(rules.args(["nft", "apply", "--config"]).arg(folder.join(CONFIGURATION)))?;
        let log = File::create(folder.join(LOG))?;
        let child = network
            .command(Zone::Gateway, &program)
            .args(["run", "--config"])
            .arg(folder.join(CONFIGURATION))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is ours to answer: the node is stopped in its turn.
            .process_group(0)
            .spawn()?;
        let mut node = Self { child, folder: folder.to_owned(), _pins: pins };
        node.await_ready(network, audited, stop)?;
        Ok(node)
    }

    /// Waits until the node says that it is ready and flows are led to it.
    fn await_ready(&mut self, network: &Network, audited: Audited, stop: &Stop) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX && !stop.asked() {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.fault(&format!("the node ended early, {status}")));
            }
            let asked = network.run(Zone::Gateway, |runtime| runtime.block_on(is_ready()))?;
            let is_led = || match audited {
                Audited::Tproxy => is_led(network),
                // The programs stand before the node is ready.
                Audited::Kernel => Ok(true),
            };
            if matches!(asked.join(), Ok(Ok(true))) && is_led()? {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Err(self.fault("the node was not ready in time"))
    }

    /// Ends the node as an operator does, so that it drains and seals.
    ///
    /// # Errors
    /// It did not end in time, or not well.
    pub(super) fn stop(mut self) -> io::Result<()> {
        if let Some(process) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(process, Signal::TERM)?;
        }
        match self.await_end()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.fault(&format!("the node ended with {status}"))),
            None => Err(self.fault("the node did not end in time")),
        }
    }

    /// How the process ended; none if it did not in time.
    fn await_end(&mut self) -> io::Result<Option<ExitStatus>> {
        let begun = Instant::now();
        while begun.elapsed() < WAIT_MAX {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }

    /// An error with the last of the node's messages.
    fn fault(&self, what: &str) -> io::Error {
        let log = fs::read(self.folder.join(LOG)).unwrap_or_default();
        let last = log.get(log.len().saturating_sub(LOG_BYTES_MAX)..).unwrap_or_default();
        io::Error::other(format!("{what}; it said:\n{}", String::from_utf8_lossy(last).trim()))
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        // It has ended, or it must.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether `/readyz` says so; no answer says no.
async fn is_ready() -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN_PORT)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(LOG_BYTES_MAX as u64).read_to_end(&mut answer).await?;
        io::Result::Ok(answer.starts_with(b"HTTP/1.1 200 "))
    };
    matches!(tokio::time::timeout(WAIT_MAX, ask).await, Ok(Ok(true)))
}

/// Whether the kernel leads flows to the node: the set it renews has elements.
fn is_led(network: &Network) -> io::Result<bool> {
    let mut nft = network.command(Zone::Gateway, Path::new("nft"));
    let shown = nft.args(["list", "set", "inet", TABLE, "alive"]).output()?;
    Ok(String::from_utf8_lossy(&shown.stdout).contains("expires"))
}

/// The list, in force from a day before `now` to a day after.
fn list(now: Timestamp, listed: ListedBy) -> String {
    let at = |days: i64| {
        let second = now.as_second().saturating_add(days.saturating_mul(DAY));
        Timestamp::from_second(second).unwrap_or(now)
    };
    let (issued, expires) = (at(-1), at(1));
    let mut text = format!(
        "format = 1\nlist_id = \"conformance\"\nserial = 1\nissued = {issued}\neffective_from = {issued}\n\
         expires = {expires}\n\n[[service]]\nid = \"{SERVICE}\"\nname = \"Listed site\"\nowner = \"audit\"\n\
         reference = \"audit\"\n"
    );
    match listed {
        ListedBy::Name => {
            let _ = write!(
                text,
                "\n[[service.rule]]\nhost = \"{LISTED_NAME}\"\nscope = \"exact\"\nreason = \"audit\"\n\
                 evidence = \"seen\"\ndns_only = false\n"
            );
        }
        ListedBy::Address => {
            for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
                for protocol in ["tcp", "udp"] {
                    let _ = write!(
                        text,
                        "\n[[service.rule]]\nprefix = \"{}/{length}\"\nprotocol = \"{protocol}\"\n\
                         ports = [\"{HTTPS}\"]\n",
                        Site::Listed.address(family)
                    );
                }
            }
        }
    }
    text
}

/// The subscriber table: one subscriber for each one's IPv4 and IPv6 address.
fn subscribers() -> String {
    let mut text = "prefix,subscriber_type,subscriber_id\n".to_owned();
    for who in Who::ALL {
        for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
            let _ = writeln!(text, "{}/{length},account,{}", who.address(family), who.id());
        }
    }
    text
}

/// The configuration.
fn configuration(audited: Audited) -> String {
    let (listeners, pins, basis) = match audited {
        Audited::Tproxy => {
            let one = |address: &str| {
                format!("[[listener]]\nmode = \"transparent\"\naddress = \"{address}:{LISTENER_PORT}\"\n")
            };
            // What clients count at their own sockets, so that sums agree to the byte.
            (one("0.0.0.0") + &one("[::]"), String::new(), "payload")
        }
        Audited::Kernel => (
            "[[listener]]\nmode = \"transparent\"\ninterception = \"kernel\"\n".to_owned(),
            format!("pin_dir = \"{PINS}/zrgw\"\n"),
            "ip",
        ),
    };
    let [v4, v6] = [Family::V4, Family::V6].map(|family| Site::Listed.address(family));
    format!(
        r#"# Written by `gateway conformance`.

[node]
id = "{NODE_ID}"
state_dir = "state"

{listeners}
[edge]
table = "{TABLE}"
{pins}interfaces = ["{ACCESS_LINK}"]
tcp_ports = [{HTTPS}]
udp_ports = [{HTTPS}]

[list]
file = "list.toml"
signatures = "none"

[subscribers]
file = "subscribers.csv"

[[trusted_answers.static]]
name = "{LISTED_NAME}"
addresses = ["{v4}", "{v6}"]

[export]
dir = "{USAGE}"
checkpoint = "250 ms"
byte_basis = "{basis}"

[[rating_group]]
id = 100
services = ["*"]
disposition = "tagged"
dscp = {EXEMPT_DSCP}

[limits]
# As long as a probe may take: on a busy machine a device is silent for seconds, and what came after that would be another flow.
quic_idle_timeout = "60 s"
drain = "2 s"
drain_hard = "5 s"

[admin]
address = "127.0.0.1:{ADMIN_PORT}"

[log]
level = "info"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_table_and_configuration_have_no_problem() {
        for listed in [ListedBy::Name, ListedBy::Address] {
            let text = list(Timestamp::now(), listed);
            let document =
                allowlist::Document::parse(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
            assert_eq!(document.to_canonical().contains(LISTED_NAME), listed == ListedBy::Name);
        }
        assert_eq!(config::subscribers::parse(&subscribers(), 4_096, 10).unwrap().len(), 2 * Who::ALL.len());
        for (audited, listeners) in [(Audited::Tproxy, 2), (Audited::Kernel, 1)] {
            let config = config::Config::parse(&configuration(audited), Path::new(".")).unwrap();
            // The one note: the list needs no signatures.
            assert_eq!((config.listeners.len(), config.notes.len()), (listeners, 1), "{:?}", config.notes);
        }
    }
}
