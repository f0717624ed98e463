//! A gateway amid everything it talks to.

use std::net::{SocketAddr, TcpStream};

use super::client::{connect_from, connect_proxied, subscriber};
use super::dns::Resolver;
use super::origin::Origin;
use super::{Gateway, Setup};

/// A gateway with a steered listener (0) and one behind a PROXY header (1); `www.listed.example` is at the origin, whose
/// port is dialled for 443 and 80.
pub struct World {
    pub gateway: Gateway,
    pub resolver: Resolver,
    pub origin: Origin,
}

impl World {
    pub fn new(origin: Origin) -> Self {
        Self::with(origin, |setup| setup)
    }

    /// With changes of the configuration.
    pub fn with(origin: Origin, change: impl FnOnce(Setup) -> Setup) -> Self {
        let resolver = Resolver::new(&[("www.listed.example", origin.octets())]);
        let setup = Setup::new().steered().proxied().resolver(resolver.address);
        let setup = setup.port_map(&[(443, origin.port()), (80, origin.port())]);
        // What stands in the queues of the machine's other interfaces is none of the test's.
        let setup = setup.set("export", "egress_interfaces = [\"lo\"]");
        let gateway = change(setup).start();
        Self { gateway, resolver, origin }
    }

    /// The origin as a destination in a PROXY header.
    pub fn destination(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.origin.address.ip(), port)
    }

    /// Subscriber `sN` at the steered listener.
    pub fn steered(&self, number: u8) -> TcpStream {
        connect_from(subscriber(number), self.gateway.listener(0))
    }

    /// Subscriber `sN` on the way to the origin's port 443, behind a PROXY header.
    pub fn proxied(&self, number: u8) -> TcpStream {
        self.proxied_to(number, self.destination(443))
    }

    /// Subscriber `sN` on the way to another place.
    pub fn proxied_to(&self, number: u8, destination: SocketAddr) -> TcpStream {
        connect_proxied(number, self.gateway.listener(1), destination)
    }
}
