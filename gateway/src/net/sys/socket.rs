//! Socket options and readings that std and tokio do not offer.
//!
//! The only file beside `splice` where `unsafe` may stand; each block has its proof.

#![expect(
    unsafe_code,
    reason = "SIOCOUTQ, TCP_INFO, SO_MEMINFO, recvmmsg(2), bpf(2), the event loop's registration and descriptors by number have no safe wrapper; each block has its proof"
)]

mod datagrams;
mod listen;
mod maps;
mod options;
mod origin;
mod streams;

use std::io::{self, IoSliceMut};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use self::datagrams::{
    connect_datagrams, connect_datagrams_from, connect_listening_datagrams, let_fragment, listen_datagrams,
    listen_datagrams_transparent, make_listening_room, path_mtu, prepare_datagrams,
    probe_exclusive_datagrams, send_datagrams, send_icmp,
};
pub use self::listen::{BACKLOG, accept, listen, listen_transparent, make_transparent, prepare_listener};
use self::maps::halves;
pub use self::maps::{Cells, bpf_entries};
pub use self::options::{
    cookie, probe_when_silent, reset_on_close, set_firewall_mark, set_nodelay, set_octet, shutdown_write,
};
pub use self::origin::{begin_connection, stream_socket, upstream, upstream_from_any_port};
pub use self::streams::{
    acknowledge_with_first_bytes, listen_alone, original_destination, probe_exclusive, receive,
    send_before_fin, send_urgent,
};
use super::control::{self, Head};
pub use crate::net::sys::tcp_info::StreamState;
use crate::net::sys::{batch, tcp_info};

/// `SO_ATTACH_BPF` (`asm-generic/socket.h`), which the libraries lack.
const SO_ATTACH_BPF: libc::c_int = 50;
/// Room for a sender's address ([`super::control::NAME_ROOM`]).
const NAME_LENGTH: libc::socklen_t = 28;
/// `SIOCATMARK` (`asm-generic/sockios.h`), which the libraries lack.
const SIOCATMARK: libc::Ioctl = 0x8905;
/// Length of an `int` as system calls take it.
const INT_LENGTH: libc::socklen_t = 4;

/// Takes over a socket that this process was started with.
///
/// # Errors
/// When the number is not open, or no socket: then nothing was taken.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let mut kind: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of_val(&kind)).unwrap_or(0);
    // SAFETY: `SO_TYPE` writes one `int` through the pointer, which points to a live local `c_int` of `length` bytes for the
    // whole call; a number that is not open is answered with `EBADF`, one that is no socket with `ENOTSOCK`.
    let outcome = unsafe {
        libc::getsockopt(number, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length)
    };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (just asked) and nobody else in this process owns it: the only caller takes each of the
    // numbers from 3 on that the service manager opened for this process (`LISTEN_PID` is ours), once, before the process has
    // opened anything of its own.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the next byte to be read is an urgent one (socket(7), `SIOCATMARK`).
///
/// # Errors
/// What the system says; it does not fail on an open TCP socket.
pub fn is_at_urgent(stream: &impl AsRawFd) -> io::Result<bool> {
    let mut at_mark: libc::c_int = 0;
    // SAFETY: `SIOCATMARK` writes one `int` through the pointer, which points to a live local `c_int` for the whole call; the
    // descriptor is open because `stream` is borrowed.
    let outcome = unsafe { libc::ioctl(stream.as_raw_fd(), SIOCATMARK, &raw mut at_mark) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(at_mark != 0) }
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

/// A connection that the event loop watches, for urgent data too.
///
/// # Errors
/// As [`watch`].
pub fn watch_stream(stream: TcpStream) -> io::Result<AsyncFd<TcpStream>> {
    let interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
    // SAFETY: `TcpStream` owns its descriptor and returns the same one from `as_raw_fd` until it is dropped; it is given by
    // value and `AsyncFd` keeps it, so the descriptor stays open and the same while it is registered.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}

/// Another descriptor that the event loop watches.
///
/// # Errors
/// As [`watch`].
pub fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `OwnedFd` is the descriptor, open and the same until it is dropped; it is given by value and `AsyncFd` keeps
    // it while it is registered.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// Has the system tell which datagrams came in fragments (`IP_RECVFRAGSIZE`, Linux 4.10). A refinement: without it they count as
/// sent in one piece.
pub fn tell_fragments(socket: &impl AsFd, is_ipv4: bool) {
    let (level, option) = if is_ipv4 {
        (libc::IPPROTO_IP, control::IP_RECVFRAGSIZE)
    } else {
        (libc::IPPROTO_IPV6, control::IPV6_RECVFRAGSIZE)
    };
    let on: libc::c_int = 1;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: the option is one `int`, which is a live local of the length given; the descriptor is open.
    let _ = unsafe { libc::setsockopt(number, level, option, (&raw const on).cast(), INT_LENGTH) };
}

/// Takes what waits at a UDP socket, one sender's datagrams of one size behind one another in a buffer (recvmmsg(2), udp(7)
/// `UDP_GRO`); how many buffers were filled. Each has its head, at most [`batch::BUFFERS`] of them.
///
/// # Errors
/// What the system says; `WouldBlock` when nothing waits; of a connected socket also ICMP errors that came in.
pub fn receive_datagrams(
    socket: &impl AsFd,
    buffers: &mut [IoSliceMut<'_>],
    heads: &mut [Head],
) -> io::Result<usize> {
    // SAFETY: of an `mmsghdr` all bytes may be 0: no pointers, no lengths.
    let mut messages: [libc::mmsghdr; batch::BUFFERS] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for ((message, buffer), head) in messages.iter_mut().zip(buffers.iter_mut()).zip(heads.iter_mut()) {
        let message = &mut message.msg_hdr;
        message.msg_name = head.name.as_mut_ptr().cast();
        message.msg_namelen = NAME_LENGTH;
        message.msg_iov = (&raw mut *buffer).cast();
        message.msg_iovlen = 1;
        message.msg_control = head.control.as_mut_ptr().cast();
        message.msg_controllen = head.control.len();
        count += 1;
    }
    let (number, now) = (socket.as_fd().as_raw_fd(), libc::MSG_DONTWAIT);
    let filled = loop {
        // SAFETY: the first `count` messages point to names, buffers (`IoSliceMut` is an `iovec`) and control messages that
        // are borrowed for the whole call, with their lengths; the descriptor is open because `socket` is borrowed.
        let filled =
            unsafe { libc::recvmmsg(number, messages.as_mut_ptr(), count, now, std::ptr::null_mut()) };
        match usize::try_from(filled) {
            Ok(filled) => break filled,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    };
    for (message, head) in messages.iter().zip(heads).take(filled) {
        head.length = usize::try_from(message.msg_len).unwrap_or(0);
        head.control_length = message.msg_hdr.msg_controllen;
    }
    Ok(filled)
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

/// Memory that the socket holds in the kernel, in bytes: what waits to be read or sent, and what is set aside for that
/// (`SO_MEMINFO` of `linux/sock_diag.h`).
///
/// # Errors
/// What the system says (before Linux 4.11 it knows no such option).
pub fn memory(socket: &impl AsRawFd) -> io::Result<u64> {
    let [received, _, _, _, aside, sent, _, backlog, _] = memory_values(socket)?.map(u64::from);
    Ok([received, aside, sent, backlog].into_iter().fold(0, u64::saturating_add))
}

/// Datagrams that came to the socket and found no room there, since it was made: a number that begins anew after 2³² − 1.
///
/// # Errors
/// As those of [`memory`].
pub fn datagrams_dropped(socket: &impl AsRawFd) -> io::Result<u32> {
    let [.., dropped] = memory_values(socket)?;
    Ok(dropped)
}

/// The values of `SO_MEMINFO`, in the order of `SK_MEMINFO_*` (`linux/sock_diag.h`).
fn memory_values(socket: &impl AsRawFd) -> io::Result<[u32; 9]> {
    let (mut values, mut length) = ([0_u32; 9], 36);
    let (name, room) = (libc::SO_MEMINFO, values.as_mut_ptr().cast());
    // SAFETY: `getsockopt` writes at most `length` bytes through `room`, and that is the size of the live local array, whose
    // elements may have any value; the new length goes to a live local; the descriptor is open because `socket` is borrowed.
    let outcome =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, room, &raw mut length) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(values)
}

/// Reads what the kernel knows of a TCP connection (tcp(7), `TCP_INFO`).
///
/// # Errors
/// What the system says; `Unsupported` when the kernel has no such counters (before Linux 4.19).
pub fn stream_state(socket: &impl AsRawFd) -> io::Result<StreamState> {
    let mut bytes = [0_u8; tcp_info::ROOM];
    let mut length: libc::socklen_t = tcp_info::ROOM_LENGTH;
    let (name, room) = (libc::TCP_INFO, bytes.as_mut_ptr().cast());
    // SAFETY: `getsockopt` writes at most `length` bytes through `room`, and `length` is the size of the live local array; the
    // new length goes to a live local `socklen_t`; the descriptor is open because `socket` is borrowed.
    let outcome =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, room, &raw mut length) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    let filled = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
    filled.and_then(tcp_info::read).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// So many cells, all 0 (bpf(2), `BPF_MAP_TYPE_ARRAY` with `BPF_F_MMAPABLE`).
///
/// # Errors
/// What the system says; `PermissionDenied` without CAP_BPF.
pub fn bpf_cells(count: u32) -> io::Result<Cells> {
    let map = bpf_map(2, [4, 8, count, 1 << 10])?;
    let cells = usize::try_from(count).unwrap_or(usize::MAX);
    let length = cells.checked_mul(size_of::<AtomicU64>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let (rights, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours; the descriptor is open.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, how, map.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is `length` bytes from a page's beginning, readable and writable, and is never taken away; every
    // bit pattern is an `AtomicU64`, and the kernel changes them by whole words.
    let memory = unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), cells) };
    Ok(Cells { map, memory })
}

/// The entry for `key`, where there is one.
///
/// # Errors
/// What the system says.
pub fn bpf_entry(entries: &OwnedFd, key: u64) -> io::Result<Option<[u64; 2]>> {
    let mut value = [0_u64; 2];
    let number = u64::from(entries.as_raw_fd().unsigned_abs());
    let attributes = [number, (&raw const key) as u64, (&raw mut value) as u64, 0, 0, 0];
    // SAFETY: `BPF_MAP_LOOKUP_ELEM` reads a key of 8 bytes and writes a value of 16, the sizes that `bpf_entries` gave the map;
    // both pointers are to live locals of these sizes.
    match unsafe { bpf(1, &attributes) } {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Loads a socket filter (bpf(2), `BPF_PROG_TYPE_SOCKET_FILTER`).
///
/// # Errors
/// What the system says; `PermissionDenied` without CAP_BPF, `InvalidInput` when the kernel refuses the program.
pub fn bpf_filter(code: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Dual MIT/GPL";
    let count = u32::try_from(code.len()).unwrap_or(u32::MAX);
    let attributes = [halves(1, count), code.as_ptr() as u64, license.as_ptr() as u64, 0, 0, 0];
    // SAFETY: `BPF_PROG_LOAD` reads `count` instructions of 8 bytes and a string; both live through the call.
    let number = unsafe { bpf(5, &attributes) }?;
    // SAFETY: the call made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has a filter see what comes to a socket, and to those accepted from it (socket(7), `SO_ATTACH_BPF`).
///
/// # Errors
/// What the system says.
pub fn attach_filter(socket: &impl AsFd, filter: &OwnedFd) -> io::Result<()> {
    let number: libc::c_int = filter.as_raw_fd();
    let (socket, value) = (socket.as_fd().as_raw_fd(), (&raw const number).cast());
    // SAFETY: `SO_ATTACH_BPF` reads one `int`, which is a live local of the length given; both descriptors are open.
    let outcome = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, SO_ATTACH_BPF, value, INT_LENGTH) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A map of a type: bytes of key and value, entries, flags.
fn bpf_map(kind: u32, [key, value, entries, flags]: [u32; 4]) -> io::Result<OwnedFd> {
    let attributes = [halves(kind, key), halves(value, entries), halves(flags, 0), 0, 0, 0];
    // SAFETY: `BPF_MAP_CREATE` takes no pointers.
    let number = unsafe { bpf(0, &attributes) }?;
    // SAFETY: the call made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

// SAFETY: of the caller: pointers among the attributes are good for what the command does with them.
unsafe fn bpf(command: libc::c_int, attributes: &[u64; 6]) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are read from a live array of the length given; the rest is the caller's promise.
    let outcome =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if outcome == -1 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(outcome).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests;
