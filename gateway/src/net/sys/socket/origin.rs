//! TCP sockets towards origins: from an address of ours, or from the subscriber's own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, Socket, Type};

use super::listen::set_transparent;

/// A TCP socket that will connect to `target` and never blocks; from `source`, an address of ours, where it is given.
///
/// # Errors
/// What the system says: no descriptor, an address that is not ours.
pub fn stream_socket(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = origin_socket(target)?;
    if let Some(source) = source {
        bind_any_port(&socket, source)?;
    }
    Ok(socket.into())
}

/// A TCP socket that never blocks and has urgent bytes in their place.
fn origin_socket(target: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_out_of_band_inline(true)?;
    Ok(socket)
}

/// Begins to connect a socket that never blocks; it is connected when it can be written to and has no error (connect(2),
/// `EINPROGRESS`).
///
/// # Errors
/// What the system says at once.
pub fn begin_connection(socket: &impl AsFd, target: SocketAddr) -> io::Result<()> {
    match rustix::net::connect(socket, &target) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A TCP socket that will connect to `target` with the marks of what we send ourselves; from the subscriber's own address and
/// port where `source` gives them, so that the origin sees no difference.
///
/// # Errors
/// What the system says: no descriptor, CAP_NET_ADMIN is missing; `AddrInUse` when another socket of this machine has that
/// port alone.
pub fn upstream(target: SocketAddr, source: Option<SocketAddr>, mark: u32) -> io::Result<TcpStream> {
    let socket = origin_socket(target)?;
    socket.set_mark(mark)?;
    if let Some(source) = source {
        set_transparent(&socket, source)?;
        // Several flows of one subscriber may share a port towards different servers.
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
    }
    Ok(socket.into())
}

/// The same from another port, when the pair of ends is taken.
///
/// # Errors
/// As [`upstream`].
pub fn upstream_from_any_port(target: SocketAddr, source: IpAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = origin_socket(target)?;
    socket.set_mark(mark)?;
    set_transparent(&socket, target)?;
    bind_any_port(&socket, source)?;
    Ok(socket.into())
}

/// Binds to the address alone; the kernel chooses the port when it knows the other end, so that one port serves many of them.
pub(super) fn bind_any_port(socket: &Socket, address: IpAddr) -> io::Result<()> {
    setsockopt(socket, IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(address, 0).into())
}
