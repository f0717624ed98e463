//! The subscriber's side of a flow: running totals of what passed there, in the node's byte basis.
//!
//! Payload of TCP: up is what was read from the socket, down what the subscriber acknowledged. IP bytes of TCP: the kernel's
//! own counters (decision 13). Datagrams: each as it is read or taken for sending. What is sent counts when it is
//! acknowledged, or when the queues of interfaces have let it go ([`crate::flow::sent`]).
//!
//! What passes at a call of ours is seen there, and the call's answer says how much; what only the kernel knows of is seen at
//! the next reading. Either way the sum of what was seen is what conservation is checked against, beside the tallies.

mod datagrams;
mod remainder;
mod slot;
mod stream;
mod totals;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use allowlist::Transport;
use billing_export::ByteBasis;

use self::datagrams::DatagramMeter;
pub use self::remainder::Remainder;
pub use self::slot::SlotMeter;
use self::stream::StreamMeter;
use crate::flow::engine::Counter;
use crate::flow::sent::Queues;
use crate::net::sys::header_lengths::{Birth, HeaderLengths};
use crate::net::tcp::stream::TcpStream;

/// The subscriber's side of a flow.
pub enum SubscriberSide {
    /// A TCP socket of the flow's own.
    Stream(StreamMeter),
    /// Datagrams through the listener's socket.
    // In a box, for a stream needs half as much room, and there are many that are idle.
    Datagrams(Box<DatagramMeter>),
    /// Packets that stay in the kernel, counted in a slot.
    Slot(Box<SlotMeter>),
}

impl SubscriberSide {
    /// The side of a TCP flow that has not begun, of a subscriber at `address`.
    pub fn stream(socket: Rc<TcpStream>, address: IpAddr, basis: ByteBasis) -> Self {
        Self::Stream(StreamMeter::new(socket, address, basis))
    }

    /// The same of a connection of `peer` whose headers were seen from its `birth` on; none: they were not.
    #[must_use]
    pub fn observed(
        mut self,
        lengths: Option<&Arc<HeaderLengths>>,
        peer: SocketAddr,
        birth: Option<Birth>,
    ) -> Self {
        match (&mut self, lengths, birth) {
            (Self::Stream(meter), Some(lengths), Some(birth)) => meter.observe(lengths, peer, birth),
            (Self::Stream(_) | Self::Datagrams(_) | Self::Slot(_), _, _) => {}
        }
        self
    }

    /// The same behind a balancer.
    #[must_use]
    pub fn behind_balancer(self) -> Self {
        match self {
            Self::Stream(meter) => Self::Stream(meter.behind_balancer()),
            Self::Datagrams(_) | Self::Slot(_) => self,
        }
    }

    /// The flow's own socket on this side: none of datagrams, nor of packets that stay in the kernel.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Stream(meter) => Some(meter.socket()),
            Self::Datagrams(_) | Self::Slot(_) => None,
        }
    }

    /// The socket whose packets reach the subscriber as they are: none of datagrams, which share their socket, and none
    /// behind a balancer.
    pub fn own_socket(&self) -> Option<Rc<TcpStream>> {
        match self {
            Self::Stream(meter) => meter.own_socket(),
            Self::Datagrams(_) | Self::Slot(_) => None,
        }
    }

    /// The side of a UDP flow that has not begun, of a subscriber at `address`.
    pub fn datagrams(address: IpAddr, basis: ByteBasis) -> Self {
        Self::Datagrams(Box::new(DatagramMeter::new(address, basis)))
    }

    /// The flow begins, with the queues like this: what they dropped before was not its own.
    pub fn begin(&mut self, queues: Queues) {
        match self {
            Self::Stream(meter) => meter.begin(queues),
            Self::Datagrams(meter) => meter.begin(queues),
            Self::Slot(_) => {}
        }
    }

    /// TCP or UDP.
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Stream(_) => Transport::Tcp,
            Self::Datagrams(_) => Transport::Udp,
            Self::Slot(meter) => meter.transport(),
        }
    }

    /// Adds payload of a stream that was read; the bytes seen with it.
    pub fn add_read(&mut self, bytes: u64) -> u64 {
        match self {
            Self::Stream(meter) => meter.add_read(bytes),
            Self::Datagrams(_) | Self::Slot(_) => 0,
        }
    }

    /// Adds payload of a stream that the socket took; it is seen when the subscriber acknowledges it, or the kernel sends it.
    pub fn add_written(&mut self, bytes: u64) {
        match self {
            Self::Stream(meter) => meter.add_written(bytes),
            Self::Datagrams(_) | Self::Slot(_) => {}
        }
    }

    /// Adds a datagram that was received, by the length of its payload; the bytes seen with it.
    pub fn add_received_datagram(&mut self, payload: usize) -> u64 {
        match self {
            Self::Stream(_) | Self::Slot(_) => 0,
            Self::Datagrams(meter) => meter.add_received(payload),
        }
    }

    /// Adds datagrams that the listener's socket took for the subscriber, by their number, the sum of their payloads and that of
    /// the largest packet they went in; what they come to. They are seen when the queues have let them go.
    pub fn add_sent_datagrams(&mut self, datagrams: u64, payload: u64, largest: u64) -> u64 {
        match self {
            Self::Stream(_) | Self::Slot(_) => 0,
            Self::Datagrams(meter) => meter.add_sent(datagrams, payload, largest),
        }
    }

    /// Notes that FIN follows what was written.
    pub const fn set_finished(&mut self) {
        match self {
            Self::Stream(meter) => meter.set_finished(),
            Self::Datagrams(_) | Self::Slot(_) => {}
        }
    }

    /// The slot, of packets that stay in the kernel.
    pub fn slot_mut(&mut self) -> Option<&mut SlotMeter> {
        match self {
            Self::Stream(_) | Self::Datagrams(_) => None,
            Self::Slot(meter) => Some(meter),
        }
    }

    /// What counts its bytes.
    pub fn counter(&self) -> &dyn Counter {
        match self {
            Self::Stream(meter) => meter,
            Self::Datagrams(meter) => &**meter,
            Self::Slot(meter) => &**meter,
        }
    }

    /// The same, to be read.
    pub fn counter_mut(&mut self) -> &mut dyn Counter {
        match self {
            Self::Stream(meter) => meter,
            Self::Datagrams(meter) => &mut **meter,
            Self::Slot(meter) => &mut **meter,
        }
    }

    /// The flow has ended and was read for the last time: what of it is not known yet.
    pub fn end(self, queues: Queues) -> Option<Remainder> {
        let (totals, sent) = match self {
            Self::Stream(meter) => meter.into_sent()?,
            Self::Datagrams(meter) => meter.into_sent(),
            // Packets count as they pass.
            Self::Slot(_) => return None,
        };
        Remainder::new(totals, sent, queues)
    }

    /// Whether the subscriber has acknowledged everything, FIN included; also when the system does not say.
    pub fn is_delivered(&mut self, queues: Queues) -> bool {
        match self {
            Self::Stream(meter) => meter.is_delivered(queues),
            Self::Datagrams(_) | Self::Slot(_) => true,
        }
    }

    /// What payload that one call moved comes to in the byte basis, at a guess: one segment and its acknowledgement.
    pub fn guess(&self, payload: u64) -> u64 {
        match self {
            Self::Stream(meter) => meter.guess(payload),
            Self::Datagrams(_) | Self::Slot(_) => payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use billing_export::Volume;

    use super::*;
    use crate::flow::engine::{Reading, Unknowable};

    #[test]
    fn datagrams_count_their_headers_in_ip_bytes_alone() {
        let count = |address: &str, basis| {
            let mut side = SubscriberSide::datagrams(address.parse().unwrap(), basis);
            let up = side.add_received_datagram(1_200) + side.add_received_datagram(0);
            let down = side.add_sent_datagrams(3, 3_600, 3_600);
            let queues = |looks| Queues { looks, emptied: looks, dropped: 0 };
            let seen = Volume { up, down: 0 };
            assert_eq!(
                side.counter_mut().read(queues(1)),
                Reading {
                    carried: seen,
                    unseen: Volume::ZERO,
                    refused: Volume::ZERO,
                    unknowable: Unknowable::default(),
                    contradicts: false
                }
            );
            assert_eq!(
                (side.counter().moving(), side.counter().moving_after(down), side.counter().is_waiting()),
                (down, 0, true)
            );
            let (carried, unseen) = (Volume { up, down }, Volume { up: 0, down });
            assert_eq!(
                side.counter_mut().read(queues(2)),
                Reading {
                    carried,
                    unseen,
                    refused: Volume::ZERO,
                    unknowable: Unknowable::default(),
                    contradicts: false
                }
            );
            assert!(!side.counter().is_waiting() && side.end(queues(2)).is_none());
            carried
        };
        assert_eq!(count("192.0.2.1", ByteBasis::Payload), Volume { up: 1_200, down: 3_600 });
        assert_eq!(count("192.0.2.1", ByteBasis::Ip), Volume { up: 1_200 + 56, down: 3_600 + 84 });
        assert_eq!(count("2001:db8::1", ByteBasis::Ip), Volume { up: 1_200 + 96, down: 3_600 + 144 });
    }

    #[test]
    fn f61_what_an_ended_flow_sent_last_counts_when_it_has_left() {
        let queues = |looks, dropped| Queues { looks, emptied: looks, dropped };
        for (dropped, down) in [(0, 3_000), (1, 1_500), (2, 0)] {
            let mut side = SubscriberSide::datagrams("192.0.2.1".parse().unwrap(), ByteBasis::Payload);
            side.begin(queues(4, 7));
            side.add_sent_datagrams(2, 1_500, 1_000);
            side.add_sent_datagrams(1, 1_500, 1_500);
            assert_eq!(side.counter_mut().read(queues(4, 7)).carried, Volume::ZERO);
            let mut rest = side.end(queues(4, 7)).unwrap();
            assert_eq!((rest.read(queues(4, 7)).unseen, rest.is_waiting()), (Volume::ZERO, true));
            assert_eq!(rest.read(queues(5, 7 + dropped)).unseen, Volume { up: 0, down });
            assert!(!rest.is_waiting());
        }
    }
}
