//! A gateway in the path that takes flows to candidates alone, in network namespaces: all else never leaves the kernel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use gateway::flow::binding::Nat64;
use gateway::net::edge::nft::{Plan, Tap};
use gateway::net::node::settings::Interception;
use support::client::{finish, read_exactly};
use support::dns::Resolver;
use support::edge::{Edge, LISTED, foreign, origin};
use support::hellos::Hello;
use support::link::{FOREIGN, GATEWAY, Link, ORIGIN};
use support::origin::{self as origins, Origin};
use support::{LIST, PATIENCE, Setup, ask, eventually};

/// A listed name that nothing is known of at the start.
const LATER: &str = "later.listed.example";
/// The gateway's DNS for subscribers.
const DNS_PORT: u16 = 5_353;

/// A gateway that takes flows to candidates alone, and its resolver.
fn edge(change: impl FnOnce(Setup) -> Setup + Send) -> Option<(Edge, Resolver)> {
    let mut resolver = None;
    let edge = Edge::with("tproxy", |setup| {
        let table = Resolver::new(&[(LATER, FOREIGN[0].parse::<Ipv4Addr>().unwrap().octets())]);
        let setup = setup
            .set("edge", "intercept = \"candidates\"")
            .set("dns", &format!("listen = [\"{}:{DNS_PORT}\"]", GATEWAY[0]))
            .set("lookup", "scheduled_per_second_max = 0")
            .resolver(table.address);
        resolver = Some(table);
        change(setup)
    })?;
    Some((edge, resolver.unwrap()))
}

/// Origins that echo at both addresses of both IP versions.
fn echoes(edge: &Edge) -> Vec<Origin> {
    edge.link.in_internet(|| {
        let places = (0..2).flat_map(|family| [origin(family, 443), foreign(family, 443)]);
        places.map(|address| Origin::at(address, origins::echo)).collect()
    })
}

/// A visit; whether the gateway carried it.
fn is_taken(edge: &Edge, to: SocketAddr, name: &str) -> bool {
    let mut stream = edge.connect(to);
    let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut stream, hello.len()), hello);
    let taken = edge.metric("zrgw_stream_payload_bytes_total{direction=\"up\"}");
    stream.write_all(&[7; 1_000]).unwrap();
    assert_eq!(read_exactly(&mut stream, 1_000), [7; 1_000]);
    let open = eventually_or_open(edge, taken);
    finish(stream);
    edge.await_flows_closed();
    open
}

/// Whether the gateway's own count rose above `before` or a flow is open there, after a tick of the gateway.
fn eventually_or_open(edge: &Edge, before: u64) -> bool {
    let ticks = || edge.metric("zrgw_export_last_success_timestamp_seconds");
    let (first, mut seen) = (ticks(), false);
    // A second on the gateway's own clock: ten of its ticks.
    assert!(eventually(|| {
        seen |= edge.metric("zrgw_flows_open") > 0
            || edge.metric("zrgw_stream_payload_bytes_total{direction=\"up\"}") > before;
        seen || ticks() > first + 1
    }));
    seen
}

/// Candidates that the kernel has.
fn in_kernel(edge: &Edge) -> String {
    ["candidates4", "candidates6", "prefixes4", "prefixes6"]
        .map(|set| edge.link.gateway_runs(&format!("nft list set inet zrgw {set}")))
        .join("\n")
}

#[test]
fn only_flows_to_vouched_for_addresses_reach_the_gateway() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    let origins = echoes(&edge);
    edge.await_metric("zrgw_edge_candidates", 2);
    for family in 0..2 {
        assert!(!is_taken(&edge, foreign(family, 443), LISTED));
        assert!(is_taken(&edge, origin(family, 443), LISTED));
        assert!(is_taken(&edge, origin(family, 443), "not-listed.example"));
    }
    // The ones that passed by were there all the same.
    assert_eq!(origins.iter().map(Origin::visits).sum::<usize>(), 6);
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0);
    assert_eq!(usage.reasons("s1"), ["not_listed"]);
}

/// An IPv4 address behind NAT64 (RFC 6052 §2.1).
fn behind_nat64(address: &str) -> SocketAddr {
    let v4 = u128::from(u32::from(address.parse::<Ipv4Addr>().unwrap()));
    SocketAddr::new(Ipv6Addr::from((0x0064_ff9b_u128 << 96) + v4).into(), 443)
}

#[test]
fn n10_what_is_behind_nat64_is_a_candidate_and_judged_by_its_ipv4_address() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    let places = [ORIGIN[0], FOREIGN[0]].map(behind_nat64);
    for place in places {
        edge.link.internet_runs(&format!("ip address add {}/96 dev out nodad", place.ip()));
    }
    edge.link.gateway_runs("ip -6 route add 64:ff9b::/96 dev out");
    let _origins: Vec<Origin> =
        edge.link.in_internet(|| places.iter().map(|place| Origin::at(*place, origins::echo)).collect());
    edge.await_metric("zrgw_edge_candidates", 2);
    for place in places {
        assert!(is_taken(&edge, place, LISTED), "{place}");
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 1_000 && usage.exempt("s1").0 < 3_000, "{usage:?}");
    assert_eq!(usage.reasons("s1"), ["address_mismatch"]);
}

#[test]
fn datagrams_to_anybody_else_do_not_reach_the_gateway_either() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    edge.await_metric("zrgw_edge_candidates", 2);
    for (number, family) in [0, 1].into_iter().enumerate() {
        for (to, flows) in [(foreign(family, 443), number), (origin(family, 443), number + 1)] {
            let server = edge.link.in_internet(|| UdpSocket::bind(to).unwrap());
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            let client = edge.link.at_subscriber(|| {
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let client = UdpSocket::bind(any).unwrap();
                client.connect(to).unwrap();
                client.send(b"there").unwrap();
                client
            });
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut buffer = [0; 16];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(b"and back", from).unwrap();
            assert_eq!((&buffer[..length], client.recv(&mut [0; 16]).unwrap()), (&b"there"[..], 8));
            // What came through the gateway is in its books before the answer is here.
            edge.await_metric("zrgw_flows_open", flows as u64);
        }
    }
}

#[test]
fn n3_an_address_that_is_learnt_comes_in_and_an_open_flow_to_it_goes_on() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    let _origins = echoes(&edge);
    edge.await_metric("zrgw_edge_candidates", 2);
    assert!(!is_taken(&edge, foreign(0, 443), LATER));
    let mut open = edge.connect(foreign(0, 443));
    open.write_all(b"before").unwrap();
    assert_eq!(read_exactly(&mut open, 6), b"before");
    edge.link.at_subscriber(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let to: SocketAddr = (GATEWAY[0].parse::<IpAddr>().unwrap(), DNS_PORT).into();
        socket.send_to(&ask::query(7, LATER, ask::A), to).unwrap();
        let (length, _) = socket.recv_from(&mut [0; 4_096]).unwrap();
        assert!(length > 0);
    });
    edge.await_metric("zrgw_edge_candidates", 3);
    assert!(in_kernel(&edge).contains(FOREIGN[0]), "{}", in_kernel(&edge));
    assert!(is_taken(&edge, foreign(0, 443), LATER));
    open.write_all(b"behind").unwrap();
    assert_eq!(read_exactly(&mut open, 6), b"behind");
    assert_eq!(finish(open), b"");
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.reasons("s1").is_empty(), "{usage:?}");
}

#[test]
fn address_rules_of_the_list_in_force_are_candidates_and_leave_with_it() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    let _origins = echoes(&edge);
    edge.await_metric("zrgw_edge_candidates", 2);
    let rules: String = FOREIGN
        .iter()
        .chain(&["11.77.0.64/26", "11.77.0.128/25"])
        .map(|prefix| {
            let prefix = match (prefix.contains('/'), prefix.contains(':')) {
                (true, _) => (*prefix).to_owned(),
                (false, false) => format!("{prefix}/32"),
                (false, true) => format!("{prefix}/128"),
            };
            format!(
                "[[service.rule]]\nprefix = \"{prefix}\"\nprotocol = \"tcp\"\nports = [\"443\"]\nreason = \"test\"\nevidence = \"seen\"\n\n"
            )
        })
        .collect();
    let publish = |serial: u32, rules: &str| {
        let list = LIST.replace("serial = 3", &format!("serial = {serial}"));
        edge.gateway.setup().write("list.toml", list.replace("[[deny]]", &format!("{rules}[[deny]]")));
        edge.gateway.reload();
    };
    publish(4, &rules);
    assert!(eventually(|| in_kernel(&edge).contains(FOREIGN[1])), "{}", in_kernel(&edge));
    for family in 0..2 {
        assert!(is_taken(&edge, foreign(family, 443), "by-address.example"));
    }
    publish(5, "");
    assert!(eventually(|| !in_kernel(&edge).contains(FOREIGN[1])), "{}", in_kernel(&edge));
    for family in 0..2 {
        assert!(!is_taken(&edge, foreign(family, 443), "by-address.example"));
    }
    assert_eq!(edge.metric("zrgw_edge_candidates_full_total"), 0);
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.reasons("s1").is_empty(), "{usage:?}");
}

#[test]
fn the_sets_are_filled_again_when_the_rules_were_applied_again() {
    let Some((edge, _resolver)) = edge(|setup| setup) else { return };
    let _origins = echoes(&edge);
    edge.await_metric("zrgw_edge_candidates", 2);
    let before = in_kernel(&edge);
    assert!(ORIGIN.iter().all(|address| before.contains(address)), "{before}");
    let output =
        edge.link.at_gateway(|| edge.gateway.setup().command(&["nft", "apply", "--config", "gateway.toml"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(eventually(|| ORIGIN.iter().all(|address| in_kernel(&edge).contains(address))));
    assert!(eventually(|| edge.is_alive()));
    assert!(is_taken(&edge, origin(1, 443), LISTED));
}

#[test]
fn s_one_candidate_over_the_limit_passes_by_and_is_told_once() {
    let Some((edge, _resolver)) = edge(|setup| setup.set("edge", "candidates_max = 2")) else { return };
    let _origins = echoes(&edge);
    edge.await_metric("zrgw_edge_candidates", 2);
    assert_eq!(edge.metric("zrgw_edge_candidates_full_total"), 0);
    edge.link.at_subscriber(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to: SocketAddr = (GATEWAY[0].parse::<IpAddr>().unwrap(), DNS_PORT).into();
        socket.send_to(&ask::query(7, LATER, ask::A), to).unwrap();
    });
    edge.await_metric("zrgw_edge_candidates_full_total", 1);
    assert_eq!(edge.metric("zrgw_edge_candidates"), 2);
    assert!(!in_kernel(&edge).contains(FOREIGN[0]));
    assert_eq!(edge.gateway.log().matches("sets of candidates are full").count(), 1);
    assert!(!is_taken(&edge, foreign(0, 443), LATER));
    assert!(is_taken(&edge, origin(0, 443), LISTED));
}

#[test]
fn s_the_kernels_sets_hold_the_limit_renew_at_it_and_refuse_one_over() {
    const MOST: u32 = 20_000;
    let Some(link) = Link::new() else { return };
    let plan = Plan {
        table: "zrgw".to_owned(),
        candidates_only: true,
        candidates_max: usize::try_from(MOST).unwrap(),
        silent_max: 10,
        nat64: Nat64::default(),
        interfaces: Vec::new(),
        source_validation: false,
        tcp_ports: vec![443],
        udp_ports: Vec::new(),
        divert_mark: 1,
        upstream_mark: 2,
        route_table: 300,
        rule_priority: 100,
        alive_timeout: Duration::from_secs(3),
        dscps: Vec::new(),
        private_too: false,
        taps: vec![Tap {
            address: "0.0.0.0:9443".parse().unwrap(),
            interception: Interception::Tproxy,
            tcp: true,
            udp: false,
        }],
    };
    let v4 = |number: u32| IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number));
    let v6 = |number: u32| IpAddr::from(Ipv6Addr::from((0x2a0e_u128 << 112) + u128::from(number)));
    let all: Vec<IpAddr> = (0..MOST).map(v4).chain((0..MOST).map(v6)).collect();
    let prefixes = ["11.0.0.0/8", "12.0.0.0/25", "2a0e::/32"].map(|prefix| prefix.parse().unwrap());
    let hour = Duration::from_secs(3_600);
    let held = |set: &str| {
        let text = link.gateway_runs(&format!("nft -j list set inet zrgw {set}"));
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let sets = json["nftables"].as_array().unwrap().iter().map(|one| &one["set"]["elem"]);
        sets.filter_map(|elements| Some(elements.as_array()?.len())).sum::<usize>()
    };
    link.at_gateway(|| plan.apply().unwrap());
    // A table that was not filled is told from one that was.
    assert!(link.at_gateway(|| plan.add_candidates(&[], hour, None)).is_err());
    link.at_gateway(|| plan.fill_candidates(&all, hour, &prefixes).unwrap());
    let full = usize::try_from(MOST).unwrap();
    assert_eq!((held("candidates4"), held("candidates6")), (full, full));
    assert_eq!((held("prefixes4"), held("prefixes6")), (2, 1));
    link.at_gateway(|| plan.add_candidates(&all, hour, None).unwrap());
    assert!(link.at_gateway(|| plan.add_candidates(&[v4(MOST)], hour, None)).is_err());
    assert!(link.at_gateway(|| plan.add_candidates(&[v6(MOST)], hour, Some(&prefixes[..1]))).is_err());
    assert_eq!((held("candidates4"), held("candidates6")), (full, full));
    assert_eq!((held("prefixes4"), held("prefixes6")), (2, 1));
    link.at_gateway(|| plan.fill_candidates(&all[1..3], hour, &prefixes[..1]).unwrap());
    assert_eq!((held("candidates4"), held("candidates6")), (2, 0));
    assert_eq!((held("prefixes4"), held("prefixes6")), (1, 0));
    link.at_gateway(|| plan.apply().unwrap());
    assert!(link.at_gateway(|| plan.add_candidates(&[v4(1)], hour, None)).is_err());
}
