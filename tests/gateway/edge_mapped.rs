//! Private addresses behind public ones: through the operator's own NAT64 and other mappings nobody is led to machines that
//! may not be dialled, and what is merely on its way there passes by.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests may panic"
)]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr};

use support::ask::AAAA;
use support::client::{read_exactly, read_to_end};
use support::edge::{Edge, LISTED};
use support::eventually;
use support::hellos::Hello;
use support::link::GATEWAY;
use support::origin::{self as origins, Origin};
use support::scripted;

/// Where names lead subscribers.
const STEERED_PORT: u16 = 8_443;
/// The alert `internal_error`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The operator's NAT64 in front of 10.0.0.1, of this very machine, and of a site.
const PRIVATE: &str = "2a00:64::10.0.0.1";
const OWN: &str = "2a00:64::11.77.0.1";
const PUBLIC: &str = "2a00:64::11.77.0.99";
/// The well-known prefix in front of 10.0.0.1, and tunnels to it: 6to4, and ISATAP in public space.
const WELL_KNOWN: &str = "64:ff9b::10.0.0.1";
const SIX_TO_FOUR: &str = "2002:a00:1::1";
const ISATAP: &str = "2a00:65::5efe:10.0.0.1";

/// All of them; `n0.listed.example` is at the first, and so on.
const ADDRESSES: [&str; 6] = [PRIVATE, OWN, SIX_TO_FOUR, ISATAP, WELL_KNOWN, PUBLIC];

/// The listed name of an address.
fn name_of(address: &str) -> String {
    format!("n{}.listed.example", ADDRESSES.iter().position(|known| *known == address).unwrap())
}

/// A gateway in the path that also has names led to it, and behind it a network where all of these addresses answer.
struct Net {
    edge: Edge,
    origin: Origin,
}

impl Net {
    fn new() -> Option<Self> {
        let edge = Edge::with("tproxy", |setup| {
            let resolver = scripted::server(|query| vec![(true, answered(query))]);
            setup
                .listener(&format!(
                    "mode = \"steered\"\naddress = \"{}:{STEERED_PORT}\"\nservice_port = 443\n",
                    GATEWAY[0]
                ))
                .set("trusted_answers", "nat64_prefixes = [\"64:ff9b::/96\", \"2a00:64::/96\"]")
                .resolver(resolver)
        })?;
        for prefix in ["2a00:64::/96", "2a00:65::/32", "2002::/16", "64:ff9b::/96"] {
            edge.link.gateway_runs(&format!("ip -6 route add {prefix} dev out"));
        }
        for address in ADDRESSES {
            edge.link.internet_runs(&format!("ip address add {address}/128 dev out nodad"));
        }
        let origin = edge.link.in_internet(|| Origin::at("[::]:443".parse().unwrap(), origins::echo));
        Some(Self { edge, origin })
    }
}

/// The answer with the AAAA record of the name alone.
fn answered(query: &[u8]) -> Vec<u8> {
    let end = query.iter().skip(12).position(|byte| *byte == 0).unwrap() + 12 + 5;
    let name = scripted::name_of(query);
    let address = ADDRESSES.into_iter().find(|address| name_of(address) == name);
    let found = address.filter(|_| query[end - 4..end - 2] == AAAA.to_be_bytes());
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x81, 0x80, 0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    bytes.extend(&query[12..end]);
    if let Some(address) = found {
        bytes.extend([0xc0, 12, 0, 28, 0, 1, 0, 0, 1, 0, 0, 16]);
        bytes.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    }
    bytes
}

#[test]
fn f7_t10_a_name_leads_nobody_to_a_private_address_behind_a_translator_or_tunnel() {
    let Some(net) = Net::new() else { return };
    let visit = |address: &str| {
        let mut stream = net.edge.connect(SocketAddr::new(GATEWAY[0].parse().unwrap(), STEERED_PORT));
        let hello = Hello::named(&name_of(address)).wire();
        stream.write_all(&hello).unwrap();
        let mut said = vec![0; ALERT.len()];
        stream.read_exact(&mut said).unwrap();
        said
    };
    for address in [PRIVATE, OWN, SIX_TO_FOUR, ISATAP, WELL_KNOWN] {
        assert_eq!(visit(address), ALERT, "{address}");
    }
    assert_eq!(net.origin.visits(), 0);
    assert_eq!(visit(PUBLIC), Hello::named(&name_of(PUBLIC)).wire()[..ALERT.len()], "dialled and echoed");
    assert_eq!(net.origin.visits(), 1);
    let refused = || net.edge.metric("zrgw_refused_total{reason=\"destination\"}") == 5;
    assert!(eventually(refused), "{}", net.edge.gateway.log());
}

#[test]
fn f7_flows_to_private_addresses_behind_public_ones_pass_by() {
    let Some(net) = Net::new() else { return };
    let visit = |address: &str| {
        let mut stream = net.edge.connect(SocketAddr::new(address.parse().unwrap(), 443));
        let hello = [Hello::named(LISTED).wire(), vec![23, 3, 3, 0, 1, 0]].concat();
        stream.write_all(&hello).unwrap();
        assert_eq!(read_exactly(&mut stream, hello.len()), hello, "{address}");
        let taken = net.edge.link.gateway_runs("ss -Htn state established sport = :443").lines().count();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_end(&mut stream).unwrap();
        net.edge.await_flows_closed();
        taken
    };
    for address in [PRIVATE, SIX_TO_FOUR, ISATAP, WELL_KNOWN] {
        assert_eq!(visit(address), 0, "{address} was taken");
    }
    assert_eq!(visit(PUBLIC), 1, "what is public behind NAT64 is taken");
    assert_eq!(net.origin.visits(), 5);
}
