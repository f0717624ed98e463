//! Connections that our DNS sent here: the name is read first, resolved by us, and that is dialled (decision 4).
//!
//! Forging is impossible by construction: whatever name is claimed, the bytes go to that name's own addresses. Names
//! never listed, or unreadable, are refused with an answer that says so, else this would be an open proxy.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use allowlist::DomainName;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::accept::Visitor;
use crate::flow::decide::Vouched;
use crate::net::lookup::Whereabouts;
use crate::net::node::flow_record::{Destination, Flow};
use crate::net::node::report::{ProtocolLabel, Refusal};
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::relay;
use crate::net::tcp::relay::Begun;
use crate::net::tcp::stream::TcpStream;
use crate::net::upstream::dial::{DialError, dial};

/// Fatal alert `unrecognized_name` in a TLS record (RFC 8446 §6, RFC 6066 §3).
const ALERT_UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// Fatal alert `internal_error`: the name is fine, its origin cannot be reached.
const ALERT_INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];
/// RFC 9110 §15.5.20.
const MISDIRECTED_REQUEST: &[u8] =
    b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// RFC 9110 §15.6.3.
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Begins the flow of one accepted connection, to the place of the name it says; none when it is not carried.
pub async fn begin(
    worker: Rc<Worker>,
    client: TcpStream,
    visitor: Visitor,
    service_port: Option<u16>,
    permit: OwnedSemaphorePermit,
) -> Option<Begun> {
    let client = Rc::new(client);
    let place = Destination::Steered { service_port };
    let peer = visitor.peer;
    let side = visitor.side(&worker, &client);
    let open = worker.open_flow(peer, place, side);
    let (first, origin) = read_and_reach(&worker, open.flow(), &client, peer).await?;
    Some(Begun { open, client, origin, first, permit })
}

/// Reads the name and connects to where it is: what was read, and the connection; none when the flow has ended.
async fn read_and_reach(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    client: &TcpStream,
    peer: SocketAddr,
) -> Option<(Vec<u8>, TcpStream)> {
    let Ok(first) = read_name(worker, flow, client).await else {
        let _ = socket::reset_on_close(client);
        return None;
    };
    if comes_back(worker, client, peer) {
        refuse(worker, flow, client, Refusal::Loop).await;
        return None;
    }
    match reach(worker, flow).await {
        Ok(Reached { origin, address, vouched }) => {
            worker.release(flow, vouched, Some(address));
            Some((first, origin))
        }
        Err(refusal) => {
            refuse(worker, flow, client, refusal).await;
            None
        }
    }
}

/// Whether the connection is one of our own: a listed name leads here. Asked behind the name, which comes when ours is
/// connected.
fn comes_back(worker: &Worker, client: &TcpStream, peer: SocketAddr) -> bool {
    // Where it was going, rewritten on this machine or not.
    let destinations =
        || [client.local_addr(), socket::original_destination(client, peer)].into_iter().flatten();
    worker.shared.is_own_stream(peer, destinations)
}

/// Reads until the name is known, or is known not to be readable; bounded by the caps of the reader and its deadline.
async fn read_name(worker: &Rc<Worker>, flow: &Rc<Flow>, client: &TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + worker.shared.overload.shorten(worker.shared.limits.identify_deadline);
    let mut first = Vec::new();
    while !flow.is_identified() {
        tokio::select! {
            biased;
            // Others need its place.
            () = poll_fn(|context| flow.cut.poll_asked(context)) => return Err(io::ErrorKind::Interrupted.into()),
            readable = timeout_at(deadline, client.readable()) => if readable.is_err() {
                worker.deadline(flow);
                return Ok(first);
            }
        }
        let mut buffer = worker.buffer.borrow_mut();
        match relay::read_ready(client, &mut buffer)? {
            None => {}
            Some(0) => worker.subscriber_finished(flow),
            Some(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                first.extend_from_slice(bytes);
                worker.received(flow, bytes);
            }
        }
    }
    Ok(first)
}

/// An origin that was reached.
struct Reached {
    origin: TcpStream,
    address: IpAddr,
    /// Whether the name may be there, by the evidence that led to it.
    vouched: Vouched,
}

/// Connects to the name's own addresses.
async fn reach(worker: &Rc<Worker>, flow: &Rc<Flow>) -> Result<Reached, Refusal> {
    let (name, port) = (flow.name().ok_or(Refusal::NotRouted)?, flow.service_port());
    if !worker.shared.policy.load().routes(&name) {
        return Err(Refusal::NotRouted);
    }
    let mut places = whereabouts(worker, flow, &name).await?;
    let outcome = dial_known(worker, &mut places, port).await;
    match outcome {
        Ok((origin, target)) => {
            let address = target.ip();
            if places.is_noteworthy() {
                worker.shared.lookups.note_use(&name, &flow.asker().subscriber);
            }
            Ok(Reached { origin, address, vouched: places.vouched(address) })
        }
        Err(DialError::NotPermitted) => Err(Refusal::Destination),
        Err(DialError::Connect(error)) => {
            tracing::debug!(flow = flow.id, name = %name, %error, "origin not reached");
            Err(Refusal::Connect)
        }
    }
}

/// Connects to one of the places that are known; when none of them answers, or the look-up that was not waited for gives
/// others meanwhile, to those.
async fn dial_known(
    worker: &Rc<Worker>,
    places: &mut Whereabouts,
    port: u16,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let (reached, newer) = {
        let known = dial_all(worker, places.addresses(), port);
        if !places.may_be_more() {
            return known.await;
        }
        tokio::pin!(known);
        tokio::select! {
            biased;
            outcome = &mut known => match outcome {
                Ok(reached) => return Ok(reached),
                Err(error) => (None, places.later().await.ok_or(error)?),
            },
            Some(newer) = places.later() => {
                // What is being tried is right.
                let is_same = newer.addresses().first() == places.addresses().first();
                (if is_same { Some(known.await?) } else { None }, newer)
            }
        }
    };
    match reached {
        Some((origin, target)) => {
            // Evidence that came meanwhile counts: what led here may have been too old to.
            if newer.addresses().contains(&target.ip()) {
                *places = newer;
            }
            Ok((origin, target))
        }
        None => {
            *places = newer;
            dial_all(worker, places.addresses(), port).await
        }
    }
}

/// Connects to the first of `addresses` that answers.
async fn dial_all(
    worker: &Rc<Worker>,
    addresses: &[IpAddr],
    port: u16,
) -> Result<(TcpStream, SocketAddr), DialError> {
    dial(worker, addresses.iter().map(|address| SocketAddr::new(*address, port))).await
}

/// Where the name may be.
async fn whereabouts(
    worker: &Rc<Worker>,
    flow: &Rc<Flow>,
    name: &DomainName,
) -> Result<Whereabouts, Refusal> {
    worker.shared.lookups.resolve(name, || flow.asker()).await.map_err(|error| {
        tracing::debug!(flow = flow.id, name = %name, %error, "listed name not resolved");
        Refusal::Destination
    })
}

/// Answers in the client's protocol that the connection is not carried.
async fn refuse(worker: &Rc<Worker>, flow: &Rc<Flow>, client: &TcpStream, refusal: Refusal) {
    worker.count_refusal(refusal);
    tracing::debug!(flow = flow.id, refusal = refusal.label(), "not carried");
    worker.release(flow, Vouched::No, None);
    let protocol = flow.protocol();
    let answer: &[u8] = match (protocol, refusal) {
        (ProtocolLabel::Tls, Refusal::NotRouted) => &ALERT_UNRECOGNIZED_NAME,
        (ProtocolLabel::Http, Refusal::NotRouted) => MISDIRECTED_REQUEST,
        (ProtocolLabel::Tls, _) => &ALERT_INTERNAL_ERROR,
        (ProtocolLabel::Http, _) => BAD_GATEWAY,
        (ProtocolLabel::Tcp | ProtocolLabel::Quic | ProtocolLabel::Udp, _) => &[],
    };
    if relay::answer(worker, flow, client, answer).await.is_ok() {
        relay::finish(worker, flow, client).await;
    }
}
