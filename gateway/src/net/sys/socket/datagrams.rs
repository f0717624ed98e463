//! UDP sockets of flows, and how datagrams are sent.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv6DontFrag, RcvBufForce};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ip_mtu, ipv6_mtu, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, MsgHdr, Protocol, SockRef, Socket, Type};

use super::listen::set_transparent;
use super::origin::bind_any_port;
use super::tell_fragments;

/// Room for datagrams that wait at a listener while a worker is busy.
const DATAGRAM_BUFFER: usize = 4 << 20;
/// The same at a flow's own socket: what the system gives by default has room for 166 to 277 short ones.
const FLOW_BUFFER: usize = 512 << 10;

/// A UDP socket at `address` that shares it with the other workers (`SO_REUSEPORT`): the system keeps the datagrams of one
/// pair of addresses and ports with one worker.
///
/// # Errors
/// What the system says when the address is in use, not ours, or below 1024 without the right.
pub fn listen_datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    listen_datagrams_with(address, |_| Ok(()))
}

/// Such a socket that takes datagrams to any address, and answers from any (nft `tproxy`; `IP_TRANSPARENT`).
///
/// # Errors
/// As [`listen_datagrams`], and when CAP_NET_ADMIN is missing.
pub fn listen_datagrams_transparent(address: SocketAddr) -> io::Result<UdpSocket> {
    listen_datagrams_with(address, |socket| {
        // A subscriber's port may be that of the service: its upstream socket has it too.
        socket.set_reuse_address(true)?;
        set_transparent(socket, address)
    })
}

/// A UDP socket that workers share, with options of its own.
fn listen_datagrams_with(
    address: SocketAddr,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<UdpSocket> {
    let socket = datagram_socket(address)?;
    prepare(&socket)?;
    socket.set_reuse_port(true)?;
    prepare_datagrams(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Gives a listener's UDP socket room for bursts, and has it tell of fragments. Refinements: with less room more datagrams are
/// lost.
pub fn prepare_datagrams(socket: &impl AsFd) {
    make_listening_room(socket);
    let is_ipv4 = SockRef::from(socket).local_addr().is_ok_and(|address| address.is_ipv4());
    tell_fragments(socket, is_ipv4);
}

/// Gives a listener's UDP socket room for bursts.
pub fn make_listening_room(socket: &impl AsFd) {
    make_room(socket, DATAGRAM_BUFFER);
    let _ = SockRef::from(socket).set_send_buffer_size(DATAGRAM_BUFFER);
}

/// Gives a socket so many bytes for what comes; with CAP_NET_ADMIN (`SO_RCVBUFFORCE`) as many as are asked for, else as far
/// as the system grants it (net.core.rmem_max, by default 208 KiB: then 332 short datagrams over IPv6 fill it).
fn make_room(socket: &impl AsFd, bytes: usize) {
    if setsockopt(socket, RcvBufForce, &bytes).is_err() {
        let _ = SockRef::from(socket).set_recv_buffer_size(bytes);
    }
}

/// Whether another process takes datagrams at `address`; see [`probe_exclusive`](super::probe_exclusive).
///
/// # Errors
/// The system's word when the address cannot be bound exclusively.
pub fn probe_exclusive_datagrams(address: SocketAddr) -> io::Result<()> {
    datagram_socket(address)?.bind(&address.into())
}

/// A UDP socket of the address's family that never blocks.
fn datagram_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One socket per IP version, as for TCP.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A UDP socket of a flow's own, connected to `target`: the system passes on datagrams and errors from there alone.
///
/// # Errors
/// What the system says: no descriptor, no way to there.
pub fn connect_datagrams(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = datagram_socket(target)?;
    let _ = socket.set_recv_buffer_size(FLOW_BUFFER);
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
    make_room(&socket, FLOW_BUFFER);
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
    tell_fragments(&socket, local.is_ipv4());
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

/// Bytes of the longest packet that the way to where a socket is connected takes (ip(7), `IP_MTU`; ipv6(7), `IPV6_MTU`).
///
/// # Errors
/// What the system says: not connected, no way to there.
pub fn path_mtu(socket: &impl AsFd, is_ipv4: bool) -> io::Result<usize> {
    let mtu = if is_ipv4 { ip_mtu(socket) } else { ipv6_mtu(socket) }?;
    Ok(usize::try_from(mtu).unwrap_or(usize::MAX))
}

/// Sends an ICMP message (raw(7)) to an address, from one of ours where it is given. Its socket lives for this one: messages are
/// rare, and one that stayed open would be given all that comes in.
///
/// # Errors
/// What the system says; `PermissionDenied` without CAP_NET_RAW.
pub fn send_icmp(to: SocketAddr, from: Option<IpAddr>, message: &[u8]) -> io::Result<()> {
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(Domain::for_address(to), Type::RAW.nonblocking(), Some(protocol))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.send_to(message, &to.into()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f46_room_is_what_is_asked_for_or_what_the_system_grants() {
        let most: usize =
            std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap().trim().parse().unwrap();
        for wanted in [FLOW_BUFFER.min(most), most + 4_096] {
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            let may_force = setsockopt(&socket, RcvBufForce, &4_096).is_ok();
            make_room(&socket, wanted);
            // The system doubles it for its own bookkeeping (socket(7)).
            let granted = if may_force { wanted } else { wanted.min(most) };
            assert_eq!(SockRef::from(&socket).recv_buffer_size().unwrap(), 2 * granted, "{wanted}");
        }
    }
}
