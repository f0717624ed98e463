//! Receiving replies to datagrams, many in one call.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{Lane, Way};
use crate::net::dns::relay::{BUFFER_BYTES, Relay};

/// Replies read in one call; then other work gets its turn.
pub(in crate::net::dns) const REPLIES_PER_CALL_MAX: usize = 32;

/// Receives replies to datagrams until the way ends.
pub(super) async fn receive(relay: Rc<Relay>, lane: Rc<Lane>) {
    let Way::Datagrams(socket) = &lane.way else { return };
    loop {
        // ICMP says that nobody listens there (udp(7), "ECONNREFUSED"): an error without anything to read.
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else { return };
        if ready.is_error() {
            let taken: io::Result<()> = socket.try_io(Interest::ERROR, || match socket.take_error()? {
                Some(error) => Err(error),
                None => Err(io::ErrorKind::WouldBlock.into()),
            });
            if taken.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                relay.lane_refused(&lane);
            }
        }
        let mut lengths = [0; REPLIES_PER_CALL_MAX];
        let mut count = 0;
        let received = socket.try_io(Interest::READABLE, || {
            count = receive_some(socket, &mut relay.buffer.borrow_mut(), &mut lengths)?;
            // A call that is not filled leaves nothing: the event loop is told so without another call.
            if count < REPLIES_PER_CALL_MAX { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        {
            let mut buffer = relay.buffer.borrow_mut();
            for (place, length) in buffer.chunks_exact_mut(BUFFER_BYTES).zip(lengths).take(count) {
                relay.replied(&lane, place.get_mut(..length).unwrap_or_default());
            }
        }
        if let Err(error) = received
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::debug!(server = lane.server, %error, "server not reached");
            relay.lane_refused(&lane);
        }
        tokio::task::yield_now().await;
    }
}

/// Receives the replies that have come (recvmmsg(2)), each into its part of `buffer`; how many, with their lengths.
fn receive_some(
    socket: &UdpSocket,
    buffer: &mut [u8],
    lengths: &mut [usize; REPLIES_PER_CALL_MAX],
) -> io::Result<usize> {
    let mut parts = buffer.chunks_exact_mut(BUFFER_BYTES);
    let mut slices: [[IoSliceMut<'_>; 1]; REPLIES_PER_CALL_MAX] =
        std::array::from_fn(|_| [IoSliceMut::new(parts.next().unwrap_or_default())]);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(REPLIES_PER_CALL_MAX, None);
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
    let mut count = 0_usize;
    for (length, reply) in lengths.iter_mut().zip(received) {
        *length = reply.bytes;
        count = count.saturating_add(1);
    }
    Ok(count)
}
