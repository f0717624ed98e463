//! The flows of one capture: which packet belongs to which, and how many are held.
//!
//! Pure: packets go in, finished flows come out, in the order of their first packets. A flow is a 5-tuple, both
//! directions, until a segment opens another connection between the same ends. Fragments are put together first; their
//! bytes belong to the flow whose ports stand in the first of them.
//!
//! Capture times decide nothing but how long fragments wait and DNS-only evidence holds: the deadline of a hello is not applied, because the time
//! stamps of captures that were merged, edited or anonymised are not those of the network.

use std::collections::{HashMap, VecDeque};

use allowlist::Transport;

use super::answers::Answers;
use super::flow::{End, Finished, Flow};
use crate::wire::pcap::file::Captured;
use crate::wire::pcap::fragment::Reassembler;
use crate::wire::pcap::ip::{self, PROTOCOL_TCP, PROTOCOL_UDP, Packet};
use crate::wire::pcap::link::{self, NoDatagram};
use crate::wire::pcap::transport::{self, Tcp};

/// Flows held at a time. Above it the oldest is given out as it stands, and its later packets are a flow of their own.
pub(super) const FLOWS_MAX: usize = 1_000_000;
/// Bytes of undecided and compared streams held at a time. Above it the flows that were opened first are decided as they stand.
pub(super) const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Which packets belong together: both ends, the lower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    transport: Transport,
    low: End,
    high: End,
}

/// The flows of one capture.
pub(super) struct Tracker<'a> {
    /// In order of first packet.
    flows: VecDeque<Flow>,
    /// How many were given out before the first of `flows`.
    given_out: u64,
    /// The flow that a packet belongs to, by its number since the start.
    current: HashMap<Key, u64>,
    /// Flows that hold stream bytes, by number, oldest first; some may be done.
    watched: VecDeque<u64>,
    /// What all streams hold.
    held_bytes: usize,
    fragments: Reassembler,
    /// What the capture's DNS has taught; none when names alone are to count.
    answers: Option<Answers<'a>>,
    flows_max: usize,
    held_bytes_max: usize,
}

impl<'a> Tracker<'a> {
    /// No flows yet; the limits are [`FLOWS_MAX`] and [`HELD_BYTES_MAX`] or a test's.
    pub(super) fn new(flows_max: usize, held_bytes_max: usize) -> Self {
        Self {
            flows: VecDeque::new(),
            given_out: 0,
            current: HashMap::new(),
            watched: VecDeque::new(),
            held_bytes: 0,
            fragments: Reassembler::default(),
            answers: None,
            flows_max,
            held_bytes_max,
        }
    }

    /// The same, learning from the capture's DNS.
    pub(super) fn learning(self, answers: Answers<'a>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// Takes the next packet; gives out the oldest flow when there are more than the limit.
    ///
    /// # Errors
    /// [`NoDatagram::UnknownLink`]; what is not IP, TCP or UDP is passed over.
    pub(super) fn packet(&mut self, captured: &Captured<'_>) -> Result<Option<Finished>, NoDatagram> {
        let link = captured.link.ok_or(NoDatagram::UnknownLink)?;
        let datagram = match link::network(link, captured.bytes, captured.wire_bytes) {
            Ok(datagram) => datagram,
            Err(NoDatagram::NotIp) => return Ok(None),
            Err(NoDatagram::UnknownLink) => return Err(NoDatagram::UnknownLink),
        };
        let Some(packet) = ip::read(&datagram) else { return Ok(None) };
        if let Some(answers) = &mut self.answers {
            answers.tick(captured.unix_nanos);
        }
        if packet.fragment.is_none() {
            self.datagram(&packet, true, false);
            self.learn(&packet, true);
        } else if let Some(progress) = self.fragments.push(&packet, captured.unix_nanos) {
            let whole = ip::reassembled(&packet, &progress);
            self.datagram(&whole, progress.complete.is_some(), progress.conflict);
            self.learn(&whole, progress.complete.is_some() && !progress.conflict);
        }
        Ok(if self.flows.len() > self.flows_max { self.pop() } else { None })
    }

    /// The oldest flow, as it stands.
    pub(super) fn pop(&mut self) -> Option<Finished> {
        let flow = self.flows.pop_front()?;
        let number = self.given_out;
        self.given_out = self.given_out.saturating_add(1);
        let (transport, one, other) = flow.ends();
        let key = key(transport, one, other);
        if self.current.get(&key) == Some(&number) {
            self.current.remove(&key);
        }
        self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
        let mut finished = flow.finish();
        if let (Some(answers), Some(name)) = (&self.answers, &finished.identity.name) {
            answers.named_late(&mut finished.evidence, name, finished.server);
        }
        Some(finished)
    }

    /// Shows a packet to the DNS reader, and notes what its answers say of the packet's flow; `whole` as for
    /// [`Tracker::datagram`], and not contradictory.
    fn learn(&mut self, packet: &Packet<'_>, whole: bool) {
        let Some(answers) = &mut self.answers else { return };
        let transport = match packet.protocol {
            PROTOCOL_TCP => Transport::Tcp,
            PROTOCOL_UDP => Transport::Udp,
            _ => return,
        };
        let Some(ports) = transport::ports(packet.payload) else { return };
        let source = (packet.source, ports.source);
        let destination = (packet.destination, ports.destination);
        let number = self.current.get(&key(transport, source, destination));
        let index = number.and_then(|number| usize::try_from(number.checked_sub(self.given_out)?).ok());
        if let Some(flow) = index.and_then(|index| self.flows.get_mut(index)) {
            let mut evidence = std::mem::take(&mut flow.evidence);
            let (_, first, second) = flow.ends();
            answers.begin(&mut evidence, first, second);
            if let Some((name, server)) = flow.named() {
                answers.named(&mut evidence, name, server);
            }
            flow.evidence = evidence;
        }
        if !whole {
            return;
        }
        match transport {
            Transport::Udp => answers.datagram(source, destination, packet.payload),
            Transport::Tcp => {
                if let Some(segment) = Tcp::read(packet.payload, packet.payload_bytes) {
                    answers.segment(source, destination, &segment);
                }
            }
        }
    }

    /// A datagram; `whole` says that its payload is all there was, not the first fragment only.
    fn datagram(&mut self, packet: &Packet<'_>, whole: bool, contradictory: bool) {
        let transport = match packet.protocol {
            PROTOCOL_TCP => Transport::Tcp,
            PROTOCOL_UDP => Transport::Udp,
            _ => return,
        };
        let Some(ports) = transport::ports(packet.payload) else { return };
        let segment = match transport {
            Transport::Tcp if whole => Tcp::read(packet.payload, packet.payload_bytes),
            Transport::Tcp | Transport::Udp => None,
        };
        let source = (packet.source, ports.source);
        let destination = (packet.destination, ports.destination);
        let number = self.number(key(transport, source, destination), source, destination, segment.as_ref());
        let index = usize::try_from(number.saturating_sub(self.given_out)).unwrap_or(usize::MAX);
        let Some(flow) = self.flows.get_mut(index) else { return };
        flow.count(source, packet.total_bytes, contradictory);
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
    fn number(&mut self, key: Key, source: End, destination: End, segment: Option<&Tcp<'_>>) -> u64 {
        if let Some(number) = self.current.get(&key).copied() {
            let index = usize::try_from(number.saturating_sub(self.given_out)).unwrap_or(usize::MAX);
            let reused = self
                .flows
                .get(index)
                .is_none_or(|flow| segment.is_some_and(|segment| flow.is_reopened(source, segment)));
            if !reused {
                return number;
            }
        }
        let number = self.given_out.saturating_add(self.flows.len() as u64);
        self.flows.push_back(Flow::new(key.transport, source, destination));
        self.current.insert(key, number);
        number
    }

    /// Decides the flows watched longest until the limit on held bytes is kept.
    fn shrink(&mut self) {
        while self.held_bytes > self.held_bytes_max {
            let Some(number) = self.watched.pop_front() else { return };
            let Some(index) = number.checked_sub(self.given_out) else { continue };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let Some(flow) = self.flows.get_mut(index) {
                self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
                flow.settle();
            }
        }
    }
}

/// The key of a packet between two ends.
fn key(transport: Transport, one: End, other: End) -> Key {
    if one <= other {
        Key { transport, low: one, high: other }
    } else {
        Key { transport, low: other, high: one }
    }
}

#[cfg(test)]
mod tests {
    use billing_export::Reason;

    use super::*;
    use crate::wire::pcap::file::LinkType;

    /// A TCP segment with data from port `client` to port 443, as raw IP; without SYN, so that it is held.
    fn segment(client: u16, data: &[u8]) -> Vec<u8> {
        let total = 40 + u16::try_from(data.len()).unwrap();
        let [[high, low], port] = [total.to_be_bytes(), client.to_be_bytes()];
        let ip = [0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [port[0], port[1], 1, 187, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 16, 0, 0, 0, 0, 0, 0];
        [&ip[..], &tcp, data].concat()
    }

    /// Gives a packet to the tracker.
    fn offer(tracker: &mut Tracker<'_>, bytes: &[u8]) -> Option<Finished> {
        let link = Some(LinkType(101));
        tracker.packet(&Captured { link, bytes, wire_bytes: bytes.len(), unix_nanos: None }).unwrap()
    }

    #[test]
    fn above_the_limit_of_flows_the_oldest_is_given_out_and_comes_back_as_a_new_one() {
        let mut tracker = Tracker::new(2, HELD_BYTES_MAX);
        assert!(offer(&mut tracker, &segment(1, b"GET")).is_none());
        assert!(offer(&mut tracker, &segment(2, b"x")).is_none(), "at the limit");
        let oldest = offer(&mut tracker, &segment(3, b"y")).unwrap();
        assert_eq!((oldest.client.port(), oldest.up_bytes), (1, 43));
        assert!(offer(&mut tracker, &segment(3, b"y")).is_none());
        let next = offer(&mut tracker, &segment(1, b" / HTTP")).unwrap();
        assert_eq!(next.client.port(), 2);
        let rest: Vec<_> =
            core::iter::from_fn(|| tracker.pop()).map(|flow| (flow.client.port(), flow.up_bytes)).collect();
        assert_eq!(rest, [(3, 82), (1, 47)]);
        assert_eq!(tracker.held_bytes, 0);
        assert!(tracker.current.is_empty());
    }

    #[test]
    fn above_the_limit_of_held_bytes_the_flow_watched_longest_is_decided_as_it_stands() {
        let one = {
            let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX);
            offer(&mut tracker, &segment(1, b"GET / HTTP/1.1\r\n"));
            tracker.held_bytes
        };
        let mut tracker = Tracker::new(FLOWS_MAX, one * 10);
        for client in 1..=1_000 {
            offer(&mut tracker, &segment(client, b"GET / HTTP/1.1\r\n"));
            assert!(tracker.held_bytes <= one * 10, "flow {client}");
        }
        let reasons: Vec<_> =
            core::iter::from_fn(|| tracker.pop()).map(|flow| flow.identity.gave_up).collect();
        assert_eq!(reasons.len(), 1_000);
        assert!(reasons.iter().all(|reason| *reason == Some(Reason::Undecided)));
        assert_eq!(tracker.held_bytes, 0);
    }

    #[test]
    fn t42_a_hundred_thousand_flows_that_never_say_anything_hold_no_stream() {
        let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX);
        for high in 0..2_u8 {
            for client in 1..50_000 {
                let mut packet = segment(client, b"");
                packet[15] = high;
                offer(&mut tracker, &packet);
            }
        }
        assert_eq!((tracker.flows.len(), tracker.held_bytes, tracker.watched.len()), (99_998, 0, 0));
    }

    /// A UDP datagram from port `client` to port 443, as raw IP, that begins like an Initial and cannot be opened.
    fn initial(client: u16) -> Vec<u8> {
        let quic =
            [&[0xc0, 0, 0, 0, 1, 8][..], &[client.to_be_bytes()[1]; 8], &[0, 0, 40], &[7; 40]].concat();
        let [[high, low], [ip_high, ip_low], port] = [8 + quic.len(), 28 + quic.len(), usize::from(client)]
            .map(|n| u16::try_from(n).unwrap().to_be_bytes());
        let ip = [0x45, 0, ip_high, ip_low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&ip[..], &port, &[1, 187, high, low, 0, 0], &quic].concat()
    }

    #[test]
    fn t42_half_open_quic_flows_count_as_held_and_the_oldest_are_decided() {
        let one = {
            let mut tracker = Tracker::new(FLOWS_MAX, HELD_BYTES_MAX);
            offer(&mut tracker, &initial(1));
            tracker.held_bytes
        };
        assert!(one > 500, "keys are held: {one}");
        let mut tracker = Tracker::new(FLOWS_MAX, one * 10);
        for client in 1..=1_000 {
            offer(&mut tracker, &initial(client));
            assert!(tracker.held_bytes <= one * 10, "flow {client}");
        }
        let reasons: Vec<_> =
            core::iter::from_fn(|| tracker.pop()).map(|flow| flow.identity.gave_up).collect();
        assert_eq!(reasons, [Some(Reason::Undecided); 1_000]);
        assert_eq!(tracker.held_bytes, 0);
    }
}
