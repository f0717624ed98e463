//! The relay of UDP at its limits: flows without a name, room, deadlines, memory; hostile datagrams; its end and its crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

#[path = "udp_limits/going_on.rs"]
mod going_on;
#[path = "udp_limits/kinds.rs"]
mod kinds;
#[path = "udp_limits/memory.rs"]
mod memory;
#[path = "udp_limits/room.rs"]
mod room;
#[path = "udp_limits/undecided.rs"]
mod undecided;

use std::net::{SocketAddr, UdpSocket};

use support::datagrams::socket;
use support::hellos::Hello;
use support::quic::{Initial, two_datagrams};

/// A hello in two datagrams.
fn halves(name: &str) -> [Vec<u8>; 2] {
    two_datagrams(&Hello::post_quantum(name).message(), 1_000)
}

/// A complete hello in one.
fn whole(name: &str) -> Vec<u8> {
    Initial::of(&Hello::named(name).message()).seal()
}

/// A server that says nothing, at the address of the listed name.
fn silent_server() -> (UdpSocket, u16) {
    let server = socket([127, 0, 2, 1]);
    let port = server.local_addr().unwrap().port();
    (server, port)
}

/// The next datagram within a second; none when none comes.
fn soon(server: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 65_536];
    let found = (0..20).find_map(|_| server.recv_from(&mut buffer).ok());
    found.map(|(length, from)| (buffer[..length].to_vec(), from))
}

/// Bytes that wait in the receive queues of the sockets at this port, and datagrams they lost (proc_net_udp).
fn queue(port: u16) -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(1).is_some_and(|address| address.ends_with(&local)))
        .map(|fields| {
            let waiting = u64::from_str_radix(fields[4].split_once(':').unwrap().1, 16).unwrap();
            (waiting, fields[12].parse::<u64>().unwrap())
        })
        .fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
}
