//! The sockets of all workers: bound anew, or those that were inherited.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use super::{Bound, LocalListener, PORT_TRIES_MAX, Sockets};
use crate::net::ingress::inherited::{Inherited, Offered, complete_connections, complete_datagrams};
use crate::net::ingress::local::{LocalPlace, Standing};
use crate::net::node::settings::Listener;
use crate::net::sys::socket;

impl Sockets {
    /// Binds every listener once for each worker, and takes those from `inherited` that are open already.
    ///
    /// # Errors
    /// The listener's address and what the system says.
    pub fn bind(
        listeners: &[Listener],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let mut addresses = Vec::new();
        for listener in listeners {
            let passed = Given::take(listener, inherited);
            let (address, bound) = if passed.is_empty() {
                bind_listener(listener, workers, inherited.is_exclusive())
                    .map(|(address, bound)| (address, bound.into_iter().map(|bound| vec![bound]).collect()))
            } else {
                passed.complete(listener, workers, inherited.is_exclusive())
            }
            .map_err(|error| (listener.address, error))?;
            for (sockets, bound) in by_worker.iter_mut().zip(bound) {
                sockets.extend(bound);
            }
            addresses.push(address);
        }
        Ok(Self { by_worker, local: Vec::new(), addresses })
    }

    /// Binds a Unix socket for balancers on this machine, or takes it from `inherited`.
    ///
    /// # Errors
    /// As [`LocalPlace::listen`].
    pub fn bind_local(
        &mut self,
        place: LocalPlace,
        subscriber_tlv: Option<u8>,
        inherited: &mut Inherited,
    ) -> io::Result<()> {
        let listener = match inherited.take_local(&place.path) {
            Some(listener) => listener,
            None => place.listen(Standing::Respected)?,
        };
        self.local.push(LocalListener { path: place.path, listener, subscriber_tlv });
        Ok(())
    }

    /// A second descriptor of each socket, for the process that takes over from this one.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn offers(&self) -> io::Result<Vec<Offered>> {
        let mut offers = Vec::new();
        for bound in self.by_worker.iter().flatten() {
            let wanted = bound.listener.address;
            for socket in
                bound.connections.iter().map(AsFd::as_fd).chain(bound.datagrams.iter().map(AsFd::as_fd))
            {
                offers.push(Offered::new(wanted, socket)?);
            }
        }
        for LocalListener { path, listener, .. } in &self.local {
            offers.push(Offered::local(path.clone(), listener.as_fd())?);
        }
        Ok(offers)
    }
}

/// The sockets of one listener that were open before this process.
pub(super) struct Given {
    connections: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Given {
    /// Takes what is there for `listener`.
    fn take(listener: &Listener, inherited: &mut Inherited) -> Self {
        let wanted = listener.address;
        Self {
            connections: if listener.serves_tcp { inherited.take_connections(wanted) } else { Vec::new() },
            datagrams: if listener.serves_udp { inherited.take_datagrams(wanted) } else { Vec::new() },
        }
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.datagrams.is_empty()
    }

    /// Binds what is missing: of a transport that has none, and for workers that have none.
    fn complete(
        self,
        listener: &Listener,
        workers: usize,
        exclusive: bool,
    ) -> io::Result<(SocketAddr, Vec<Vec<Bound>>)> {
        let address = match (self.connections.first(), self.datagrams.first()) {
            (Some(socket), _) => socket.local_addr()?,
            (None, Some(socket)) => socket.local_addr()?,
            (None, None) => listener.address,
        };
        let connections = if listener.serves_tcp && self.connections.is_empty() {
            if exclusive {
                socket::probe_exclusive(address)?;
            }
            vec![listen_as(listener, address)?]
        } else {
            self.connections.iter().try_for_each(|socket| adapt(listener, socket))?;
            self.connections
        };
        let datagrams = if listener.serves_udp && self.datagrams.is_empty() {
            if exclusive {
                socket::probe_exclusive_datagrams(address)?;
            }
            vec![listen_datagrams_as(listener, address)?]
        } else {
            self.datagrams.iter().try_for_each(|socket| adapt(listener, socket))?;
            self.datagrams
        };
        let connections = complete_connections(connections, workers, |address| listen_as(listener, address))?;
        let datagrams =
            complete_datagrams(datagrams, workers, |address| listen_datagrams_as(listener, address))?;
        let bound = |connections, datagrams| Bound { listener: listener.clone(), connections, datagrams };
        let of_worker = |(connections, datagrams): (Vec<TcpListener>, Vec<UdpSocket>)| {
            let connections = connections.into_iter().map(|socket| bound(Some(socket), None));
            connections.chain(datagrams.into_iter().map(|socket| bound(None, Some(socket)))).collect()
        };
        Ok((address, connections.into_iter().zip(datagrams).map(of_worker).collect()))
    }
}

/// Binds one listener for every worker; where the system chooses the port, one that both transports can have.
pub(super) fn bind_listener(
    listener: &Listener,
    workers: usize,
    exclusive: bool,
) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let wanted = listener.address;
    if wanted.port() != 0 {
        if listener.serves_tcp && exclusive {
            socket::probe_exclusive(wanted)?;
        }
        if listener.serves_udp && exclusive {
            socket::probe_exclusive_datagrams(wanted)?;
        }
        return bind_at(listener, wanted, workers);
    }
    let mut outcome = bind_at(listener, wanted, workers);
    for _ in 1..PORT_TRIES_MAX {
        match &outcome {
            // The port TCP was given is taken for UDP.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                outcome = bind_at(listener, wanted, workers);
            }
            Ok(_) | Err(_) => break,
        }
    }
    outcome
}

/// A listening socket at `address` of the kind that the listener's mode wants.
pub(super) fn listen_as(listener: &Listener, address: SocketAddr) -> io::Result<TcpListener> {
    if listener.mode.is_tproxy() { socket::listen_transparent(address) } else { socket::listen(address) }
}

/// A UDP socket at `address` of the kind that the listener's mode wants.
pub(super) fn listen_datagrams_as(listener: &Listener, address: SocketAddr) -> io::Result<UdpSocket> {
    if listener.mode.is_tproxy() {
        socket::listen_datagrams_transparent(address)
    } else {
        socket::listen_datagrams(address)
    }
}

/// The same of one that is open already.
pub(super) fn adapt(listener: &Listener, socket: &impl AsFd) -> io::Result<()> {
    if listener.mode.is_tproxy() { socket::make_transparent(socket, listener.address) } else { Ok(()) }
}

/// Binds one listener at `wanted` for every worker; UDP takes the port that TCP has.
pub(super) fn bind_at(
    listener: &Listener,
    wanted: SocketAddr,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<Bound>)> {
    let mut address = wanted;
    let mut all = Vec::new();
    for _ in 0..workers {
        let mut bound = Bound { listener: listener.clone(), connections: None, datagrams: None };
        if listener.serves_tcp {
            let socket = listen_as(listener, address)?;
            address = socket.local_addr()?;
            bound.connections = Some(socket);
        }
        if listener.serves_udp {
            if wanted.port() == 0 && all.is_empty() && address.port() != 0 {
                // Somebody else's socket may share the port with us without a word.
                socket::probe_exclusive_datagrams(address)?;
            }
            let socket = listen_datagrams_as(listener, address)?;
            address = socket.local_addr()?;
            bound.datagrams = Some(socket);
        }
        all.push(bound);
    }
    Ok((address, all))
}
