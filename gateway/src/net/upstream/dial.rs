//! Connections to origins: only where the rules permit, each try with its time limit; of a name's addresses in a race (see
//! [`crate::flow::race`]).

mod connection;
mod runners;

use std::io;
use std::net::SocketAddr;

use tokio::time::timeout;

pub use self::connection::{connect, establish, establish_own};
use self::runners::Runners;
use crate::flow::race::TRIED_MAX;
use crate::flow::silence::Failure;
use crate::net::node::worker::Worker;
use crate::net::tcp::stream::TcpStream;

/// Addresses of one name that are looked at for those that are tried.
pub const ADDRESSES_MAX: usize = 32;

/// Who speaks first on a connection to an origin, as far as we know when we dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The subscriber, with a hello of TLS or HTTP, whose servers say nothing before they are asked.
    Hello,
    /// The subscriber, with bytes that nobody has read.
    Bytes,
    /// It may be the origin.
    Unknown,
}

/// Why no origin was reached.
#[derive(Debug)]
pub enum DialError {
    /// Private, our own, or no address at all.
    NotPermitted,
    /// The last try's failure.
    Connect(io::Error),
}

/// Connects to the one of `destinations` that may be dialled and answers first, each try within `upstream.connect_timeout`. The
/// subscriber's first bytes are at hand.
///
/// # Errors
/// [`DialError::NotPermitted`] when no destination may be dialled, else what the last one said.
pub async fn dial(
    worker: &Worker,
    destinations: impl IntoIterator<Item = SocketAddr>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let rules = &worker.shared.dial;
    let mut permitted = destinations.into_iter().filter_map(|destination| rules.target(destination));
    let Some(first) = permitted.next() else { return Err(DialError::NotPermitted) };
    let Some(second) = permitted.next() else { return dial_one(worker, first).await };
    let mut targets = vec![first, second];
    targets.extend(permitted.take(ADDRESSES_MAX.saturating_sub(2)));
    worker.failures.borrow_mut().sort(&mut targets, worker.shared.clock.monotonic());
    targets.truncate(TRIED_MAX);
    let mut runners = Runners::new(worker, &targets);
    runners.race().await
}

/// Connects to the only destination there is.
async fn dial_one(worker: &Worker, target: SocketAddr) -> Result<(TcpStream, SocketAddr), DialError> {
    let limit = worker.shared.limits.connect_timeout;
    match timeout(limit, connect(worker, target, First::Hello, limit)).await {
        Ok(Ok(origin)) => Ok((origin, target)),
        Ok(Err(error)) => Err(DialError::Connect(error)),
        Err(_) => Err(DialError::Connect(io::ErrorKind::TimedOut.into())),
    }
}

/// Whether no port was free towards the destination (connect(2), `EADDRNOTAVAIL`), or the wanted one was not.
pub fn is_about_ports(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// How the destination failed, by the system's word; none where the fault is ours: no port, no descriptor, a rule of this
/// machine.
pub fn failure_of(error: &io::Error) -> Option<Failure> {
    match error.kind() {
        io::ErrorKind::TimedOut => Some(Failure::Silent),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Failure::Told),
        _ => None,
    }
}
