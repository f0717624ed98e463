//! Flows that continue another one whose connection migrated (RFC 9000 §9).

use super::connection_ids::Continued;
use super::table::{FlowEnds, Key};
use super::{Continuation, MIGRATED_BYTES_MIN, Relay};
use crate::flow::decide::Vouched;
use crate::flow::engine::has_long_header;
use crate::net::node::worker::OpenFlow;
use crate::net::sys::batch::Train;
use crate::wire::quic::is_within_connection;

impl Relay {
    /// Gives a flow that begins in the middle of a connection the name of the one it continues, if that is known; returns
    /// where that one was carried to.
    pub(super) fn continued(&self, open: &OpenFlow, key: &Key, train: &Train<'_>) -> Option<Continuation> {
        let first = train.datagrams().next().filter(|first| is_within_connection(first))?;
        let shared = &self.worker.shared;
        let now = shared.clock.monotonic();
        let (subscriber, destination) = (open.subscriber(), self.destination(key));
        if let Some(known) = shared.connection_ids.find(subscriber, destination, first, now) {
            let Continued { identity, target, vouched, pulse } = known;
            self.worker.inherit(open.flow(), identity);
            return Some(Continuation { target, vouched, is_blind: false, pulse });
        }
        match key.ends {
            // A client that migrates on purpose takes an id that nobody has seen. It goes where his connection goes that moved
            // last: to addresses of a listed name, so that nobody is steered elsewhere, but without a name it is charged.
            FlowEnds::Steered { .. } if may_migrate(first) => {
                let (target, pulse) = shared.connection_ids.latest(subscriber, destination, now)?;
                Some(Continuation { target, vouched: Vouched::No, is_blind: true, pulse })
            }
            FlowEnds::Steered { .. } | FlowEnds::Proxied { .. } | FlowEnds::Transparent { .. } => None,
        }
    }
}

/// Whether a datagram may be the first of a connection that migrated: a short header, with room for an id, a packet number and
/// the tag (RFC 9000 §17.3.1, RFC 9001 §5.3). The fixed bit may be anything (RFC 9287).
pub(super) fn may_migrate(datagram: &[u8]) -> bool {
    datagram.len() >= MIGRATED_BYTES_MIN && !has_long_header(datagram)
}
