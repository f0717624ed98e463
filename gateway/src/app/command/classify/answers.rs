//! The DNS of a capture: which answers count as trusted, and what they say of a flow.
//!
//! An answer counts when it comes from a given resolver (any server on port 53 when none is given) and repeats id and
//! question of a query that the same client sent to it before, over UDP or over TCP port 53; it counts once. Of TCP only
//! connections whose SYN was captured are read. The rest is the daemon's: [`TrustedAnswers`].
//!
//! Order decides what a name may rest on: answers in front of the packet that completes it, wherever the time stamps put
//! them. Time decides one thing, when DNS-only evidence expires, and only while the stamps run forward: where a stamp
//! is missing no time passes, and once one steps back none of that capture is believed any more and nothing expires.

mod clock;
mod learnable;

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use allowlist::{DomainName, Transport};

use self::clock::PacketClock;
use self::learnable::may_be_learnt;
use super::report::Judge;
use crate::flow::binding::{AnswerLimits, DnsOnly, DnsOnlyStanding, Nat64, TrustedAnswers};
use crate::flow::packets::flow::End;
use crate::flow::packets::tracker::Companion;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::wire::dns;
use crate::wire::pcap::stream::Stream;
use crate::wire::pcap::transport::Tcp;

/// Port of DNS, RFC 1035 §4.2.
const DNS_PORT: u16 = 53;
/// Queries that may wait for their answer; of more the oldest half is forgotten.
const ASKED_MAX: usize = 131_072;
/// Directions of TCP connections that are read at a time, the oldest makes room; each holds at most 130 kB.
const DIRECTIONS_MAX: usize = 512;
/// Bytes in front of each message over TCP, RFC 1035 §4.2.2.
const LENGTH_BYTES: usize = 2;

/// What the answers in front of it say of a flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// When the flow's first packet came.
    begun: Option<Monotonic>,
    /// Whether the name had the server's address, once the name was complete.
    pub(super) vouched: Option<bool>,
    /// What the end that sent the first packet had asked of the other's address, and the reverse.
    dns_only: [Option<Box<DnsOnly>>; 2],
}

impl Evidence {
    /// The evidence of a flow without a name, whose client sent the first packet, or did not.
    pub(super) fn dns_only(&self, client_is_first: bool) -> Option<&DnsOnly> {
        let [first, second] = &self.dns_only;
        if client_is_first { first.as_deref() } else { second.as_deref() }
    }
}

/// A query that was seen: who asked whom, id, and the question as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct QuerySeen {
    transport: Transport,
    client: End,
    server: End,
    id: u16,
    question: Box<[u8]>,
}

/// One direction of a TCP connection to or from a resolver.
struct Direction {
    stream: Stream,
    /// Bytes of messages that are not whole yet.
    waiting: Vec<u8>,
}

/// What the capture's DNS has taught so far.
pub(super) struct Answers<'a> {
    judge: &'a Judge,
    trusted: TrustedAnswers,
    asked: HashSet<QuerySeen>,
    asked_before: HashSet<QuerySeen>,
    directions: HashMap<(End, End), Direction>,
    /// Directions, oldest first.
    order: VecDeque<(End, End)>,
    clock: PacketClock,
}

impl<'a> Answers<'a> {
    /// Nothing seen yet.
    pub(super) fn new(judge: &'a Judge) -> Self {
        // Within one file nothing is too old to vouch for a name, and who asked takes no place from others.
        let limits = AnswerLimits::default();
        let limits = AnswerLimits {
            retention: Duration::MAX,
            pairs_per_rule_max: limits.pairs_max,
            pairs_per_subscriber_max: limits.pairs_max,
            ..limits
        };
        Self {
            judge,
            trusted: TrustedAnswers::new(limits, Nat64::default(), RandomState::new()),
            asked: HashSet::new(),
            asked_before: HashSet::new(),
            directions: HashMap::new(),
            order: VecDeque::new(),
            clock: PacketClock::default(),
        }
    }

    /// A packet with this time stamp comes next.
    fn tick(&mut self, unix_nanos: Option<u64>) {
        self.clock.tick(unix_nanos.map(Duration::from_nanos));
    }

    /// Notes what is known of a flow at its first packet, between these ends.
    fn begin(&self, evidence: &mut Evidence, first: End, second: End) {
        if evidence.begun.is_some() {
            return;
        }
        evidence.begun = Some(self.clock.now());
        evidence.dns_only = [(first, second), (second, first)].map(|((client, _), (server, _))| {
            let found = self.trusted.dns_only(&subscriber(client), server, self.clock.now())?;
            let standing = match found.standing {
                DnsOnlyStanding::Expired if self.clock.stepped_back => DnsOnlyStanding::Fresh,
                known => known,
            };
            Some(Box::new(DnsOnly { standing, ..found }))
        });
    }

    /// Notes whether the name that a flow has got may be at the server's address.
    fn named(&self, evidence: &mut Evidence, name: &DomainName, server: SocketAddr) {
        if evidence.vouched.is_none() {
            evidence.vouched = Some(self.trusted.vouches(name, server.ip(), self.clock.now()));
        }
    }

    /// The same for a flow whose name is known in hindsight only, for its start was not captured: what had been learnt
    /// before its first packet counts.
    fn named_late(&self, evidence: &mut Evidence, name: &DomainName, server: SocketAddr) {
        if evidence.vouched.is_none() {
            let since = self.trusted.vouched_since(name, server.ip(), self.clock.now());
            evidence.vouched =
                Some(since.is_some_and(|since| evidence.begun.is_some_and(|begun| since < begun)));
        }
    }

    /// Takes a whole UDP datagram, header included.
    fn datagram(&mut self, source: End, destination: End, datagram: &[u8]) {
        let server = |end| self.is_resolver(end, Transport::Udp);
        if !server(source) && !server(destination) {
            return;
        }
        // RFC 768: ports, length with header, checksum.
        let Some((&[_, _, _, _, high, low, _, _], rest)) = datagram.split_first_chunk::<8>() else { return };
        let length = usize::from(u16::from_be_bytes([high, low])).checked_sub(8);
        if let Some(message) = length.and_then(|length| rest.get(..length)) {
            self.message(Transport::Udp, source, destination, message);
        }
    }

    /// Takes a TCP segment.
    fn segment(&mut self, source: End, destination: End, segment: &Tcp<'_>) {
        let server = |end| self.is_resolver(end, Transport::Tcp);
        if !server(source) && !server(destination) {
            return;
        }
        let key = (source, destination);
        if segment.syn {
            self.open(key, segment.sequence);
        }
        let Some(mut direction) = self.directions.remove(&key) else { return };
        if segment.rst {
            return;
        }
        let sequence = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        let waiting = &mut direction.waiting;
        let sink = &mut |bytes: &[u8]| waiting.extend_from_slice(bytes);
        direction.stream.push(sequence, segment.data, segment.data_bytes, segment.fin, sink);
        if direction.stream.is_conflicting() {
            // Two readers could have read two answers: neither is believed.
            return;
        }
        while let Some((message, rest)) = first_message(&direction.waiting) {
            self.message(Transport::Tcp, source, destination, message);
            direction.waiting = rest.to_vec();
        }
        self.directions.insert(key, direction);
    }

    /// Reads a direction from its SYN on, in the place of one between the same ends.
    fn open(&mut self, key: (End, End), initial: u32) {
        let stream = Stream::starting_at(initial.wrapping_add(1));
        let fresh = Direction { stream, waiting: Vec::new() };
        if self.directions.insert(key, fresh).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > DIRECTIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.directions.remove(&oldest);
            }
        }
    }

    /// Whether answers of this end count.
    fn is_resolver(&self, (address, port): End, transport: Transport) -> bool {
        if self.judge.resolvers.is_empty() {
            return port == DNS_PORT;
        }
        let address = address.to_canonical();
        let given = self.judge.resolvers.iter().any(|resolver| resolver.to_canonical() == address);
        // A resolver of a laboratory may listen at any port; a stream is read as DNS at its own only.
        given && (transport == Transport::Udp || port == DNS_PORT)
    }

    /// Takes a message: remembers a query, learns from the answer to one.
    fn message(&mut self, transport: Transport, source: End, destination: End, message: &[u8]) {
        let Ok(read) = dns::question(message) else { return };
        let (client, server) = if read.is_response { (destination, source) } else { (source, destination) };
        let Some(question) = message.get(read.section.clone()) else { return };
        if read.opcode != dns::OPCODE_QUERY || !self.is_resolver(server, transport) {
            return;
        }
        let asked = QuerySeen { transport, client, server, id: read.id, question: question.into() };
        if !read.is_response {
            if self.asked.len() >= ASKED_MAX / 2 {
                self.asked_before = std::mem::take(&mut self.asked);
            }
            self.asked.insert(asked);
            return;
        }
        if !self.asked.remove(&asked) && !self.asked_before.remove(&asked) {
            return;
        }
        match dns::answer(message, &dns::AnswerLimits::default()) {
            dns::Outcome::Answer(facts) => {
                let resolver = server.0;
                self.trusted.learn_answer(
                    &facts,
                    Some(&subscriber(client.0)),
                    |name| self.judge.list.coverage(name),
                    |address| may_be_learnt(address, resolver, self.judge.allow_private),
                    self.clock.now(),
                );
            }
            dns::Outcome::NotAnAnswer | dns::Outcome::Oversize | dns::Outcome::Malformed { .. } => {}
        }
    }
}

/// None where names alone are to count.
impl Companion for Option<Answers<'_>> {
    type Notes = Evidence;

    fn tick(&mut self, unix_nanos: Option<u64>) {
        if let Some(answers) = self {
            answers.tick(unix_nanos);
        }
    }

    fn seen(
        &mut self,
        evidence: &mut Evidence,
        first: End,
        second: End,
        named: Option<(&DomainName, SocketAddr)>,
    ) {
        let Some(answers) = self else { return };
        answers.begin(evidence, first, second);
        if let Some((name, server)) = named {
            answers.named(evidence, name, server);
        }
    }

    fn datagram(&mut self, source: End, destination: End, datagram: &[u8]) {
        if let Some(answers) = self {
            answers.datagram(source, destination, datagram);
        }
    }

    fn segment(&mut self, source: End, destination: End, segment: &Tcp<'_>) {
        if let Some(answers) = self {
            answers.segment(source, destination, segment);
        }
    }

    fn over(&self, evidence: &mut Evidence, name: &DomainName, server: SocketAddr) {
        if let Some(answers) = self {
            answers.named_late(evidence, name, server);
        }
    }
}

/// Who asks, in a capture: the address, for nothing else is known of subscribers.
fn subscriber(address: IpAddr) -> SubscriberKey {
    SubscriberKey::Address(address.to_canonical())
}

/// The first message of a stream and what follows it; `None` while it is not whole.
fn first_message(waiting: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = waiting.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
