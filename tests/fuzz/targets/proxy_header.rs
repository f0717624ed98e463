//! The PROXY header reader: a prefix is undecided or decides like the whole, and nothing behind the header matters.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    unreachable_pub,
    reason = "a fuzz target may panic, and is a module of a test as well as of a program"
)]

use gateway::wire::proxy_protocol::{Carried, Outcome, V1_BYTES_MAX, V2_BYTES_MAX, header};

/// Room for TLVs beyond the least.
const TLV_BYTES_MAX: usize = 64;

/// All bytes are the peer's.
pub fn run(data: &[u8]) {
    let data = data.get(..1024).unwrap_or(data);
    let whole = header(data, TLV_BYTES_MAX);
    for end in 0..data.len() {
        let prefix = header(&data[..end], TLV_BYTES_MAX);
        assert!(
            prefix == Outcome::NeedMore || prefix == whole,
            "prefix of {end}: {prefix:?}, whole: {whole:?}"
        );
    }
    match whole {
        Outcome::NeedMore => assert!(data.len() < V2_BYTES_MAX + TLV_BYTES_MAX),
        Outcome::Header(read) => {
            assert!(read.length <= data.len());
            let text = data.starts_with(b"PROXY ");
            assert!(read.length <= if text { V1_BYTES_MAX } else { V2_BYTES_MAX + TLV_BYTES_MAX });
            assert_eq!(
                header(&data[..read.length], TLV_BYTES_MAX),
                whole,
                "what follows makes no difference"
            );
            if let Carried::Addresses { source, destination, .. } = read.carried {
                assert_eq!(source.ip(), source.ip().to_canonical());
                assert_eq!(destination.ip(), destination.ip().to_canonical());
                if text {
                    round_trip(&data[..read.length], source, destination);
                }
            }
        }
        Outcome::Malformed { field } => assert!(!field.is_empty()),
        Outcome::Oversize | Outcome::NotProxy => {}
    }
}

/// A header written from what was read is read the same; one of IPv4 is the same bytes.
fn round_trip(read: &[u8], source: std::net::SocketAddr, destination: std::net::SocketAddr) {
    let (family, from, to) = match (source.ip(), destination.ip()) {
        (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) if read.starts_with(b"PROXY TCP4") => {
            ("TCP4", from.to_string(), to.to_string())
        }
        (from, to) => ("TCP6", mapped(from), mapped(to)),
    };
    let written = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
    if family == "TCP4" {
        assert_eq!(written.as_bytes(), read);
    }
    assert_eq!(
        header(written.as_bytes(), 0),
        match header(read, 0) {
            Outcome::Header(mut header) => {
                header.length = written.len();
                Outcome::Header(header)
            }
            other => other,
        }
    );
}

/// An address as IPv6 text.
fn mapped(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().to_string(),
        std::net::IpAddr::V6(address) => address.to_string(),
    }
}
