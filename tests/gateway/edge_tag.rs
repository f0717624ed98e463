//! Marks of exempt flows on the wire, in network namespaces: counted by the kernels at both ends (trap T38).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "edge_tag/foreseen.rs"]
mod foreseen;
#[path = "edge_tag/forged.rs"]
mod forged;
#[path = "edge_tag/steered.rs"]
mod steered;

use std::io::Write;
use std::net::TcpStream;

use support::client::{finish, read_exactly};
use support::dns::Resolver;
use support::edge::{Edge, LISTED, foreign, origin};
use support::hellos::Hello;
use support::link::Link;
use support::origin::{self as origins, Origin};
use support::{LIST, Setup, eventually, has};

/// The code point of the tests' rating group.
const DSCP: u32 = 46;
/// Its mark on the gateway's machine.
const FWMARK: u32 = 256;
/// A port that is not taken.
const PASSED_BY: u16 = 8_080;

/// The rating group, with another key.
fn group(key: &str) -> String {
    format!(
        "[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\ndscp = {DSCP}\nfwmark = {FWMARK}\n{key}\n"
    )
}

/// Packets of TCP that were counted at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// All.
    every: u64,
    /// Those with the code point.
    tagged: u64,
    /// Those with the mark of the machine.
    marked: u64,
}

/// Where packets are counted.
#[derive(Clone, Copy, Debug)]
enum At {
    /// Arriving at the subscriber's end.
    Subscriber,
    /// Arriving in the internet.
    Internet,
    /// Arriving at the gateway from the subscriber, before any rule.
    Ingress,
    /// Leaving the gateway towards the subscriber.
    Egress,
}

impl At {
    /// All of them behind a gateway in the path.
    const ALL: [Self; 4] = [Self::Subscriber, Self::Internet, Self::Ingress, Self::Egress];

    /// Table, hook and condition.
    const fn rule(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Subscriber => ("at_subscriber", "prerouting", "iifname wire"),
            Self::Internet => ("at_internet", "prerouting", "iifname out"),
            Self::Ingress => ("at_ingress", "prerouting", "iifname wire"),
            Self::Egress => ("at_egress", "output", "oifname wire"),
        }
    }

    /// Runs a command there.
    fn run(self, link: &Link, words: &str) -> String {
        match self {
            Self::Subscriber => link.subscriber_runs(words),
            Self::Internet => link.internet_runs(words),
            Self::Ingress | Self::Egress => link.gateway_runs(words),
        }
    }

    /// Has packets counted.
    fn count(self, link: &Link) {
        let (table, hook, condition) = self.rule();
        let rules = format!(
            "table inet {table} {{
                counter every {{}}
                counter tagged {{}}
                counter marked {{}}
                chain count {{
                    type filter hook {hook} priority -300;
                    meta l4proto != tcp return
                    {condition} counter name every
                    {condition} ip dscp {DSCP} counter name tagged
                    {condition} ip6 dscp {DSCP} counter name tagged
                    {condition} meta mark {FWMARK} counter name marked
                }}
            }}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rules).unwrap();
        self.run(link, &format!("nft -f {}", file.path().display()));
    }

    /// What was counted so far.
    fn seen(self, link: &Link) -> Seen {
        let (table, _, _) = self.rule();
        let text = self.run(link, &format!("nft -j list counters table inet {table}"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let packets = |name: &str| {
            let counters = json["nftables"].as_array().unwrap().iter().map(|one| &one["counter"]);
            let mut named = counters.filter(|counter| counter["name"] == name);
            named.next().and_then(|counter| counter["packets"].as_u64()).unwrap()
        };
        Seen { every: packets("every"), tagged: packets("tagged"), marked: packets("marked") }
    }

    /// What is counted while `work` runs.
    fn during(self, link: &Link, work: impl FnOnce()) -> Seen {
        let before = self.seen(link);
        work();
        let after = self.seen(link);
        Seen {
            every: after.every - before.every,
            tagged: after.tagged - before.tagged,
            marked: after.marked - before.marked,
        }
    }
}

/// A gateway in the path with the rating group, and counters everywhere.
fn edge(key: &str) -> Option<Edge> {
    let edge = Edge::with("tproxy", |setup| setup.raw(&group(key)))?;
    At::ALL.iter().for_each(|at| at.count(&edge.link));
    Some(edge)
}

/// A hello that settles the name.
fn hello(name: &str) -> Vec<u8> {
    [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat()
}

/// Sends bytes and waits for their echo.
fn echo(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert_eq!(read_exactly(stream, bytes.len()), bytes);
}

/// Some round trips, the last of more than fits in a segment.
fn round_trips(stream: &mut TcpStream) {
    for size in [1, 100, 1_000, 20_000] {
        echo(stream, &vec![7; size]);
    }
}

/// Origins that echo at all addresses and ports of the tests.
fn echoes(edge: &Edge) -> Vec<Origin> {
    edge.link.in_internet(|| {
        let places =
            (0..2).flat_map(|family| [origin(family, 443), foreign(family, 443), origin(family, PASSED_BY)]);
        places.map(|address| Origin::at(address, origins::echo)).collect()
    })
}

/// Takes the listed names from the list, or gives them back.
fn publish(edge: &Edge, serial: u32, listed: bool) {
    let host = if listed { "listed.example" } else { "elsewhere.example" };
    let list = LIST.replace("serial = 3", &format!("serial = {serial}"));
    let list = list.replace("host = \"listed.example\"", &format!("host = \"{host}\""));
    edge.gateway.setup().write("list.toml", list);
    edge.gateway.reload();
}

#[test]
fn t38_exempt_flows_carry_the_mark_from_the_verdict_until_it_ends_and_charged_flows_never() {
    let Some(edge) = edge("") else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        let mut exempt = edge.connect(origin(family, 443));
        echo(&mut exempt, &hello(LISTED));
        for at in [At::Subscriber, At::Egress] {
            let seen = at.during(&edge.link, || round_trips(&mut exempt));
            assert!(seen.every > 4 && seen.tagged == seen.every, "{at:?} {seen:?}");
        }
        let seen = At::Egress.during(&edge.link, || round_trips(&mut exempt));
        assert!(seen.every > 4 && seen.marked == seen.every, "{seen:?}");
        // Nobody asked for it there.
        let seen = At::Internet.during(&edge.link, || round_trips(&mut exempt));
        assert!(seen.every > 4 && seen.tagged == 0, "{seen:?}");
        finish(exempt);
    }
    // A listed name elsewhere, another name there, no name at all.
    for family in 0..2 {
        for (to, first) in [
            (foreign(family, 443), hello(LISTED)),
            (origin(family, 443), hello("not-listed.example")),
            (origin(family, 443), b"nothing we know".to_vec()),
        ] {
            for at in [At::Subscriber, At::Egress, At::Internet] {
                let seen = at.during(&edge.link, || {
                    let mut charged = edge.connect(to);
                    echo(&mut charged, &first);
                    round_trips(&mut charged);
                    finish(charged);
                });
                assert!(seen.every > 8 && (seen.tagged, seen.marked) == (0, 0), "{at:?} {to} {seen:?}");
            }
        }
    }
    assert_eq!(edge.metric("zrgw_mark_errors_total"), 0);
}

#[test]
fn t32_t38_the_mark_follows_the_list_on_a_flow_that_is_open() {
    let Some(edge) = edge("mark_upstream = true") else { return };
    let _origins = echoes(&edge);
    for family in 0..2 {
        let mut flow = edge.connect(origin(family, 443));
        echo(&mut flow, &hello(LISTED));
        let serial = 4 + 2 * u32::try_from(family).unwrap();
        for (serial, listed) in [(serial, false), (serial + 1, true)] {
            publish(&edge, serial, listed);
            for at in [At::Subscriber, At::Internet] {
                let wanted = |seen: Seen| if listed { seen.tagged == seen.every } else { seen.tagged == 0 };
                // Open flows are judged again within a tenth of a second.
                assert!(eventually(|| wanted(at.during(&edge.link, || round_trips(&mut flow)))), "{at:?}");
                let seen = at.during(&edge.link, || round_trips(&mut flow));
                assert!(seen.every > 4 && wanted(seen), "{at:?} {seen:?}");
            }
            let seen = At::Egress.during(&edge.link, || round_trips(&mut flow));
            assert_eq!(seen.marked, if listed { seen.every } else { 0 });
        }
        finish(flow);
    }
}

#[test]
fn a_mark_that_cannot_be_set_is_told_once_and_the_flow_goes_on() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        println!("SKIPPED: only root can give rights up");
        return;
    }
    let origin = Origin::echo();
    let resolver = Resolver::new(&[(LISTED, origin.octets())]);
    let gateway = Setup::new()
        .started_by(&["setpriv", "--bounding-set=-net_admin,-net_raw"])
        .steered()
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())])
        .raw(&group(""))
        .start();
    for _ in 0..3 {
        let mut stream = support::client::connect_from(support::client::subscriber(1), gateway.listener(0));
        echo(&mut stream, &hello(LISTED));
        finish(stream);
    }
    gateway.await_metric("zrgw_mark_errors_total", 3);
    assert_eq!(gateway.log().matches("marks of flows cannot be set").count(), 1, "{}", gateway.log());
    assert!(gateway.stop_and_count().exempt("s1").1 > 0);
}

#[test]
fn t38_another_mark_of_the_group_reaches_flows_that_are_open_and_the_rules_are_asked_for() {
    let Some(edge) = edge("") else { return };
    let _origins = echoes(&edge);
    let mut flow = edge.connect(origin(0, 443));
    echo(&mut flow, &hello(LISTED));
    let seen = At::Subscriber.during(&edge.link, || round_trips(&mut flow));
    assert!(seen.every > 4 && seen.tagged == seen.every, "{seen:?}");
    let path = edge.gateway.setup().path("gateway.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&format!("dscp = {DSCP}"), "dscp = 12")).unwrap();
    edge.gateway.reload();
    assert!(eventually(|| At::Subscriber.during(&edge.link, || round_trips(&mut flow)).tagged == 0));
    // The other mark stays.
    let seen = At::Egress.during(&edge.link, || round_trips(&mut flow));
    assert!(seen.every > 4 && (seen.tagged, seen.marked) == (0, seen.every), "{seen:?}");
    let log = edge.gateway.log();
    assert!(log.contains("until `gateway nft apply`"), "{log}");
    finish(flow);
}
