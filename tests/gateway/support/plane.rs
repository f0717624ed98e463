//! Gateways with a DNS plane, whose own look-ups have no server: what they know they have learnt from subscribers' answers.
//! And what their subscribers do with the answers.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use super::ask::plane;
use super::client::{connect_proxied, finish, read_exactly};
use super::hellos::Hello;
use super::scripted::{Scripted, answered};
use super::{Gateway, Setup};

/// This configuration with a DNS plane on loopback before these servers.
pub fn with_plane(setup: Setup, upstream: &[SocketAddr]) -> Setup {
    let servers: Vec<_> = upstream.iter().map(|address| format!("\"{address}\"")).collect();
    setup.set("dns", "listen = [\"127.0.0.1:0\"]").set("dns", &format!("upstream = [{}]", servers.join(", ")))
}

/// Starts it; the gateway, and where its DNS plane listens.
pub fn start(setup: Setup) -> (Gateway, SocketAddr) {
    let gateway = setup.start();
    let address = plane(&gateway)[0];
    (gateway, address)
}

/// A gateway behind a balancer with a DNS plane before these servers, as `change` has it.
pub fn gateway(upstream: &[SocketAddr], change: impl FnOnce(Setup) -> Setup) -> (Gateway, SocketAddr) {
    start(change(with_plane(Setup::new().proxied(), upstream)))
}

/// Times so long that a reply, and never the passing of time, brings a query on within a test's patience.
pub fn without_retries(setup: Setup) -> Setup {
    setup
        .set("dns", "failover_after = \"60 s\"")
        .set("dns", "try_timeout = \"60 s\"")
        .set("dns", "total_timeout = \"60 s\"")
        .set("dns", "serve_stale = false")
}

/// A server that knows every name, over UDP and TCP.
pub fn knows_every_name() -> Scripted {
    let answer = |query: &[u8]| answered(query, [127, 0, 2, 1]);
    Scripted::new(move |query| vec![(true, answer(query))], answer)
}

/// Sends a hello and application data, and has them echoed; returns how much that was.
pub fn exchange(mut client: TcpStream, hello: &Hello) -> u64 {
    let sent = [hello.wire(), vec![23, 3, 3, 0, 1, 0]].concat();
    client.write_all(&sent).unwrap();
    assert_eq!(read_exactly(&mut client, sent.len()), sent);
    assert_eq!(finish(client), b"");
    sent.len() as u64
}

/// A visit of a subscriber behind a PROXY header, echoed; returns its length.
pub fn visit(gateway: &Gateway, number: u8, name: &str, destination: SocketAddr) -> u64 {
    exchange(connect_proxied(number, gateway.listener(0), destination), &Hello::named(name))
}
