//! Counters of a flow's bytes, and what they say.
//!
//! Who counts depends on who carries: the kernel of a stream that is relayed, the calls of datagrams, the slots of packets that
//! stay in the kernel. The basis of the bytes is the counter's own.

use billing_export::Volume;

use crate::flow::sent::{Queues, Sent};

/// Counts the bytes of one flow. Whether it is asked at each reading or was read before for many flows at once is its own
/// affair.
pub trait Counter {
    /// Reads it, with the queues of the machine's interfaces like this. A reading that fails says what the last one said: it
    /// under-counts.
    fn read(&mut self, queues: Queues) -> Reading;

    /// What was sent to the subscriber, where it counts before it is acknowledged.
    fn sent(&self) -> Option<&Sent>;

    /// Bytes on their way to the subscriber that are not among the totals yet, at the last reading.
    fn moving(&self) -> u64;

    /// Whether a later reading may say more though nobody moves anything: what was sent waits for its acknowledgement, or for a
    /// look at the queues. The reading of an ended flow that waits for nothing is its last.
    fn is_waiting(&self) -> bool;

    /// Whether what is on its way, and nobody here looks after any more, is another process's to count.
    fn is_kept(&self) -> bool {
        false
    }

    /// Those of the bytes on their way that were not among the first `owed`.
    fn moving_after(&self, owed: u64) -> u64 {
        let before = self.sent().map_or(0, |sent| sent.moving_of(owed));
        self.moving().saturating_sub(before)
    }
}

/// Bytes that may have passed and that nobody can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknowable {
    /// What the machine's own queues may have dropped of what was sent.
    pub dropped: u64,
    /// Options that nobody counts, where they are worth a word.
    pub options: u64,
}

impl Unknowable {
    /// Whether either is more than it ever was.
    pub const fn exceeds(self, most: Self) -> bool {
        self.dropped > most.dropped || self.options > most.options
    }

    /// The most of both.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self { dropped: self.dropped.max(other.dropped), options: self.options.max(other.options) }
    }
}

/// One reading of a flow's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Running totals.
    pub carried: Volume,
    /// What of them nobody was told before.
    pub unseen: Volume,
    /// What of that passed without the exemption that the flow had: whoever carries it took it back at a packet.
    pub refused: Volume,
    /// Bytes that may have passed and are never among the totals: where there are any, the totals are a lower bound.
    pub unknowable: Unknowable,
    /// Our calls moved more than the kernel says passed: one of the two counts is wrong.
    pub contradicts: bool,
}
