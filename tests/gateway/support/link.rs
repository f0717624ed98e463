//! A subscriber's link: network namespaces joined by wires, and the kernels' own count of what passes on the first.
//!
//! subscriber – gateway, and for a gateway in the path – internet, where the origins are. Addresses there look public; they
//! exist inside the namespaces alone.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The subscriber's addresses.
pub const SUBSCRIBER: [&str; 2] = ["10.77.0.2", "fd77::2"];
/// The gateway's.
pub const GATEWAY: [&str; 2] = ["10.77.0.1", "fd77::1"];

/// An origin's addresses in the internet.
pub const ORIGIN: [&str; 2] = ["11.77.0.10", "2a0e:77::10"];
/// Another's, that no name was answered with.
pub const FOREIGN: [&str; 2] = ["11.77.0.66", "2a0e:77::66"];
/// An origin's addresses behind the internet.
pub const BEYOND: [&str; 2] = ["12.77.0.10", "2a0f:77::10"];
/// The internet's addresses towards it.
const NEAR_BEYOND: [&str; 2] = ["12.77.0.1", "2a0f:77::1"];
/// The gateway's addresses on that side.
const OUTSIDE: [&str; 2] = ["11.77.0.1", "2a0e:77::1"];

/// How long a packet may take from end to end of a link that is just up, once.
const WAY_TIMEOUT: Duration = Duration::from_secs(3);
/// Tries to get one through.
const WAY_TRIES_MAX: u32 = 10;

/// The namespaces; removed when dropped.
pub struct Link {
    subscriber: String,
    gateway: String,
    internet: Option<String>,
    beyond: Option<String>,
}

/// Runs a command that must succeed.
pub fn run(words: &str) -> String {
    let mut split = words.split_whitespace();
    let output = Command::new(split.next().unwrap())
        .args(split)
        .output()
        .unwrap_or_else(|error| panic!("{words}: {error}"));
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Link {
    /// Makes the link, with counters; none, with a line that says so, where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let link = Self::plain()?;
        link.count();
        Some(link)
    }

    /// Makes the link as the system makes links.
    pub fn plain() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root makes network namespaces");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("zl{end}{}x{number}", std::process::id());
        let link = Self { subscriber: name("s"), gateway: name("g"), internet: None, beyond: None };
        for (namespace, addresses) in [(&link.subscriber, SUBSCRIBER), (&link.gateway, GATEWAY)] {
            add(namespace);
            if *namespace == link.gateway {
                run(&format!(
                    "ip -n {namespace} link add wire type veth peer name wire netns {}",
                    link.subscriber
                ));
                for (end, addresses) in [(&link.subscriber, SUBSCRIBER), (namespace, addresses)] {
                    run(&format!("ip -n {end} address add {}/24 dev wire", addresses[0]));
                    run(&format!("ip -n {end} address add {}/64 dev wire nodad", addresses[1]));
                    run(&format!("ip -n {end} link set wire up"));
                }
            }
        }
        Some(link)
    }

    /// Makes the link with an internet behind the gateway, which forwards between them.
    pub fn with_internet() -> Option<Self> {
        let mut link = Self::plain()?;
        let internet = link.gateway.replacen("zlg", "zli", 1);
        link.internet = Some(internet.clone());
        let (subscriber, gateway) = (&link.subscriber, &link.gateway);
        add(&internet);
        run(&format!("ip -n {gateway} link add out type veth peer name out netns {internet}"));
        for (end, own) in [(&internet, vec![ORIGIN, FOREIGN]), (gateway, vec![OUTSIDE])] {
            for addresses in own {
                run(&format!("ip -n {end} address add {}/24 dev out", addresses[0]));
                run(&format!("ip -n {end} address add {}/64 dev out nodad", addresses[1]));
            }
            run(&format!("ip -n {end} link set out up"));
        }
        run(&format!("ip -n {subscriber} route add default via {}", GATEWAY[0]));
        run(&format!("ip -n {subscriber} -6 route add default via {}", GATEWAY[1]));
        run(&format!("ip -n {internet} route add default via {}", OUTSIDE[0]));
        run(&format!("ip -n {internet} -6 route add default via {}", OUTSIDE[1]));
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            run(&format!("ip netns exec {gateway} sysctl -qw {key}=1"));
        }
        link.await_way();
        link.count();
        Some(link)
    }

    /// Adds a further network behind the internet, which forwards to it; its origin is at [`BEYOND`].
    pub fn extend(&mut self) {
        let internet = self.internet.clone().unwrap();
        let beyond = internet.replacen("zli", "zlb", 1);
        self.beyond = Some(beyond.clone());
        add(&beyond);
        run(&format!("ip -n {internet} link add far type veth peer name far netns {beyond}"));
        for (end, addresses) in [(&beyond, BEYOND), (&internet, NEAR_BEYOND)] {
            run(&format!("ip -n {end} address add {}/24 dev far", addresses[0]));
            run(&format!("ip -n {end} address add {}/64 dev far nodad", addresses[1]));
            run(&format!("ip -n {end} link set far up"));
        }
        for (version, family) in [("-4", 0), ("-6", 1)] {
            run(&format!("ip -n {beyond} {version} route add default via {}", NEAR_BEYOND[family]));
            run(&format!("ip -n {} {version} route add default via {}", self.gateway, ORIGIN[family]));
        }
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            run(&format!("ip netns exec {internet} sysctl -qw {key}=1"));
        }
    }

    /// Waits until packets pass from end to end: a link that is just up does not answer for its IPv6 addresses at once.
    fn await_way(&self) {
        for address in ORIGIN {
            let nobody = SocketAddr::new(address.parse().unwrap(), 9);
            let is_refused = |_| {
                let told = TcpStream::connect_timeout(&nobody, WAY_TIMEOUT).map(|_| ());
                told.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
            };
            assert!(self.at_subscriber(|| (0..WAY_TRIES_MAX).any(is_refused)), "no way to {address}");
        }
    }

    /// Has the kernel at each end count what arrives there: on leaving, packets are not cut to their size yet.
    fn count(&self) {
        for end in [&self.subscriber, &self.gateway] {
            // One packet counts once: nft counts a super-packet's headers once, whatever it becomes on the wire.
            run(&format!(
                "ip netns exec {end} ethtool -K wire tso off gso off gro off tx-udp-segmentation off"
            ));
        }
        let rules = "table inet count {
            counter arrived {}
            chain in { type filter hook prerouting priority -300; iifname wire meta l4proto { tcp, udp } counter name arrived; }
        }";
        let file = std::env::temp_dir().join(format!("{}.nft", self.subscriber));
        std::fs::write(&file, rules).unwrap();
        for end in [&self.subscriber, &self.gateway] {
            run(&format!("ip netns exec {end} nft -f {}", file.display()));
        }
        std::fs::remove_file(file).unwrap();
    }

    /// IP bytes of TCP and UDP so far: up, down.
    pub fn counted(&self) -> (u64, u64) {
        let arrived = |end: &str| {
            let text = run(&format!("ip netns exec {end} nft -j list counters"));
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            let mut counters =
                json["nftables"].as_array().unwrap().iter().map(|one| &one["counter"]["bytes"]);
            counters.find_map(serde_json::Value::as_u64).unwrap()
        };
        (arrived(&self.gateway), arrived(&self.subscriber))
    }

    /// Loses so many of a hundred packets that arrive at each end, behind the counters. What finds neighbours is not among them, as
    /// ARP is not in IPv4: three lost in a row would leave no way to the other end.
    pub fn lose(&self, percent: u32) {
        for end in [&self.subscriber, &self.gateway] {
            run(&format!(
                "ip netns exec {end} nft add chain inet count lost {{ type filter hook prerouting priority -200; }}"
            ));
            run(&format!(
                "ip netns exec {end} nft add rule inet count lost icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept"
            ));
            run(&format!(
                "ip netns exec {end} nft add rule inet count lost iifname wire numgen random mod 100 < {percent} drop"
            ));
        }
    }

    /// Runs `work` at the subscriber's end.
    pub fn at_subscriber<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.subscriber, work)
    }

    /// Runs `work` at the gateway's end; threads and processes that it starts stay there.
    pub fn at_gateway<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.gateway, work)
    }

    /// Runs `work` in the internet.
    pub fn in_internet<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.internet.as_ref().unwrap(), work)
    }

    /// Runs `work` in the network behind the internet.
    pub fn beyond<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(self.beyond.as_ref().unwrap(), work)
    }

    /// Moves the thread that calls to the gateway's end, with all that it starts from here on.
    pub fn enter_gateway(&self) {
        enter(&self.gateway);
    }

    /// Runs a command at the gateway's end; what it printed.
    pub fn gateway_runs(&self, words: &str) -> String {
        run(&format!("ip netns exec {} {words}", self.gateway))
    }

    /// Runs a command at the subscriber's end; what it printed.
    pub fn subscriber_runs(&self, words: &str) -> String {
        run(&format!("ip netns exec {} {words}", self.subscriber))
    }

    /// Runs a command in the internet; what it printed.
    pub fn internet_runs(&self, words: &str) -> String {
        run(&format!("ip netns exec {} {words}", self.internet.as_ref().unwrap()))
    }

    /// The gateway's address of the family of `address`.
    pub fn gateway_for(address: IpAddr) -> IpAddr {
        GATEWAY[usize::from(address.is_ipv6())].parse().unwrap()
    }
}

/// Makes a namespace. Nobody else is there, so that no address is tried first: that takes seconds (RFC 4862 §5.4), in which
/// a link forwards nothing over IPv6.
fn add(namespace: &str) {
    run(&format!("ip netns add {namespace}"));
    run(&format!("ip netns exec {namespace} sysctl -qw net.ipv6.conf.default.accept_dad=0"));
    run(&format!("ip -n {namespace} link set lo up"));
}

/// Runs `work` on a thread of the namespace.
fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            enter(namespace);
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Moves this thread to a namespace.
fn enter(namespace: &str) {
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
}

impl Drop for Link {
    fn drop(&mut self) {
        for namespace in
            [&self.subscriber, &self.gateway].into_iter().chain(&self.internet).chain(&self.beyond)
        {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}
