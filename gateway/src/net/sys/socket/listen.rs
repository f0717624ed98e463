//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections the kernel holds while a worker is busy; above it the kernel drops SYNs, which clients repeat.
pub const BACKLOG: i32 = 4_096;

/// A listening TCP socket that shares its address with the other workers (`SO_REUSEPORT`). Its connections inherit what is
/// set here: no Nagle delay, for the relay passes on what was written when it was written, urgent bytes in their place, and no
/// keep-alives of ours: the subscriber would pay for them, and a telephone would wake.
///
/// # Errors
/// What the system says when the address is in use, not ours, or below 1024 without the right.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, |_| Ok(()))
}

/// Such a socket that takes connections to any address (nft `tproxy`; `IP_TRANSPARENT`).
///
/// # Errors
/// As [`listen`], and when CAP_NET_ADMIN is missing.
pub fn listen_transparent(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, |socket| set_transparent(socket, address))
}

/// Makes a listening socket that is open already such a one; its connections inherit it.
///
/// # Errors
/// When CAP_NET_ADMIN is missing.
pub fn make_transparent(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if address.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) }
}

/// Lets the socket have addresses that are not this machine's (ip(7), `IP_TRANSPARENT`).
pub(super) fn set_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) }
}

/// A listening TCP socket with options of its own.
pub(super) fn listen_with(
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // One listener per IP version: a subscriber's IPv4 address must not arrive in two spellings.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    prepare_listener(&SockRef::from(&socket));
    prepare(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets what the connections of a listening socket inherit. All are refinements: a connection without them carries the
/// same bytes.
pub fn prepare_listener(socket: &SockRef<'_>) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(false);
    // An urgent byte stays in its place among the others.
    let _ = socket.set_out_of_band_inline(true);
}

/// The next connection that waits at `listener`, ready for an event loop (`accept4`), and where it comes from; a program of
/// this machine at a Unix socket has no address.
///
/// # Errors
/// What the system says; `WouldBlock` when none waits.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    Ok((socket.into(), peer.and_then(|peer| peer.try_into().ok())))
}
