//! The clients' datagrams: received in batches, answered in batches from the address they were sent to.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::count::Transport;
use super::outbox::Outbox;
use super::pending::Asker;
use super::relay::Relay;
use crate::net::sys::socket::make_listening_room;

/// Longest run of queries that the kernel hands over as one (UDP GRO).
const RUN_BYTES_MAX: usize = 65_535;
/// Batches received before other work gets its turn.
const BATCHES_PER_WAKE_MAX: usize = 4;

/// A socket that clients send to.
pub(super) struct Listener {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
    /// Whether it takes what is sent to any address of the machine, so that each answer must say which it comes from.
    is_wildcard: bool,
    /// Answers of this wake that wait to be sent together.
    outbox: RefCell<Outbox<()>>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// It is sent.
    Sent,
    /// It waits for [`Listener::send_all`].
    Waits,
    /// The system did not take it: the client asks again.
    Lost,
}

/// Binds a socket for datagrams that shares its address with the other workers (`SO_REUSEPORT`).
///
/// # Errors
/// What the system says when the address is in use, not ours, or below 1024 without the right.
pub(super) fn bind(address: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // One listener per IP version: a subscriber's IPv4 address must not arrive in two spellings.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(is_shared)?;
    socket.set_nonblocking(true)?;
    make_listening_room(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl Listener {
    /// A bound socket on the worker's event loop.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Rc<Self>> {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let is_wildcard = socket.local_addr()?.ip().is_unspecified();
        Ok(Rc::new(Self { socket, state, is_wildcard, outbox: RefCell::default() }))
    }

    /// Sends an answer from the address the query was sent to, or has it wait for the others of this wake.
    pub(super) fn post(&self, answer: &[u8], to: SocketAddr, from: Option<IpAddr>) -> Posted {
        if self.is_wildcard {
            let transmit =
                Transmit { destination: to, ecn: None, contents: answer, segment_size: None, src_ip: from };
            let sent = self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
            return if sent.is_ok() { Posted::Sent } else { Posted::Lost };
        }
        self.outbox.borrow_mut().push((), Some(to), answer);
        Posted::Waits
    }

    /// Whether as many answers wait as go in one call.
    pub(super) fn is_full(&self) -> bool {
        self.outbox.borrow().is_full()
    }

    /// Sends the answers that wait; `lost` is told of each that the system did not take.
    pub(super) fn send_all(&self, mut lost: impl FnMut()) {
        self.outbox.borrow_mut().send(&self.socket, |(), _| lost());
    }

    /// Receives queries until the worker ends.
    ///
    /// # Errors
    /// Only when the event loop cannot watch the socket.
    pub(super) async fn serve(self: Rc<Self>, relay: Rc<Relay>) -> io::Result<()> {
        let mut buffers: Vec<Vec<u8>> = (0..BATCH_SIZE).map(|_| vec![0; RUN_BYTES_MAX]).collect();
        loop {
            self.socket.readable().await?;
            for _ in 0..BATCHES_PER_WAKE_MAX {
                if !self.receive_batch(&relay, &mut buffers) {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Receives one batch; false when there is nothing more.
    fn receive_batch(self: &Rc<Self>, relay: &Rc<Relay>, buffers: &mut [Vec<u8>]) -> bool {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut count = 0;
        {
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            // An error of one exchange (a client that has gone) is no reason to leave the others without answers.
            let _ = self.socket.try_io(Interest::READABLE, || {
                count = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)?;
                // A call that is not filled leaves nothing: the event loop is told so without another call.
                if count < BATCH_SIZE { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
        }
        for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
            let run = buffer.get(..meta.len).unwrap_or_default();
            for query in run.chunks(meta.stride.max(1)) {
                let asker = Asker::Datagram { listener: Rc::clone(self), to: meta.addr, at: meta.dst_ip };
                relay.ask(query, meta.addr, Transport::Udp, asker);
            }
        }
        count == BATCH_SIZE
    }
}
