//! A metered link with a steered gateway at its end, and what it exported against what the kernel counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::dns::Resolver;
use super::link::{GATEWAY, Link, SUBSCRIBER};
use super::origin::Origin;
use super::usage::{Bytes, Usage};
use super::{Gateway, PATIENCE, Setup};

/// The listed name.
pub const LISTED: &str = "www.listed.example";

/// A link with a steered gateway at its end, for both IP versions, and an origin behind it.
pub struct Edge {
    pub link: Link,
    pub gateway: Gateway,
    _resolver: Resolver,
    pub origin: Origin,
}

impl Edge {
    /// With an origin of `make`; none where namespaces cannot be made.
    pub fn new(make: impl FnOnce() -> Origin + Send) -> Option<Self> {
        let link = Link::new()?;
        // All on one core: packets that overtake each other are told of in options that nobody counts.
        let mut core = CpuSet::new();
        core.set(0);
        sched_setaffinity(None, &core).unwrap();
        let (gateway, resolver, origin) = link.at_gateway(|| {
            let origin = make();
            let resolver = Resolver::new(&[(LISTED, origin.octets())]);
            let setup = Setup::new()
                .resolver(resolver.address)
                .port_map(&[(443, origin.port()), (80, origin.port())])
                .set("export", "byte_basis = \"ip\"")
                // Where packets are lost the last ones are sent again and again: what is sent behind the last reading is in no count.
                .set("limits", "finish_deadline = \"30 s\"");
            let setup = GATEWAY.iter().fold(setup, |setup, address| {
                let address = SocketAddr::new(address.parse().unwrap(), 8_443);
                setup.listener(&format!("mode = \"steered\"\naddress = \"{address}\"\n"))
            });
            let table = format!(
                "prefix,subscriber_type,subscriber_id\n{}/32,account,s1\nfd77::/64,account,s1\n",
                SUBSCRIBER[0]
            );
            setup.write("subscribers.csv", table);
            (setup.start(), resolver, origin)
        });
        Some(Self { link, gateway, _resolver: resolver, origin })
    }

    /// Connects from the subscriber's end.
    pub fn connect(&self, family: usize) -> TcpStream {
        let address = SocketAddr::new(GATEWAY[family].parse().unwrap(), 8_443);
        self.link.at_subscriber(|| {
            let socket =
                socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            // A window that the wire holds: packets that it drops are told of in options that nobody counts.
            socket.set_recv_buffer_size(128 << 10).unwrap();
            socket.connect(&address.into()).unwrap();
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
    }

    /// Ends the gateway: what it exported for the subscriber, and what its kernel counted.
    pub fn compare(self) -> (Usage, Bytes) {
        let Self { link, gateway, .. } = self;
        let mismatches = link.at_gateway(|| {
            gateway.await_flows_closed();
            gateway.metric("zrgw_meter_mismatch_total")
        });
        assert_eq!(mismatches, 0);
        let counted = link.counted();
        let usage = link.at_gateway(|| gateway.stop_and_count());
        assert!(usage.conserved);
        assert!(usage.rows.iter().all(|row| row["byte_basis"] == "ip"));
        (usage, counted)
    }
}

/// Fetches a page of `size` bytes over plain HTTP and closes in good order.
pub fn fetch(mut stream: TcpStream, name: &str, size: usize) {
    let request = format!("GET /{size} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut part = vec![0; 1 << 20];
    let mut read = 0;
    loop {
        let count = stream.read(&mut part).unwrap();
        read += count;
        if count == 0 {
            break;
        }
    }
    assert!(read > size, "{read} of {size} and its head");
}
