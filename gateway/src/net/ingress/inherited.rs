//! Listening sockets that were open before this process: passed by the service manager (socket activation) or by the
//! process that this one takes over from. Connections that wait in them are never lost.
//!
//! Each is looked at before it is used (`look`), then dealt out to the workers (`deal`). Our own are offered in turn to the
//! process that takes over from us (`offered`).

mod deal;
mod look;
mod offered;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub use self::deal::{complete_connections, complete_datagrams};
use self::look::{Found, Listening, look_at};
pub use self::offered::{Offered, Served};
use crate::net::sys::socket;

/// Sockets of one start at most: workers of a large machine times the listeners of a large configuration.
pub const SOCKETS_MAX: usize = 4_096;

/// The listening sockets this process was given and has not used yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Passed>,
    /// Unix sockets, each with the path it serves.
    local: Vec<(PathBuf, UnixListener)>,
    /// Processes of ours that drain may still hold ports of ours.
    beside_draining: bool,
}

/// One of them.
#[derive(Debug)]
struct Passed {
    /// The address it is meant for: the one it is bound to, or the configuration's where the system chose the port.
    wanted: SocketAddr,
    /// Where it came from, for messages.
    origin: String,
    socket: Listening,
}

/// What is wrong with a socket that was passed.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: found {found}; wanted {wanted}; {remedy}")]
pub struct InheritError {
    /// Which socket: descriptor and name.
    origin: String,
    /// What it is.
    found: String,
    /// What it was to be.
    wanted: &'static str,
    /// What to do.
    remedy: &'static str,
}

impl Inherited {
    /// Takes the sockets that the service manager passed (`LISTEN_FDS`, sd_listen_fds(3)); call it once, before this process
    /// opens anything: where the variables lie, the numbers they name belong to nobody then, and are left alone.
    ///
    /// # Errors
    /// Variables that make no sense, and sockets that no listener can use.
    pub fn from_service_manager() -> Result<Self, InheritError> {
        let senseless = |error: io::Error| InheritError {
            origin: "LISTEN_FDS".to_owned(),
            found: error.to_string(),
            wanted: "LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES as a service manager sets them",
            remedy: "start the gateway by its .socket unit, or without these variables",
        };
        let passed: Vec<_> = sd_notify::listen_fds_with_names().map_err(senseless)?.collect();
        let mut inherited = Self::default();
        for (number, name) in passed {
            let origin = format!("LISTEN_FDS: descriptor {number} ({name:?})");
            let descriptor = socket::adopt(number).map_err(|error| InheritError {
                origin: origin.clone(),
                found: error.to_string(),
                wanted: "an open socket",
                remedy: "correct whatever sets LISTEN_FDS",
            })?;
            inherited.add(descriptor, None, origin)?;
        }
        Ok(inherited)
    }

    /// Nothing was passed, but processes of ours that drain may still hold ports of ours, which are shared with them.
    pub fn beside_draining(self) -> Self {
        Self { beside_draining: true, ..self }
    }

    /// Whether a port that somebody else has is refused: shared by accident, it would take half of the subscribers away.
    pub fn is_exclusive(&self) -> bool {
        !self.beside_draining
    }

    /// Adds a listening Unix socket, meant for `wanted`.
    ///
    /// # Errors
    /// What keeps it from being a listener's.
    pub fn add_local(
        &mut self,
        descriptor: OwnedFd,
        wanted: PathBuf,
        origin: String,
    ) -> Result<(), InheritError> {
        match look_at(descriptor) {
            Ok(Found::Local(_, listener)) => {
                self.local.push((wanted, listener));
                Ok(())
            }
            Ok(Found::Passed(address, _)) => Err(format!("a socket at {address}")),
            Err(found) => Err(found),
        }
        .map_err(|found| InheritError {
            origin,
            found,
            wanted: "a listening Unix socket",
            remedy: "an ordinary restart binds it anew",
        })
    }

    /// Adds a socket, meant for `wanted` unless the address it is bound to says so.
    ///
    /// # Errors
    /// What keeps it from being a listener's.
    pub fn add(
        &mut self,
        descriptor: OwnedFd,
        wanted: Option<SocketAddr>,
        origin: String,
    ) -> Result<(), InheritError> {
        if self.sockets.len().saturating_add(self.local.len()) >= SOCKETS_MAX {
            return Err(InheritError {
                origin,
                found: format!("more than {SOCKETS_MAX} sockets"),
                wanted: "at most that",
                remedy: "pass fewer: one for each listener and worker is of use",
            });
        }
        let found = look_at(descriptor).map_err(|found| InheritError {
            origin: origin.clone(),
            found,
            wanted: "a listening TCP or Unix socket or a bound UDP socket, of IPv4 or of IPv6 alone",
            remedy: "correct the .socket unit: ListenStream= or ListenDatagram= with an address and port, BindIPv6Only=ipv6-only",
        })?;
        match found {
            Found::Passed(bound, socket) => {
                self.sockets.push(Passed { wanted: wanted.unwrap_or(bound), origin, socket });
            }
            Found::Local(path, listener) => self.local.push((path, listener)),
        }
        Ok(())
    }

    /// Whether there are none, or none left.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty() && self.local.is_empty()
    }

    /// The Unix socket at this path.
    pub fn take_local(&mut self, wanted: &Path) -> Option<UnixListener> {
        let index = self.local.iter().position(|(path, _)| path == wanted)?;
        Some(self.local.swap_remove(index).1)
    }

    /// The TCP sockets for this address.
    pub fn take_connections(&mut self, wanted: SocketAddr) -> Vec<TcpListener> {
        let mut taken = Vec::new();
        self.sockets = std::mem::take(&mut self.sockets)
            .into_iter()
            .filter_map(|passed| match passed.socket {
                Listening::Connections(socket) if passed.wanted == wanted => {
                    taken.push(socket);
                    None
                }
                Listening::Connections(_) | Listening::Datagrams(_) => Some(passed),
            })
            .collect();
        taken
    }

    /// The UDP sockets for this address.
    pub fn take_datagrams(&mut self, wanted: SocketAddr) -> Vec<UdpSocket> {
        let mut taken = Vec::new();
        self.sockets = std::mem::take(&mut self.sockets)
            .into_iter()
            .filter_map(|passed| match passed.socket {
                Listening::Datagrams(socket) if passed.wanted == wanted => {
                    taken.push(socket);
                    None
                }
                Listening::Connections(_) | Listening::Datagrams(_) => Some(passed),
            })
            .collect();
        taken
    }

    /// Closes what nobody wanted, and says so.
    pub fn close_rest(self) {
        for (path, _) in self.local {
            tracing::warn!(
                "{}: no listener of the configuration is at this socket: it is closed",
                path.display()
            );
        }
        for passed in self.sockets {
            tracing::warn!(
                address = %passed.wanted,
                "{}: no listener, DNS or admin address of the configuration is this one: the socket is closed",
                passed.origin
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::Type;

    use super::*;

    /// What a socket that cannot serve is refused for.
    fn refused(descriptor: impl Into<OwnedFd>) -> String {
        Inherited::default().add(descriptor.into(), None, "descriptor 3".to_owned()).unwrap_err().to_string()
    }

    #[test]
    fn sockets_go_to_the_address_they_are_bound_to_and_are_all_dealt_out() {
        let listen = || socket::listen("127.0.2.2:0".parse().unwrap()).unwrap();
        let first = listen();
        let address = first.local_addr().unwrap();
        let second = socket::listen(address).unwrap();
        let other = listen();
        let datagrams = socket::listen_datagrams(address).unwrap();
        let mut inherited = Inherited::default();
        for descriptor in [OwnedFd::from(first), second.into(), other.into(), datagrams.into()] {
            inherited.add(descriptor, None, "test".to_owned()).unwrap();
        }
        let taken = inherited.take_connections(address);
        assert_eq!(taken.len(), 2);
        assert_eq!(inherited.take_datagrams(address).len(), 1);
        assert!(!inherited.is_empty() && inherited.take_datagrams(address).is_empty());
        // One worker serves both; three get one each, the third a new one.
        let one = complete_connections(taken, 1, socket::listen).unwrap();
        assert_eq!(one.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
        let three = complete_connections(one.into_iter().flatten().collect(), 3, socket::listen).unwrap();
        assert_eq!(three.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn a_port_that_cannot_be_shared_is_served_all_the_same() {
        let alone = TcpListener::bind("127.0.2.3:0").unwrap();
        let of_workers = complete_connections(vec![alone], 2, socket::listen).unwrap();
        assert_eq!(of_workers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        let alone = UdpSocket::bind("127.0.2.3:0").unwrap();
        let of_workers = complete_datagrams(vec![alone], 2, socket::listen_datagrams).unwrap();
        assert_eq!(of_workers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn what_is_no_listening_socket_is_refused_with_what_to_do() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(refused(file).contains("no socket"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let said = refused(client);
        assert!(said.contains("does not listen") && said.contains("ListenStream="), "{said}");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(refused(one).contains("no IP address"));
        let both = socket2::Socket::new(socket2::Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&"[::]:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        both.listen(1).unwrap();
        let said = refused(both);
        assert!(said.contains("both IP versions") && said.contains("BindIPv6Only"), "{said}");
        let unbound = socket2::Socket::new(socket2::Domain::IPV4, Type::DGRAM, None).unwrap();
        assert!(refused(unbound).contains("no port"));
    }
}
