//! A gateway in the path of a subscriber's link, with rules of `gateway nft`, and origins in the internet behind it.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use super::link::{FOREIGN, Link, ORIGIN, SUBSCRIBER, run};
use super::successor::Successor;
use super::{Gateway, PATIENCE, Setup, eventually, has};

/// The listed name, vouched for at `ORIGIN`.
pub const LISTED: &str = "www.listed.example";

/// The gateway and its link. The gateway ends first: then its rules go with its namespace.
pub struct Edge {
    pub gateway: Gateway,
    pub link: Link,
    /// Where the kernel keeps what outlives the gateway; it goes after it.
    pub pins: Option<Pins>,
}

/// Whether the gateway can have the kernel's programs: clang makes them. Says so when not.
pub fn has_programs() -> bool {
    let has_clang = has("clang");
    if !has_clang {
        println!("SKIPPED: no clang, and so no programs for the kernel");
    }
    has_clang
}

/// A bpf file system of the test's own.
pub struct Pins(PathBuf);

impl Pins {
    /// Mounts one; none, with a line that says so, where that is not permitted.
    pub fn new() -> Option<Self> {
        if !has_programs() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&folder).output().unwrap();
        if mounted.status.success() {
            return Some(Self(folder));
        }
        println!("SKIPPED: no bpf file system can be mounted");
        std::fs::remove_dir(folder).unwrap();
        None
    }

    /// Where the gateway keeps its own below it.
    pub fn folder(&self) -> PathBuf {
        self.0.join("zrgw")
    }

    /// Names of what is kept.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).into_iter().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// An origin's address, by IP version (0: IPv4, 1: IPv6).
pub fn origin(family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ORIGIN[family].parse().unwrap(), port)
}

/// An address no name was answered with.
pub fn foreign(family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(FOREIGN[family].parse().unwrap(), port)
}

/// Sends back what datagrams come, behind the sender's address, until the test ends.
pub fn telling_datagrams(address: SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let answer = [format!("{peer} ").as_bytes(), &buffer[..count]].concat();
            let _ = socket.send_to(&answer, peer);
        }
    });
}

/// The subscriber's address.
pub fn subscriber(family: usize) -> IpAddr {
    SUBSCRIBER[family].parse().unwrap()
}

/// Reads a line that an origin says.
pub fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A gateway that takes what comes in by `interface`.
pub fn setup(interception: &str, interface: &str) -> Setup {
    let protocols = if interception == "redirect" { "[\"tcp\"]" } else { "[\"tcp\", \"udp\"]" };
    let addresses: &[&str] =
        if interception == "kernel" { &["0.0.0.0:9443"] } else { &["0.0.0.0:9443", "[::]:9443"] };
    let setup = addresses.iter().fold(Setup::new(), |setup, address| {
        setup.listener(&format!(
            "mode = \"transparent\"\naddress = \"{address}\"\ninterception = \"{interception}\"\nprotocols = {protocols}\n"
        ))
    });
    let answers = ORIGIN.map(|address| format!("\"{address}\"")).join(", ");
    let table = format!(
        "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\nfd77::/64,account,s1\n",
        SUBSCRIBER[0]
    );
    setup.write("subscribers.csv", table);
    setup
        .set("edge", &format!("interfaces = [\"{interface}\"]"))
        .set("edge", "alive_timeout = \"2 s\"")
        .set("upstream", "allow_private = false")
        .set("upstream", "connect_timeout = \"3 s\"")
        .raw(&format!("[[trusted_answers.static]]\nname = \"{LISTED}\"\naddresses = [{answers}]\n"))
}

/// Applies its rules in the namespace of the thread that calls, and starts it.
pub fn start(setup: Setup) -> Gateway {
    setup.write_configuration();
    let output = setup.command(&["nft", "apply", "--config", "gateway.toml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let gateway = setup.start();
    assert!(eventually(|| gateway.metric("zrgw_edge{state=\"taken\"}") == 1), "{}", gateway.log());
    let leads = || run("nft list set inet zrgw alive").contains("expires");
    assert!(eventually(leads), "{}", gateway.log());
    gateway
}

impl Edge {
    /// Transparent listeners for both IP versions; none where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        Self::with("tproxy", |setup| setup)
    }

    /// With an interception and changes of the configuration.
    pub fn with(interception: &str, change: impl FnOnce(Setup) -> Setup + Send) -> Option<Self> {
        let link = Link::with_internet()?;
        if interception == "kernel" {
            return Self::in_kernel(link, change);
        }
        let gateway = link.at_gateway(|| start(change(setup(interception, "wire"))));
        Some(Self { gateway, link, pins: None })
    }

    /// With packets that stay in the kernel.
    fn in_kernel(link: Link, change: impl FnOnce(Setup) -> Setup + Send) -> Option<Self> {
        let pins = Pins::new()?;
        let gateway = link.at_gateway(|| {
            let setup = setup("kernel", "wire")
                .set("edge", &format!("pin_dir = \"{}\"", pins.folder().display()))
                .set("edge", "slots_max = 4096");
            change(setup).start()
        });
        Some(Self { gateway, link, pins: Some(pins) })
    }

    /// Whether the kernel leads flows to the gateway.
    pub fn is_alive(&self) -> bool {
        self.link.gateway_runs("nft list set inet zrgw alive").contains("expires")
    }

    /// Connects from the subscriber's end.
    pub fn connect(&self, to: SocketAddr) -> TcpStream {
        self.try_connect(to).unwrap_or_else(|error| panic!("{to}: {error}"))
    }

    /// The same, where it may fail.
    pub fn try_connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.link.at_subscriber(|| {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        })
    }

    /// Starts a process that takes over; does not wait for anything.
    pub fn spawn_successor(&self) -> Successor {
        self.link.at_gateway(|| Successor::spawn(self.gateway.setup()))
    }

    /// The same, and waits until the process before drains.
    pub fn take_over(&self) -> Successor {
        self.link.at_gateway(|| Successor::take_over(self.gateway.setup()))
    }

    /// A metric of the gateway.
    pub fn metric(&self, name: &str) -> u64 {
        self.link.at_gateway(|| self.gateway.metric(name))
    }

    /// Waits for a metric of the gateway.
    pub fn await_metric(&self, name: &str, value: u64) {
        self.link.at_gateway(|| self.gateway.await_metric(name, value));
    }

    /// Waits until all flows are counted and closed.
    pub fn await_flows_closed(&self) {
        self.link.at_gateway(|| self.gateway.await_flows_closed());
    }

    /// Ends the gateway: what it exported.
    pub fn stop_and_count(self) -> super::usage::Usage {
        let Self { gateway, link, pins } = self;
        let usage = link.at_gateway(|| gateway.stop_and_count());
        drop(pins);
        usage
    }
}
