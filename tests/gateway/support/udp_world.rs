//! A gateway for datagrams amid everything it talks to.

use std::net::SocketAddr;

use super::client::{proxied_subscriber, subscriber};
use super::datagrams::{Access, Header};
use super::dns::Resolver;
use super::{Gateway, Setup, eventually};

/// The name that is listed and at the origin.
pub const LISTED: &str = "www.listed.example";

/// A gateway with a steered listener (0) and one behind a PROXY header (1); `www.listed.example` is at 127.0.2.1, where
/// `port` is dialled for 443.
pub struct UdpWorld {
    pub gateway: Gateway,
    pub resolver: Resolver,
    port: u16,
}

impl UdpWorld {
    pub fn new(port: u16) -> Self {
        Self::with(port, |setup| setup)
    }

    /// With changes of the configuration.
    pub fn with(port: u16, change: impl FnOnce(Setup) -> Setup) -> Self {
        let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
        // An ended QUIC connection leaves a silent flow: a test does not wait for its idle time.
        let setup = Setup::new().steered().proxied().resolver(resolver.address).port_map(&[(443, port)]);
        let setup = setup.set("limits", "drain = \"0 s\"").set("limits", "drain_hard = \"0 s\"");
        // What stands in the queues of the machine's other interfaces is none of the test's.
        let setup = setup.set("export", "egress_interfaces = [\"lo\"]");
        Self { gateway: change(setup).start(), resolver, port }
    }

    /// The origin as a destination in a PROXY header.
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 2, 1], 443))
    }

    /// The origin as it is.
    pub fn origin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 2, 1], self.port))
    }

    /// The access of subscriber `sN` to the steered listener.
    pub fn steered(&self, number: u8) -> Access {
        Access::steered(subscriber(number), self.gateway.listener(0))
    }

    /// The access of subscriber `sN` to the origin's port 443, behind a balancer.
    pub fn proxied(&self, number: u8, header: Header) -> Access {
        self.proxied_to(number, self.destination(), header)
    }

    /// The access of subscriber `sN` to another place.
    pub fn proxied_to(&self, number: u8, destination: SocketAddr, header: Header) -> Access {
        Access::proxied(proxied_subscriber(number), destination, self.gateway.listener(1), header)
    }

    /// Bytes counted so far in a direction, whatever they are.
    pub fn counted(&self, direction: &str) -> u64 {
        let (_, text) = self.gateway.ask("/metrics").expect("admin endpoint");
        let of = |line: &&str| {
            line.starts_with("zrgw_bytes_total{") && line.contains(&format!("direction=\"{direction}\""))
        };
        text.lines().filter(of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// Waits until as much is counted as these have carried; what is pending is not counted yet.
    pub fn await_counted(&self, accesses: &[&Access]) {
        let carried = || {
            accesses.iter().fold((0, 0), |sum, access| {
                let (up, down) = access.carried();
                (sum.0 + up, sum.1 + down)
            })
        };
        let reached = eventually(|| (self.counted("up"), self.counted("down")) == carried());
        let counted = (self.counted("up"), self.counted("down"));
        assert!(reached, "counted {counted:?}, carried {:?}\n{}", carried(), self.gateway.log());
    }

    /// Waits until at least as much is counted as these have carried: a server may have sent to a port that is gone.
    pub fn await_counted_at_least(&self, accesses: &[&Access]) {
        let reached = eventually(|| {
            let (up, down) = accesses
                .iter()
                .fold((0, 0), |sum, access| (sum.0 + access.carried().0, sum.1 + access.carried().1));
            self.counted("up") >= up && self.counted("down") >= down
        });
        assert!(reached, "{}", self.gateway.log());
    }

    /// Flows of UDP that were judged so.
    pub fn judged(&self, protocol: &str, class: &str, reason: &str) -> u64 {
        let labels = format!("protocol=\"{protocol}\",class=\"{class}\",reason=\"{reason}\"");
        self.gateway.metric(&format!("zrgw_flows_total{{{labels}}}"))
    }

    /// Waits until so many were.
    pub fn await_judged(&self, protocol: &str, class: &str, reason: &str, count: u64) {
        let reached = eventually(|| self.judged(protocol, class, reason) == count);
        assert!(
            reached,
            "{protocol} {class} {reason}: not {count}\n{}",
            self.gateway.ask("/metrics").unwrap().1
        );
    }

    /// Waits until a metric has at least this value: a client of QUIC says something at any time.
    pub fn await_at_least(&self, metric: &str, value: u64) {
        let reached = eventually(|| self.gateway.metric(metric) >= value);
        assert!(reached, "{metric} is {}, not {value}\n{}", self.gateway.metric(metric), self.gateway.log());
    }

    /// Waits until a refusal was counted so often.
    pub fn await_refused(&self, reason: &str, count: u64) {
        self.gateway.await_metric(&format!("zrgw_refused_total{{reason=\"{reason}\"}}"), count);
    }
}
