//! Which packet belongs to which flow, and how many are held.
//!
//! Pure: packets go in, finished flows come out, in the order of their first packets. A flow is a 5-tuple, both
//! directions, until a segment opens another connection between the same ends. Of a packet in a tunnel the inner one
//! counts. Fragments are put together first; their bytes belong to the flow whose ports stand in the first of them.
//!
//! Capture times decide nothing but how long fragments wait, how long DNS-only evidence holds, and when a flow of a live
//! capture is over: the deadline of a hello is not applied, because the time stamps of captures that were merged, edited or
//! anonymised are not those of the network.

mod companion;

use std::collections::{HashMap, VecDeque};

use allowlist::Transport;

use super::flow::{End, Finished, Flow, Way};
use crate::wire::pcap::file::Captured;
use crate::wire::pcap::fragment::{PAYLOAD_BYTES_MAX, Reassembler};
use crate::wire::pcap::ip::{self, PROTOCOL_TCP, PROTOCOL_UDP, Packet};
use crate::wire::pcap::layers::{Layers, PassedOver};
use crate::wire::pcap::link::{self, Datagram, NoDatagram};
use crate::wire::pcap::transport::{self, Tcp};
use crate::wire::pcap::tunnel;

pub use self::companion::Companion;

/// Flows held at a time. Above it the oldest is given out as it stands, and its later packets are a flow of their own.
pub const FLOWS_MAX: usize = 1_000_000;
/// Bytes of undecided and compared streams held at a time. Above it the flows that were opened first are decided as they stand.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which packets belong together: both ends, the lower first, in the same tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    tunnels: Layers,
    transport: Transport,
    low: End,
    high: End,
}

/// The flows that packets belong to.
pub struct Tracker<C: Companion> {
    /// In order of first packet; none where a flow was given out before older ones.
    flows: VecDeque<Option<Flow<C::Notes>>>,
    /// How many there are.
    held: usize,
    /// How many were given out before the first of `flows`.
    given_out: u64,
    /// The flow that a packet belongs to, by its number since the start.
    current: HashMap<Key, u64>,
    /// Flows that hold stream bytes, by number, oldest first; some may be done.
    watched: VecDeque<u64>,
    /// What all streams hold.
    held_bytes: usize,
    /// Capture time of the packet at hand.
    now: Option<u64>,
    fragments: Reassembler,
    companion: C,
    flows_max: usize,
    held_bytes_max: usize,
}

impl<C: Companion> Tracker<C> {
    /// No flows yet; the limits are [`FLOWS_MAX`] and [`HELD_BYTES_MAX`] or a test's.
    pub fn new(flows_max: usize, held_bytes_max: usize, companion: C) -> Self {
        Self {
            flows: VecDeque::new(),
            held: 0,
            given_out: 0,
            current: HashMap::new(),
            watched: VecDeque::new(),
            held_bytes: 0,
            now: None,
            fragments: Reassembler::default(),
            companion,
            flows_max,
            held_bytes_max,
        }
    }

    /// Takes the next packet; gives out the oldest flow when there are more than the limit.
    ///
    /// # Errors
    /// [`NoDatagram`]: the packet belongs to no flow, and why.
    pub fn packet(&mut self, captured: &Captured<'_>) -> Result<Option<Finished<C::Notes>>, NoDatagram> {
        let link = captured.link.ok_or(NoDatagram::UnknownLink)?;
        let datagram = link::network(link, captured.bytes, captured.wire_bytes)?;
        self.companion.tick(captured.unix_nanos);
        self.now = captured.unix_nanos;
        self.unwrap(&datagram, captured.unix_nanos)?;
        Ok(if self.held > self.flows_max { self.pop() } else { None })
    }

    /// Takes a datagram, or what is wrapped in it. Fragments are put together where they stand, in a tunnel or around one; the
    /// bound on [`Layers`] ends the descent.
    fn unwrap(&mut self, datagram: &Datagram<'_>, unix_nanos: Option<u64>) -> Result<(), PassedOver> {
        let packet = ip::read(datagram).ok_or(PassedOver::Header)?;
        if packet.fragment.is_none() {
            return match tunnel::inner(&packet)? {
                Some(inner) => self.unwrap(&inner, unix_nanos),
                None => self.take(&packet, true, false),
            };
        }
        let Some(progress) = self.fragments.push(&packet, unix_nanos) else { return Ok(()) };
        let whole = ip::reassembled(&packet, &progress);
        // Of a datagram that is not whole the length is not known: what is wrapped in it may be as long as any.
        let payload_bytes = if progress.complete.is_some() { whole.payload_bytes } else { PAYLOAD_BYTES_MAX };
        match (tunnel::inner(&Packet { payload_bytes, ..whole })?, progress.complete) {
            (Some(inner), Some(_)) => self.unwrap(&inner, unix_nanos),
            // The packet inside is counted when it is whole.
            (Some(_), None) => Ok(()),
            (None, complete) => self.take(&whole, complete.is_some(), progress.conflict),
        }
    }

    /// Takes a packet that wraps nothing; `whole` as for [`Tracker::datagram`].
    fn take(&mut self, packet: &Packet<'_>, whole: bool, contradictory: bool) -> Result<(), PassedOver> {
        let transport = match packet.protocol {
            PROTOCOL_TCP => Transport::Tcp,
            PROTOCOL_UDP => Transport::Udp,
            other => return Err(PassedOver::Protocol(other)),
        };
        let ports = transport::ports(packet.payload).ok_or(PassedOver::Protocol(packet.protocol))?;
        let way = Way {
            transport,
            source: (packet.source, ports.source),
            destination: (packet.destination, ports.destination),
            layers: packet.layers,
        };
        self.datagram(packet, &way, whole, contradictory);
        self.learn(packet, &way, whole && !contradictory);
        Ok(())
    }

    /// The oldest flow, as it stands.
    pub fn pop(&mut self) -> Option<Finished<C::Notes>> {
        loop {
            let flow = self.flows.pop_front()?;
            let number = self.given_out;
            self.given_out = self.given_out.saturating_add(1);
            if let Some(flow) = flow {
                return Some(self.give_out(number, flow));
            }
        }
    }

    /// The flows that are over at `unix_nanos`: closed a moment ago, or silent for as long as the gateway would have waited. What
    /// comes later between the same ends is a flow of its own.
    pub fn take_ended(&mut self, unix_nanos: u64) -> Vec<Finished<C::Notes>> {
        let mut ended = Vec::new();
        for index in 0..self.flows.len() {
            let over =
                self.flows.get_mut(index).and_then(|place| place.take_if(|flow| flow.is_over(unix_nanos)));
            if let Some(flow) = over {
                ended.push(self.give_out(self.given_out.saturating_add(index as u64), flow));
            }
        }
        while let Some(None) = self.flows.front() {
            self.flows.pop_front();
            self.given_out = self.given_out.saturating_add(1);
        }
        ended
    }

    /// Ends the observation of a flow that was taken out.
    fn give_out(&mut self, number: u64, flow: Flow<C::Notes>) -> Finished<C::Notes> {
        let key = flow.way().key();
        if self.current.get(&key) == Some(&number) {
            self.current.remove(&key);
        }
        self.held = self.held.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
        let mut finished = flow.finish();
        if let Some(name) = &finished.identity.name {
            self.companion.over(&mut finished.notes, name, finished.server);
        }
        finished
    }

    /// The flow of this number.
    fn flow_mut(&mut self, number: u64) -> Option<&mut Flow<C::Notes>> {
        let index = usize::try_from(number.checked_sub(self.given_out)?).ok()?;
        self.flows.get_mut(index)?.as_mut()
    }

    /// Shows a packet to the companion, behind the flow that it belongs to; `whole` as for
    /// [`Tracker::datagram`], and not contradictory.
    fn learn(&mut self, packet: &Packet<'_>, way: &Way, whole: bool) {
        let number = self.current.get(&way.key());
        let index = number.and_then(|number| usize::try_from(number.checked_sub(self.given_out)?).ok());
        if let Some(Some(flow)) = index.and_then(|index| self.flows.get_mut(index)) {
            let mut notes = std::mem::take(&mut flow.notes);
            let Way { source: first, destination: second, .. } = flow.way();
            self.companion.seen(&mut notes, first, second, flow.named());
            flow.notes = notes;
        }
        if !whole {
            return;
        }
        match way.transport {
            Transport::Udp => self.companion.datagram(way.source, way.destination, packet.payload),
            Transport::Tcp => {
                if let Some(segment) = Tcp::read(packet.payload, packet.payload_bytes) {
                    self.companion.segment(way.source, way.destination, &segment);
                }
            }
        }
    }

    /// A datagram; `whole` says that its payload is all there was, not the first fragment only.
    fn datagram(&mut self, packet: &Packet<'_>, way: &Way, whole: bool, contradictory: bool) {
        let unix_nanos = self.now;
        let Way { transport, source, .. } = *way;
        let segment = match transport {
            Transport::Tcp if whole => Tcp::read(packet.payload, packet.payload_bytes),
            Transport::Tcp | Transport::Udp => None,
        };
        let number = self.number(way, segment.as_ref());
        let Some(flow) = self.flow_mut(number) else { return };
        flow.count(source, packet.total_bytes, contradictory);
        flow.see(unix_nanos);
        let before = flow.held_bytes();
        match (transport, segment) {
            (Transport::Tcp, Some(segment)) => flow.segment(source, &segment),
            (Transport::Udp, None) if whole => match transport::udp_data(packet.payload) {
                Some(data) => flow.datagram(source, data),
                None => return,
            },
            (Transport::Tcp | Transport::Udp, _) => return,
        }
        let after = flow.held_bytes();
        if before == 0 && after > 0 {
            self.watched.push_back(number);
        }
        self.held_bytes = self.held_bytes.saturating_sub(before).saturating_add(after);
        self.shrink();
    }

    /// The number of the flow that a packet belongs to; a new one when there is none or the packet opens another.
    fn number(&mut self, way: &Way, segment: Option<&Tcp<'_>>) -> u64 {
        let key = way.key();
        if let Some(number) = self.current.get(&key).copied() {
            let source = way.source;
            let reused = self
                .flow_mut(number)
                .is_none_or(|flow| segment.is_some_and(|segment| flow.is_reopened(source, segment)));
            if !reused {
                return number;
            }
        }
        let number = self.given_out.saturating_add(self.flows.len() as u64);
        self.flows.push_back(Some(Flow::new(*way)));
        self.held = self.held.saturating_add(1);
        self.current.insert(key, number);
        number
    }

    /// Decides the flows watched longest until the limit on held bytes is kept.
    fn shrink(&mut self) {
        while self.held_bytes > self.held_bytes_max {
            let Some(number) = self.watched.pop_front() else { return };
            let Some(flow) = self.flow_mut(number) else { continue };
            let held = flow.held_bytes();
            flow.settle();
            self.held_bytes = self.held_bytes.saturating_sub(held);
        }
    }
}

impl Way {
    /// What packets of both directions have in common.
    fn key(&self) -> Key {
        let (low, high) = if self.source <= self.destination {
            (self.source, self.destination)
        } else {
            (self.destination, self.source)
        };
        Key { tunnels: self.layers.tunnels(), transport: self.transport, low, high }
    }
}

#[cfg(test)]
mod tests;
