//! One direction of a UDP flow of a capture: its datagrams, and what they say if they are a QUIC client's.

use billing_export::Reason;

use super::flow::nameless;
use crate::flow::identify::{Identity, Progress, QuicIdentifier};
use crate::wire::quic::QuicLimits;

/// Reads one direction.
pub(super) struct Speaker {
    identifier: QuicIdentifier,
    /// The identity is final.
    settled: bool,
}

impl Default for Speaker {
    fn default() -> Self {
        Self { identifier: QuicIdentifier::new(&QuicLimits::default()), settled: false }
    }
}

impl Speaker {
    /// Takes a datagram of this direction, without UDP header.
    pub(super) fn push(&mut self, payload: &[u8]) {
        self.settled = match self.identifier.observe(payload) {
            Progress::Settled => true,
            Progress::Undecided | Progress::Identified => false,
        };
    }

    /// Whether nothing can change what it says.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether an Initial of it was readable: only those of a client are.
    pub(super) fn is_client(&self) -> bool {
        self.identifier.is_client()
    }

    /// What this direction says so far; none while it is undecided.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identifier.identity()
    }

    /// What this direction says, when nothing follows.
    pub(super) fn outcome(mut self) -> Identity {
        self.identifier.finish();
        self.identifier.identity().cloned().unwrap_or_else(|| nameless(Reason::Undecided))
    }

    /// What it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.identifier.buffer_bytes().saturating_add(size_of::<Self>())
    }
}
