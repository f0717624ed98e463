//! UDP sockets of flows, and how datagrams are sent.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6DontFrag;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{MsgHdr, SockRef};

use super::{bind_any_port, datagram_socket, set_transparent};

/// A UDP socket of a flow's own, connected to `target`: the system passes on datagrams and errors from there alone.
///
/// # Errors
/// What the system says: no descriptor, no way to there.
pub fn connect_datagrams(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = datagram_socket(target)?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

/// Such a socket with the subscriber's own address and port `source`, so that the server sees no difference, and with the mark
/// of what we send ourselves; with port 0 from any port of that address.
///
/// # Errors
/// As [`connect_datagrams`], and when CAP_NET_ADMIN is missing; `AddrInUse` when another socket of this machine has that port
/// alone.
pub fn connect_datagrams_from(target: SocketAddr, source: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = datagram_socket(target)?;
    socket.set_mark(mark)?;
    set_transparent(&socket, target)?;
    // One port of a subscriber serves flows to several servers; what comes finds the socket that is connected to its sender.
    socket.set_reuse_address(true)?;
    if source.port() == 0 { bind_any_port(&socket, source.ip()) } else { socket.bind(&source.into()) }?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

/// A UDP socket at the listener's address `local` that takes what comes from `peer` alone, before the listener does; with
/// `transparent`, at an address that is not this machine's.
///
/// # Errors
/// What the system says: no descriptor, an address that is not ours.
pub fn connect_listening_datagrams(
    local: SocketAddr,
    peer: SocketAddr,
    transparent: bool,
) -> io::Result<UdpSocket> {
    let socket = datagram_socket(local)?;
    socket.set_reuse_port(true)?;
    if transparent {
        set_transparent(&socket, local)?;
        socket.set_reuse_address(true)?;
    }
    socket.bind(&local.into())?;
    socket.connect(&peer.into())?;
    Ok(socket.into())
}

/// Sends to `to`, with control messages (`sendmsg`); never waits.
///
/// # Errors
/// What the system says.
pub fn send_datagrams(socket: &impl AsFd, to: SocketAddr, contents: &[u8], control: &[u8]) -> io::Result<()> {
    let (to, contents) = (to.into(), [IoSlice::new(contents)]);
    let message = MsgHdr::new().with_addr(&to).with_buffers(&contents).with_control(control);
    SockRef::from(socket).sendmsg(&message, libc::MSG_DONTWAIT).map(|_| ())
}

/// Has what is longer than the way go in fragments, or not at all (ip(7), `IP_MTU_DISCOVER`; RFC 3542 §11.2,
/// `IPV6_DONTFRAG`).
///
/// # Errors
/// What the system says; it does not fail on an open UDP socket.
pub fn let_fragment(socket: &impl AsFd, is_ipv4: bool, may: bool) -> io::Result<()> {
    if is_ipv4 {
        let how = if may { Ipv4PathMtuDiscovery::DONT } else { Ipv4PathMtuDiscovery::PROBE };
        set_ip_mtu_discover(socket, how)?;
    } else {
        let how = if may { Ipv6PathMtuDiscovery::DONT } else { Ipv6PathMtuDiscovery::PROBE };
        set_ipv6_mtu_discover(socket, how)?;
        setsockopt(socket, Ipv6DontFrag, &!may)?;
    }
    Ok(())
}
