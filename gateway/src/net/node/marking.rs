//! Has the sockets of TCP flows carry their flows' marks (trap T38).
//!
//! Nothing is asked of the system for a flow that is never exempt. Behind a balancer nothing is marked: its own packets go
//! to the subscriber. Datagrams are marked one by one where they are sent, by what their flow's engine says.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};

use super::flow_record::{Flow, SubscriberSide};
use super::worker::Worker;
use crate::flow::mark::Mark;
use crate::net::node::event::Event;
use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;

/// Whether a failure was told: the next ones are counted alone.
static FAILURE_TOLD: AtomicBool = AtomicBool::new(false);

impl Worker {
    /// The packets of a flow between these sockets carry `mark` from here on, where they carried `before`.
    pub(in crate::net) fn change_marks(
        &self,
        subscriber: &TcpStream,
        origin: &Weak<TcpStream>,
        before: Mark,
        mark: Mark,
    ) {
        self.apply(subscriber, before, mark);
        if let Some(origin) = origin.upgrade() {
            self.apply(&origin, before.towards_origin(), mark.towards_origin());
        }
    }

    /// From here on bytes of the flow go to this socket.
    pub(in crate::net) fn mark_origin(&self, flow: &Flow, origin: &Rc<TcpStream>) {
        let mut state = flow.state.borrow_mut();
        state.origin = Rc::downgrade(origin);
        if state.subscriber.as_ref().and_then(SubscriberSide::own_socket).is_none() {
            return;
        }
        self.apply(origin, Mark::NONE, state.engine.mark().towards_origin());
    }

    /// Has a socket carry `mark` where it carried `before`.
    fn apply(&self, stream: &TcpStream, before: Mark, mark: Mark) {
        if let Err(error) = change(stream, before, mark) {
            self.mark_refused(&error);
        }
    }

    /// Counts a mark that the system did not take, and tells the first.
    pub(in crate::net) fn mark_refused(&self, error: &io::Error) {
        self.count_event(Event::MarkError);
        if !FAILURE_TOLD.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "marks of flows cannot be set: the core sees them as charged, or still as exempt. Remedy: CAP_NET_ADMIN for rating_group.fwmark; zrgw_mark_errors_total counts on");
        }
    }
}

/// Tells the system what differs.
fn change(stream: &TcpStream, before: Mark, mark: Mark) -> io::Result<()> {
    if before.dscp != mark.dscp {
        // Our own end, which is known also of a connection that is over.
        let is_ipv4 = stream.local_addr()?.ip().to_canonical().is_ipv4();
        socket::set_octet(stream, is_ipv4, u32::from(mark.octet()))?;
    }
    if before.fwmark != mark.fwmark {
        socket::set_firewall_mark(stream, mark.fwmark)?;
    }
    Ok(())
}
