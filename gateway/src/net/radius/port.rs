//! A socket that access servers send to: what comes is read in batches, and answered from the address that it was sent to.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};

use crate::net::sys::batch::Batch;
use crate::net::sys::socket;

/// A socket, and what is known of it.
pub(super) struct Port {
    socket: UdpSocket,
    /// The socket's options, and sending.
    state: UdpSocketState,
    /// Datagrams that it had no room for when they were last counted.
    dropped: u32,
}

/// Where a datagram came from, and to which of our addresses: an access server does not believe an answer from another (RFC 2866 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The sender.
    pub(super) source: SocketAddr,
    /// Ours, where the system says it.
    pub(super) own: Option<IpAddr>,
}

impl Port {
    /// Takes a bound socket.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // An inherited socket has counted before.
        let dropped = socket::datagrams_dropped(&socket).unwrap_or(0);
        Ok(Self { socket, state, dropped })
    }

    /// Gives the datagrams that wait: `share` of them, and the rest of the batch that the last one came with.
    pub(super) fn read(&self, batch: &mut Batch, share: usize, mut give: impl FnMut(Way, &[u8])) {
        let mut given = 0_usize;
        while given < share {
            let filled = batch.fill(|buffers, heads| socket::receive_datagrams(&self.socket, buffers, heads));
            // An error is of one exchange, or says that nothing waits.
            if filled.is_err() {
                break;
            }
            for train in batch.trains() {
                let way = Way { source: train.peer, own: train.local };
                for datagram in train.datagrams() {
                    given = given.saturating_add(1);
                    give(way, datagram);
                }
            }
            if !batch.is_full() {
                break;
            }
        }
    }

    /// Answers where the request came from. Who does not get it asks again.
    pub(super) fn answer(&self, way: Way, octets: &[u8]) {
        let transmit = Transmit {
            destination: way.source,
            ecn: None,
            contents: octets,
            segment_size: None,
            src_ip: way.own,
        };
        let _ = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
    }

    /// Datagrams that found no room since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u32 {
        let Ok(now) = socket::datagrams_dropped(&self.socket) else { return 0 };
        now.wrapping_sub(std::mem::replace(&mut self.dropped, now))
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
