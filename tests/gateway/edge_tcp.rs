//! A gateway in the path, in network namespaces: both ends keep their addresses, and without the gateway flows pass by.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "edge_tcp/fail_open.rs"]
mod fail_open;
#[path = "edge_tcp/rules.rs"]
mod rules;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use support::client::{finish, read_exactly};
use support::edge::{Edge, LISTED, foreign, line, origin, subscriber};
use support::eventually;
use support::hellos::Hello;
use support::origin::{self as origins, Origin};
use support::usage::assert_every_byte;

/// Says who it sees, then sends back what comes.
fn telling(address: SocketAddr) -> Origin {
    Origin::at(address, |mut visit| {
        let ends = format!("{} {}\n", visit.stream.peer_addr().unwrap(), visit.stream.local_addr().unwrap());
        visit.stream.write_all(ends.as_bytes()).unwrap();
        origins::echo(visit);
    })
}

/// A visit: hello, echo, orderly end. What the origin saw of the ends, and what the client sent.
fn visit(edge: &Edge, to: SocketAddr, name: &str) -> (String, usize) {
    let mut stream = edge.connect(to);
    let own = stream.local_addr().unwrap();
    let said = line(&mut stream);
    assert_eq!(said.split(' ').next().unwrap(), own.to_string(), "the origin sees the subscriber");
    let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    stream.write_all(&hello).unwrap();
    assert_eq!(read_exactly(&mut stream, hello.len()), hello);
    assert_eq!(finish(stream), b"");
    (said, hello.len())
}

#[test]
fn t10_t23_t26_t36_both_ends_keep_their_addresses_and_only_name_and_address_together_are_exempt() {
    let Some(edge) = Edge::new() else { return };
    let _origins = edge.link.in_internet(|| {
        [telling(origin(0, 443)), telling(origin(1, 443)), telling(foreign(0, 443)), telling(foreign(1, 443))]
    });
    for family in 0..2 {
        let (said, _) = visit(&edge, origin(family, 443), LISTED);
        assert!(said.ends_with(&origin(family, 443).to_string()), "{said}");
        // CheckSni and CheckIp of MobileAtlas: a listed name elsewhere, another name there.
        visit(&edge, foreign(family, 443), LISTED);
        visit(&edge, origin(family, 443), "elsewhere.example");
    }
    edge.await_flows_closed();
    let (up, down) = edge.link.counted();
    let usage = edge.stop_and_count();
    let exempt = usage.exempt("s1");
    assert!(exempt.0 > 0 && exempt.1 > 0);
    assert_eq!(usage.total(), (up, down), "IP bytes, to the byte, of both IP versions");
    assert_eq!(usage.reasons("s1"), ["address_mismatch", "not_listed"]);
    // Three visits of either version are alike but for what the name adds.
    let mismatch = usage.charged("s1", "address_mismatch");
    assert!(exempt.1.abs_diff(mismatch.1) < exempt.1 / 2 && exempt.1 < down / 2);
}

#[test]
fn t9_t11_who_speaks_first_is_heard_and_a_port_used_again_is_a_flow_of_its_own() {
    let Some(edge) = Edge::new() else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    let mut ports = Vec::new();
    for name in [LISTED, "elsewhere.example"] {
        let stream = edge.link.at_subscriber(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddr::new(subscriber(0), 23_456).into()).unwrap();
            socket.connect(&origin(0, 443).into()).unwrap();
            TcpStream::from(socket)
        });
        let mut stream = stream;
        // The server speaks first, before a hello.
        ports.push(line(&mut stream).split(' ').next().unwrap().to_owned());
        let hello = [Hello::named(name).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut stream, hello.len()), hello);
        // The subscriber's side is reset, so that the same port serves at once.
        support::client::reset(stream);
        edge.await_flows_closed();
    }
    assert_eq!(ports[0], "10.77.0.2:23456");
    assert!(ports[1].starts_with("10.77.0.2:"), "{}", ports[1]);
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.charged("s1", "not_listed").0 > 0);
}

#[test]
fn f33_a_school_behind_one_account_is_carried_beyond_its_limit() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.set("limits", "flows_per_account_max = 4")) else {
        return;
    };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    let mut open: Vec<TcpStream> = (0..12).map(|_| edge.connect(origin(0, 443))).collect();
    for stream in &mut open {
        assert!(line(stream).starts_with(&subscriber(0).to_string()));
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(stream, hello.len()), hello);
    }
    edge.await_metric("zrgw_flows_over_limit_total", 8);
    assert_eq!(edge.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 1);
    for stream in open {
        assert_eq!(finish(stream), b"");
    }
    edge.await_flows_closed();
    assert_eq!(edge.metric("zrgw_attention{reason=\"flows_per_subscriber\"}"), 0);
    let carried = edge.link.counted();
    let usage = edge.stop_and_count();
    let (exempt, charged) = (usage.exempt("s1"), usage.charged("s1", "overload"));
    assert_every_byte(usage.total(), carried);
    assert!(charged.0 > exempt.0 && exempt.0 > 0, "{exempt:?} {charged:?}");
    assert_eq!(usage.reasons("s1"), ["overload"]);
}

#[test]
fn proxy_loop_whoever_asks_for_the_gateway_itself_is_refused() {
    let Some(edge) = Edge::new() else { return };
    for address in ["10.77.0.1:9443", "[fd77::1]:9443", "11.77.0.1:9443"] {
        let stream = edge.try_connect(address.parse().unwrap());
        if let Ok(mut stream) = stream {
            let _ = stream.write_all(&Hello::named(LISTED).wire());
            assert!(!matches!(stream.read(&mut [0; 16]), Ok(1..)), "{address}");
        }
    }
    assert!(eventually(|| edge.metric("zrgw_refused_total{reason=\"destination\"}") == 3));
    assert_eq!(edge.metric("zrgw_flows_open"), 0);
}

#[test]
fn s_fd_exhaustion_without_room_new_connections_pass_by_and_come_back_when_there_is_some() {
    let Some(edge) = Edge::with("tproxy", |setup| setup.set("limits", "flows_max = 20")) else { return };
    let _origin = edge.link.in_internet(|| telling(origin(0, 443)));
    let mut open: Vec<TcpStream> = (0..20).map(|_| edge.connect(origin(0, 443))).collect();
    for stream in &mut open {
        line(stream);
    }
    edge.await_metric("zrgw_edge{state=\"full\"}", 1);
    assert!(eventually(|| !edge.is_alive()));
    let mut past = edge.connect(origin(0, 443));
    assert!(line(&mut past).starts_with("10.77.0.2:"));
    edge.await_metric("zrgw_flows_open", 20);
    drop(open);
    edge.await_metric("zrgw_edge{state=\"taken\"}", 1);
    assert!(eventually(|| edge.is_alive()));
    let mut again = edge.connect(origin(0, 443));
    line(&mut again);
    assert!(eventually(|| edge.metric("zrgw_flows_open") == 1));
    // The one that passed by still does.
    past.write_all(b"past").unwrap();
    assert_eq!(read_exactly(&mut past, 4), b"past");
}

#[test]
fn t43_a_narrow_way_is_found_on_both_sides_beside_an_operator_who_drops_what_is_not_tracked() {
    let Some(edge) = Edge::new() else { return };
    let _origins =
        edge.link.in_internet(|| [0, 1].map(|family| Origin::at(origin(family, 443), origins::echo)));
    edge.link.gateway_runs("ip link set dev out mtu 1300");
    let chains = ["forward", "input", "output"].map(|hook| {
        format!("chain {hook} {{ type filter hook {hook} priority filter; ct state invalid counter drop; }}")
    });
    edge.gateway
        .setup()
        .write("operator.nft", format!("table inet operator {{\n{}\n}}\n", chains.join("\n")));
    let file = edge.gateway.setup().path("operator.nft");
    edge.link.gateway_runs(&format!("nft -f {}", file.display()));
    let block = vec![7; 10_000_000];
    for family in 0..2 {
        let mut stream = edge.connect(origin(family, 443));
        let mut writer = stream.try_clone().unwrap();
        let sent = block.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(read_exactly(&mut stream, block.len()), block);
        thread.join().unwrap();
    }
    let mut ends =
        edge.metric("zrgw_flows_total{protocol=\"tcp\",class=\"charged\",reason=\"not_recognised\"}");
    assert!(
        eventually(|| {
            ends =
                edge.metric("zrgw_flows_total{protocol=\"tcp\",class=\"charged\",reason=\"not_recognised\"}");
            ends == 2
        }),
        "{ends} flows were carried"
    );
}

#[test]
fn s_connections_are_taken_while_the_kernel_answers_a_flood_with_cookies() {
    let Some(edge) = Edge::new() else { return };
    let _origins = edge.link.in_internet(|| [telling(origin(0, 443)), telling(origin(1, 443))]);
    // 2: for every connection, flood or not.
    edge.link.gateway_runs("sysctl -qw net.ipv4.tcp_syncookies=2");
    for family in 0..2 {
        visit(&edge, origin(family, 443), LISTED);
    }
    let usage = edge.stop_and_count();
    assert!(usage.exempt("s1").0 > 0 && usage.reasons("s1").is_empty(), "{usage:?}");
}
