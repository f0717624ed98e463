//! The kernel's rules beside what else an operator's machine has: address translation, no IPv6, interfaces that come and go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Output;

use support::client::{finish, read_exactly};
use support::edge::{self, Edge, LISTED, foreign, line, origin, telling_datagrams};
use support::hellos::Hello;
use support::link::{Link, run};
use support::origin::{self as origins, Origin};
use support::{PATIENCE, Setup};

/// Says who it sees and where, then sends back what comes.
fn telling(address: SocketAddr) -> Origin {
    Origin::at(address, move |mut visit| {
        let ends = format!("{} at {address}\n", visit.stream.peer_addr().unwrap().ip());
        visit.stream.write_all(ends.as_bytes()).unwrap();
        origins::echo(visit);
    })
}

/// A visit with the listed name: what the origin said of it.
fn visit(edge: &Edge, to: SocketAddr) -> String {
    let mut stream = edge.connect(to);
    let said = line(&mut stream);
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut stream, hello.len()), hello);
    assert_eq!(finish(stream), b"");
    said
}

/// One datagram, and who the origin says it came from.
fn ask(edge: &Edge, to: SocketAddr) -> String {
    edge.link.at_subscriber(|| {
        let socket =
            std::net::UdpSocket::bind(SocketAddr::new(edge::subscriber(usize::from(to.is_ipv6())), 0))
                .unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"there").unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    })
}

/// Rules of the operator's own on the gateway's machine.
fn translate(edge: &Edge, rules: &str) {
    let folder = edge.gateway.setup().path("own.nft");
    std::fs::write(&folder, format!("table inet own {{\n{rules}\n}}\n")).unwrap();
    edge.link.gateway_runs(&format!("nft -f {}", folder.display()));
}

#[test]
fn f30_source_nat_on_the_same_machine_hides_subscribers_and_stops_no_flow() {
    let short = |setup: Setup| setup.set("limits", "udp_idle_timeout = \"4 s\"");
    let Some(edge) = Edge::with("tproxy", short) else { return };
    translate(&edge, "chain post {\ntype nat hook postrouting priority srcnat;\noifname out masquerade\n}");
    let _origins = edge.link.in_internet(|| {
        [0, 1].map(|family| {
            telling_datagrams(origin(family, 443));
            telling(origin(family, 443))
        })
    });
    for (family, outside) in [(0, "11.77.0.1"), (1, "2a0e:77::1")] {
        assert!(visit(&edge, origin(family, 443)).starts_with(outside), "the origin sees the machine");
        assert!(ask(&edge, origin(family, 443)).contains(outside));
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.exempt("s1").1 > 0, "{usage:?}");
    assert_eq!(usage.total(), counted, "to the byte, translated or not");
}

#[test]
fn f30_destination_nat_in_front_does_not_reach_flows_that_are_taken_and_stops_none() {
    let Some(edge) = Edge::new() else { return };
    // A rule of the operator's own that leads what passes by elsewhere; on port 8443 nothing is taken.
    translate(
        &edge,
        "chain pre {\ntype nat hook prerouting priority dstnat;\niifname wire ip daddr 11.77.0.10 dnat ip to 11.77.0.66\n}",
    );
    let _origins = edge
        .link
        .in_internet(|| [telling(origin(0, 443)), telling(foreign(0, 443)), telling(foreign(0, 8443))]);
    let said = visit(&edge, origin(0, 443));
    assert!(said.ends_with("at 11.77.0.10:443"), "taken before it is translated: {said}");
    let said = visit(&edge, origin(0, 8443));
    assert!(said.ends_with("at 11.77.0.66:8443"), "what passes by is translated: {said}");
    edge.await_flows_closed();
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0, "{usage:?}");
}

/// Runs `gateway nft WORD`.
fn nft(setup: &Setup, word: &str) -> Output {
    setup.command(&["nft", word, "--config", "gateway.toml"])
}

/// What of the gateway's rules stands in the namespace of the thread that calls.
fn traces() -> String {
    let rules = ["-4", "-6"].map(|version| run(&format!("ip {version} rule show"))).concat();
    let routes = ["-4", "-6"].map(|version| run(&format!("ip {version} route show table all"))).concat();
    let ours = |text: String| {
        text.lines().filter(|line| line.contains("31233")).map(str::to_owned).collect::<String>()
    };
    run("nft list tables") + &ours(rules) + &ours(routes)
}

#[test]
fn f35_without_ipv6_on_the_machine_nothing_is_asked_of_it_and_a_failure_leaves_no_trace() {
    let Some(link) = Link::plain() else { return };
    link.at_gateway(|| {
        run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.lo.disable_ipv6=1");
        let listener = |address: &str| {
            format!("mode = \"transparent\"\naddress = \"{address}\"\ninterception = \"tproxy\"\n")
        };
        let four = Setup::new().listener(&listener("0.0.0.0:9443"));
        four.write_configuration();
        let output = nft(&four, "apply");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let applied = traces();
        assert!(applied.contains("zrgw") && applied.contains("lookup 31233"), "{applied}");
        assert!(nft(&four, "apply").status.success(), "a second time changes nothing");
        assert_eq!(traces(), applied);
        // With a listener for IPv6 it cannot be done: what was in force stays so, and nothing is added.
        let both = Setup::new().listener(&listener("0.0.0.0:9443")).listener(&listener("[::]:9443"));
        both.write_configuration();
        let output = nft(&both, "apply");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{said}");
        assert!(said.contains("IPv6") && said.contains("listener"), "the remedy is another: {said}");
        assert_eq!(traces(), applied);
        assert!(nft(&four, "remove").status.success());
        assert_eq!(traces(), "");
        assert_eq!(nft(&both, "apply").status.code(), Some(74));
        assert_eq!(traces(), "", "half of it stayed");
    });
}

#[test]
fn f36_interfaces_that_come_and_go_are_named_by_a_pattern() {
    let Some(link) = Link::with_internet() else { return };
    let gateway = link.at_gateway(|| edge::start(edge::setup("tproxy", "wi*")));
    let edge = Edge { gateway, link, pins: None };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    visit(&edge, origin(0, 443));
    edge.await_flows_closed();
    assert!(edge.stop_and_count().exempt("s1").0 > 0);
    let Some(link) = Link::with_internet() else { return };
    let gateway = link.at_gateway(|| edge::start(edge::setup("tproxy", "ppp*")));
    let edge = Edge { gateway, link, pins: None };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    visit(&edge, origin(0, 443));
    assert_eq!(edge.stop_and_count().total(), (0, 0), "another interface's flows pass by");
}
