//! What is asked of TCP sockets, and how an urgent byte is sent.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use rustix::net::SendFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// A listening TCP socket that shares its address with nobody.
///
/// # Errors
/// As [`listen`](super::listen).
pub fn listen_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether another process listens at `address`: `SO_REUSEPORT` would silently share the port with it when it belongs to the
/// same user.
///
/// # Errors
/// The system's word when the address cannot be bound exclusively.
pub fn probe_exclusive(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// Where a connection of `peer` that nft `redirect` rewrote was going (`SO_ORIGINAL_DST`). The peer, as accept(2) told it, says
/// of which IP version the socket is.
///
/// # Errors
/// What the system says when the connection was not rewritten.
pub fn original_destination(socket: &impl AsFd, peer: SocketAddr) -> io::Result<SocketAddr> {
    let socket = SockRef::from(socket);
    let address = if peer.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
    address
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a destination of no IP address"))
}

/// Sends one byte as urgent (tcp(7), `MSG_OOB`).
///
/// # Errors
/// What the system says; `WouldBlock` when it does not take it.
pub fn send_urgent(stream: &impl AsFd, byte: u8) -> io::Result<usize> {
    let how = SendFlags::OOB | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::send(stream, &[byte], how) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}
