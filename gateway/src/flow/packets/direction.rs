//! One direction of a flow of a capture: its bytes in order, and what they say.

use billing_export::Reason;

use super::flow::nameless;
use crate::flow::identify::{Identifier, IdentifyLimits, Identity, Progress, SeenIn};
use crate::wire::pcap::stream::Stream;
use crate::wire::pcap::transport::Tcp;

/// What an observed direction costs beside its streams' bytes.
const READER_BYTES: usize = 512;
/// First bytes that tell a ClientHello or a method: record header and handshake type (RFC 8446 §5.1, §4), `CONNECT `.
const START_BYTES: usize = 8;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;

/// Reads one direction.
pub(super) struct Reader {
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

impl Reader {
    /// Reads a direction that starts behind the given initial sequence number, or nobody knows where.
    pub(super) fn new(initial: Option<u32>) -> Self {
        let stream = match initial {
            Some(initial) => Stream::starting_at(initial.wrapping_add(1)),
            None => Stream::new(),
        };
        let identifier = Identifier::new(&IdentifyLimits::default());
        Self { stream, heard: Heard { identifier, start: Vec::new(), settled: false } }
    }

    /// Takes a segment of this direction.
    pub(super) fn push(&mut self, segment: &Tcp<'_>) {
        // SYN takes the first number; what it carries (RFC 7413) stands behind it.
        let sequence = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        let sink = &mut |bytes: &[u8]| self.heard.observe(bytes);
        self.stream.push(sequence, segment.data, segment.data_bytes, segment.fin, sink);
        match (self.is_settled(), self.is_named()) {
            (true, true) => self.stream.silence(),
            (true, false) => self.stream.release(),
            (false, _) => {}
        }
    }

    /// Reads what is held for want of a start, and tells the identifier that nothing follows.
    pub(super) fn complete(&mut self) {
        self.stream.settle_start(&mut |bytes: &[u8]| self.heard.observe(bytes));
        if !self.heard.settled {
            self.heard.identifier.finish();
            self.heard.settled = true;
        }
    }

    /// What this direction says, when nothing follows.
    pub(super) fn outcome(mut self) -> Identity {
        self.complete();
        if self.stream.is_conflicting() {
            return nameless(Reason::Ambiguous);
        }
        self.heard.identifier.identity().cloned().unwrap_or_else(|| nameless(Reason::Undecided))
    }

    /// Whether nothing can change what it says, but a conflict.
    pub(super) fn is_settled(&self) -> bool {
        self.heard.settled
    }

    /// Whether it has named the flow.
    pub(super) fn is_named(&self) -> bool {
        self.identity().is_some_and(|identity| identity.name.is_some())
    }

    /// What is known of its name so far.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.heard.identifier.identity()
    }

    /// Whether its first bytes are those of a ClientHello or a request.
    pub(super) fn speaks_first(&self) -> bool {
        match self.heard.identifier.protocol() {
            Some(SeenIn::HttpHost) => true,
            Some(SeenIn::TlsSni) => self.heard.start.get(5) == Some(&CLIENT_HELLO),
            Some(SeenIn::QuicSni) | None => matches!(self.heard.start.as_slice(), b"CONNECT " | b"OPTIONS "),
        }
    }

    /// What it holds.
    pub(super) fn held_bytes(&self) -> usize {
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
}
