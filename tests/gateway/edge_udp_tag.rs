//! Marks of exempt datagrams on the wire, and flows without a name that an address rule frees, in network namespaces: counted
//! by the kernels at both ends (trap T38).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::{SocketAddr, UdpSocket};

use socket2::SockRef;
use support::datagrams::Access;
use support::edge::{Edge, LISTED, foreign, origin, subscriber};
use support::link::{FOREIGN, GATEWAY, Link, SUBSCRIBER};
use support::quic_pages::{QuicClient, QuicOrigin, Validation};
use support::{LIST, PATIENCE, Setup, eventually, has};

/// The code point of the tests' rating group.
const DSCP: u32 = 46;
/// Its mark on the gateway's machine.
const FWMARK: u32 = 256;
/// The port of the calls that an address rule frees.
const MEDIA: u16 = 8_801;
/// Congestion mark ECT(0) (RFC 3168 §5).
const ECT0: u32 = 2;

/// The rating group, with another key.
fn group(key: &str) -> String {
    format!(
        "[[rating_group]]\nid = 7\nservices = [\"*\"]\ndisposition = \"tagged\"\ndscp = {DSCP}\nfwmark = {FWMARK}\n{key}\n"
    )
}

/// The tests' list, with calls to the foreign addresses if they are listed.
fn list(serial: u32, listed: bool) -> String {
    let mut list = LIST.replace("serial = 3", &format!("serial = {serial}"));
    if listed {
        list.push_str(
            "[[service]]\nid = \"calls\"\nname = \"Calls\"\nowner = \"A school\"\nreference = \"Test\"\n",
        );
        for (address, length) in FOREIGN.iter().zip([32, 128]) {
            list.push_str(&format!(
                "[[service.rule]]\nprefix = \"{address}/{length}\"\nprotocol = \"udp\"\nports = [\"{MEDIA}\"]\nreason = \"test\"\nevidence = \"seen\"\n"
            ));
        }
    }
    list
}

/// Datagrams that were counted at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// All.
    every: u64,
    /// Those with the code point.
    tagged: u64,
    /// Those with the code point and the congestion mark.
    capable: u64,
    /// Those with the mark of the machine.
    marked: u64,
}

/// Where they are counted: table, hook and condition.
type At = (&'static str, &'static str, &'static str);
/// Arriving at the subscriber's end.
const AT_SUBSCRIBER: At = ("at_subscriber", "prerouting", "iifname wire");
/// Arriving in the internet.
const AT_INTERNET: At = ("at_internet", "prerouting", "iifname out");
/// Leaving the gateway towards the subscriber.
const AT_EGRESS: At = ("at_egress", "output", "oifname wire");

/// Runs a command there.
fn run(at: At, link: &Link, words: &str) -> String {
    match at.0 {
        "at_subscriber" => link.subscriber_runs(words),
        "at_internet" => link.internet_runs(words),
        _ => link.gateway_runs(words),
    }
}

/// Has datagrams counted there.
fn count(at: At, link: &Link) {
    let (table, hook, condition) = at;
    let octet = DSCP << 2 | ECT0;
    let rules = format!(
        "table inet {table} {{
            counter every {{}}
            counter tagged {{}}
            counter capable {{}}
            counter marked {{}}
            chain count {{
                type filter hook {hook} priority -300;
                meta l4proto != udp return
                {condition} counter name every
                {condition} ip dscp {DSCP} counter name tagged
                {condition} ip6 dscp {DSCP} counter name tagged
                {condition} meta nfproto ipv4 @nh,8,8 {octet} counter name capable
                {condition} meta nfproto ipv6 @nh,4,8 {octet} counter name capable
                {condition} meta mark {FWMARK} counter name marked
            }}
        }}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    run(at, link, &format!("nft -f {}", file.path().display()));
}

/// What was counted so far.
fn seen(at: At, link: &Link) -> Seen {
    let text = run(at, link, &format!("nft -j list counters table inet {}", at.0));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packets = |name: &str| {
        let mut counters = json["nftables"].as_array().unwrap().iter().map(|one| &one["counter"]);
        let named = counters.find(|counter| counter["name"] == name);
        named.and_then(|counter| counter["packets"].as_u64()).unwrap()
    };
    Seen {
        every: packets("every"),
        tagged: packets("tagged"),
        capable: packets("capable"),
        marked: packets("marked"),
    }
}

/// What is counted while `work` runs.
fn during(at: At, link: &Link, work: impl FnOnce()) -> Seen {
    let before = seen(at, link);
    work();
    let after = seen(at, link);
    Seen {
        every: after.every - before.every,
        tagged: after.tagged - before.tagged,
        capable: after.capable - before.capable,
        marked: after.marked - before.marked,
    }
}

/// A gateway in the path that takes calls too, with the rating group, and counters everywhere.
fn edge(key: &str) -> Option<Edge> {
    let edge = Edge::with("tproxy", |setup| {
        setup.write("list.toml", list(3, true));
        setup.raw(&group(key)).set("edge", &format!("udp_ports = [443, {MEDIA}]"))
    })?;
    [AT_SUBSCRIBER, AT_INTERNET, AT_EGRESS].iter().for_each(|at| count(*at, &edge.link));
    Some(edge)
}

/// Sets the octet of one's own packets.
fn set_octet(socket: &UdpSocket, octet: u32) {
    let is_ipv4 = socket.local_addr().unwrap().is_ipv4();
    let socket = SockRef::from(socket);
    if is_ipv4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }.unwrap();
}

/// Sends back what comes, with this octet, until the test ends.
fn echo_at(address: SocketAddr, octet: u32) {
    let socket = UdpSocket::bind(address).unwrap();
    set_octet(&socket, octet);
    std::thread::spawn(move || {
        let mut buffer = [0; 2_000];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..count], peer);
        }
    });
}

/// A socket of the subscriber's that speaks with `to`, with this octet.
fn speaking(link: &Link, to: SocketAddr, octet: u32) -> UdpSocket {
    link.at_subscriber(|| {
        let socket = UdpSocket::bind((subscriber(usize::from(to.is_ipv6())), 0)).unwrap();
        set_octet(&socket, octet);
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    })
}

/// Some questions, each with its answer.
fn questions(socket: &UdpSocket) {
    for size in [1, 100, 1_200, 1_400] {
        let (question, mut answer) = (vec![b'q'; size], [0; 2_000]);
        socket.send(&question).unwrap();
        let length = socket.recv(&mut answer).unwrap();
        assert_eq!(answer[..length], question);
    }
}

#[test]
fn t32_t38_calls_freed_by_an_address_rule_are_marked_while_the_list_says_so() {
    for key in ["", "mark_upstream = true"] {
        let Some(edge) = edge(key) else { return };
        let link = &edge.link;
        // Both ends are capable of congestion marks, and the far one claims our code point.
        edge.link.in_internet(|| [0, 1].map(|family| echo_at(foreign(family, MEDIA), DSCP << 2 | ECT0)));
        for family in 0..2 {
            let socket = speaking(link, foreign(family, MEDIA), DSCP << 2 | ECT0);
            // Nothing is exempt before the server has answered.
            questions(&socket);
            let all = |at| during(at, link, || questions(&socket));
            let full = Seen { every: 4, tagged: 4, capable: 4, marked: 0 };
            assert!(eventually(|| all(AT_SUBSCRIBER).tagged == 4));
            assert_eq!(all(AT_SUBSCRIBER), full);
            assert_eq!(all(AT_EGRESS), Seen { marked: 4, ..full });
            let upstream = if key.is_empty() { Seen { every: 4, ..Seen::default() } } else { full };
            assert_eq!(all(AT_INTERNET), upstream, "{key}");
            let serial = 4 + 2 * family as u32;
            edge.gateway.setup().write("list.toml", list(serial, false));
            edge.gateway.reload();
            let none = Seen { every: 4, ..Seen::default() };
            for at in [AT_SUBSCRIBER, AT_EGRESS, AT_INTERNET] {
                assert!(eventually(|| all(at) == none), "{at:?} {:?}", all(at));
            }
            edge.gateway.setup().write("list.toml", list(serial + 1, true));
            edge.gateway.reload();
            assert!(eventually(|| all(AT_SUBSCRIBER) == full));
            // The rule is about that port.
            let other = speaking(link, foreign(family, 443), 0);
            edge.link.in_internet(|| echo_at(foreign(family, 443), DSCP << 2));
            let charged = during(AT_SUBSCRIBER, link, || {
                for _ in 0..3 {
                    questions(&other);
                }
            });
            assert_eq!(charged, Seen { every: 12, ..Seen::default() });
        }
        assert_eq!(edge.metric("zrgw_mark_errors_total"), 0);
        let counted = edge.link.counted();
        let usage = edge.stop_and_count();
        assert_eq!(usage.total(), counted, "IP bytes, to the byte");
        assert!(
            usage.exempt_for("s1", "calls").0 > 0 && usage.exempt_for("s1", "calls") == usage.exempt("s1")
        );
    }
}

#[test]
fn t38_quic_is_marked_from_the_verdict_on_and_charged_quic_never() {
    let Some(edge) = edge("") else { return };
    let link = &edge.link;
    for family in 0..2 {
        let (home, abroad) = (origin(family, 443), foreign(family, 443));
        let _origins = link.in_internet(|| [home, abroad].map(|to| QuicOrigin::at(to, Validation::None)));
        for (to, name, exempt) in
            [(home, LISTED, true), (abroad, LISTED, false), (home, "unlisted.example", false)]
        {
            let (access, client) =
                link.at_subscriber(|| (Access::steered(subscriber(family), to), QuicClient::new()));
            let connection = client.connect(access.address, name, PATIENCE).unwrap();
            assert_eq!(client.ask(&connection, 1_000, 20_000), Ok(20_000));
            for at in [AT_SUBSCRIBER, AT_EGRESS, AT_INTERNET] {
                let seen =
                    during(at, link, || assert_eq!(client.ask(&connection, 1_000, 900_000), Ok(900_000)));
                let marked = exempt && at != AT_INTERNET;
                assert!(seen.every > 5, "{at:?} {seen:?}");
                assert_eq!(seen.tagged, if marked { seen.every } else { 0 }, "{at:?} {name} {to}");
                assert_eq!(seen.marked, if exempt && at == AT_EGRESS { seen.every } else { 0 }, "{at:?}");
            }
            client.close(connection);
        }
    }
    assert_eq!(edge.metric("zrgw_mark_errors_total"), 0);
}

#[test]
fn t38_steered_quic_is_marked_from_the_address_that_was_asked() {
    let Some(link) = Link::new() else { return };
    let (_gateway, _resolver, origin) = link.at_gateway(|| {
        let origin = QuicOrigin::new();
        let resolver = support::dns::Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
        let setup = Setup::new().resolver(resolver.address).port_map(&[(443, origin.port())]).raw(&group(""));
        let table = format!(
            "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\nfd77::/64,account,s1\n",
            SUBSCRIBER[0]
        );
        setup.write("subscribers.csv", table);
        let setup = ["0.0.0.0:8443", "[::]:8443"].iter().fold(setup, |setup, address| {
            setup.listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
        });
        (setup.start(), resolver, origin)
    });
    [AT_SUBSCRIBER, AT_EGRESS].iter().for_each(|at| count(*at, &link));
    for (family, address) in GATEWAY.iter().enumerate() {
        let to = SocketAddr::new(address.parse().unwrap(), 8_443);
        let (access, client) = link.at_subscriber(|| {
            (Access::steered(SUBSCRIBER[family].parse::<std::net::IpAddr>().unwrap(), to), QuicClient::new())
        });
        let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
        assert_eq!(client.ask(&connection, 1_000, 20_000), Ok(20_000));
        for at in [AT_SUBSCRIBER, AT_EGRESS] {
            let seen = during(at, &link, || assert_eq!(client.ask(&connection, 1_000, 300_000), Ok(300_000)));
            assert!(seen.every > 20 && seen.tagged == seen.every, "{at:?} {seen:?}");
            assert_eq!(seen.marked, if at == AT_EGRESS { seen.every } else { 0 }, "{at:?}");
        }
        client.close(connection);
    }
    assert_eq!(origin.visits(), 2);
}

#[test]
fn a_mark_that_cannot_be_set_on_datagrams_is_told_once_and_they_go_without() {
    if !rustix::process::geteuid().is_root() || !has("setpriv") {
        println!("SKIPPED: only root can give rights up");
        return;
    }
    let origin = QuicOrigin::new();
    let resolver = support::dns::Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
    let gateway = Setup::new()
        .started_by(&["setpriv", "--bounding-set=-net_admin,-net_raw"])
        .steered()
        .resolver(resolver.address)
        .port_map(&[(443, origin.port())])
        .raw(&group(""))
        .start();
    let access = Access::steered(support::client::subscriber(1), gateway.listener(0));
    let client = QuicClient::new();
    client.visit(access.address, LISTED, 1_000, 300_000);
    assert!(eventually(|| gateway.metric("zrgw_mark_errors_total") > 0));
    assert_eq!(gateway.log().matches("marks of flows cannot be set").count(), 1, "{}", gateway.log());
    assert!(gateway.stop_and_count().exempt("s1").1 > 300_000);
}
