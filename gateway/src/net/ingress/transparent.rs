//! Connections that the kernel hands over on their way elsewhere (nft `tproxy`, or `redirect`).
//!
//! The original destination is dialled at once, from the subscriber's own address, and every byte passed on as it was read:
//! tee, never gate (decision 3). The name never chooses the destination (decision 5).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::OwnedSemaphorePermit;

use super::accept::Visitor;
use super::refuse;
use crate::net::node::event::Event;
use crate::net::node::flow_record::Destination;
use crate::net::node::report::Refusal;
use crate::net::node::settings::Interception;
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::relay::Begun;
use crate::net::tcp::stream::TcpStream;
use crate::net::upstream::dial::{First, establish, establish_own, is_about_ports};
use crate::net::upstream::patience::{NotReached, Waiting, reach};

/// Begins the flow of one connection, to where it was going; none when it is not carried.
pub async fn begin(
    worker: Rc<Worker>,
    client: TcpStream,
    visitor: Visitor,
    interception: Interception,
    upstream_mark: u32,
    permit: OwnedSemaphorePermit,
) -> Option<Begun> {
    let told = match interception {
        Interception::Tproxy => client.local_addr(),
        Interception::Redirect => socket::original_destination(&client, visitor.peer),
    };
    // A connection to the listener itself was not on its way anywhere: carried on, it would come back for ever.
    let target = told.and_then(|told| {
        let target = worker.shared.dial.target(told).ok_or(io::ErrorKind::PermissionDenied)?;
        Ok((SocketAddr::new(told.ip().to_canonical(), told.port()), target))
    });
    let Ok((destination, target)) = target else {
        return refuse::connection(
            &worker,
            &client,
            Refusal::Destination,
            "the destination is private or our own",
        );
    };
    if worker.shared.is_own_stream(visitor.peer, || [target]) {
        return refuse::connection(&worker, &client, Refusal::Loop, "the source is a connection of our own");
    }
    let client = Rc::new(client);
    let peer = visitor.peer;
    let side = visitor.side(&worker, &client);
    let open = worker.open_flow(peer, Destination::Original(target), side);
    let source = match interception {
        Interception::Tproxy => Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
        Interception::Redirect => None,
    };
    let ends = Waiting { worker: &worker, open: &open, client: &client, destination };
    let connecting = connect(&worker, target, source, upstream_mark);
    match reach(ends, connecting).await {
        Ok(origin) => Some(Begun { open, client, origin, first: Vec::new(), permit }),
        Err(NotReached::Failed(error)) => refuse::flow(&open, &client, Refusal::Connect, &error.to_string()),
        Err(NotReached::Cut) => {
            let _ = socket::reset_on_close(&*client);
            None
        }
    }
}

/// Connects to the origin with the subscriber's address and port.
async fn connect(
    worker: &Worker,
    target: SocketAddr,
    source: Option<SocketAddr>,
    mark: u32,
) -> io::Result<TcpStream> {
    let limit = worker.shared.limits.original_connect_timeout;
    let first = match socket::upstream(target, source, mark) {
        Ok(socket) if source.is_none() => establish_own(worker, socket, target, First::Unknown, limit).await,
        Ok(socket) => establish(socket, target).await,
        Err(error) => Err(error),
    };
    match (first, source) {
        // Another socket has the port, or a connection between the same ends has just ended and the kernel keeps its place
        // for a minute: any port of the subscriber's address serves.
        (Err(error), Some(source)) if is_about_ports(&error) => {
            worker.count_event(Event::PortChanged);
            let again = socket::upstream_from_any_port(target, source.ip(), mark)?;
            establish(again, target).await
        }
        (outcome, _) => outcome,
    }
}
