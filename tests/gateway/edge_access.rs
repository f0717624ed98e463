//! Who may use a steered listener: subscribers, private addresses and configured prefixes, in network namespaces where a host
//! of the internet has a way to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, UdpSocket};

use support::client::try_connect_from;
use support::dns::Resolver;
use support::edge::LISTED;
use support::hellos::Hello;
use support::link::{FOREIGN, Link, ORIGIN, SUBSCRIBER};
use support::origin::{self as origins, Origin};
use support::{Gateway, Setup, eventually};

/// The gateway's address on the side of the internet, where names lead.
const OUTSIDE: &str = "11.77.0.1:8443";
/// A private address that nothing is known of.
const UNKNOWN: &str = "10.77.0.3";
/// Refusals of strangers.
const STRANGERS: &str = "zrgw_refused_total{reason=\"client\"}";

/// A gateway that names lead to, and the site.
struct Net {
    gateway: Gateway,
    link: Link,
    origin: Origin,
    _resolver: Resolver,
}

/// Who comes.
#[derive(Clone, Copy)]
enum Who {
    Subscriber,
    PrivateUnknown,
    PublicSubscriber,
    Stranger,
}

impl Net {
    /// With these clients (a line of the listener's section) and this table.
    fn new(clients: &str, table: &str) -> Option<Self> {
        let link = Link::with_internet()?;
        link.subscriber_runs(&format!("ip address add {UNKNOWN}/24 dev wire"));
        let origin =
            link.in_internet(|| Origin::at(SocketAddr::new(ORIGIN[0].parse().unwrap(), 443), origins::echo));
        let (gateway, resolver) = link.at_gateway(|| {
            let at = ORIGIN[0].parse::<std::net::Ipv4Addr>().unwrap().octets();
            let resolver = Resolver::new(&[(LISTED, at)]);
            let listener =
                format!("mode = \"steered\"\naddress = \"{OUTSIDE}\"\nservice_port = 443\n{clients}\n");
            let setup = Setup::new().listener(&listener).resolver(resolver.address);
            setup.write("subscribers.csv", format!("prefix,subscriber_type,subscriber_id\n{table}"));
            (setup.set("upstream", "allow_private = false").start(), resolver)
        });
        Some(Self { gateway, link, origin, _resolver: resolver })
    }

    /// The default clients, and a table with a subscriber of each kind of address.
    fn usual() -> Option<Self> {
        Self::new("", &format!("{}/32,account,s1\n{}/32,account,s2\n", SUBSCRIBER[0], FOREIGN[0]))
    }

    /// Runs `work` where this one is, with his address.
    fn at<T: Send>(&self, who: Who, work: impl FnOnce(&str) -> T + Send) -> T {
        match who {
            Who::Subscriber => self.link.at_subscriber(|| work(SUBSCRIBER[0])),
            Who::PrivateUnknown => self.link.at_subscriber(|| work(UNKNOWN)),
            Who::PublicSubscriber => self.link.in_internet(|| work(FOREIGN[0])),
            Who::Stranger => self.link.in_internet(|| work(ORIGIN[0])),
        }
    }

    /// Whether a visit is carried to the site and back; refused ones are reset.
    fn is_served(&self, who: Who) -> bool {
        let visit = |from: &str| {
            let mut stream = try_connect_from(from.parse().unwrap(), OUTSIDE.parse().unwrap())?;
            let hello = Hello::named(LISTED).wire();
            stream.write_all(&hello)?;
            let mut echoed = vec![0; hello.len()];
            stream.read_exact(&mut echoed)?;
            assert_eq!(echoed, hello);
            Ok::<(), io::Error>(())
        };
        match self.at(who, visit) {
            Ok(()) => true,
            Err(error) => {
                let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
                assert!(reset.contains(&error.kind()), "{error}");
                false
            }
        }
    }

    fn await_strangers(&self, count: u64) {
        self.link.at_gateway(|| self.gateway.await_metric(STRANGERS, count));
    }
}

#[test]
fn f15_the_internet_may_not_use_a_steered_listener_and_subscribers_known_or_not_yet_may() {
    let Some(net) = Net::usual() else { return };
    assert!(!net.is_served(Who::Stranger));
    net.await_strangers(1);
    assert_eq!(net.origin.visits(), 0);
    for who in [Who::Subscriber, Who::PrivateUnknown, Who::PublicSubscriber] {
        assert!(net.is_served(who));
    }
    net.await_strangers(1);
    let Net { gateway, link, .. } = net;
    let usage = link.at_gateway(|| gateway.stop_and_count());
    assert!(usage.exempt("s1").0 > 0 && usage.exempt("s2").0 > 0, "{usage:?}");
}

#[test]
fn f15_datagrams_of_the_internet_are_dropped_and_counted() {
    let Some(net) = Net::usual() else { return };
    let send = |from: &str| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.send_to(b"nothing that is QUIC", OUTSIDE).unwrap();
    };
    net.at(Who::Stranger, send);
    net.await_strangers(1);
    for who in [Who::Subscriber, Who::PrivateUnknown, Who::PublicSubscriber] {
        net.at(who, send);
    }
    // Theirs are looked at, and go nowhere only because they name nobody.
    let looked_at = || net.gateway.metric("zrgw_refused_total{reason=\"not_routed\"}") == 3;
    assert!(net.link.at_gateway(|| eventually(looked_at)), "{}", net.gateway.log());
    net.await_strangers(1);
}

#[test]
fn f15_configured_prefixes_say_who_is_served() {
    let clients = format!("clients = [\"{}/32\", \"{}/32\"]", ORIGIN[0], UNKNOWN);
    let Some(net) = Net::new(&clients, &format!("{}/32,account,s1\n", SUBSCRIBER[0])) else { return };
    assert!(net.is_served(Who::Stranger) && net.is_served(Who::PrivateUnknown));
    assert!(!net.is_served(Who::Subscriber) && !net.is_served(Who::PublicSubscriber));
    net.await_strangers(2);
}

#[test]
fn f15_check_says_which_subscribers_are_served_only_while_the_table_has_them() {
    let resolver = "127.0.0.1:53".parse().unwrap();
    let setup = Setup::new().resolver(resolver).steered().listener(
        "mode = \"steered\"\naddress = \"127.0.0.1:1\"\nclients = [\"subscribers\", \"203.0.112.0/23\"]\n",
    );
    setup.write(
        "subscribers.csv",
        "prefix,subscriber_type,subscriber_id\n203.0.113.0/24,account,s1\n10.0.0.1/32,account,s2\n",
    );
    setup.write_configuration();
    let output = setup.command(&["check", "--config", "gateway.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for number in 0..2 {
        let wanted =
            format!("note: listener[{number}].clients: 1 prefixes of the subscriber table are within none");
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn f15_nobody_is_cut_off_while_no_table_could_be_read() {
    let Some(net) = Net::new("", "not a row\n") else { return };
    assert!(net.is_served(Who::PublicSubscriber) && net.is_served(Who::Stranger));
    let row = format!("prefix,subscriber_type,subscriber_id\n{}/32,account,s2\n", FOREIGN[0]);
    net.gateway.setup().write("subscribers.csv", row);
    net.gateway.signal(rustix::process::Signal::HUP);
    assert!(net.link.at_gateway(|| eventually(|| net.gateway.metric("zrgw_sessions") == 1)));
    assert!(net.is_served(Who::PublicSubscriber) && !net.is_served(Who::Stranger));
}
