//! What an origin sends: passed on to the subscriber, whose first ones are learnt from.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::Upstream;
use crate::flow::engine::has_long_header;
use crate::net::node::flow_record::Flow;
use crate::net::node::report::DropCause;
use crate::net::udp::Relay;
use crate::net::udp::connection_ids::Continued;
use crate::net::udp::table::Key;
use crate::wire::quic::server_connection_id;

/// Ids that a server may use on one flow and that are learnt: a Retry's, the handshake's, and room for repeats.
const IDS_PER_FLOW_MAX: usize = 4;

impl Relay {
    /// Passes on what the origin has sent; false when nobody is there.
    pub(super) fn pass_down(&self, key: &Key, flow: &Rc<Flow>, up: &Upstream) -> bool {
        let mut batch = self.batch.borrow_mut();
        match up.port.receive(&mut batch) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return false,
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.too_long(key, flow, up);
                return true;
            }
            // Soft errors (RFC 1122 §4.2.3.9): the way may come back.
            Err(_) => return true,
        }
        for train in batch.trains() {
            let train = self.without_own_marks(train);
            if train.peer != up.target {
                // It came after the socket had the subscriber's port and before it was connected: another server's.
                self.worker.count_dropped(DropCause::Stray, train.count());
                continue;
            }
            for datagram in train.datagrams().filter(|datagram| has_long_header(datagram)) {
                self.learn_id(flow, up, datagram);
            }
            if up.is_answer(&train) {
                self.worker.answered(flow, &up.subscriber);
            }
            let sent = self.send_down(key, self.manner(flow), &train);
            if sent.unmarked {
                self.worker.mark_refused(&io::ErrorKind::PermissionDenied.into());
            }
            self.worker.sent_datagrams(flow, &sent);
            if let Some(cause) = sent.cause {
                self.worker.count_dropped(cause, sent.lost);
            }
        }
        if !up.ids.borrow().is_empty() {
            up.pulse.note_moved(flow.last_activity.get());
        }
        true
    }

    /// Learns the id that a server's long header gives, while the flow's name holds.
    pub(super) fn learn_id(&self, flow: &Rc<Flow>, up: &Upstream, datagram: &[u8]) {
        let Some(id) = server_connection_id(datagram) else { return };
        let mut ids = up.ids.borrow_mut();
        let known = ids.iter().any(|known| known.as_bytes() == id.as_bytes());
        if known || ids.len() >= IDS_PER_FLOW_MAX {
            return;
        }
        let Some(identity) =
            flow.identity().filter(|identity| identity.name.is_some() && identity.gave_up.is_none())
        else {
            return;
        };
        ids.push(id);
        up.pulse.note_moved(self.worker.shared.clock.monotonic());
        let vouched = flow.state.borrow().engine.vouched();
        let continued = Continued { identity, target: up.target, vouched, pulse: Arc::clone(&up.pulse) };
        self.worker.shared.connection_ids.learn(&up.subscriber, up.destination, id, continued);
    }
}

/// Passes on what the origin sends until the flow ends.
pub(super) async fn down(relay: Rc<Relay>, key: Key, flow: Rc<Flow>, up: Rc<Upstream>) {
    loop {
        let ready = tokio::select! {
            biased;
            // Others need its place.
            () = poll_fn(|context| flow.cut.poll_asked(context)) => false,
            ready = up.port.readable() => ready.is_ok(),
        };
        if !ready || !relay.pass_down(&key, &flow, &up) {
            relay.remove(&key);
            return;
        }
        tokio::task::consume_budget().await;
    }
}
