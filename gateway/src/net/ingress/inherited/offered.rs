//! Sockets of ours that another process may get, with what each serves.

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::{fmt, io};

use socket2::SockRef;

/// What a listening socket serves, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// An address.
    Address(SocketAddr),
    /// A Unix socket.
    Path(PathBuf),
}

/// A socket of ours that another process may get, with what it serves.
pub struct Offered {
    /// What it serves.
    pub wanted: Served,
    /// A second descriptor of the socket.
    pub socket: OwnedFd,
}

impl Offered {
    /// A second descriptor of a socket that serves `wanted`, or the address it is bound to where the system chose the port:
    /// several listeners may leave it the choice.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn new(wanted: SocketAddr, socket: BorrowedFd<'_>) -> io::Result<Self> {
        let bound = SockRef::from(&socket).local_addr()?.as_socket();
        let wanted = bound.filter(|_| wanted.port() == 0).unwrap_or(wanted);
        Ok(Self { wanted: Served::Address(wanted), socket: socket.try_clone_to_owned()? })
    }

    /// A second descriptor of the Unix socket at `path`.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn local(path: PathBuf, socket: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { wanted: Served::Path(path), socket: socket.try_clone_to_owned()? })
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Offered").field(&self.wanted).finish()
    }
}
