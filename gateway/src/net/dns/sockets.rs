//! The listening sockets of the DNS plane: bound for all workers before any thread starts, so that a port in use is an error
//! at once.
//!
//! Sockets that were open already are used first. What is bound here may be offered to the process that takes over.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::part::Part;
use super::{Plane, datagram};
use crate::net::ingress::inherited::{Inherited, Offered, complete_connections, complete_datagrams};
use crate::net::sys::socket;

/// Ports drawn for port 0, until one is free for connections and datagrams.
const PORT_DRAWS_MAX: usize = 16;

/// The sockets of one worker.
pub(super) struct WorkerSockets {
    /// For datagrams.
    pub datagrams: Vec<UdpSocket>,
    /// For TCP.
    pub streams: Vec<TcpListener>,
    /// For TLS.
    pub tls: Vec<TcpListener>,
}

/// The listening sockets of all workers, bound before any thread starts.
pub struct Sockets {
    by_worker: Vec<WorkerSockets>,
    /// The addresses bound: those for datagrams and TCP, then those for TLS.
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every address once for each worker: `listen` for datagrams and TCP, `tls_listen` for TLS; takes those from
    /// `inherited` that are open already.
    ///
    /// # Errors
    /// The address and what the system says.
    pub fn bind(
        listen: &[SocketAddr],
        tls_listen: &[SocketAddr],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let empty = || WorkerSockets { datagrams: Vec::new(), streams: Vec::new(), tls: Vec::new() };
        let mut by_worker: Vec<_> = (0..workers).map(|_| empty()).collect();
        let mut addresses = Vec::new();
        for wanted in listen {
            let fail = |error| (*wanted, error);
            let ((bound, streams), datagrams) = bind_both(*wanted, workers, inherited).map_err(fail)?;
            let share = |address| datagram::bind(address, true);
            let datagrams = complete_datagrams(datagrams, workers, share).map_err(fail)?;
            for ((sockets, streams), datagrams) in by_worker.iter_mut().zip(streams).zip(datagrams) {
                sockets.streams.extend(streams);
                sockets.datagrams.extend(datagrams);
            }
            addresses.push(bound);
        }
        for wanted in tls_listen {
            let fail = |error| (*wanted, error);
            let (bound, streams) = bind_streams(*wanted, workers, inherited).map_err(fail)?;
            for (sockets, streams) in by_worker.iter_mut().zip(streams) {
                sockets.tls.extend(streams);
            }
            addresses.push(bound);
        }
        Ok(Self { by_worker, addresses })
    }

    /// A second descriptor of each socket, for the process that takes over from this one. `wanted` are the addresses of
    /// the configuration in the order of those bound.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn offers(&self, wanted: &[SocketAddr]) -> io::Result<Vec<Offered>> {
        let mut offers = Vec::new();
        for sockets in &self.by_worker {
            let streams = sockets.streams.iter().chain(&sockets.tls);
            let streams = streams.map(|socket| (socket.local_addr(), socket.as_fd()));
            let datagrams = sockets.datagrams.iter().map(|socket| (socket.local_addr(), socket.as_fd()));
            for (bound, socket) in streams.chain(datagrams) {
                let bound = bound?;
                let place = self.addresses.iter().position(|address| *address == bound);
                let wanted = place.and_then(|place| wanted.get(place)).copied().unwrap_or(bound);
                offers.push(Offered::new(wanted, socket)?);
            }
        }
        Ok(offers)
    }

    /// The part of each worker, in their order.
    pub fn into_parts(self, plane: &Arc<Plane>) -> Vec<Part> {
        let part = |sockets| Part::new(Arc::clone(plane), sockets);
        self.by_worker.into_iter().map(part).collect()
    }
}

/// An address that is bound for connections, and its sockets of each worker.
type Streams = (SocketAddr, Vec<Vec<TcpListener>>);

/// Binds `wanted` for connections once for each worker, and once for datagrams, or takes those that are open already. A port
/// that the system draws is free for connections; another is drawn when it is not for datagrams.
fn bind_both(
    wanted: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<(Streams, Vec<UdpSocket>)> {
    let passed = inherited.take_datagrams(wanted);
    let mut draws = if wanted.port() == 0 { PORT_DRAWS_MAX } else { 1 };
    loop {
        draws = draws.saturating_sub(1);
        let (bound, streams) = bind_streams(wanted, workers, inherited)?;
        if !passed.is_empty() {
            return Ok(((bound, streams), passed));
        }
        if wanted.port() != 0 && inherited.is_exclusive() {
            datagram::bind(bound, false)?;
        }
        match datagram::bind(bound, true) {
            Ok(datagrams) => return Ok(((bound, streams), vec![datagrams])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && draws > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Binds `wanted` for connections once for each worker, or completes those that are open already.
fn bind_streams(wanted: SocketAddr, workers: usize, inherited: &mut Inherited) -> io::Result<Streams> {
    let mut passed = inherited.take_connections(wanted);
    if passed.is_empty() {
        if wanted.port() != 0 && inherited.is_exclusive() {
            socket::probe_exclusive(wanted)?;
        }
        passed.push(socket::listen(wanted)?);
    }
    let bound = passed.first().map_or(Ok(wanted), TcpListener::local_addr)?;
    Ok((bound, complete_connections(passed, workers, socket::listen)?))
}
