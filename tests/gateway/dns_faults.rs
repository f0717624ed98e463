//! The DNS plane where a query cannot be handed to a server: whose fault that is, and who is asked instead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use rustix::process::Signal;
use support::ask::*;
use support::client::subscriber;
use support::plane::*;
use support::scripted::{answered, server};
use support::unbound::{LISTED, Unbound};
use support::{Gateway, PATIENCE, free_port, has};

/// What the second server says.
const SECOND: [u8; 4] = [127, 0, 2, 2];
/// Queries that wait at a server before it is gone.
const EARLY: u16 = 3;
/// Queries of one call of the system.
const PER_CALL: u16 = 32;

/// The most that a datagram over IPv4 carries; one over IPv6 carries 20 bytes more (RFC 768, RFC 791, RFC 8200 §3).
const IPV4_BYTES_MAX: usize = 65_507;
/// Queries that wait to be written to a connection.
const WRITES_MAX: u16 = 1_024;
/// Queries of one socket of a subscriber's, so that its buffer holds the answers.
const PER_SOCKET: u16 = 64;

/// A subscriber's socket that waits long enough.
fn socket(number: u8) -> UdpSocket {
    let socket = UdpSocket::bind((subscriber(number), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks names of their own, with these ids.
fn send(socket: &UdpSocket, to: SocketAddr, ids: std::ops::Range<u16>) {
    for id in ids {
        socket.send_to(&query(id, &format!("n{id}.listed.example"), A), to).unwrap();
    }
}

/// The kernel hands a refusal (ICMP) to one call alone: while nothing is sent to the one that waits for replies, else to the
/// first query of the next call, which is not the one that was refused. Whoever has it, all that wait there are told.
#[test]
fn s_a_refusal_is_told_to_every_query_that_waits_on_its_port() {
    for burst in [1, 2, PER_CALL, PER_CALL + 1, PER_CALL + 2] {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        let second = server(|query| vec![(true, answered(query, SECOND))]);
        let (gateway, address) = gateway(&[first.local_addr().unwrap(), second], |setup| {
            without_retries(setup).set("node", "workers = 1").set("dns", "upstream_sockets = 1")
        });
        let client = socket(1);
        send(&client, address, 0..EARLY);
        let mut buffer = [0; 4_096];
        for _ in 0..EARLY {
            first.recv(&mut buffer).expect("a query at the first server");
        }
        drop(first);
        // The worker finds all of it when it goes on.
        gateway.signal(Signal::STOP);
        send(&client, address, EARLY..EARLY + burst);
        gateway.signal(Signal::CONT);
        let mut ids = BTreeSet::new();
        for _ in 0..EARLY + burst {
            let length = client.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("{burst} at once: only {ids:?}: {error}"));
            assert!(buffer[..length].ends_with(&SECOND), "{burst}");
            assert!(ids.insert(u16::from_be_bytes([buffer[0], buffer[1]])), "{burst}: an answer twice");
        }
        assert_eq!(gateway.metric("zrgw_dns_servers_down"), 1, "{burst}");
        assert_eq!(gateway.metric("zrgw_dns_upstream_total{event=\"late\"}"), 0, "{burst}");
        gateway.stop();
    }
}

/// A query of this length: what its last option says is not read (RFC 7830).
fn long_query(id: u16, name: &str, bytes: usize) -> Vec<u8> {
    let mut query = query(id, name, A);
    // The options, behind their length.
    query.truncate(query.len() - 20);
    let options = bytes - query.len() - 2;
    query.extend(u16::try_from(options).unwrap().to_be_bytes());
    query.extend([0, 12]);
    query.extend(u16::try_from(options - 4).unwrap().to_be_bytes());
    query.resize(bytes, 0);
    query
}

/// A count of what happened with the servers.
fn upstream(gateway: &Gateway, event: &str) -> u64 {
    gateway.metric(&format!("zrgw_dns_upstream_total{{event=\"{event}\"}}"))
}

/// That every server is in use, and nobody is told otherwise.
fn assert_nobody_is_at_fault(gateway: &Gateway) {
    assert_eq!(gateway.metric("zrgw_dns_servers_down"), 0);
    gateway.await_readiness(|code, _| code == 200);
}

/// Sent to a server over IPv4, what a client sends over IPv6 may be too long for a datagram (EMSGSIZE): that is said to
/// nobody but him, and whoever waits at the server goes on waiting there.
#[test]
fn s_a_query_too_long_for_a_datagram_is_not_its_servers_fault() {
    for with_second in [false, true] {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let second = UdpSocket::bind("[::1]:0").unwrap();
        let servers = [&first, &second].map(|server| {
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            server.local_addr().unwrap()
        });
        let servers = if with_second { &servers[..] } else { &servers[..1] };
        let (gateway, address) = gateway(servers, |setup| {
            without_retries(setup)
                .set("node", "workers = 1")
                .set("dns", "upstream_sockets = 1")
                .set("dns", "listen = [\"[::1]:0\"]")
                .set("dns", "clients = [\"::1/128\"]")
        });
        let client = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(address).unwrap();
        let mut buffer = vec![0; 65_535];
        // At the limit it is sent, and waits for its reply.
        client.send(&long_query(1, LISTED, IPV4_BYTES_MAX)).unwrap();
        let (length, port) = first.recv_from(&mut buffer).expect("at the limit");
        assert_eq!(length, IPV4_BYTES_MAX);
        let waiting = answered(&buffer[..length], [127, 0, 2, 1]);
        // One over, the next server is asked, for it may have the room; without one there is no answer.
        client.send(&long_query(2, LISTED, IPV4_BYTES_MAX + 1)).unwrap();
        if with_second {
            let (length, port) = second.recv_from(&mut buffer).expect("one over, at a server over IPv6");
            assert_eq!(length, IPV4_BYTES_MAX + 1);
            second.send_to(&answered(&buffer[..length], SECOND), port).unwrap();
        }
        let length = client.recv(&mut buffer).expect("an answer to the long query");
        assert_eq!(buffer[..2], [0, 2], "the other one has none yet");
        assert_eq!(rcode(&buffer[..length]), if with_second { 0 } else { 2 });
        assert_nobody_is_at_fault(&gateway);
        // The next query comes to the first server, and so does the answer of the one that waits from it.
        client.send(&query(3, LISTED, A)).unwrap();
        let (length, next_port) = first.recv_from(&mut buffer).expect("the first server is in use");
        let next = answered(&buffer[..length], [127, 0, 2, 1]);
        for (id, reply, port) in [(1, waiting, port), (3, next, next_port)] {
            first.send_to(&reply, port).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!((&buffer[..2], rcode(&buffer[..length])), (&[0, id][..], 0));
        }
        second.set_nonblocking(true).unwrap();
        assert!(second.recv(&mut buffer).is_err(), "nothing else was asked there");
        assert_eq!((upstream(&gateway, "timeout"), upstream(&gateway, "late")), (0, 0));
        // Without another it is tried there again.
        let tries = if with_second { 1 } else { 2 };
        assert_eq!((upstream(&gateway, "unsent"), upstream(&gateway, "unreachable")), (tries, 0));
        gateway.stop();
    }
}

/// Queries come faster than a connection over TLS is made: those beyond its queue are asked elsewhere or answered with a
/// failure at once, the server stays in use, and what waited is answered by it.
#[test]
fn s_a_full_queue_before_a_connection_over_tls_is_not_its_servers_fault() {
    if !has("unbound") {
        return;
    }
    let certified = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
    for with_second in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("crt"), certified.cert.pem()).unwrap();
        std::fs::write(path("key"), certified.signing_key.serialize_pem()).unwrap();
        let port = free_port();
        let unbound = Unbound::start(&format!(
            "server:\n interface: 127.0.0.1@{port}\n tls-port: {port}\n tls-service-key: \"{}\"\n tls-service-pem: \"{}\"\n",
            path("key"),
            path("crt")
        ));
        let second = server(|query| vec![(true, answered(query, SECOND))]);
        let mut servers = vec![format!("\"tls://127.0.0.1:{port}#dns.example\"")];
        servers.extend(with_second.then(|| format!("\"{second}\"")));
        let (gateway, address) = gateway(&[], |setup| {
            without_retries(setup)
                .set("node", "workers = 1")
                .set("dns", &format!("upstream = [{}]", servers.join(", ")))
                .set("dns", &format!("upstream_roots = \"{}\"", path("crt")))
                .set("dns", "queries_per_second_max = 10000")
                .set("dns", "burst_max = 10000")
        });
        // The system takes the connection; nobody shakes hands.
        unbound.signal(Signal::STOP);
        let mut clients = Vec::new();
        for number in 0..WRITES_MAX / PER_SOCKET {
            let client = socket((number % 9) as u8 + 1);
            for id in 0..PER_SOCKET {
                client.send_to(&query(id, LISTED, A), address).unwrap();
            }
            clients.push(client);
            let all = u64::from(number + 1) * u64::from(PER_SOCKET);
            gateway.await_metric("zrgw_dns_queries_total{transport=\"udp\"}", all);
        }
        assert_eq!(
            (upstream(&gateway, "sent"), upstream(&gateway, "unreachable")),
            (u64::from(WRITES_MAX), 0)
        );
        let over = ask(subscriber(1), address, &query(7, LISTED, A), PATIENCE).expect("one over, at once");
        if with_second {
            assert!(over.ends_with(&SECOND), "{over:?}");
        } else {
            assert_eq!(rcode(&over), 2);
        }
        assert_nobody_is_at_fault(&gateway);
        // Without another it is tried there again.
        let tries = if with_second { 1 } else { 2 };
        assert_eq!((upstream(&gateway, "unsent"), upstream(&gateway, "unreachable")), (tries, 0));
        unbound.signal(Signal::CONT);
        let is_unbounds = |answer: &[u8]| answer.windows(4).any(|bytes| bytes == [127, 0, 2, 1]);
        let mut buffer = [0; 4_096];
        for client in &clients {
            for _ in 0..PER_SOCKET {
                let length = client.recv(&mut buffer).expect("what waited is answered");
                assert!(is_unbounds(&buffer[..length]), "{:?}", &buffer[..length]);
            }
        }
        // It has room again, and is the first to be asked.
        let next = ask(subscriber(1), address, &query(8, LISTED, A), PATIENCE).unwrap();
        assert!(is_unbounds(&next), "{next:?}");
        assert_eq!(gateway.metric("zrgw_dns_lost_total"), 0);
        gateway.stop();
    }
}
