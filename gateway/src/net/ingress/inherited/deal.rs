//! Dealing listening sockets out to the workers: those that were passed, and what is missing besides.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::SockRef;

/// Whether a further socket may be bound beside this one (`SO_REUSEPORT`).
fn shares_port<'s>(socket: impl Into<SockRef<'s>>) -> bool {
    socket.into().reuse_port().unwrap_or(false)
}

/// Deals sockets out to `workers`, all of them, so that none has a queue that nobody empties.
fn deal<S>(sockets: Vec<S>, workers: usize) -> Vec<Vec<S>> {
    let mut dealt: Vec<Vec<S>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, socket) in sockets.into_iter().enumerate() {
        if let Some(hand) = index.checked_rem(workers).and_then(|worker| dealt.get_mut(worker)) {
            hand.push(socket);
        }
    }
    dealt
}

/// The TCP sockets of each worker for `wanted`: those passed, and one of its own for each worker that got none.
///
/// # Errors
/// What the system says of those that are missing.
pub fn complete_connections(
    passed: Vec<TcpListener>,
    workers: usize,
    listen: impl Fn(SocketAddr) -> io::Result<TcpListener>,
) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut passed = passed;
    let Some(first) = passed.first() else { return Ok(deal(Vec::new(), workers)) };
    let (address, shares) = (first.local_addr()?, shares_port(first));
    for index in passed.len()..workers {
        // Without the option to share the port, workers share the queue of a socket.
        let source = passed.get(index.checked_rem(passed.len()).unwrap_or(0));
        let further = match source {
            Some(source) if !shares => source.try_clone()?,
            Some(_) | None => listen(address)?,
        };
        passed.push(further);
    }
    Ok(deal(passed, workers))
}

/// The UDP sockets of each worker for `wanted`. Where the port cannot be shared some workers have none: two that read one
/// socket would tear flows apart.
///
/// # Errors
/// What the system says of those that are missing.
pub fn complete_datagrams(
    passed: Vec<UdpSocket>,
    workers: usize,
    listen: impl Fn(SocketAddr) -> io::Result<UdpSocket>,
) -> io::Result<Vec<Vec<UdpSocket>>> {
    let mut passed = passed;
    let Some(first) = passed.first() else { return Ok(deal(Vec::new(), workers)) };
    let (address, shares) = (first.local_addr()?, shares_port(first));
    if shares {
        for _ in passed.len()..workers {
            passed.push(listen(address)?);
        }
    }
    Ok(deal(passed, workers))
}
