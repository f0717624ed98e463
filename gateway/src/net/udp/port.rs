//! A UDP socket with batches: what is received together goes on together (`quinn-udp`: GRO, GSO, ECN).
//!
//! Sending never waits: what the socket does not take is lost, as it would be in the network, and is counted.

use std::io;
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::flow::mark::{Mark, code_point};
use crate::net::node::report::DropCause;
use crate::net::sys::batch::{Batch, Train};
use crate::net::sys::control::Control;
use crate::net::sys::socket;

/// What a port waits for. An ICMP error alone does not make a socket readable.
const INCOMING: Interest = Interest::READABLE.add(Interest::ERROR);

/// One UDP socket, a listener's or a flow's.
pub struct Port {
    io: UdpSocket,
    state: UdpSocketState,
}

/// How a flow's datagrams go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// What they carry.
    pub mark: Mark,
    /// What becomes of those that are longer than the way.
    pub length: Length,
    /// One by one, so that a queue that drops a packet drops one of them.
    pub apart: bool,
}

/// What becomes of a datagram that is longer than the way takes in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It is lost, and its sender told: QUIC looks for the longest that passes (RFC 9000 §14).
    Whole,
    /// It goes in fragments, as a router or its sender's own system would have it.
    Cut,
}

impl Manner {
    /// No mark, and never cut.
    pub const PLAIN: Self = Self { mark: Mark::NONE, length: Length::Whole, apart: false };
}

/// What became of a train.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the socket took.
    pub datagrams: u64,
    /// Sum of their payloads.
    pub bytes: u64,
    /// Payload of the largest packet they were given to the system in, all its datagrams together.
    pub largest: u64,
    /// Datagrams it did not take.
    pub lost: u64,
    /// They went without the mark of this machine.
    pub unmarked: bool,
    /// Why, for the last of them.
    pub cause: Option<DropCause>,
    /// Nobody is there: an ICMP error said so (connected sockets only).
    pub refused: bool,
}

impl Port {
    /// Takes over a socket; the event loop of this thread watches it.
    ///
    /// # Errors
    /// What the system says to its options, or the event loop to watching it.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { io: UdpSocket::from_std(socket)?, state })
    }

    /// The address and port it is bound to.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Bytes of the longest packet that the way to where a socket is connected takes, as far as the system knows (ip(7),
    /// `IP_MTU`).
    ///
    /// # Errors
    /// What the system says.
    pub fn path_mtu(&self, is_ipv4: bool) -> io::Result<usize> {
        socket::path_mtu(&self.io, is_ipv4)
    }

    /// From here on what is longer than the way goes in fragments, here or further on.
    ///
    /// # Errors
    /// What the system says.
    pub fn let_fragment(&self, is_ipv4: bool) -> io::Result<()> {
        socket::let_fragment(&self.io, is_ipv4, true)
    }

    /// Waits until something may be received: datagrams, or an ICMP error.
    ///
    /// # Errors
    /// When the event loop ends.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.ready(INCOMING).await.map(|_| ())
    }

    /// Receives what is there; nothing when the readiness was spurious.
    ///
    /// # Errors
    /// What the system says; of a connected socket also ICMP errors that came in.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        // One by one: asked for both at once, the event loop's socket takes neither.
        for interest in [Interest::READABLE, Interest::ERROR] {
            let received = batch.fill(|buffers, heads| {
                self.io.try_io(interest, || socket::receive_datagrams(&self.io, buffers, heads))
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received,
            }
        }
        Ok(())
    }

    /// Sends a train to `to`, from the local address `from` if the socket has several. Where the system refuses the mark of
    /// this machine it goes without.
    pub fn send(&self, to: SocketAddr, from: Option<IpAddr>, manner: Manner, train: &Train<'_>) -> Sent {
        let sent = self.send_marked(to, from, manner, train);
        let mark = manner.mark;
        if mark.fwmark != 0 && sent.datagrams == 0 && sent.cause == Some(DropCause::Forbidden) {
            let without = Manner { mark: Mark { fwmark: 0, ..mark }, ..manner };
            return Sent { unmarked: true, ..self.send_marked(to, from, without, train) };
        }
        sent
    }

    /// Sends a train, together where that goes.
    fn send_marked(&self, to: SocketAddr, from: Option<IpAddr>, manner: Manner, train: &Train<'_>) -> Sent {
        let together = train.count() > 1 && !manner.apart && self.state.max_gso_segments() > 1;
        let mut sent = Sent::default();
        if together {
            let segment = Some(train.stride);
            match self.transmit(to, from, manner.mark, train, train.bytes, segment) {
                Ok(()) => {
                    sent.datagrams = train.count();
                    sent.bytes = train.bytes.len() as u64;
                    sent.largest = sent.bytes;
                    return sent;
                }
                // The way does not take them together (EIO, EINVAL: no offload; EMSGSIZE: its MTU is smaller).
                Err(error) if is_about_offload(&error) => {}
                Err(error) => {
                    sent.fail(&error, train.count());
                    return sent;
                }
            }
        }
        for datagram in train.datagrams() {
            match self.transmit_one(to, from, manner, train, datagram) {
                Ok(()) => {
                    sent.datagrams = sent.datagrams.saturating_add(1);
                    sent.bytes = sent.bytes.saturating_add(datagram.len() as u64);
                    sent.largest = sent.largest.max(datagram.len() as u64);
                }
                Err(error) => sent.fail(&error, 1),
            }
        }
        sent
    }

    /// One datagram, in fragments where it is longer than the way and may be cut.
    fn transmit_one(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        manner: Manner,
        train: &Train<'_>,
        datagram: &[u8],
    ) -> io::Result<()> {
        let outcome = self.transmit(to, from, manner.mark, train, datagram, None);
        match (outcome, manner.length) {
            (Err(error), Length::Cut) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                socket::let_fragment(&self.io, to.is_ipv4(), true)?;
                let outcome = self.transmit(to, from, manner.mark, train, datagram, None);
                socket::let_fragment(&self.io, to.is_ipv4(), false)?;
                outcome
            }
            (outcome, Length::Cut | Length::Whole) => outcome,
        }
    }

    /// One system call.
    fn transmit(
        &self,
        destination: SocketAddr,
        src_ip: Option<IpAddr>,
        mark: Mark,
        train: &Train<'_>,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let octet = mark.octet_over(train.octet);
        if mark.fwmark != 0 || code_point(octet) != 0 {
            return self.transmit_marked(destination, src_ip, mark.fwmark, octet, contents, segment_size);
        }
        let ecn = EcnCodepoint::from_bits(octet);
        let transmit = Transmit { destination, ecn, contents, segment_size, src_ip };
        // Not through the event loop: nobody waits for room, and a fresh socket has not been reported writable yet.
        self.state.try_send((&self.io).into(), &transmit)
    }
}

impl Port {
    /// One system call with what `quinn-udp` does not send: code point and mark.
    fn transmit_marked(
        &self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        fwmark: u32,
        octet: u8,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let mut control = Control::none().octet(destination.is_ipv4(), octet);
        if let Some(source) = source {
            control = control.from(source);
        }
        if fwmark != 0 {
            control = control.firewall_mark(fwmark);
        }
        if let Some(size) = segment_size {
            control = control.segment(u16::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?);
        }
        socket::send_datagrams(&self.io, destination, contents, control.as_bytes())
    }
}

/// Whether sending one by one may succeed where sending together failed.
fn is_about_offload(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE))
}

impl Sent {
    /// Notes datagrams that were not sent.
    fn fail(&mut self, error: &io::Error, datagrams: u64) {
        self.lost = self.lost.saturating_add(datagrams);
        self.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
        self.cause = Some(match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock, _) | (_, Some(libc::ENOBUFS)) => DropCause::SendBuffer,
            (_, Some(libc::EMSGSIZE)) => DropCause::TooLong,
            (_, Some(libc::EPERM)) => DropCause::Forbidden,
            _ => DropCause::Unreachable,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmp_error_wakes_whoever_waits_and_says_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let closed = std::net::UdpSocket::bind("127.0.2.1:0").unwrap().local_addr().unwrap();
            let port = Port::new(socket::connect_datagrams(closed).unwrap()).unwrap();
            let train =
                Train { peer: closed, local: None, octet: 0, in_fragments: false, bytes: b"x", stride: 1 };
            assert_eq!(port.send(closed, None, Manner::PLAIN, &train).bytes, 1);
            let mut batch = Batch::default();
            let told = async {
                loop {
                    port.readable().await.unwrap();
                    if let Err(error) = port.receive(&mut batch) {
                        return error.kind();
                    }
                }
            };
            let told = tokio::time::timeout(std::time::Duration::from_secs(15), told).await;
            assert_eq!(told.unwrap(), io::ErrorKind::ConnectionRefused);
        });
    }
}
