//! Connections to origins: only where the rules permit, each try with its time limit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::timeout;

use super::socket;
use super::stream::TcpStream;
use super::worker::Worker;

/// Addresses of one name that are tried; the rest would only lengthen a failure.
const ADDRESSES_TRIED_MAX: usize = 4;

/// How long after it was connected a connection of ours may come back: what it carries first is on its way by then.
const RETURN_MAX: Duration = Duration::from_secs(5);

/// Why no origin was reached.
#[derive(Debug)]
pub enum DialError {
    /// Private, our own, or no address at all.
    NotPermitted,
    /// The last try's failure.
    Connect(io::Error),
}

/// Connects to the first of `destinations` that may be dialled and answers, each try within `upstream.connect_timeout`.
///
/// # Errors
/// [`DialError::NotPermitted`] when no destination may be dialled, else what the last one said.
pub async fn dial(
    worker: &Worker,
    destinations: impl IntoIterator<Item = SocketAddr>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let rules = &worker.shared.dial;
    let mut outcome = DialError::NotPermitted;
    let permitted = destinations.into_iter().filter_map(|destination| rules.target(destination));
    for target in permitted.take(ADDRESSES_TRIED_MAX) {
        let mut tried = timeout(worker.shared.limits.connect_timeout, connect(worker, target, None)).await;
        if tried.as_ref().is_ok_and(|tried| tried.as_ref().is_err_and(is_about_ports)) {
            worker.count_ports_used_up();
            let of_family = |source: &&IpAddr| source.is_ipv4() == target.is_ipv4();
            for source in rules.sources.iter().filter(of_family) {
                tried = timeout(worker.shared.limits.connect_timeout, connect(worker, target, Some(*source)))
                    .await;
                if !tried.as_ref().is_ok_and(|tried| tried.as_ref().is_err_and(is_about_ports)) {
                    break;
                }
            }
        }
        match tried {
            Ok(Ok(origin)) => return Ok((origin, target)),
            Ok(Err(error)) => outcome = DialError::Connect(error),
            Err(_) => outcome = DialError::Connect(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(outcome)
}

/// Whether no port was free towards the destination (connect(2), `EADDRNOTAVAIL`), or the wanted one was not.
pub fn is_about_ports(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// Connects from a port that the system chooses, of `source` where it is given.
async fn connect(worker: &Worker, target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let limit = worker.shared.limits.connect_timeout;
    establish_own(worker, socket::stream_socket(target, source)?, target, limit).await
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
    limit: Duration,
) -> io::Result<TcpStream> {
    let origin = begin(socket, target)?;
    // At once: what comes back does not wait until we are told that it is connected.
    note_own_end(worker, &origin, target, limit);
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
fn note_own_end(worker: &Worker, socket: &TcpStream, target: SocketAddr, limit: Duration) {
    let shared = &worker.shared;
    if let Ok(local) = socket.local_addr() {
        let now = shared.clock.monotonic();
        let until = now.plus(limit).plus(RETURN_MAX);
        shared.own_ends.note_stream(local, target, now, until);
    }
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
