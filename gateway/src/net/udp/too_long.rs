//! Datagrams that are longer than the way to their origin takes in one piece.
//!
//! QUIC is sent so that nobody cuts it (RFC 9000 §14), and its sender learns from an ICMP message what passes. Without us a router
//! would write that; here the router is this machine, or its message comes to our socket, so we write it. Where that is not
//! possible (without CAP_NET_RAW, behind a balancer, where less than QUIC needs would pass), and for what is no QUIC, datagrams
//! go in fragments, as they would from a sender that asked for nothing else.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Relay;
use super::carry::Upstream;
use super::port::Length;
use super::table::{FlowEnds, Key};
use crate::net::node::flow_record::Flow;
use crate::net::sys::socket;
use crate::wire::icmp::{header_bytes, too_long};

/// Between two messages about one flow: a sender that missed the first gets another with what it repeats.
const PAUSE: Duration = Duration::from_millis(100);
/// The payload that every way must take for QUIC (RFC 9000 §14).
const QUIC_BYTES_MIN: usize = 1_200;

/// Whether it was told that senders cannot be.
static REFUSAL_TOLD: AtomicBool = AtomicBool::new(false);

impl Relay {
    /// Something that the subscriber sent was too long for the way to the origin.
    pub(super) fn too_long(&self, key: &Key, flow: &Flow, up: &Upstream) {
        let now = self.worker.shared.clock.monotonic();
        if up.told.get().is_some_and(|told| now.since(told) < PAUSE) {
            return;
        }
        up.told.set(Some(now));
        let told = match self.manner(flow).length {
            Length::Whole => self.tell(key, up),
            Length::Cut => Err(io::ErrorKind::Unsupported.into()),
        };
        if let Err(error) = told {
            if error.kind() == io::ErrorKind::PermissionDenied && !REFUSAL_TOLD.swap(true, Ordering::Relaxed)
            {
                tracing::info!(%error, "QUIC that is longer than the next link goes in fragments. Remedy: CAP_NET_RAW, so that its sender is told");
            }
            let _ = up.port.let_fragment(up.target.is_ipv4());
        }
    }

    /// Tells the sender what passes.
    fn tell(&self, key: &Key, up: &Upstream) -> io::Result<()> {
        let is_ipv4 = up.target.is_ipv4();
        let passes = up.port.path_mtu(is_ipv4)?.saturating_sub(header_bytes(is_ipv4));
        if passes < QUIC_BYTES_MIN {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Its own way to us may have another IP version than ours to the origin.
        let mtu = passes.saturating_add(header_bytes(key.peer.is_ipv4()));
        let message = u16::try_from(mtu).ok().and_then(|mtu| too_long(key.peer, self.destination(key), mtu));
        let from = match key.ends {
            FlowEnds::Steered { local } => local,
            FlowEnds::Proxied { .. } | FlowEnds::Transparent { .. } => None,
        };
        let mut to: SocketAddr = key.peer;
        to.set_port(0);
        socket::send_icmp(to, from, &message.ok_or(io::ErrorKind::Unsupported)?)
    }
}
