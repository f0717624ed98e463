//! Datagrams in the path of a gateway, in network namespaces: both ends keep their addresses and ports, IPv4 and IPv6.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "edge_udp/fail_open.rs"]
mod fail_open;
#[path = "edge_udp/quic_visits.rs"]
mod quic_visits;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use support::edge::{Edge, foreign, origin, subscriber, telling_datagrams};
use support::hellos::Hello;
use support::link::run;
use support::quic::Initial;
use support::{PATIENCE, eventually};

/// A socket of the subscriber's.
fn socket(edge: &Edge, family: usize, port: u16) -> UdpSocket {
    edge.link.at_subscriber(|| {
        let socket = UdpSocket::bind(SocketAddr::new(subscriber(family), port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    })
}

/// Asks until it is answered: a lost datagram is sent again. Who the server saw, and who answered.
fn ask(socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> (String, SocketAddr) {
    let mut answer = [0; 2_000];
    for _ in 0..8 {
        socket.send_to(payload, to).unwrap();
        // An answer to something that was asked twice may come late.
        while let Ok((count, from)) = socket.recv_from(&mut answer) {
            let text = String::from_utf8_lossy(&answer[..count]).into_owned();
            let (seen, rest) = text.split_once(' ').unwrap();
            if from == to && rest.as_bytes() == payload {
                return (seen.to_owned(), from);
            }
        }
    }
    panic!("{to} does not answer");
}

/// With flows that end soon after they are silent.
fn edge() -> Option<Edge> {
    Edge::with("tproxy", |setup| {
        let setup =
            setup.set("limits", "udp_idle_timeout = \"3 s\"").set("limits", "quic_idle_timeout = \"3 s\"");
        setup.set("limits", "identify_deadline = \"1 s\"")
    })
}

#[test]
fn t26_t36_datagrams_keep_both_ends_and_are_exported_to_the_byte() {
    let Some(edge) = edge() else { return };
    edge.link.in_internet(|| {
        for family in 0..2 {
            telling_datagrams(origin(family, 443));
            telling_datagrams(foreign(family, 443));
        }
    });
    for family in 0..2 {
        // One port for two servers, as QUIC clients do, and the service's own port.
        for port in [0, 443] {
            let socket = socket(&edge, family, port);
            let own = socket.local_addr().unwrap().to_string();
            for round in 0..5 {
                for to in [origin(family, 443), foreign(family, 443)] {
                    let (seen, from) = ask(&socket, to, format!("round {round}").as_bytes());
                    assert_eq!((seen.as_str(), from), (own.as_str(), to));
                }
            }
            let (seen, _) = ask(&socket, origin(family, 443), &[b'x'; 1_400]);
            assert_eq!(seen, own);
        }
    }
    for cause in ["unreachable", "stray", "forbidden"] {
        assert_eq!(edge.metric(&format!("zrgw_datagrams_dropped_total{{cause=\"{cause}\"}}")), 0);
    }
    edge.await_flows_closed();
    let counted = edge.link.counted();
    let usage = edge.stop_and_count();
    assert!(usage.conserved);
    assert_eq!(usage.charged("s1", "not_recognised"), counted, "every byte, none exempt");
}

/// A victim is routed by another interface than what is sent in his name comes by: that passes by, and is not on his bill.
#[test]
fn f17_datagrams_in_anothers_name_pass_by_and_are_not_on_his_bill() {
    const VICTIM: &str = "10.78.0.9";
    for validates in [true, false] {
        let edge = Edge::with("tproxy", |setup| {
            run("ip link add other type veth peer name beyond");
            run("ip address add 10.78.0.1/24 dev other");
            for end in ["other", "beyond"] {
                run(&format!("ip link set {end} up"));
            }
            for interface in ["all", "wire"] {
                run(&format!("sysctl -qw net.ipv4.conf.{interface}.rp_filter=0"));
            }
            setup.write(
                "subscribers.csv",
                format!(
                    "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\n{VICTIM}/32,account,victim\n",
                    subscriber(0)
                ),
            );
            let setup = setup.set("edge", "interfaces = [\"wire\", \"other\"]");
            // Where interfaces are named it is so unless stated otherwise.
            let setup = if validates { setup } else { setup.set("edge", "source_validation = false") };
            setup.set("limits", "identify_deadline = \"1 s\"").set("limits", "udp_idle_timeout = \"3 s\"")
        });
        let Some(edge) = edge else { return };
        let server = edge.link.in_internet(|| UdpSocket::bind(origin(0, 443)).unwrap());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        edge.link.subscriber_runs(&format!("ip address add {VICTIM}/32 dev lo"));
        let forger = edge.link.at_subscriber(|| UdpSocket::bind((VICTIM, 0)).unwrap());
        let honest = socket(&edge, 0, 0);
        let mut buffer = [0; 2_000];
        for sender in [&forger, &honest] {
            sender.send_to(&[b'x'; 1_000], origin(0, 443)).unwrap();
            let (_, from) = server.recv_from(&mut buffer).expect("it is carried, or passes by");
            assert_eq!(from, sender.local_addr().unwrap());
            // What nobody answers is on nobody's bill. The answer to a forged datagram goes to the victim.
            server.send_to(b"y", from).unwrap();
        }
        edge.await_flows_closed();
        let usage = edge.stop_and_count();
        assert_eq!(usage.reasons("victim").is_empty(), validates, "{:?}", usage.reasons("victim"));
        assert!(!usage.reasons("s1").is_empty(), "who sends in his own name is counted");
    }
}

/// Makes the way behind the gateway narrower than the one before it.
fn narrow(edge: &Edge) {
    let command = "ip link set dev out mtu 1300";
    edge.link.gateway_runs(command);
    edge.link.internet_runs(command);
}

#[test]
fn t43_datagrams_longer_than_the_way_go_in_fragments_as_they_would_without_us() {
    let Some(edge) = edge() else { return };
    edge.link.in_internet(|| [0, 1].map(|family| telling_datagrams(origin(family, 443))));
    narrow(&edge);
    for family in 0..2 {
        // Whole on the first link, and in fragments there already, up to the longest.
        let longest = if family == 0 { 1_980 } else { 1_960 };
        for size in [1_200, 1_260, 1_400, longest] {
            let socket = socket(&edge, family, 0);
            let (seen, _) = ask(&socket, origin(family, 443), &vec![b'x'; size]);
            assert_eq!(seen, socket.local_addr().unwrap().to_string());
        }
    }
    assert_eq!(edge.metric("zrgw_datagrams_dropped_total{cause=\"too_long\"}"), 0);
}

#[test]
fn proxy_loop_datagrams_to_the_gateway_itself_go_nowhere() {
    let Some(edge) = edge() else { return };
    for address in ["10.77.0.1:443", "[fd77::1]:443"] {
        let to: SocketAddr = address.parse().unwrap();
        let socket = socket(&edge, usize::from(to.is_ipv6()), 0);
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        for _ in 0..3 {
            let _ = socket.send_to(b"who is there", to);
        }
        assert!(socket.recv_from(&mut [0; 64]).is_err());
    }
    // Those that came together are refused together.
    assert!(eventually(|| edge.metric("zrgw_refused_total{reason=\"destination\"}") >= 2));
    assert_eq!(edge.metric("zrgw_flows_open"), 0);
}

/// Flows that nobody answers had every place: honest ones were led past, without a record.
#[test]
fn f5_flows_nobody_answers_never_have_others_led_past() {
    const PLACES: u64 = 40;
    let Some(edge) = Edge::with("tproxy", |setup| {
        let setup = setup.set("limits", &format!("flows_max = {PLACES}")).set("node", "workers = 1");
        setup.set("limits", "unanswered_timeout = \"60 s\"")
    }) else {
        return;
    };
    let _silent = edge.link.in_internet(|| UdpSocket::bind(foreign(0, 443)).unwrap());
    edge.link.in_internet(|| telling_datagrams(origin(0, 443)));
    let hello = Initial::of(&Hello::named("elsewhere.example").message()).seal();
    let sources: Vec<_> = (0..3 * PLACES).map(|_| socket(&edge, 0, 0)).collect();
    for source in &sources {
        source.send_to(&hello, foreign(0, 443)).unwrap();
    }
    edge.await_metric("zrgw_unanswered_given_up_total", 3 * PLACES - PLACES / 2);
    edge.await_metric("zrgw_flows_open", PLACES / 2);
    // What is answered takes their places, up to the last: no more than its own would have it led past.
    let mut answered = Vec::new();
    while answered.len() < 30 {
        let own = socket(&edge, 0, 0);
        ask(&own, origin(0, 443), b"here");
        answered.push(own);
        assert_eq!(edge.metric("zrgw_edge{state=\"taken\"}"), 1, "after {}", answered.len());
    }
    let passed = |way: &str| {
        edge.metric(&format!(
            "zrgw_flows_total{{protocol=\"udp\",class=\"{way}\",reason=\"not_recognised\"}}"
        ))
    };
    assert!(eventually(|| passed("charged") == 30), "each with its record");
    edge.stop_and_count();
}

/// Datagrams of one byte in a burst.
const BURST: usize = 500;

/// A socket with room for all that comes, and how much that is.
fn counting_datagrams(address: SocketAddr) -> (UdpSocket, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind(address).unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
    let (receiver, count) = (socket.try_clone().unwrap(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        while receiver.recv(&mut [0; 2_000]).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (socket, count)
}

/// However busy the worker is when they come, whichever way they go, and whether they are the first of their flow.
#[test]
fn f46_a_burst_of_tiny_datagrams_arrives_whole_both_ways_over_both_versions() {
    let Some(edge) = edge() else { return };
    // While the gateway does not run, all of a burst waits in front of it.
    let at_once = |burst: &dyn Fn()| {
        edge.gateway.signal(Signal::STOP);
        burst();
        edge.gateway.signal(Signal::CONT);
    };
    for family in 0..2 {
        let (server, count) = edge.link.in_internet(|| counting_datagrams(origin(family, 443)));
        let client = socket(&edge, family, 0);
        socket2::SockRef::from(&client).set_recv_buffer_size(4 << 20).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(origin(family, 443)).unwrap();
        for bursts in 1..=2 {
            at_once(&|| (0..BURST).for_each(|_| assert_eq!(client.send(b"x").unwrap(), 1)));
            let all = || count.load(Ordering::Relaxed) == bursts * BURST;
            assert!(eventually(all), "up, burst {bursts}: {} of {BURST}", count.load(Ordering::Relaxed));
        }
        let peer = client.local_addr().unwrap();
        at_once(&|| (0..BURST).for_each(|_| assert_eq!(server.send_to(b"x", peer).unwrap(), 1)));
        let mut buffer = [0; 100];
        let came = (0..BURST).take_while(|_| client.recv(&mut buffer).is_ok()).count();
        assert_eq!(came, BURST, "down, family {family}");
    }
    assert_eq!(edge.metric("zrgw_datagrams_dropped_total{cause=\"held\"}"), 0);
    edge.stop_and_count();
}
