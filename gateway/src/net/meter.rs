//! The subscriber's side of a flow: running totals of what passed there, in the node's byte basis.
//!
//! Payload of TCP: up is what was read from the socket, down what the subscriber acknowledged. IP bytes of TCP: both are the
//! kernel's own counters (DESIGN decision 13). Datagrams: each as it is read or taken for sending.
//!
//! What passes at a call of ours is seen there, and the call's answer says how much; what only the kernel knows of is seen at
//! the next reading. Either way the sum of what was seen is what conservation is checked against, beside the tallies.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use allowlist::Transport;
use billing_export::{ByteBasis, Volume};
use tokio::net::TcpStream;

use super::header_lengths::{Birth, HeaderLengths};
use super::socket::{self, StreamState};
use crate::flow::ip_bytes::{InboundOptions, StreamCounters, datagram_header, segment_header};

/// The subscriber's side of a flow.
pub enum SubscriberSide {
    /// A TCP socket of the flow's own.
    Stream(StreamMeter),
    /// Datagrams through the listener's socket.
    Datagrams(DatagramMeter),
}

/// Running totals of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// Bytes of both directions.
    carried: Volume,
    /// Those of them that were told: at a call, or at a reading.
    told: Volume,
}

/// One reading of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Running totals.
    pub carried: Volume,
    /// What of them nobody was told before.
    pub unseen: Volume,
    /// Our calls moved more than the kernel says passed: one of the two counts is wrong.
    pub contradicts: bool,
}

impl Totals {
    /// Raises the totals; a lower one changes nothing.
    fn raise(&mut self, to: Volume) {
        self.carried.up = self.carried.up.max(to.up);
        self.carried.down = self.carried.down.max(to.down);
    }

    /// Adds bytes that the subscriber sent and that are told at once.
    fn see_up(&mut self, bytes: u64) {
        self.carried.up = self.carried.up.saturating_add(bytes);
        self.told.up = self.told.up.saturating_add(bytes);
    }

    /// Adds bytes that went to the subscriber and that are told at once.
    fn see_down(&mut self, bytes: u64) {
        self.carried.down = self.carried.down.saturating_add(bytes);
        self.told.down = self.told.down.saturating_add(bytes);
    }

    /// What was not told before.
    fn tell(&mut self) -> Volume {
        // Never negative: `told` is a former value of `carried`, which only rises.
        let new = Volume {
            up: self.carried.up.saturating_sub(self.told.up),
            down: self.carried.down.saturating_sub(self.told.down),
        };
        self.told = self.carried;
        new
    }
}

/// Datagrams both ways.
pub struct DatagramMeter {
    totals: Totals,
    /// Bytes of the headers that count with each.
    header: u64,
}

/// The subscriber's TCP socket, and what passed through it.
pub struct StreamMeter {
    /// The socket.
    socket: Rc<TcpStream>,
    totals: Totals,
    /// Payload the socket took for sending.
    written: u64,
    /// Payload read from the socket.
    read: u64,
    /// Whether FIN was sent, which the kernel counts as one unacknowledged byte.
    finished: bool,
    /// Whether something sent waits for its acknowledgement, at the last reading.
    waiting: bool,
    /// Whether FIN has passed both ways and everything is acknowledged: no reading says more than the last one.
    over: bool,
    /// Payload the socket has taken that is not among the totals yet, at the last reading.
    uncounted: u64,
    /// Whether the last reading said that less passed than we moved.
    contradicts: bool,
    /// Whose packets it sends.
    leg: Leg,
    /// What is counted.
    basis: StreamBasis,
}

/// Who is at the other end of a stream on the subscriber's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// The subscriber.
    Subscriber,
    /// A balancer in front of us, whose own packets go to the subscriber.
    Balancer,
}

/// What is counted of a stream.
enum StreamBasis {
    /// Payload.
    Payload,
    /// IP bytes.
    Ip {
        /// The subscriber's address, which tells the length of the headers.
        address: IpAddr,
        /// Segments in and out; the kernel's counters have 32 bits.
        segments: Segments,
        /// Who sees the headers of what the subscriber sends.
        headers: Option<Observed>,
    },
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
}

/// A counter of 64 bits made of one of 32 that wraps.
#[derive(Clone, Copy, Debug, Default)]
struct Wide {
    total: u64,
    last: u32,
}

impl Wide {
    /// The total after the narrow counter reads `next`; it must be read at least once while it goes round.
    fn follow(&mut self, next: u32) -> u64 {
        self.total = self.total.saturating_add(u64::from(next.wrapping_sub(self.last)));
        self.last = next;
        self.total
    }
}

impl SubscriberSide {
    /// The side of a TCP flow that has not begun, of a subscriber at `address`.
    pub fn stream(socket: Rc<TcpStream>, address: IpAddr, basis: ByteBasis) -> Self {
        let basis = match basis {
            ByteBasis::Payload => StreamBasis::Payload,
            ByteBasis::Ip => StreamBasis::Ip { address, segments: Segments::default(), headers: None },
        };
        Self::Stream(StreamMeter {
            socket,
            totals: Totals::default(),
            written: 0,
            read: 0,
            finished: false,
            waiting: false,
            over: false,
            uncounted: 0,
            contradicts: false,
            leg: Leg::Subscriber,
            basis,
        })
    }

    /// The same of a connection of `peer` whose headers were seen from its `birth` on; none: they were not.
    #[must_use]
    pub fn observed(
        mut self,
        lengths: Option<&Arc<HeaderLengths>>,
        peer: SocketAddr,
        birth: Option<Birth>,
    ) -> Self {
        let seen = lengths.zip(birth).map(|(lengths, birth)| Observed {
            lengths: Arc::clone(lengths),
            birth,
            port: peer.port(),
        });
        match &mut self {
            Self::Stream(StreamMeter { basis: StreamBasis::Ip { headers, .. }, .. }) => *headers = seen,
            Self::Stream(StreamMeter { basis: StreamBasis::Payload, .. }) | Self::Datagrams(_) => {}
        }
        self
    }

    /// The same behind a balancer.
    #[must_use]
    pub fn behind_balancer(self) -> Self {
        match self {
            Self::Stream(meter) => Self::Stream(StreamMeter { leg: Leg::Balancer, ..meter }),
            Self::Datagrams(_) => self,
        }
    }

    /// The socket whose packets reach the subscriber as they are: none of datagrams, which share their socket, and none
    /// behind a balancer.
    pub fn own_socket(&self) -> Option<Rc<TcpStream>> {
        match self {
            Self::Stream(StreamMeter { leg: Leg::Subscriber, socket, .. }) => Some(Rc::clone(socket)),
            Self::Stream(StreamMeter { leg: Leg::Balancer, .. }) | Self::Datagrams(_) => None,
        }
    }

    /// The side of a UDP flow that has not begun, of a subscriber at `address`.
    pub fn datagrams(address: IpAddr, basis: ByteBasis) -> Self {
        let header = match basis {
            ByteBasis::Payload => 0,
            ByteBasis::Ip => datagram_header(address),
        };
        Self::Datagrams(DatagramMeter { totals: Totals::default(), header })
    }

    /// TCP or UDP.
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Stream(_) => Transport::Tcp,
            Self::Datagrams(_) => Transport::Udp,
        }
    }

    /// Adds payload of a stream that was read; the bytes seen with it.
    pub fn add_read(&mut self, bytes: u64) -> u64 {
        match self {
            Self::Stream(meter) => {
                meter.read = meter.read.saturating_add(bytes);
                match meter.basis {
                    StreamBasis::Payload => {
                        meter.totals.see_up(bytes);
                        bytes
                    }
                    StreamBasis::Ip { .. } => 0,
                }
            }
            Self::Datagrams(_) => 0,
        }
    }

    /// Adds payload of a stream that the socket took; it is seen when the subscriber acknowledges it, or the kernel sends it.
    pub fn add_written(&mut self, bytes: u64) {
        match self {
            Self::Stream(meter) => {
                meter.written = meter.written.saturating_add(bytes);
                meter.waiting = true;
            }
            Self::Datagrams(_) => {}
        }
    }

    /// Adds a datagram that was received, by the length of its payload; the bytes seen with it.
    pub fn add_received_datagram(&mut self, payload: usize) -> u64 {
        match self {
            Self::Stream(_) => 0,
            Self::Datagrams(meter) => {
                let bytes = meter.header.saturating_add(payload as u64);
                meter.totals.see_up(bytes);
                bytes
            }
        }
    }

    /// Adds datagrams that the listener's socket took for the subscriber, by their number and the sum of their payloads; the
    /// bytes seen with them.
    pub fn add_sent_datagrams(&mut self, datagrams: u64, payload: u64) -> u64 {
        match self {
            Self::Stream(_) => 0,
            Self::Datagrams(meter) => {
                let bytes = meter.header.saturating_mul(datagrams).saturating_add(payload);
                meter.totals.see_down(bytes);
                bytes
            }
        }
    }

    /// Notes that FIN follows what was written.
    pub const fn set_finished(&mut self) {
        match self {
            Self::Stream(meter) => meter.finished = true,
            Self::Datagrams(_) => {}
        }
    }

    /// Reads the meter. A reading that fails leaves the totals where they were: it under-counts.
    pub fn read(&mut self) -> Reading {
        let (totals, contradicts) = match self {
            Self::Stream(meter) => {
                meter.refresh();
                (&mut meter.totals, meter.contradicts)
            }
            Self::Datagrams(meter) => (&mut meter.totals, false),
        };
        let unseen = totals.tell();
        Reading { carried: totals.carried, unseen, contradicts }
    }

    /// Whether the subscriber has acknowledged everything, FIN included; also when the system does not say.
    pub fn is_delivered(&mut self) -> bool {
        match self {
            Self::Stream(meter) => meter.is_delivered(),
            Self::Datagrams(_) => true,
        }
    }

    /// Payload on its way to the subscriber that is not among the totals yet, at the last reading.
    pub const fn uncounted(&self) -> u64 {
        match self {
            Self::Stream(meter) => meter.uncounted,
            Self::Datagrams(_) => 0,
        }
    }

    /// What payload that one call moved comes to in the byte basis, at a guess: one segment and its acknowledgement.
    pub fn guess(&self, payload: u64) -> u64 {
        match self {
            Self::Stream(StreamMeter { basis: StreamBasis::Ip { address, .. }, .. }) => {
                payload.saturating_add(segment_header(*address).saturating_mul(2))
            }
            Self::Stream(StreamMeter { basis: StreamBasis::Payload, .. }) | Self::Datagrams(_) => payload,
        }
    }

    /// Whether something sent waits for its acknowledgement, so that the totals rise without a call of ours.
    pub const fn is_waiting(&self) -> bool {
        match self {
            Self::Stream(meter) => meter.waiting,
            Self::Datagrams(_) => false,
        }
    }
}

impl StreamMeter {
    /// Raises the totals to what the kernel says; false when it does not say.
    fn refresh(&mut self) -> bool {
        match self.basis {
            StreamBasis::Payload => self.refresh_payload(),
            StreamBasis::Ip { .. } if self.over => true,
            StreamBasis::Ip { address, .. } => match socket::stream_state(&*self.socket) {
                Ok(state) => {
                    self.refresh_ip(address, &state);
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// Whether everything is acknowledged, FIN included.
    fn is_delivered(&mut self) -> bool {
        match self.basis {
            StreamBasis::Payload => socket::unacknowledged(&*self.socket).is_ok_and(|waiting| waiting == 0),
            StreamBasis::Ip { .. } => !self.refresh() || !self.waiting,
        }
    }

    /// Payload: what the subscriber acknowledged.
    fn refresh_payload(&mut self) -> bool {
        let Ok(queued) = socket::unacknowledged(&*self.socket) else { return false };
        // With everything acknowledged and FIN out the queue reads 1, with FIN acknowledged 0; before that FIN is one of the bytes.
        let queued = if self.finished { queued.saturating_sub(1) } else { queued };
        let delivered = self.written.saturating_sub(queued);
        self.totals.raise(Volume { up: 0, down: delivered });
        self.waiting = delivered < self.written;
        self.uncounted = self.written.saturating_sub(delivered);
        true
    }

    /// IP bytes: the kernel's counters.
    fn refresh_ip(&mut self, address: IpAddr, state: &StreamState) {
        let StreamBasis::Ip { segments, headers, .. } = &mut self.basis else { return };
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
        };
        self.totals.raise(counters.volume(address));
        self.waiting = state.unacknowledged > 0 || state.unsent > 0;
        self.uncounted = u64::from(state.unsent);
        self.over = self.finished && state.may_have_received_fin && !self.waiting;
        let queued = state.bytes_sent.saturating_add(u64::from(state.unsent));
        self.contradicts = self.read > state.bytes_received || self.written > queued;
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

    #[test]
    fn b26_what_is_told_adds_up_and_never_falls() {
        let mut totals = Totals::default();
        let mut told = Volume::ZERO;
        for step in [5_u64, 3, 9, 9, 0, 20] {
            totals.raise(Volume { up: step, down: 2 * step });
            told = told.checked_add(totals.tell()).unwrap();
        }
        assert_eq!(told, Volume { up: 20, down: 40 });
        assert_eq!(totals.tell(), Volume::ZERO);
    }

    #[test]
    fn datagrams_count_their_headers_in_ip_bytes_alone() {
        let count = |address: &str, basis| {
            let mut side = SubscriberSide::datagrams(address.parse().unwrap(), basis);
            let up = side.add_received_datagram(1_200) + side.add_received_datagram(0);
            let down = side.add_sent_datagrams(3, 3_600);
            let carried = Volume { up, down };
            assert_eq!(side.read(), Reading { carried, unseen: Volume::ZERO, contradicts: false });
            carried
        };
        assert_eq!(count("192.0.2.1", ByteBasis::Payload), Volume { up: 1_200, down: 3_600 });
        assert_eq!(count("192.0.2.1", ByteBasis::Ip), Volume { up: 1_200 + 56, down: 3_600 + 84 });
        assert_eq!(count("2001:db8::1", ByteBasis::Ip), Volume { up: 1_200 + 96, down: 3_600 + 144 });
    }
}
