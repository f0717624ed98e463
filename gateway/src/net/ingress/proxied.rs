//! Connections from a trusted balancer that says in a PROXY header who came and where they went.
//!
//! The original destination is dialled at once and every byte passed on; the name never chooses the destination
//! (decision 5), else an unlisted name could steer traffic through us.

mod check;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{refuse, said};
use crate::flow::session::Introduction;
use crate::net::node::flow_record::{Destination, SubscriberSide};
use crate::net::node::report::Refusal;
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::relay::Begun;
use crate::net::tcp::stream::TcpStream;
use crate::net::upstream::dial::{First, connect};
use crate::net::upstream::patience::{NotReached, Waiting, reach};
use crate::wire::proxy_protocol::{self, Carried, Outcome, Transport};

/// Room for type-length-values behind the addresses; their content is not used.
const TLV_BYTES_MAX: usize = 2_048;

/// What a header says of its connection.
enum Said {
    /// It is somebody's.
    Flow(Told),
    /// The balancer speaks for itself: what came with the header.
    Check(Vec<u8>),
    /// The peer went away without a word.
    Nothing,
}

/// Where a connection came from and where it was going.
struct Told {
    source: SocketAddr,
    destination: SocketAddr,
    /// Whose it is, where the header says more than his address.
    whose: Introduction,
    /// Bytes that came with the header and belong to the subscriber.
    first: Vec<u8>,
}

/// Begins the flow of one accepted connection of a peer that may send a header: to its original destination, which the header
/// says. None when it is not carried.
pub async fn begin(
    worker: Rc<Worker>,
    client: TcpStream,
    subscriber_tlv: Option<u8>,
    permit: OwnedSemaphorePermit,
) -> Option<Begun> {
    let reading = read_header(&client, subscriber_tlv);
    let header = timeout(worker.shared.limits.proxy_header_deadline, reading).await;
    let told = match header {
        Ok(Ok(Said::Flow(told))) if is_check(&worker, &client, &told) => {
            return answer_check(&worker, &client, told.first).await;
        }
        Ok(Ok(Said::Flow(told))) => told,
        Ok(Ok(Said::Check(said))) => return answer_check(&worker, &client, said).await,
        // A balancer that checks whether we are there may say nothing at all.
        Ok(Ok(Said::Nothing)) => return None,
        Ok(Err(error)) => {
            return refuse::connection(&worker, &client, Refusal::ProxyHeader, &error.to_string());
        }
        Err(_) => {
            return refuse::connection(
                &worker,
                &client,
                Refusal::ProxyHeader,
                "no complete header in limits.proxy_header_deadline",
            );
        }
    };
    // Behind a balancer that brings what we send to its own address.
    let target = worker.shared.dial.target(told.destination);
    if target.is_some_and(|target| worker.shared.is_own_stream(told.source, || [target])) {
        return refuse::connection(&worker, &client, Refusal::Loop, "the source is a connection of our own");
    }
    let client = Rc::new(client);
    let place = Destination::Original(told.destination);
    let side = SubscriberSide::stream(Rc::clone(&client), told.source.ip(), worker.shared.byte_basis);
    let side = side.behind_balancer();
    let open = worker.open_introduced(told.source, place, side, told.whose);
    let Some(target) = target else {
        return refuse::flow(&open, &client, Refusal::Destination, "the destination is private or our own");
    };
    let waiting = Waiting { worker: &worker, open: &open, client: &client, destination: told.destination };
    let first = if told.first.is_empty() { First::Unknown } else { First::Bytes };
    let connecting = connect(&worker, target, first, worker.shared.limits.original_connect_timeout);
    let origin = match reach(waiting, connecting).await {
        Ok(origin) => origin,
        Err(NotReached::Failed(error)) => {
            return refuse::flow(&open, &client, Refusal::Connect, &error.to_string());
        }
        Err(NotReached::Cut) => {
            let _ = socket::reset_on_close(&*client);
            return None;
        }
    };
    if !told.first.is_empty() {
        worker.received(open.flow(), &told.first);
    }
    Some(Begun { open, client, origin, first: told.first, permit })
}

/// Whether a header is about the balancer's own connection, as HAProxy's checks say it in version 1, which has no LOCAL: it was
/// going nowhere else.
fn is_check(worker: &Worker, client: &TcpStream, told: &Told) -> bool {
    let goes_nowhere = || worker.shared.dial.target(told.destination).is_none();
    let is_own = |peer: SocketAddr| SocketAddr::new(peer.ip().to_canonical(), peer.port()) == told.source;
    goes_nowhere() && client.as_std().peer_addr().is_ok_and(is_own)
}

/// Answers a health check within the time of a header.
async fn answer_check<T>(worker: &Worker, client: &TcpStream, said: Vec<u8>) -> Option<T> {
    let _ = timeout(worker.shared.limits.proxy_header_deadline, check::answer(client, said)).await;
    None
}

/// Reads the header.
async fn read_header(client: &TcpStream, subscriber_tlv: Option<u8>) -> io::Result<Said> {
    let mut bytes = Vec::new();
    let mut part = [0_u8; proxy_protocol::V2_BYTES_MAX];
    loop {
        client.readable().await?;
        let count = match client.try_read(&mut part) {
            Ok(0) if bytes.is_empty() => return Ok(Said::Nothing),
            Ok(0) => return Err(refused("the connection ended inside the header")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        match proxy_protocol::header(&bytes, TLV_BYTES_MAX) {
            Outcome::NeedMore => {}
            Outcome::Header(header) => {
                let first = bytes.get(header.length..).unwrap_or_default().to_vec();
                return match header.carried {
                    Carried::Nothing => Ok(Said::Check(first)),
                    Carried::Addresses { transport: Transport::Stream, source, destination } => {
                        let whose = said::Said::of(&bytes, &header, subscriber_tlv).introduction();
                        Ok(Said::Flow(Told { source, destination, whose, first }))
                    }
                    Carried::Addresses { transport: Transport::Datagram, .. } => {
                        Err(refused("a datagram header on a TCP listener"))
                    }
                };
            }
            Outcome::Malformed { field } => return Err(refused(field)),
            Outcome::Oversize => return Err(refused("the header is too long")),
            Outcome::NotProxy => return Err(refused("the first bytes are no PROXY header")),
        }
    }
}

/// A header that cannot be used.
fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
