//! Two gateways in a row, in network namespaces: subscriber – gateway – gateway – origin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use support::client::{finish, read_exactly};
use support::edge::{self, Edge, line, subscriber};
use support::hellos::Hello;
use support::link::BEYOND;
use support::origin::{self as origins, Origin};
use support::{PATIENCE, Setup, eventually};

/// A listed name, vouched for where the origin is.
const FAR: &str = "far.listed.example";

/// The origin's address.
fn far(family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(BEYOND[family].parse().unwrap(), port)
}

/// Vouches for it.
fn vouching(setup: Setup) -> Setup {
    let addresses = BEYOND.map(|address| format!("\"{address}\"")).join(", ");
    setup.raw(&format!("[[trusted_answers.static]]\nname = \"{FAR}\"\naddresses = [{addresses}]\n"))
}

/// A gateway and its link, with another network behind.
fn first() -> Option<Edge> {
    let mut edge = Edge::with("tproxy", vouching)?;
    edge.link.extend();
    Some(edge)
}

/// An origin that says who it sees, then sends back what comes.
fn telling(address: SocketAddr) -> Origin {
    Origin::at(address, |mut visit| {
        visit.stream.write_all(format!("{}\n", visit.stream.peer_addr().unwrap()).as_bytes()).unwrap();
        origins::echo(visit);
    })
}

#[test]
fn proxy_loop_two_gateways_in_a_row_carry_each_flow_once_and_count_it_alike() {
    let Some(edge) = first() else { return };
    let second = edge.link.in_internet(|| edge::start(vouching(edge::setup("tproxy", "out"))));
    let hello = [Hello::named(FAR).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    for family in 0..2 {
        let origin = edge.link.beyond(|| telling(far(family, 443)));
        let mut stream = edge.connect(far(family, 443));
        assert_eq!(line(&mut stream), stream.local_addr().unwrap().to_string(), "the subscriber is seen");
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut stream, hello.len()), hello);
        assert_eq!(finish(stream), b"");
        assert_eq!(origin.visits(), 1, "one connection for each attempt");
    }
    // Datagrams too: each gateway answers from the server's address.
    let server = edge.link.beyond(|| UdpSocket::bind(far(0, 443)).unwrap());
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = edge.link.at_subscriber(|| {
        let client = UdpSocket::bind((subscriber(0), 0)).unwrap();
        client.connect(far(0, 443)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(b"there").unwrap();
        client
    });
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"there"[..], client.local_addr().unwrap()));
    server.send_to(b"and back", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 8);
    let usage = [
        edge.link.in_internet(|| {
            assert!(eventually(|| second.metric("zrgw_flows_open") == 1), "the datagrams' flow");
            second.stop_and_count()
        }),
        edge.stop_and_count(),
    ];
    for usage in &usage {
        assert!(usage.conserved);
        assert!(usage.exempt("s1").0 > 2 * hello.len() as u64, "{usage:?}");
        assert_eq!(usage.reasons("s1"), ["not_recognised"], "the datagrams");
    }
    // Each counts its own link: there may be some bare acknowledgements more on one.
    let (one, other) = (usage[0].exempt("s1"), usage[1].exempt("s1"));
    assert!(one.0.abs_diff(other.0) <= 10 * 72 && one.1.abs_diff(other.1) <= 10 * 72, "{one:?} {other:?}");
}

#[test]
fn proxy_loop_a_flow_that_is_led_back_to_its_gateway_is_not_taken_again() {
    let Some(edge) = first() else { return };
    // The network behind sends what the gateway sends back to where it came from, as a wrong route does.
    edge.link.internet_runs(&format!("ip route replace {}/32 via {}", BEYOND[0], "11.77.0.1"));
    let before = edge.metric("zrgw_accept_errors_total");
    let attempt = edge.link.at_subscriber(|| TcpStream::connect_timeout(&far(0, 443), PATIENCE));
    if let Ok(mut stream) = attempt {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(&Hello::named(FAR).wire());
        assert!(!matches!(stream.read(&mut [0; 16]), Ok(1..)), "nobody is there");
    }
    assert!(eventually(|| edge.metric("zrgw_refused_total{reason=\"connect\"}") == 1));
    edge.await_flows_closed();
    assert_eq!(edge.metric("zrgw_accept_errors_total"), before);
    let usage = edge.stop_and_count();
    assert!(usage.conserved);
    assert_eq!(usage.exempt("s1").1, 0, "{usage:?}");
}
