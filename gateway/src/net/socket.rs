//! Socket options and readings that std and tokio do not offer.
//!
//! The only file beside `splice` where `unsafe` may stand; each block has its proof.

#![expect(
    unsafe_code,
    reason = "SIOCOUTQ, TCP_INFO, the event loop's registration and descriptors by number have no safe wrapper; each block has its proof"
)]

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{IpBindAddressNoPort, Ipv6DontFrag};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, MsgHdr, Protocol, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::flow::ip_bytes::StreamOptions;

/// Connections the kernel holds while a worker is busy; above it the kernel drops SYNs, which clients repeat.
const BACKLOG: i32 = 4_096;

/// Time after which a silent subscriber is probed.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A listening TCP socket that shares its address with the other workers (`SO_REUSEPORT`). Its connections inherit what is
/// set here: no Nagle delay, for the relay passes on what was written when it was written, and probes that find subscribers
/// who vanished without a word.
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
fn set_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() { socket.set_ip_transparent_v4(true) } else { socket.set_ip_transparent_v6(true) }
}

/// A listening TCP socket with options of its own.
fn listen_with(
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

/// A listening TCP socket that shares its address with nobody.
///
/// # Errors
/// As [`listen`].
pub fn listen_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Sets what the connections of a listening socket inherit. All are refinements: a connection without them carries the
/// same bytes.
pub fn prepare_listener(socket: &SockRef<'_>) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEPALIVE));
}

/// Gives a listener's UDP socket room for bursts. Refinements: with less room more datagrams are lost.
pub fn prepare_datagrams(socket: &SockRef<'_>) {
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER);
}

/// Takes over a descriptor that this process was started with.
///
/// # Errors
/// When it is not open.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `F_GETFD` reads the flags of a descriptor by its number and touches no memory; a number that is not open is
    // answered with `EBADF`.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (just asked) and nobody else in this process owns it: the only caller takes each of the
    // numbers from 3 on that the service manager opened for this process (`LISTEN_PID` is ours), once, at the start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The next connection that waits at `listener`, ready for an event loop (`accept4`).
///
/// # Errors
/// What the system says; `WouldBlock` when none waits.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener, flags)?;
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "a peer of no IP address");
    let peer = peer.ok_or_else(unknown)?.try_into().map_err(|_| unknown())?;
    Ok((socket.into(), peer))
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

/// Whether another process listens at `address`: `SO_REUSEPORT` would silently share the port with it when it belongs to the same user.
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

/// Room for datagrams that wait while a worker is busy, as far as the system grants it (net.core.rmem_max).
const DATAGRAM_BUFFER: usize = 4 << 20;

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
    prepare_datagrams(&SockRef::from(&socket));
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A TCP socket that will connect to `target` and never blocks; from `source`, an address of ours, where it is given.
///
/// # Errors
/// What the system says: no descriptor, an address that is not ours.
pub fn stream_socket(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(source) = source {
        bind_any_port(&socket, source)?;
    }
    Ok(socket.into())
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

/// A TCP socket that will connect to `target` with the marks of what we send ourselves; from the subscriber's own address and port where
/// `source` gives them, so that the origin sees no difference.
///
/// # Errors
/// What the system says: no descriptor, CAP_NET_ADMIN is missing; `AddrInUse` when another socket of this machine has that
/// port alone.
pub fn upstream(target: SocketAddr, source: Option<SocketAddr>, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
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
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(mark)?;
    set_transparent(&socket, target)?;
    bind_any_port(&socket, source)?;
    Ok(socket.into())
}

/// Binds to the address alone; the kernel chooses the port when it knows the other end, so that one port serves many of them.
fn bind_any_port(socket: &Socket, address: IpAddr) -> io::Result<()> {
    setsockopt(socket, IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(address, 0).into())
}

/// Where a connection that nft `redirect` rewrote was going (`SO_ORIGINAL_DST`).
///
/// # Errors
/// What the system says when the connection was not rewritten.
pub fn original_destination(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let socket = SockRef::from(socket);
    let is_v4 = socket.local_addr()?.is_ipv4();
    let address = if is_v4 { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
    address
        .as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a destination of no IP address"))
}

/// Whether another process takes datagrams at `address`; see [`probe_exclusive`].
///
/// # Errors
/// The system's word when the address cannot be bound exclusively.
pub fn probe_exclusive_datagrams(address: SocketAddr) -> io::Result<()> {
    datagram_socket(address)?.bind(&address.into())
}

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

/// A listener that the event loop watches: readiness first, so that room for a flow can be awaited before accepting.
///
/// # Errors
/// What the system says when the event loop cannot watch the socket.
pub fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // SAFETY: `TcpListener` owns its descriptor and returns the same one from `as_raw_fd` until it is dropped; it is given
    // by value and `AsyncFd` keeps it, so the descriptor stays open and the same while it is registered.
    unsafe { AsyncFd::register(listener) }.map_err(io::Error::from)
}

/// No Nagle delay: the relay passes on what was written, when it was written.
pub fn set_nodelay(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// The next close sends RST: the peer's reset or failure is passed on as what it was.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sends FIN after what was written; the other direction stays open.
pub fn shutdown_write(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).shutdown(std::net::Shutdown::Write)
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

/// Bytes written to the socket that the peer has not acknowledged, one more while an unacknowledged FIN is out
/// (`SIOCOUTQ`, tcp(7)).
///
/// # Errors
/// What the system says; it does not fail on an open TCP socket.
pub fn unacknowledged(socket: &impl AsRawFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ` (the same number as `SIOCOUTQ`) writes one `int` through the pointer, which points to a live
    // local `c_int` for the whole call; the descriptor is open because `socket` is borrowed.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// What the kernel knows of a TCP connection (`struct tcp_info` of `linux/tcp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Payload sent, repeats included.
    pub bytes_sent: u64,
    /// Sequence numbers received in order: payload, and one for FIN.
    pub bytes_received: u64,
    /// Segments sent, modulo 2³²; the one that accepted the connection is not among them.
    pub segments_out: u32,
    /// Segments received, modulo 2³².
    pub segments_in: u32,
    /// Segments sent and not acknowledged.
    pub unacknowledged: u32,
    /// Bytes that wait to be sent.
    pub unsent: u32,
    /// Options that both sides use.
    pub options: StreamOptions,
    /// Whether FIN may have been received: it has, or the connection is over.
    pub may_have_received_fin: bool,
}

/// Reads it (tcp(7), `TCP_INFO`).
///
/// # Errors
/// What the system says; `Unsupported` when the kernel has no such counters (before Linux 4.19).
pub fn stream_state(socket: &impl AsRawFd) -> io::Result<StreamState> {
    let mut bytes = [0_u8; tcp_info::ROOM];
    let mut length: libc::socklen_t = tcp_info::ROOM_LENGTH;
    // SAFETY: `getsockopt` writes at most `length` bytes through the pointer, and `length` is the size of the live local array;
    // the new length goes to a live local `socklen_t`; the descriptor is open because `socket` is borrowed.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    let filled = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
    filled.and_then(tcp_info::read).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The layout of `struct tcp_info`, to which the kernel only ever adds at the end.
mod tcp_info {
    use super::{StreamOptions, StreamState};

    /// Room for it; what a later kernel adds is not read.
    pub(super) const ROOM: usize = 256;
    /// The same, as the system call takes it.
    pub(super) const ROOM_LENGTH: libc::socklen_t = 256;
    /// Offset of `tcpi_state`.
    const STATE: usize = 0;
    /// Offset of `tcpi_options`.
    const OPTIONS: usize = 5;
    /// Offset of `tcpi_unacked`.
    const UNACKED: usize = 24;
    /// Offset of `tcpi_bytes_received`.
    const BYTES_RECEIVED: usize = 128;
    /// Offset of `tcpi_segs_out`.
    const SEGS_OUT: usize = 136;
    /// Offset of `tcpi_segs_in`.
    const SEGS_IN: usize = 140;
    /// Offset of `tcpi_notsent_bytes`.
    const NOTSENT_BYTES: usize = 144;
    /// Offset of `tcpi_bytes_sent`.
    const BYTES_SENT: usize = 200;
    /// `TCPI_OPT_TIMESTAMPS`.
    const TIMESTAMPS: u8 = 1;
    /// `TCPI_OPT_SACK`.
    const SACK: u8 = 2;
    /// `TCPI_OPT_WSCALE`.
    const WSCALE: u8 = 4;
    /// The states in which no FIN has come: established, FIN sent, FIN sent and acknowledged, and before them.
    const BEFORE_FIN: [u8; 5] = [1, 2, 3, 4, 5];

    /// Reads what is there; none when it is too short.
    pub(super) fn read(bytes: &[u8]) -> Option<StreamState> {
        let options = *bytes.get(OPTIONS)?;
        Some(StreamState {
            bytes_sent: long(bytes, BYTES_SENT)?,
            bytes_received: long(bytes, BYTES_RECEIVED)?,
            segments_out: word(bytes, SEGS_OUT)?,
            segments_in: word(bytes, SEGS_IN)?,
            unacknowledged: word(bytes, UNACKED)?,
            unsent: word(bytes, NOTSENT_BYTES)?,
            options: StreamOptions {
                timestamps: options & TIMESTAMPS != 0,
                selective: options & SACK != 0,
                window_scale: options & WSCALE != 0,
            },
            may_have_received_fin: !BEFORE_FIN.contains(bytes.get(STATE)?),
        })
    }

    /// `u32` at an offset.
    fn word(bytes: &[u8], at: usize) -> Option<u32> {
        bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
    }

    /// `u64` at an offset.
    fn long(bytes: &[u8], at: usize) -> Option<u64> {
        bytes.get(at..)?.first_chunk().map(|chunk| u64::from_ne_bytes(*chunk))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn unacknowledged_bytes_are_those_the_peer_has_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        writer.set_nonblocking(true).unwrap();
        let mut written = 0_u64;
        loop {
            match writer.write(&[7; 65_536]) {
                Ok(taken) => written += taken as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let waiting = unacknowledged(&writer).unwrap();
        assert!(waiting > 0 && waiting <= written);
        let mut sink = vec![0; 1 << 20];
        let mut read = 0_u64;
        while read < written {
            read += reader.read(&mut sink).unwrap() as u64;
        }
        for _ in 0..1_000 {
            if unacknowledged(&writer).unwrap() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{} bytes never acknowledged", unacknowledged(&writer).unwrap());
    }
}
