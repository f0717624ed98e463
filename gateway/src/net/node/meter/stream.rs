//! A TCP socket's meter.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use billing_export::{ByteBasis, Volume};

use super::totals::Totals;
use crate::flow::engine::{Counter, Reading, Unknowable};
use crate::flow::ip_bytes::{InboundOptions, StreamCounters, segment_header};
use crate::flow::sent::{Queues, Sent};
use crate::net::sys::header_lengths::{Birth, HeaderLengths};
use crate::net::sys::socket::{self, StreamState};
use crate::net::tcp::stream::TcpStream;

/// IP bytes of a packet at most that the kernel gives to a queue: 64 KiB of payload, and the headers of its segments
/// (`GSO_LEGACY_MAX_SIZE`).
const PACKET_BYTES_MAX: u64 = 128 << 10;

/// The subscriber's TCP socket, and what passed through it.
pub struct StreamMeter {
    /// The socket.
    socket: Rc<TcpStream>,
    totals: Totals,
    /// Payload the socket took for sending.
    written: u64,
    /// Payload read from the socket.
    read: u64,
    /// Bytes on their way that are not among the totals yet, at the last reading.
    uncounted: u64,
    /// What IP bytes are counted from; none: payload is counted. In a box, for a flow whose payload counts needs none of it.
    ip: Option<Box<IpCount>>,
    /// Whether FIN was sent, which the kernel counts as one unacknowledged byte.
    finished: bool,
    /// Whether something sent waits for its acknowledgement, at the last reading.
    waiting: bool,
    /// Whether the last reading said that less passed than we moved.
    contradicts: bool,
    /// Whose packets it sends.
    leg: Leg,
}

/// Who is at the other end of a stream on the subscriber's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// The subscriber.
    Subscriber,
    /// A balancer in front of us, whose own packets go to the subscriber.
    Balancer,
}

/// What the IP bytes of a stream are counted from.
struct IpCount {
    /// The subscriber's address, which tells the length of the headers.
    address: IpAddr,
    /// Segments in and out; the kernel's counters have 32 bits.
    segments: Segments,
    /// Who sees the headers of what the subscriber sends.
    headers: Option<Observed>,
    /// IP bytes that went to the subscriber.
    sent: Sent,
    /// Payload the socket has taken and not sent, at the last reading.
    unsent: u64,
    /// Bytes of options that may be missing among the totals, at the last reading.
    options_uncounted: u64,
    /// Whether FIN has passed both ways and everything is acknowledged: no reading says more than the last one.
    over: bool,
}

/// What is known of a connection's headers, and where.
struct Observed {
    lengths: Arc<HeaderLengths>,
    /// Where it stood when the connection was accepted.
    birth: Birth,
    /// The subscriber's port.
    port: u16,
}

/// Counters of segments beyond 32 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Segments {
    sent: Wide,
    received: Wide,
    delivered: Wide,
    delivered_twice: Wide,
    out_of_order: Wide,
}

/// A counter of 64 bits made of one of 32 that wraps, and began at nought with it.
#[derive(Clone, Copy, Debug, Default)]
struct Wide(u64);

impl Wide {
    /// The total after the narrow counter reads `next`; it must be read at least once while it goes round.
    fn follow(&mut self, next: u32) -> u64 {
        // What the narrow counter read last: the lower half of the total.
        let last = (self.0 & 0xFFFF_FFFF) as u32;
        self.0 = self.0.saturating_add(u64::from(next.wrapping_sub(last)));
        self.0
    }
}

impl StreamMeter {
    /// Of a socket that carried nothing yet.
    pub(super) fn new(socket: Rc<TcpStream>, address: IpAddr, basis: ByteBasis) -> Self {
        let ip = match basis {
            ByteBasis::Payload => None,
            ByteBasis::Ip => Some(Box::new(IpCount {
                address,
                segments: Segments::default(),
                headers: None,
                sent: Sent::default(),
                unsent: 0,
                options_uncounted: 0,
                over: false,
            })),
        };
        Self {
            socket,
            totals: Totals::default(),
            written: 0,
            read: 0,
            uncounted: 0,
            ip,
            finished: false,
            waiting: false,
            contradicts: false,
            leg: Leg::Subscriber,
        }
    }

    /// The headers of `peer` were seen from its `birth` on.
    pub(super) fn observe(&mut self, lengths: &Arc<HeaderLengths>, peer: SocketAddr, birth: Birth) {
        if let Some(ip) = &mut self.ip {
            ip.headers = Some(Observed { lengths: Arc::clone(lengths), birth, port: peer.port() });
        }
    }

    /// The same behind a balancer.
    pub(super) fn behind_balancer(self) -> Self {
        Self { leg: Leg::Balancer, ..self }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, if it is the subscriber's own.
    pub(super) fn own_socket(&self) -> Option<Rc<TcpStream>> {
        match self.leg {
            Leg::Subscriber => Some(Rc::clone(&self.socket)),
            Leg::Balancer => None,
        }
    }

    /// The flow begins, with the queues like this.
    pub(super) fn begin(&mut self, queues: Queues) {
        if let Some(ip) = &mut self.ip {
            ip.sent = Sent::new(queues);
        }
    }

    /// Adds payload that was read; the bytes seen with it.
    pub(super) fn add_read(&mut self, bytes: u64) -> u64 {
        self.read = self.read.saturating_add(bytes);
        if self.ip.is_some() {
            return 0;
        }
        self.totals.see_up(bytes);
        bytes
    }

    /// Adds payload that the socket took.
    pub(super) fn add_written(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
        self.waiting = true;
    }

    /// Notes that FIN follows what was written.
    pub(super) const fn set_finished(&mut self) {
        self.finished = true;
    }

    /// The totals and what was sent, of a flow that has ended; none where what was sent is what was acknowledged.
    pub(super) fn into_sent(self) -> Option<(Totals, Sent)> {
        self.ip.map(|ip| (self.totals, ip.sent))
    }

    /// Bytes that may have passed and are never among the totals, at the last reading.
    fn unknowable(&self) -> Unknowable {
        self.ip.as_ref().map_or_else(Unknowable::default, |ip| Unknowable {
            dropped: ip.sent.lost(),
            options: ip.options_uncounted,
        })
    }

    /// What payload comes to, at a guess.
    pub(super) fn guess(&self, payload: u64) -> u64 {
        match &self.ip {
            Some(ip) => payload.saturating_add(segment_header(ip.address).saturating_mul(2)),
            None => payload,
        }
    }

    /// Raises the totals to what the kernel says; false when it does not say.
    fn refresh(&mut self, queues: Queues) -> bool {
        let Some(ip) = &self.ip else { return self.refresh_payload() };
        if ip.over {
            self.settle(queues);
            return true;
        }
        let state = socket::stream_state(&*self.socket);
        if let Ok(state) = &state {
            self.refresh_ip(state);
        }
        self.settle(queues);
        state.is_ok()
    }

    /// Takes among the totals what has left, and has what was sent since wait for the next look.
    fn settle(&mut self, queues: Queues) {
        let Some(ip) = &mut self.ip else { return };
        ip.sent.look(queues);
        self.totals.raise(Volume { up: 0, down: ip.sent.left() });
        self.uncounted = ip.unsent.saturating_add(ip.sent.moving());
    }

    /// Whether everything is acknowledged, FIN included.
    pub(super) fn is_delivered(&mut self, queues: Queues) -> bool {
        if self.ip.is_some() {
            !self.refresh(queues) || !self.waiting
        } else {
            socket::unacknowledged(&*self.socket).is_ok_and(|waiting| waiting == 0)
        }
    }

    /// Payload: what the subscriber acknowledged.
    fn refresh_payload(&mut self) -> bool {
        let Ok(queued) = socket::unacknowledged(&*self.socket) else { return false };
        // With everything acknowledged and FIN out the queue reads 1, with FIN acknowledged 0; before that FIN is one of the
        // bytes.
        let queued = if self.finished { queued.saturating_sub(1) } else { queued };
        let delivered = self.written.saturating_sub(queued);
        self.totals.raise(Volume { up: 0, down: delivered });
        self.waiting = delivered < self.written;
        self.uncounted = self.written.saturating_sub(delivered);
        true
    }

    /// IP bytes: the kernel's counters.
    fn refresh_ip(&mut self, state: &StreamState) {
        let Some(ip) = self.ip.as_deref_mut() else { return };
        let IpCount { address, segments, headers, .. } = ip;
        let address = *address;
        let inbound = headers.as_ref().map_or(InboundOptions::Unknown, |seen| {
            seen.lengths.of(&*self.socket, SocketAddr::new(address, seen.port), state, seen.birth)
        });
        let counters = StreamCounters {
            bytes_sent: state.bytes_sent,
            bytes_received: state.bytes_received,
            segments_out: segments.sent.follow(state.segments_out),
            segments_in: segments.received.follow(state.segments_in),
            options: state.options,
            inbound,
            told_segment_size: state.told_segment_size(),
            finished: state.may_have_received_fin,
            bytes_acknowledged: state.bytes_acknowledged,
            segments_delivered: segments
                .delivered
                .follow(state.segments_delivered)
                .saturating_sub(segments.delivered_twice.follow(state.segments_delivered_twice)),
            segments_out_of_order: segments.out_of_order.follow(state.segments_out_of_order),
        };
        let volume = counters.volume(address);
        ip.options_uncounted = counters.uncounted_options(address);
        self.totals.raise(Volume { down: 0, ..volume });
        ip.sent.raise(volume.down, PACKET_BYTES_MAX, counters.acknowledged(address));
        self.waiting = state.unacknowledged > 0 || state.unsent > 0;
        ip.unsent = u64::from(state.unsent);
        ip.over = self.finished && state.may_have_received_fin && !self.waiting;
        let queued = state.bytes_sent.saturating_add(u64::from(state.unsent));
        self.contradicts = self.read > state.bytes_received || self.written > queued;
    }
}

impl Counter for StreamMeter {
    fn read(&mut self, queues: Queues) -> Reading {
        self.refresh(queues);
        self.totals.reading(self.unknowable(), self.contradicts)
    }

    fn sent(&self) -> Option<&Sent> {
        self.ip.as_ref().map(|ip| &ip.sent)
    }

    fn moving(&self) -> u64 {
        self.uncounted
    }

    fn is_waiting(&self) -> bool {
        self.waiting || self.sent().is_some_and(Sent::is_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t29_a_counter_of_32_bits_that_goes_round_is_followed() {
        let mut wide = Wide::default();
        assert_eq!(wide.follow(u32::MAX), 4_294_967_295);
        assert_eq!(wide.follow(4), 4_294_967_300);
        assert_eq!(wide.follow(4), 4_294_967_300);
    }
}
