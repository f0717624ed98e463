//! The addresses of this machine, as they are at the moment: none of them is ever dialled.
//!
//! The kernel tells of every change (rtnetlink(7), `RTM_NEWADDR` and `RTM_DELADDR`); what it tells is not read, all addresses
//! are asked for again. Where it cannot be listened to, they are asked for now and then.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use crate::net::sys::socket::watch_descriptor;

/// The pause before the kernel is listened to again after a failure, and between two looks while it cannot be.
const PAUSE: Duration = Duration::from_secs(5);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(10);

/// The addresses.
#[derive(Debug, Default)]
pub struct OwnAddresses(ArcSwap<HashSet<IpAddr>>);

impl OwnAddresses {
    /// These.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self(ArcSwap::from_pointee(addresses.into_iter().collect()))
    }

    /// Those of the machine.
    ///
    /// # Errors
    /// The system's word.
    pub fn read() -> io::Result<Self> {
        Ok(Self(ArcSwap::from_pointee(all()?)))
    }

    /// All of them.
    pub fn all(&self) -> Arc<HashSet<IpAddr>> {
        self.0.load_full()
    }

    /// Whether `address` is one of them, or one of the loopback network, all of which are.
    pub fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.0.load().contains(&address)
    }

    /// Follows the machine's addresses until the event loop ends.
    pub async fn follow(self: Arc<Self>) {
        let mut is_told = false;
        loop {
            match listen() {
                Ok(changes) => {
                    self.look();
                    while changed(&changes).await.is_ok() {
                        sleep(SETTLE).await;
                        // What came while we waited is in what is read behind it.
                        let _ = drain(&changes);
                        self.look();
                    }
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(%error, "the kernel does not tell of this machine's new addresses: they are looked for every {PAUSE:?}");
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
            self.look();
        }
    }

    /// Reads the addresses again; those before stay when the system does not say.
    fn look(&self) {
        match all() {
            Ok(addresses) if addresses != **self.0.load() => {
                tracing::info!(addresses = addresses.len(), "this machine's addresses have changed");
                self.0.store(Arc::new(addresses));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot list this machine's addresses; those before stay"),
        }
    }
}

/// All addresses of the machine.
fn all() -> io::Result<HashSet<IpAddr>> {
    let mut addresses = HashSet::new();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            addresses.insert(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            addresses.insert(IpAddr::V6(v6.ip()).to_canonical());
        }
    }
    Ok(addresses)
}

/// A socket at which the kernel tells of changes.
fn listen() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR).unsigned_abs();
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    watch_descriptor(socket)
}

/// Waits for a change.
async fn changed(changes: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = changes.readable().await?;
    let drained = drain(changes);
    ready.clear_ready();
    drained
}

/// Takes what the kernel has told. That it told more than was taken (`ENOBUFS`) is a change like any other.
fn drain(changes: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut buffer = [0; 8_192];
    loop {
        match rustix::io::read(changes.get_ref(), &mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
