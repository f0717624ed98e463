//! PROXY headers as a balancer writes them in front of a flow, as text or binary.

use crate::app::lab::demo::world::{Flow, Protocol};

/// First bytes of a binary PROXY header (PROXY protocol §2.2).
const PROXY_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY; TCP over IPv4; twelve bytes of addresses follow (PROXY protocol §2.2).
const PROXY_TCP4: [u8; 4] = [0x21, 0x11, 0, 12];
/// The same for UDP over IPv4.
const PROXY_UDP4: [u8; 4] = [0x21, 0x12, 0, 12];

/// The PROXY header of a flow, as text (§2.1) or binary (§2.2).
pub(super) fn proxy_header(flow: &Flow) -> Vec<u8> {
    if flow.binary_header {
        return binary_proxy_header(flow);
    }
    let (address, port) = flow.visit.destination;
    format!("PROXY TCP4 {} {address} {} {port}\r\n", flow.source.ip(), flow.source.port()).into_bytes()
}

/// The binary PROXY header of a flow (§2.2), the only form that knows UDP.
pub(super) fn binary_proxy_header(flow: &Flow) -> Vec<u8> {
    let (address, port) = flow.visit.destination;
    let carried = match flow.visit.protocol {
        Protocol::Tls | Protocol::Http => PROXY_TCP4,
        Protocol::Quic => PROXY_UDP4,
    };
    let ports = [flow.source.port().to_be_bytes(), port.to_be_bytes()];
    let source = flow.source.ip().octets();
    [PROXY_SIGNATURE, carried.as_slice(), &source, &address.octets(), ports.as_flattened()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::lab::demo::world::{self, Via};
    use crate::wire::proxy_protocol::{Carried, Outcome, Transport, header};

    #[test]
    fn both_proxy_headers_name_subscriber_and_destination() {
        let (mut text, mut binary) = (0, 0);
        for flow in (0..64).map(world::flow).filter(|flow| flow.visit.via == Via::Proxied) {
            let quic = flow.visit.protocol == Protocol::Quic;
            let bytes = if quic { binary_proxy_header(&flow) } else { proxy_header(&flow) };
            let Outcome::Header(read) = header(&bytes, 0) else { panic!("{bytes:?}") };
            let transport = match flow.visit.protocol {
                Protocol::Tls | Protocol::Http => Transport::Stream,
                Protocol::Quic => Transport::Datagram,
            };
            let (source, destination) = (flow.source.into(), flow.visit.destination.into());
            let carried = Carried::Addresses { transport, source, destination };
            assert_eq!((read.length, read.carried), (bytes.len(), carried));
            if quic || flow.binary_header { binary += 1 } else { text += 1 }
        }
        assert!(text > 0 && binary > 0);
    }
}
