//! Why a node does not start, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::node::takeover::successor::TakeOverError;
use crate::net::ingress::inherited::InheritError;
use crate::net::kernel::load::LoadError;

/// Operation not permitted (errno(3)).
const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for what cannot be; `line:column: …`.
    #[error("{0}")]
    Config(String),
    /// Secrets of RADIUS clients that cannot be used; a line each, with its place.
    #[error("{}", .lines.join("\n"))]
    Clients {
        /// The lines.
        lines: Vec<String>,
    },
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {source}; {remedy}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A Unix socket cannot be listened at.
    #[error("listener.socket: cannot listen at {}: {source}; its folder must be there and ours, its path free, and its group one of ours", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The running process keeps what it has.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// A socket that was passed cannot be used.
    #[error(transparent)]
    Inherited(InheritError),
    /// The kernel does not take the programs that are to count and mark.
    #[error(transparent)]
    Kernel(#[from] LoadError),
    /// Threads, event loops or limits.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// A listen error with the remedy that fits it.
pub(super) fn listen_error(key: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it (`ss -ltnp` names it) or choose another address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: `ip address` lists those it has"
        }
        // EPERM is the word for an option of the socket (IP_TRANSPARENT, ip(7)), EACCES for the port (bind(2)).
        io::ErrorKind::PermissionDenied if source.raw_os_error() == Some(EPERM) => {
            "transparent listeners need CAP_NET_ADMIN: run as root, or grant it"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose another port"
        }
        _ => "choose another address",
    };
    StartError::Listen { key, address, source, remedy }
}
