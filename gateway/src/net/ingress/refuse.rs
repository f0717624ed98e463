//! Connections that are not carried: counted, told at DEBUG, and reset.

use crate::net::node::report::Refusal;
use crate::net::node::worker::{OpenFlow, Worker};
use crate::net::sys::socket;
use crate::net::tcp::relay::Begun;
use crate::net::tcp::stream::TcpStream;

/// Says of a flow that it is not carried, counts that, and resets its connection.
pub(super) fn flow(open: &OpenFlow, client: &TcpStream, refusal: Refusal, why: &str) -> Option<Begun> {
    open.worker().count_refusal(refusal);
    tracing::debug!(flow = open.flow().id, refusal = refusal.label(), why, "not carried");
    let _ = socket::reset_on_close(client);
    None
}

/// Counts a connection that is not carried and no flow yet, and resets it.
pub(super) fn connection(worker: &Worker, client: &TcpStream, refusal: Refusal, why: &str) -> Option<Begun> {
    worker.count_refusal(refusal);
    tracing::debug!(refusal = refusal.label(), why, "connection not carried");
    let _ = socket::reset_on_close(client);
    None
}
