//! QUIC through the running gateway: real clients and servers of another make, steered and behind a balancer; every byte
//! counted as the access network saw it, none exempt that did not prove its name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "udp_relay/balancer.rs"]
mod balancer;
#[path = "udp_relay/carried.rs"]
mod carried;
#[path = "udp_relay/names.rs"]
mod names;
#[path = "udp_relay/real_peers.rs"]
mod real_peers;

use std::net::{SocketAddr, UdpSocket};

use support::datagrams::socket;
use support::eventually;
use support::hellos::Hello;
use support::quic::Initial;

/// A socket that a subscriber of the proxied listener could reach, and what comes to it.
fn silent_server() -> UdpSocket {
    socket([127, 0, 2, 1])
}

/// The next datagram that comes.
fn next(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 65_536];
    let mut received = None;
    assert!(eventually(|| {
        received = server.recv_from(&mut buffer).ok();
        received.is_some()
    }));
    let (length, from) = received.unwrap();
    (buffer[..length].to_vec(), from)
}

/// An Initial with this name.
fn initial(name: &str) -> Vec<u8> {
    Initial::of(&Hello::named(name).message()).seal()
}
