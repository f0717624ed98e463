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

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use rustix::process::Signal;
use support::PATIENCE;
use support::ask::*;
use support::client::subscriber;
use support::plane::*;
use support::scripted::{answered, server};

/// What the second server says.
const SECOND: [u8; 4] = [127, 0, 2, 2];
/// Queries that wait at a server before it is gone.
const EARLY: u16 = 3;
/// Queries of one call of the system.
const PER_CALL: u16 = 32;

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
