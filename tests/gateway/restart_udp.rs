//! Restarts without a gap, for datagrams: QUIC connections that are open stay with the old process, new ones begin at the
//! new one, every byte is in the records once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests may panic"
)]

use std::net::SocketAddr;

use support::client::{proxied_subscriber, subscriber};
use support::datagrams::{Access, Header};
use support::dns::Resolver;
use support::quic_pages::{QuicClient, QuicOrigin};
use support::successor::Successor;
use support::udp_world::LISTED;
use support::{Gateway, PATIENCE, Setup, free_port};

/// A gateway at fixed ports: steered and behind a PROXY header.
struct Place {
    gateway: Gateway,
    _resolver: Resolver,
    steered: SocketAddr,
    proxied: SocketAddr,
}

impl Place {
    fn new(origin: &QuicOrigin) -> Self {
        let resolver = Resolver::new(&[(LISTED, [127, 0, 2, 1])]);
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (steered, proxied) = (here(free_port()), here(free_port()));
        let gateway = Setup::new()
            .listener(&format!("mode = \"steered\"\naddress = \"{steered}\"\n"))
            .listener(&format!("mode = \"proxy_protocol\"\naddress = \"{proxied}\"\n"))
            .set("node", "workers = 2")
            .set("admin", &format!("address = \"{}\"", here(free_port())))
            .set("limits", "quic_idle_timeout = \"2 s\"")
            .set("limits", "udp_idle_timeout = \"2 s\"")
            .set("limits", "drain = \"60 s\"")
            .set("limits", "drain_hard = \"60 s\"")
            .resolver(resolver.address)
            .port_map(&[(443, origin.port())])
            .start();
        Self { gateway, _resolver: resolver, steered, proxied }
    }

    /// The access of subscriber `sN`.
    fn access(&self, number: u8, header: Header) -> Access {
        match header {
            Header::None => Access::steered(subscriber(number), self.steered),
            Header::Each | Header::First => {
                let destination = SocketAddr::from(([127, 0, 2, 1], 443));
                Access::proxied(proxied_subscriber(number), destination, self.proxied, header)
            }
        }
    }
}

#[test]
fn s_open_quic_connections_go_on_over_a_restart_and_new_ones_begin() {
    for header in [Header::None, Header::Each, Header::First] {
        let origin = QuicOrigin::new();
        let place = Place::new(&origin);
        let accesses: Vec<_> = (1..=4).map(|number| place.access(number, header)).collect();
        let client = QuicClient::new();
        let open: Vec<_> =
            accesses.iter().map(|access| client.connect(access.address, LISTED, PATIENCE).unwrap()).collect();
        for connection in &open {
            assert_eq!(client.ask(connection, 1_000, 20_000), Ok(20_000));
        }
        let successor = Successor::take_over(place.gateway.setup());
        for _ in 0..3 {
            for connection in &open {
                assert_eq!(
                    client.ask(connection, 1_000, 30_000),
                    Ok(30_000),
                    "{header:?}\n{}",
                    place.gateway.log()
                );
            }
        }
        assert_eq!(origin.visits(), 4, "the same connections");
        let late: Vec<_> = (5..=8).map(|number| place.access(number, header)).collect();
        for access in &late {
            // A client of its own: its end waits for its own connection alone.
            let client = QuicClient::new();
            let connection = client.connect(access.address, LISTED, PATIENCE).unwrap();
            assert_eq!(client.ask(&connection, 1_000, 20_000), Ok(20_000), "{header:?}");
            client.close(connection);
        }
        for connection in &open {
            connection.close(0_u32.into(), b"");
        }
        for connection in open {
            client.close(connection);
        }
        let (status, setup) = place.gateway.wait();
        assert!(status.success(), "{}", setup.log());
        successor.stop();
        let usage = setup.usage();
        assert!(usage.conserved, "{usage:?}\n{}", setup.log());
        for (number, access) in accesses.iter().chain(&late).enumerate() {
            let who = format!("s{}", number + 1);
            let (up, down) = access.carried();
            let counted = usage.exempt(&who);
            // What the server sends to a client that has closed is counted, and nobody reads it.
            assert!(
                counted.0 == up && counted.1 >= down && counted.1 < down + 5_000,
                "{who} {header:?}: {counted:?} {up} {down}"
            );
            assert_eq!(counted, usage.of(&who), "{who} {header:?}");
        }
    }
}
