//! One connection to an origin: from which address and port it leaves, and what is noted of it in case it comes back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::Interest;

use super::{First, is_about_ports};
use crate::net::node::event::Event;
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;
use crate::net::upstream::own_ends::StreamEnd;

/// How long after it was connected a connection of ours may come back: what it carries first is on its way by then.
const RETURN_MAX: Duration = Duration::from_secs(5);

/// Connects from an address of ours and a port that the system chooses; where none is free towards the target, from
/// `upstream.source_addresses`. It may take so long as `limit` says, which is the caller's to keep.
///
/// # Errors
/// As [`establish`].
pub async fn connect(
    worker: &Worker,
    target: SocketAddr,
    first: First,
    limit: Duration,
) -> io::Result<TcpStream> {
    let mut tried = connect_from(worker, target, first, None, limit).await;
    if tried.as_ref().is_err_and(is_about_ports) {
        worker.count_event(Event::PortsUsedUp);
        let of_family = |source: &&IpAddr| source.is_ipv4() == target.is_ipv4();
        for source in worker.shared.dial.sources.iter().filter(of_family) {
            tried = connect_from(worker, target, first, Some(*source), limit).await;
            if !tried.as_ref().is_err_and(is_about_ports) {
                break;
            }
        }
    }
    tried
}

/// Connects from a port that the system chooses, of `source` where it is given.
async fn connect_from(
    worker: &Worker,
    target: SocketAddr,
    first: First,
    source: Option<IpAddr>,
    limit: Duration,
) -> io::Result<TcpStream> {
    establish_own(worker, socket::stream_socket(target, source)?, target, first, limit).await
}

/// Connects `socket` from an address of ours, which is noted: the connection is known by it if it comes back within the
/// `limit` of time that it may take.
///
/// # Errors
/// As [`establish`].
pub async fn establish_own(
    worker: &Worker,
    socket: std::net::TcpStream,
    target: SocketAddr,
    first: First,
    limit: Duration,
) -> io::Result<TcpStream> {
    match first {
        First::Hello | First::Bytes => socket::acknowledge_with_first_bytes(&socket),
        First::Unknown => {}
    }
    let origin = begin(socket, target)?;
    // At once: what comes back does not wait until we are told that it is connected.
    let end = note_own_end(worker, &origin, target, limit);
    match first {
        First::Hello => origin.set_own_end(end),
        // A balancer that greets its clients answers before it has come back to us.
        First::Bytes | First::Unknown => {}
    }
    await_connected(origin).await
}

/// Connects `socket`, which never blocks, and sets it up for the relay.
///
/// # Errors
/// The system's word: nobody listens, no way to there, no port left.
pub async fn establish(socket: std::net::TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    await_connected(begin(socket, target)?).await
}

/// Notes where a connection of ours leaves from.
fn note_own_end(
    worker: &Worker,
    socket: &TcpStream,
    target: SocketAddr,
    limit: Duration,
) -> Option<StreamEnd> {
    let shared = &worker.shared;
    let local = socket.local_addr().ok()?;
    let now = shared.clock.monotonic();
    shared.own_ends.note_stream(local, target, now, now.plus(limit).plus(RETURN_MAX))
}

/// Begins to connect.
fn begin(socket: std::net::TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    // A refinement: a connection without it carries the same bytes. An origin that vanished is noticed by the subscriber's
    // next byte or the flow's idle time; probes of our own would find it no sooner.
    let _ = socket::set_nodelay(&socket);
    socket::begin_connection(&socket, target)?;
    TcpStream::from_std(socket)
}

/// Waits for the other side.
async fn await_connected(origin: TcpStream) -> io::Result<TcpStream> {
    // The event says whether it failed: only then is the system asked why.
    let ready = origin.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if ready.is_error() || ready.is_write_closed() {
        return Err(origin.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address where nobody listens.
    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Connects as dialling does.
    async fn direct(target: SocketAddr) -> io::Result<TcpStream> {
        establish(socket::stream_socket(target, None)?, target).await
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_told_from_one_where_somebody_does() {
        let refused = direct(closed()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = direct(listener.local_addr().unwrap()).await.unwrap();
        assert!(origin.as_std().nodelay().unwrap());
        assert_eq!(origin.as_std().peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn an_origin_that_closes_at_once_was_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closer = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let origin = direct(address).await.unwrap();
        closer.join().unwrap();
        origin.readable().await.unwrap();
        assert_eq!(origin.try_read(&mut [0]).unwrap(), 0);
    }
}
