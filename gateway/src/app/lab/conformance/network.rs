//! Three network namespaces in a row, subscriber – gateway – internet, with nothing of the machine's own network in them.
//!
//! They are removed when the value is dropped: also after an error, a panic, or Ctrl-C, which ends the run as an error does.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};

use super::packets::{self, Packets};
use super::plan::{EXEMPT_DSCP, Family, Site, UNMARKED_BYTES_MAX, Who};

/// Where iproute2 keeps the namespaces.
const FOLDER: &str = "/run/netns";
/// The subscriber's interface.
const SUBSCRIBER_LINK: &str = "sub0";
/// The gateway's interface towards the subscriber.
pub(super) const ACCESS_LINK: &str = "access0";
/// The gateway's interface towards the internet.
const TRANSIT_LINK: &str = "transit0";
/// The internet's interface.
const INTERNET_LINK: &str = "net0";
/// Addresses of the gateway towards the subscriber and the internet, and with them the prefixes of both links.
const ROUTERS: [(&str, &str, &str); 2] = [("11.1.0.1", "11.2.0.1", "/24"), ("2f00:1::1", "2f00:2::1", "/64")];

/// One of the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Subscribers' devices.
    Subscriber,
    /// The gateway.
    Gateway,
    /// The sites.
    Internet,
}

impl Zone {
    /// All of them.
    const ALL: [Self; 3] = [Self::Subscriber, Self::Gateway, Self::Internet];

    /// How its name ends.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Subscriber => "sub",
            Self::Gateway => "gw",
            Self::Internet => "net",
        }
    }
}

/// The namespaces of one run.
#[derive(Debug)]
pub(super) struct Network {
    /// What their names begin with: it carries the process's id.
    prefix: String,
    /// Whether they stay.
    keep: bool,
}

impl Network {
    /// Makes and connects them; `process` tells them from those of other runs.
    ///
    /// # Errors
    /// What `ip` or the system says; what was made until then is removed.
    pub(super) fn make(process: u32, keep: bool) -> io::Result<Self> {
        // The guard stands before the first namespace does.
        let mut network = Self { prefix: format!("zrgw-{process}"), keep: false };
        for zone in Zone::ALL {
            ip(&["netns", "add", &network.name(zone)])?;
            ip(&["-n", &network.name(zone), "link", "set", "lo", "up"])?;
        }
        network.connect((Zone::Subscriber, SUBSCRIBER_LINK), (Zone::Gateway, ACCESS_LINK))?;
        network.connect((Zone::Gateway, TRANSIT_LINK), (Zone::Internet, INTERNET_LINK))?;
        for (access, transit, length) in ROUTERS {
            network.address(Zone::Gateway, ACCESS_LINK, access, length)?;
            network.address(Zone::Gateway, TRANSIT_LINK, transit, length)?;
        }
        for (family, (access, transit, length)) in [Family::V4, Family::V6].into_iter().zip(ROUTERS) {
            for who in Who::ALL {
                let address = who.address(family).to_string();
                network.address(Zone::Subscriber, SUBSCRIBER_LINK, &address, length)?;
            }
            for place in Site::ALL {
                let address = place.address(family).to_string();
                network.address(Zone::Internet, INTERNET_LINK, &address, length)?;
            }
            for (zone, router) in [(Zone::Subscriber, access), (Zone::Internet, transit)] {
                ip(&["-n", &network.name(zone), "route", "add", "default", "via", router])?;
            }
        }
        network.write(
            Zone::Gateway,
            &["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"],
        )?;
        network.load(Zone::Subscriber, &core())?;
        network.load(Zone::Gateway, &packets::rules())?;
        // One packet counts once: as many in one would have one header between them.
        let internet = network.name(Zone::Internet);
        ip(&["-n", &internet, "link", "set", "dev", INTERNET_LINK, "gso_max_segs", "1"])?;
        network.write(Zone::Subscriber, &["/proc/sys/net/netfilter/nf_conntrack_acct"])?;
        network.keep = keep;
        Ok(network)
    }

    /// The name of a namespace, as `ip netns` shows it.
    pub(super) fn name(&self, zone: Zone) -> String {
        format!("{}-{}", self.prefix, zone.suffix())
    }

    /// A pair of interfaces, one in each namespace.
    fn connect(&self, (near, one): (Zone, &str), (far, other): (Zone, &str)) -> io::Result<()> {
        let (near, far) = (self.name(near), self.name(far));
        ip(&["link", "add", one, "netns", &near, "type", "veth", "peer", "name", other, "netns", &far])?;
        ip(&["-n", &near, "link", "set", one, "up"])?;
        ip(&["-n", &far, "link", "set", other, "up"])
    }

    /// An address of an interface, usable at once.
    fn address(&self, zone: Zone, link: &str, address: &str, length: &str) -> io::Result<()> {
        let (name, prefix) = (self.name(zone), format!("{address}{length}"));
        let mut words = vec!["-n", &name, "address", "add", &prefix, "dev", link];
        if address.parse().is_ok_and(|address: IpAddr| address.is_ipv6()) {
            // Nobody else is there who could have it.
            words.push("nodad");
        }
        ip(&words)
    }

    /// Switches settings of a namespace on: they belong to the namespace of the thread that writes.
    fn write(&self, zone: Zone, settings: &'static [&str]) -> io::Result<()> {
        let switched = self.run(zone, |_| settings.iter().try_for_each(|setting| fs::write(setting, "1")))?;
        switched.join().map_err(|_| io::Error::other("the thread of a namespace panicked"))??
    }

    /// Runs `work` in a namespace, on a thread of its own with an event loop.
    ///
    /// # Errors
    /// No thread to be had. The thread gives an error if the namespace cannot be entered.
    pub(super) fn run<T: Send + 'static>(
        &self,
        zone: Zone,
        work: impl FnOnce(&Runtime) -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let path = Path::new(FOLDER).join(self.name(zone));
        thread::Builder::new().name(zone.suffix().to_owned()).spawn(move || {
            enter(&path)?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            Ok(work(&runtime))
        })
    }

    /// Puts packet rules in force in a namespace.
    fn load(&self, zone: Zone, rules: &str) -> io::Result<()> {
        let mut nft = self.command(zone, Path::new("nft"));
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut input) = nft.stdin.take() {
            input.write_all(rules.as_bytes())?;
        }
        let output = nft.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("nft: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }

    /// What was sent to the devices by now.
    ///
    /// # Errors
    /// What `nft` says.
    pub(super) fn packets(&self) -> io::Result<Packets> {
        let mut nft = self.command(Zone::Gateway, Path::new("nft"));
        let shown = nft.args(["-j", "list", "set", "inet", packets::TABLE, packets::SET]).output()?;
        Packets::read(&shown.stdout)
    }

    /// A command in a namespace.
    pub(super) fn command(&self, zone: Zone, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(zone)]).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for zone in Zone::ALL {
            let name = self.name(zone);
            // A run that failed early has not made them all.
            if PathBuf::from(FOLDER).join(&name).exists()
                && let Err(error) = ip(&["netns", "delete", &name])
            {
                eprintln!("conformance: network namespace {name} stays: {error}");
            }
        }
    }
}

/// The operator's core, as a subscriber without credit meets it: of what comes down, marked packets reach him, and the first
/// bytes of each connection, for a name is only said on a connection that stands.
fn core() -> String {
    let who = Who::WithoutCredit;
    let (v4, v6) = (who.address(Family::V4), who.address(Family::V6));
    format!(
        "table inet core {{\n chain downlink {{\n  type filter hook prerouting priority mangle; policy accept;\n  \
         ip daddr {v4} ip dscp {EXEMPT_DSCP} accept\n  ip6 daddr {v6} ip6 dscp {EXEMPT_DSCP} accept\n  \
         meta l4proto {{ tcp, udp }} ct reply bytes <= {UNMARKED_BYTES_MAX} accept\n  \
         ip daddr {v4} meta l4proto {{ tcp, udp }} drop\n  ip6 daddr {v6} meta l4proto {{ tcp, udp }} drop\n }}\n}}\n"
    )
}

/// Moves the calling thread into a namespace. It never leaves it: what it opens later is in there too.
fn enter(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(io::Error::from)
}

/// Runs `ip`; its message is the error's.
fn ip(words: &[&str]) -> io::Result<()> {
    run(Command::new("ip").args(words))
}

/// Runs a command to its end; its message is the error's.
pub(super) fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let program = command.get_program().to_string_lossy().into_owned();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program} {}: {said}", words.join(" "))))
}
