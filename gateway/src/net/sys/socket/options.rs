//! Options of open sockets.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;

/// Time after which a silent origin is probed: the most that middleboxes are known to forget early, and no traffic to speak of.
const KEEPALIVE: Duration = Duration::from_secs(15 * 60);

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

/// The number that the kernel knows a socket by, never used again (socket(7), `SO_COOKIE`).
///
/// # Errors
/// What the system says; it does not fail on an open socket.
pub fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    Ok(rustix::net::sockopt::socket_cookie(socket)?)
}
