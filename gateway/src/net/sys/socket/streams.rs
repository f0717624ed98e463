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

/// The origin's SYN-ACK is acknowledged with the first bytes, rather than by a segment of its own: one less to send, and the
/// origin has the connection and what it is asked in one (tcp(7), `TCP_QUICKACK`). For a socket that is not connected yet, and
/// bytes that are at hand: without any the acknowledgement goes after 40 ms.
pub fn acknowledge_with_first_bytes(socket: &impl AsFd) {
    // A refinement: a connection without it carries the same bytes.
    let _ = SockRef::from(socket).set_tcp_quickack(false);
}

/// Sends bytes that FIN follows at once: the kernel waits for it with what does not fill a segment (tcp(7), `MSG_MORE`), so
/// that both go in one.
///
/// # Errors
/// What the system says; `WouldBlock` when it takes nothing.
pub fn send_before_fin(stream: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    send(stream, bytes, SendFlags::MORE)
}

/// Sends one byte as urgent (tcp(7), `MSG_OOB`).
///
/// # Errors
/// What the system says; `WouldBlock` when it does not take it.
pub fn send_urgent(stream: &impl AsFd, byte: u8) -> io::Result<usize> {
    send(stream, &[byte], SendFlags::OOB)
}

/// Sends in the manner of `flags`.
fn send(stream: &impl AsFd, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
    let flags = flags | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::send(stream, bytes, flags) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// Reads from a stream that never blocks (`recv`); 0 at its end.
///
/// # Errors
/// What the system says; `WouldBlock` when nothing is there.
pub fn receive(stream: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(stream, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            read => return Ok(read?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::net::sys::socket::{
        acknowledge_with_first_bytes, begin_connection, shutdown_write, stream_socket, stream_state,
    };

    /// Delayed acknowledgements go by themselves after 40 ms, which a busy machine may take between two calls: seen once, it
    /// is what the kernel does.
    const TRIES: usize = 200;

    /// Segments that have come in on a connection.
    fn segments(stream: &TcpStream) -> u32 {
        stream_state(stream).unwrap().segments_in
    }

    #[test]
    fn the_last_bytes_and_fin_go_in_one_segment() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nodelay(true).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let before = segments(&far);
        assert_eq!(send_before_fin(&near, b"last").unwrap(), 4);
        shutdown_write(&near).unwrap();
        let mut found = Vec::new();
        far.read_to_end(&mut found).unwrap();
        assert_eq!(found, b"last");
        assert_eq!(segments(&far) - before, 1);
    }

    #[test]
    fn an_origin_has_the_first_bytes_with_the_acknowledgement_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = |is_joined: bool| {
            let near = stream_socket(address, None).unwrap();
            if is_joined {
                acknowledge_with_first_bytes(&near);
            }
            begin_connection(&near, address).unwrap();
            // On loopback it is connected by now.
            (&near).write_all(b"first").unwrap();
            let (mut far, _) = listener.accept().unwrap();
            far.read_exact(&mut [0; 5]).unwrap();
            segments(&far)
        };
        let apart = came(false);
        assert!((0..TRIES).any(|_| came(true) < apart));
    }
}
