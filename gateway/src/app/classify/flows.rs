//! The flows of one capture: which packet belongs to which, who opened it, how much it carried, what it was named.
//!
//! Pure: packets go in, finished flows come out, in the order of their first packets. The rules are those of CONTRACT
//! (`classify`):
//!
//! - A flow is a 5-tuple, both directions. A SYN after FIN or RST, or with another initial sequence number, begins a new
//!   flow; so does a SYN-ACK of another number after the end.
//! - The client sent the SYN, or received the SYN-ACK. Without either it is the sender of the hello or request, else of
//!   the first packet; both directions are read until that is known.
//! - Bytes are IP total lengths, all of them, also before the name and after the end.
//! - Fragments that contradict each other, and retransmissions with other bytes, make a flow ambiguous.
//!
//! Capture times decide nothing but how long fragments wait: the deadline of a hello is not applied, because the time
//! stamps of captures that were merged, edited or anonymised are not those of the network.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use allowlist::Transport;
use billing_export::Reason;

use crate::flow::identify::{Identifier, IdentifyLimits, Identity, Progress, SeenIn};
use crate::wire::pcap::file::Captured;
use crate::wire::pcap::fragment::Reassembler;
use crate::wire::pcap::ip::{self, PROTOCOL_TCP, PROTOCOL_UDP, Packet};
use crate::wire::pcap::link::{self, NoDatagram};
use crate::wire::pcap::stream::Stream;
use crate::wire::pcap::transport::{self, Tcp};

/// Flows held at a time. Above it the oldest is given out as it stands, and its later packets are a flow of their own.
pub(super) const FLOWS_MAX: usize = 1_000_000;
/// Bytes of undecided and compared streams held at a time. Above it the flows that were opened first are decided as they stand.
pub(super) const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What an observed direction costs beside its streams' bytes.
const READER_BYTES: usize = 512;
/// First bytes that tell a ClientHello or a method: record header and handshake type (RFC 8446 §5.1, §4), `CONNECT `.
const START_BYTES: usize = 8;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;

/// Address and port.
type End = (IpAddr, u16);

/// Which packets belong together: both ends, the lower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    transport: Transport,
    low: End,
    high: End,
}

/// One of the two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Who sent the first captured packet.
    First,
    /// The other.
    Second,
}

impl Side {
    /// The other end.
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// One thing for each end.
#[derive(Clone, Debug, Default)]
struct Pair<T> {
    first: T,
    second: T,
}

impl<T> Pair<T> {
    /// That of `side`.
    const fn of(&self, side: Side) -> &T {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    /// That of `side`, to change.
    const fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        }
    }
}

/// A flow whose last packet has been seen.
#[derive(Debug)]
pub(super) struct Finished {
    /// TCP or UDP.
    pub(super) transport: Transport,
    /// Who opened it.
    pub(super) client: SocketAddr,
    /// To whom.
    pub(super) server: SocketAddr,
    /// What the client's bytes say.
    pub(super) identity: Identity,
    /// Fragments contradicted each other: not even the ports are sure.
    pub(super) contradictory: bool,
    /// IP bytes from the client.
    pub(super) up_bytes: u64,
    /// IP bytes to the client.
    pub(super) down_bytes: u64,
}

/// A flow under observation.
struct Flow {
    transport: Transport,
    ends: Pair<End>,
    /// IP bytes sent by each end.
    bytes: Pair<u64>,
    /// Initial sequence number of each end, seen or told by the other's SYN-ACK.
    initial: Pair<Option<u32>>,
    /// Who sent the SYN.
    opener: Option<Side>,
    /// FIN or RST was seen.
    closed: bool,
    /// Fragments contradicted each other.
    contradictory: bool,
    state: State,
}

/// What is known of a flow's name.
enum State {
    /// No data yet.
    Silent,
    /// Directions are being read, or compared.
    Watched(Box<Pair<Option<Reader>>>),
    /// Decided: the client, and what it said.
    Settled(Side, Identity),
}

/// Reads one direction.
struct Reader {
    stream: Stream,
    heard: Heard,
}

/// What was read in one direction.
struct Heard {
    identifier: Identifier,
    /// The direction's first bytes.
    start: Vec<u8>,
    /// The identity is final.
    settled: bool,
}

/// The flows of one capture.
pub(super) struct Tracker {
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
    flows_max: usize,
    held_bytes_max: usize,
}

impl Tracker {
    /// No flows yet; the limits are [`FLOWS_MAX`] and [`HELD_BYTES_MAX`] or a test's.
    pub(super) fn new(flows_max: usize, held_bytes_max: usize) -> Self {
        Self {
            flows: VecDeque::new(),
            given_out: 0,
            current: HashMap::new(),
            watched: VecDeque::new(),
            held_bytes: 0,
            fragments: Reassembler::default(),
            flows_max,
            held_bytes_max,
        }
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
        if packet.fragment.is_none() {
            self.datagram(&packet, true, false);
        } else if let Some(progress) = self.fragments.push(&packet, captured.unix_nanos) {
            let whole = ip::reassembled(&packet, &progress);
            self.datagram(&whole, progress.complete.is_some(), progress.conflict);
        }
        Ok(if self.flows.len() > self.flows_max { self.pop() } else { None })
    }

    /// The oldest flow, as it stands.
    pub(super) fn pop(&mut self) -> Option<Finished> {
        let mut flow = self.flows.pop_front()?;
        let number = self.given_out;
        self.given_out = self.given_out.saturating_add(1);
        let key = key(flow.transport, flow.ends.first, flow.ends.second);
        if self.current.get(&key) == Some(&number) {
            self.current.remove(&key);
        }
        self.held_bytes = self.held_bytes.saturating_sub(flow.held_bytes());
        Some(flow.finish())
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
        let side = if flow.ends.first == source { Side::First } else { Side::Second };
        let sent = flow.bytes.of_mut(side);
        *sent = sent.saturating_add(packet.total_bytes);
        flow.contradictory |= contradictory;
        let Some(segment) = segment else { return };
        let before = flow.held_bytes();
        flow.segment(side, &segment);
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
            let reused = self.flows.get(index).is_none_or(|flow| {
                let side = if flow.ends.first == source { Side::First } else { Side::Second };
                segment.is_some_and(|segment| flow.is_reopened(side, segment))
            });
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

impl Flow {
    /// A flow whose first packet goes from `source` to `destination`.
    fn new(transport: Transport, source: End, destination: End) -> Self {
        let state = match transport {
            Transport::Tcp => State::Silent,
            // No protocol over UDP is read: nothing of its payload can name the flow.
            Transport::Udp => State::Settled(Side::First, nameless(Reason::NotRecognised)),
        };
        Self {
            transport,
            ends: Pair { first: source, second: destination },
            bytes: Pair::default(),
            initial: Pair::default(),
            opener: None,
            closed: false,
            contradictory: false,
            state,
        }
    }

    /// Whether a segment of `side` opens another connection between the same ends.
    fn is_reopened(&self, side: Side, segment: &Tcp<'_>) -> bool {
        if !segment.syn {
            return false;
        }
        let known = *self.initial.of(side);
        if segment.ack {
            let repeated = known == Some(segment.sequence);
            let midstream = self.opener.is_none() && !matches!(self.state, State::Silent);
            return !repeated && (self.closed || midstream);
        }
        match known {
            Some(known) => self.closed || known != segment.sequence,
            // Simultaneous open: both ends send a SYN (RFC 9293 §3.5).
            None => self.closed || self.initial.of(side.other()).is_none(),
        }
    }

    /// Takes a segment of `side`.
    fn segment(&mut self, side: Side, segment: &Tcp<'_>) {
        if segment.syn {
            self.opening(side, segment);
        }
        if segment.fin || segment.rst {
            self.closed = true;
        }
        // The data of a reset is a message for people (RFC 9293 §3.10.7), and its number may be anything.
        let watched = matches!(self.state, State::Watched(_));
        if !segment.rst && (segment.data_bytes > 0 || (segment.fin && watched)) {
            self.data(side, segment);
        }
    }

    /// Learns from SYN or SYN-ACK who opened the flow, and where its streams start.
    fn opening(&mut self, side: Side, segment: &Tcp<'_>) {
        self.initial.of_mut(side).get_or_insert(segment.sequence);
        if segment.ack {
            let other = side.other();
            self.initial.of_mut(other).get_or_insert(segment.acknowledgment.wrapping_sub(1));
            self.opener.get_or_insert(other);
        } else {
            self.opener.get_or_insert(side);
        }
    }

    /// Reads the data of a segment when its direction may be the client's.
    fn data(&mut self, side: Side, segment: &Tcp<'_>) {
        if self.opener.is_some_and(|opener| opener != side) {
            return;
        }
        if matches!(self.state, State::Silent) {
            self.state = State::Watched(Box::default());
        }
        let State::Watched(readers) = &mut self.state else { return };
        let initial = *self.initial.of(side);
        let reader = readers.of_mut(side).get_or_insert_with(|| Reader::new(initial));
        reader.push(segment);
        let (settled, named) = (reader.heard.settled, reader.heard.is_named());
        if named && self.opener.is_none() {
            // Who names the server is the client; the other direction need not be read.
            self.opener = Some(side);
            *readers.of_mut(side.other()) = None;
        }
        if settled && (!named || self.closed) {
            self.settle_if_sure(side);
        }
    }

    /// Ends the observation when nothing can change what is known.
    fn settle_if_sure(&mut self, side: Side) {
        let State::Watched(readers) = &self.state else { return };
        let other = readers.of(side.other()).as_ref();
        let sure = self.opener.is_some() || other.is_some_and(|other| other.heard.settled);
        if sure {
            self.settle();
        }
    }

    /// Decides with what has been seen, and lets go of the streams.
    fn settle(&mut self) {
        let opener = self.opener;
        match &mut self.state {
            State::Settled(..) => {}
            State::Silent => {
                let nothing = Reader::new(None).outcome();
                self.state = State::Settled(opener.unwrap_or(Side::First), nothing);
            }
            State::Watched(readers) => {
                let client = opener.unwrap_or_else(|| likely_client(readers));
                let reader = readers.of_mut(client).take();
                let identity = reader.unwrap_or_else(|| Reader::new(None)).outcome();
                self.state = State::Settled(client, identity);
            }
        }
    }

    /// The flow's line.
    fn finish(&mut self) -> Finished {
        self.settle();
        let (client, identity) = match &self.state {
            State::Settled(client, identity) => (*client, identity.clone()),
            State::Silent | State::Watched(_) => (Side::First, nameless(Reason::Undecided)),
        };
        let identity = if self.contradictory { nameless(Reason::Ambiguous) } else { identity };
        let address = |(address, port): End| SocketAddr::new(address, port);
        Finished {
            transport: self.transport,
            client: address(*self.ends.of(client)),
            server: address(*self.ends.of(client.other())),
            identity,
            contradictory: self.contradictory,
            up_bytes: *self.bytes.of(client),
            down_bytes: *self.bytes.of(client.other()),
        }
    }

    /// What its streams hold.
    fn held_bytes(&self) -> usize {
        let held = |reader: &Option<Reader>| reader.as_ref().map_or(0, Reader::held_bytes);
        match &self.state {
            State::Silent | State::Settled(..) => 0,
            State::Watched(readers) => held(&readers.first).saturating_add(held(&readers.second)),
        }
    }
}

/// The client of a flow without SYN: who sent a hello or request; with a name rather than without.
fn likely_client(readers: &mut Pair<Option<Reader>>) -> Side {
    let mut speaks = |side: Side| {
        readers.of_mut(side).as_mut().map_or((false, false), |reader| {
            reader.complete();
            (reader.heard.is_named(), reader.heard.speaks_first())
        })
    };
    let (first, second) = (speaks(Side::First), speaks(Side::Second));
    if second > first { Side::Second } else { Side::First }
}

/// An identity without a name.
fn nameless(reason: Reason) -> Identity {
    Identity { name: None, seen_in: None, gave_up: Some(reason) }
}

impl Reader {
    /// Reads a direction that starts behind the given initial sequence number, or nobody knows where.
    fn new(initial: Option<u32>) -> Self {
        let stream = match initial {
            Some(initial) => Stream::starting_at(initial.wrapping_add(1)),
            None => Stream::new(),
        };
        let identifier = Identifier::new(&IdentifyLimits::default());
        Self { stream, heard: Heard { identifier, start: Vec::new(), settled: false } }
    }

    /// Takes a segment of this direction.
    fn push(&mut self, segment: &Tcp<'_>) {
        // SYN takes the first number; what it carries (RFC 7413) stands behind it.
        let sequence = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        let sink = &mut |bytes: &[u8]| self.heard.observe(bytes);
        self.stream.push(sequence, segment.data, segment.data_bytes, segment.fin, sink);
        match (self.heard.settled, self.heard.is_named()) {
            (true, true) => self.stream.silence(),
            (true, false) => self.stream.release(),
            (false, _) => {}
        }
    }

    /// Reads what is held for want of a start, and tells the identifier that nothing follows.
    fn complete(&mut self) {
        self.stream.settle_start(&mut |bytes: &[u8]| self.heard.observe(bytes));
        if !self.heard.settled {
            self.heard.identifier.finish();
            self.heard.settled = true;
        }
    }

    /// What this direction says, when nothing follows.
    fn outcome(mut self) -> Identity {
        self.complete();
        if self.stream.is_conflicting() {
            return nameless(Reason::Ambiguous);
        }
        self.heard.identifier.identity().cloned().unwrap_or_else(|| nameless(Reason::Undecided))
    }

    /// What it holds.
    fn held_bytes(&self) -> usize {
        let held = self.stream.held_bytes().saturating_add(self.heard.identifier.buffer_bytes());
        held.saturating_add(READER_BYTES)
    }
}

impl Heard {
    /// Takes the direction's next bytes.
    fn observe(&mut self, bytes: &[u8]) {
        let room = START_BYTES.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if !self.settled {
            self.settled = match self.identifier.observe(bytes) {
                Progress::Settled => true,
                Progress::Undecided | Progress::Identified => false,
            };
        }
    }

    /// Whether it has named the flow.
    fn is_named(&self) -> bool {
        self.identifier.identity().is_some_and(|identity| identity.name.is_some())
    }

    /// Whether its first bytes are those of a ClientHello or a request.
    fn speaks_first(&self) -> bool {
        match self.identifier.protocol() {
            Some(SeenIn::HttpHost) => true,
            Some(SeenIn::TlsSni) => self.start.get(5) == Some(&CLIENT_HELLO),
            Some(SeenIn::QuicSni) | None => matches!(self.start.as_slice(), b"CONNECT " | b"OPTIONS "),
        }
    }
}
