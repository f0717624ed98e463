//! Options of open sockets.

use super::KEEPALIVE;
use socket2::SockRef;
use std::io::{self};
use std::os::fd::AsFd;
use std::time::Duration;

/// No Nagle delay: the relay passes on what was written, when it was written.
pub fn set_nodelay(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Has the kernel ask the peer whether it is there when nothing else comes for long, and end the connection where it is not.
///
/// # Errors
/// What the system says; it does not fail on an open TCP socket.
pub fn probe_when_silent(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE))
}

/// The next close sends RST: the peer's reset or failure is passed on as what it was.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sets what a stream's packets carry as IPv4's type of service or IPv6's traffic class, but for the two congestion bits,
/// which the kernel keeps (ip(7), `IP_TOS`; ipv6(7), `IPV6_TCLASS`).
///
/// # Errors
/// What the system says; it does not fail on an open TCP socket.
pub fn set_octet(socket: &impl AsFd, is_ipv4: bool, octet: u32) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if is_ipv4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) }
}

/// Sets the mark that a socket's packets carry on this machine (socket(7), `SO_MARK`); 0 is none.
///
/// # Errors
/// When CAP_NET_ADMIN is missing.
pub fn set_firewall_mark(socket: &impl AsFd, mark: u32) -> io::Result<()> {
    SockRef::from(socket).set_mark(mark)
}

/// Sends FIN after what was written; the other direction stays open.
pub fn shutdown_write(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).shutdown(std::net::Shutdown::Write)
}
