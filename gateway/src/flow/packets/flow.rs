//! One flow: who opened it, how much it carried, what it was named.
//!
//! The rules:
//!
//! - The client sent the SYN, or received the SYN-ACK. Without either it is the sender of the hello or request, else of
//!   the first packet; both directions are read until that is known.
//! - The client of a UDP flow sent the first Initial that can be opened (only a client's can), else the first packet.
//!   All of a 5-tuple is one flow, whatever connection ids its QUIC packets carry.
//! - A SYN after FIN or RST, or with another initial sequence number, begins a new flow; so does a SYN-ACK of another
//!   number after the end.
//! - Bytes are IP total lengths, all of them, also before the name and after the end.
//! - Fragments that contradict each other, and retransmissions with other bytes, make a flow ambiguous.

mod reading;
mod side;

use std::net::{IpAddr, SocketAddr};

use allowlist::{DomainName, Transport};
use billing_export::Reason;

use self::side::{Pair, Side};
use super::datagrams::Speaker;
use super::direction::Reader;
use crate::flow::identify::Identity;
use crate::wire::pcap::layers::Layers;
use crate::wire::pcap::transport::Tcp;

/// Address and port.
pub type End = (IpAddr, u16);

/// How a packet goes: from where to where, by what, and in what it was wrapped.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who sent it.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// What it was wrapped in.
    pub layers: Layers,
}

/// How long a flow that was closed is waited for: the last acknowledgement, and what was sent again.
const CLOSED_NANOS: u64 = 2 * 1_000_000_000;
/// How long a silent flow is waited for; `limits.idle_timeout` of a gateway, RFC 4787 §4.3 for UDP.
const IDLE_TCP_NANOS: u64 = 900 * 1_000_000_000;
/// See [`IDLE_TCP_NANOS`].
const IDLE_UDP_NANOS: u64 = 120 * 1_000_000_000;

/// A flow whose last packet has been seen.
#[derive(Debug)]
pub struct Finished<N> {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who opened it.
    pub client: SocketAddr,
    /// To whom.
    pub server: SocketAddr,
    /// What the client's bytes say.
    pub identity: Identity,
    /// What its companion noted of it.
    pub notes: N,
    /// The client sent the first packet that was captured.
    pub client_is_first: bool,
    /// Fragments contradicted each other: not even the ports are sure.
    pub contradictory: bool,
    /// IP bytes from the client.
    pub up_bytes: u64,
    /// IP bytes to the client.
    pub down_bytes: u64,
    /// What its first packet was wrapped in.
    pub layers: Layers,
}

/// A flow under observation.
pub struct Flow<N> {
    transport: Transport,
    ends: Pair<End>,
    /// What its first packet was wrapped in.
    layers: Layers,
    /// Capture time of its last packet.
    last: Option<u64>,
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
    /// What its companion noted of it.
    pub notes: N,
    state: State,
}

/// What is known of a flow's name.
enum State {
    /// No data yet.
    Silent,
    /// Directions are being read, or compared.
    Watched(Box<Pair<Option<Reader>>>),
    /// Datagrams of both directions are being read; of the client's only, once it is known.
    Heard(Box<Pair<Option<Speaker>>>),
    /// Decided: the client, and what it said.
    Settled(Side, Identity),
}

impl<N: Default> Flow<N> {
    /// A flow whose first packet goes this way.
    pub fn new(way: Way) -> Self {
        Self {
            transport: way.transport,
            ends: Pair { first: way.source, second: way.destination },
            layers: way.layers,
            last: None,
            bytes: Pair::default(),
            initial: Pair::default(),
            opener: None,
            closed: false,
            contradictory: false,
            notes: N::default(),
            state: State::Silent,
        }
    }

    /// The way of its first packet.
    pub fn way(&self) -> Way {
        let Pair { first: source, second: destination } = self.ends;
        Way { transport: self.transport, source, destination, layers: self.layers }
    }

    /// Notes the capture time of a packet.
    pub fn see(&mut self, unix_nanos: Option<u64>) {
        self.last = unix_nanos.or(self.last);
    }

    /// Whether nothing more is expected at `unix_nanos`.
    pub fn is_over(&self, unix_nanos: u64) -> bool {
        let patience = match (self.transport, self.closed) {
            (Transport::Tcp, true) => CLOSED_NANOS,
            (Transport::Tcp, false) => IDLE_TCP_NANOS,
            (Transport::Udp, _) => IDLE_UDP_NANOS,
        };
        self.last.is_some_and(|last| unix_nanos.saturating_sub(last) >= patience)
    }

    /// The side of the end that sent a packet.
    fn side(&self, source: End) -> Side {
        if self.ends.first == source { Side::First } else { Side::Second }
    }

    /// Counts a datagram of `source`; `contradictory` when it was put together from fragments that disagree.
    pub fn count(&mut self, source: End, ip_bytes: u64, contradictory: bool) {
        let side = self.side(source);
        let sent = self.bytes.of_mut(side);
        *sent = sent.saturating_add(ip_bytes);
        self.contradictory |= contradictory;
    }

    /// Whether a segment of `source` opens another connection between the same ends.
    pub fn is_reopened(&self, source: End, segment: &Tcp<'_>) -> bool {
        if !segment.syn {
            return false;
        }
        let side = self.side(source);
        let known = *self.initial.of(side);
        if segment.ack {
            let asked = *self.initial.of(side.other());
            let same = match known {
                Some(known) => known == segment.sequence,
                // The answer to the SYN of this flow, also when a reset came before it.
                None => asked == Some(segment.acknowledgment.wrapping_sub(1)),
            };
            let midstream = self.opener.is_none() && !matches!(self.state, State::Silent);
            return !same && (self.closed || midstream);
        }
        match known {
            Some(known) => self.closed || known != segment.sequence,
            // Simultaneous open: both ends send a SYN (RFC 9293 §3.5).
            None => self.closed || self.initial.of(side.other()).is_none(),
        }
    }

    /// The name that the client asked for and the server it was sent to, as soon as the name is complete.
    pub fn named(&self) -> Option<(&DomainName, SocketAddr)> {
        let (client, identity) = match &self.state {
            State::Silent => return None,
            State::Watched(readers) => {
                let client = self.opener?;
                (client, readers.of(client).as_ref()?.identity()?)
            }
            State::Heard(speakers) => {
                let client = self.opener?;
                (client, speakers.of(client).as_ref()?.identity()?)
            }
            State::Settled(client, identity) => (*client, identity),
        };
        let (address, port) = *self.ends.of(client.other());
        Some((identity.name.as_ref()?, SocketAddr::new(address, port)))
    }

    /// The flow's line.
    pub fn finish(mut self) -> Finished<N> {
        self.settle();
        let (client, identity) = match self.state {
            State::Settled(client, identity) => (client, identity),
            State::Silent | State::Watched(_) | State::Heard(_) => (Side::First, nameless(Reason::Undecided)),
        };
        let identity = if self.contradictory { nameless(Reason::Ambiguous) } else { identity };
        let address = |(address, port): End| SocketAddr::new(address, port);
        Finished {
            transport: self.transport,
            client: address(*self.ends.of(client)),
            server: address(*self.ends.of(client.other())),
            identity,
            notes: self.notes,
            client_is_first: client == Side::First,
            contradictory: self.contradictory,
            up_bytes: *self.bytes.of(client),
            down_bytes: *self.bytes.of(client.other()),
            layers: self.layers,
        }
    }

    /// What its streams hold.
    pub fn held_bytes(&self) -> usize {
        let held = |reader: &Option<Reader>| reader.as_ref().map_or(0, Reader::held_bytes);
        let heard = |speaker: &Option<Speaker>| speaker.as_ref().map_or(0, Speaker::held_bytes);
        match &self.state {
            State::Silent | State::Settled(..) => 0,
            State::Watched(readers) => held(&readers.first).saturating_add(held(&readers.second)),
            State::Heard(speakers) => heard(&speakers.first).saturating_add(heard(&speakers.second)),
        }
    }
}

/// An identity without a name.
pub fn nameless(reason: Reason) -> Identity {
    Identity::nameless(reason)
}
