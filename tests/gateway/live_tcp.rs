//! The running gateway and TCP as subscribers speak it: names in any cutting, who speaks first, where bytes go, and what
//! is exported of them.

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

use std::io::Write;
use std::net::SocketAddr;

use support::client::*;
use support::dns::Resolver;
use support::hellos::Hello;
use support::origin::Origin;
use support::{Gateway, Setup};

/// A gateway with a steered listener (0) and one behind a PROXY header (1), a resolver and an origin on 443 and 80.
struct World {
    gateway: Gateway,
    resolver: Resolver,
    origin: Origin,
}

impl World {
    fn new(origin: Origin) -> Self {
        Self::with(origin, |setup| setup)
    }

    fn with(origin: Origin, change: impl FnOnce(Setup) -> Setup) -> Self {
        let resolver = Resolver::new(&[("www.listed.example", origin.octets())]);
        let setup = Setup::new().steered().proxied().resolver(resolver.address);
        let setup = setup.port_map(&[(443, origin.port()), (80, origin.port())]);
        let gateway = change(setup).start();
        Self { gateway, resolver, origin }
    }

    /// The origin as a destination in a PROXY header.
    fn https(&self) -> SocketAddr {
        SocketAddr::new(self.origin.address.ip(), 443)
    }
}

#[test]
fn t1_hello_in_one_byte_segments_steered_and_proxied() {
    let world = World::new(Origin::answers(b"served"));
    let hello = Hello::post_quantum("www.listed.example").wire();
    let mut steered = connect_from(subscriber(1), world.gateway.listener(0));
    write_bytewise(&mut steered, &hello);
    assert_eq!(finish(steered), b"served");
    let mut proxied = connect_proxied(2, world.gateway.listener(1), world.https());
    write_bytewise(&mut proxied, &hello);
    assert_eq!(finish(proxied), b"served");
    assert_eq!(world.origin.received(0), hello);
    assert_eq!(world.origin.received(1), hello);
    let usage = world.gateway.stop_and_count();
    for subscriber in ["s1", "s2"] {
        assert_eq!(usage.exempt_for(subscriber, "school"), (hello.len() as u64, 6), "{subscriber}");
        assert_eq!(usage.of(subscriber), usage.exempt(subscriber), "{subscriber}");
    }
}
