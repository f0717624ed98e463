//! What a descriptor that was passed is: a listening socket that we can use, or what is wrong with it.
//!
//! What is no listening socket of ours is an error that says which and what to do. Options that our listeners rely on are set;
//! what cannot be set once a socket is bound (`IPV6_V6ONLY`) is asked for.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use socket2::{SockRef, Type};

use crate::net::sys::socket;

/// A listening socket of either transport.
#[derive(Debug)]
pub(super) enum Listening {
    /// Of TCP.
    Connections(TcpListener),
    /// Of UDP.
    Datagrams(UdpSocket),
}

/// What a descriptor turned out to be.
pub(super) enum Found {
    /// A socket bound to this address.
    Passed(SocketAddr, Listening),
    /// A listening Unix socket, and the path it was made under.
    Local(PathBuf, UnixListener),
}

/// What a descriptor is, with the options our listeners rely on; or what is wrong with it.
pub(super) fn look_at(descriptor: OwnedFd) -> Result<Found, String> {
    let socket = SockRef::from(&descriptor);
    let kind = socket.r#type().map_err(|error| format!("no socket ({error})"))?;
    let address = socket.local_addr().map_err(|error| error.to_string())?;
    if let Some(path) = address.as_pathname() {
        if kind != Type::STREAM || !socket.is_listener().map_err(|error| error.to_string())? {
            return Err(format!("a Unix socket at {} that does not listen", path.display()));
        }
        let path = path.to_path_buf();
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        return Ok(Found::Local(path, descriptor.into()));
    }
    let address = address.as_socket().ok_or_else(|| "a socket of no IP address".to_owned())?;
    if address.port() == 0 {
        return Err("a socket that is bound to no port".to_owned());
    }
    if address.is_ipv6() && address.ip().is_unspecified() && !socket.only_v6().unwrap_or(false) {
        return Err(format!("a socket at {address} for both IP versions"));
    }
    socket.set_nonblocking(true).map_err(|error| error.to_string())?;
    if kind == Type::STREAM {
        if !socket.is_listener().map_err(|error| error.to_string())? {
            return Err(format!("a TCP socket at {address} that does not listen"));
        }
        socket::prepare_listener(&socket);
        return Ok(Found::Passed(address, Listening::Connections(descriptor.into())));
    }
    if kind == Type::DGRAM {
        socket::prepare_datagrams(&descriptor);
        return Ok(Found::Passed(address, Listening::Datagrams(descriptor.into())));
    }
    Err(format!("a socket of type {kind:?} at {address}"))
}
