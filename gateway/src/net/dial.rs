//! Connections to origins: only where the rules permit, each try with its time limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::DialRules;
use super::socket;

/// Addresses of one name that are tried; the rest would only lengthen a failure.
const ADDRESSES_TRIED_MAX: usize = 4;

/// Why no origin was reached.
#[derive(Debug)]
pub enum DialError {
    /// Private, our own, or no address at all.
    NotPermitted,
    /// The last try's failure.
    Connect(io::Error),
}

/// Connects to the first of `destinations` that answers, each try within `limit`.
///
/// # Errors
/// [`DialError::NotPermitted`] when no destination may be dialled, else what the last one said.
pub async fn dial(
    rules: &DialRules,
    destinations: impl IntoIterator<Item = SocketAddr>,
    limit: Duration,
) -> Result<TcpStream, DialError> {
    let mut outcome = DialError::NotPermitted;
    let permitted = destinations.into_iter().filter_map(|destination| rules.target(destination));
    for target in permitted.take(ADDRESSES_TRIED_MAX) {
        match timeout(limit, TcpStream::connect(target)).await {
            Ok(Ok(origin)) => {
                // A refinement: a connection without it carries the same bytes. An origin that vanished is noticed by the
                // subscriber's next byte or the flow's idle time; probes of our own would find it no sooner.
                let _ = socket::set_nodelay(&origin);
                return Ok(origin);
            }
            Ok(Err(error)) => outcome = DialError::Connect(error),
            Err(_) => outcome = DialError::Connect(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(outcome)
}
