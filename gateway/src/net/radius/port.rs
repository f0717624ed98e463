//! A socket that access servers send to: what comes is read in batches, and answered from the address that it was sent to.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use crate::net::sys::socket;

/// Longest run of datagrams that the kernel hands over as one (UDP GRO).
const RUN_OCTETS_MAX: usize = 65_535;

/// A socket, and what is known of it.
pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    /// What it had no room for when that was last counted.
    dropped: u32,
    buffers: Vec<Vec<u8>>,
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
        // One that another process had before counts from there on.
        let dropped = socket::datagrams_dropped(&socket).unwrap_or(0);
        let buffers = (0..BATCH_SIZE).map(|_| vec![0; RUN_OCTETS_MAX]).collect();
        Ok(Self { socket, state, dropped, buffers })
    }

    /// Gives the datagrams that wait, `share` of them and what came with the last.
    pub(super) fn read(&mut self, share: usize, mut give: impl FnMut(Way, &[u8])) {
        let mut given = 0_usize;
        while given < share {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices: Vec<IoSliceMut<'_>> =
                self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            // An error is of one exchange, or says that nothing waits.
            let Ok(count) = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas) else {
                break;
            };
            for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
                let way = Way { source: meta.addr, own: meta.dst_ip };
                let run = buffer.get(..meta.len).unwrap_or_default();
                for datagram in run.chunks(meta.stride.max(1)) {
                    given = given.saturating_add(1);
                    give(way, datagram);
                }
            }
        }
    }

    /// Answers where the request came from; who does not get it asks again.
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
