//! What a counter of a flow's bytes says.

use billing_export::Volume;

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
    /// Bytes that may have passed and are never among the totals: where there are any, the totals are a lower bound.
    pub unknowable: Unknowable,
    /// Our calls moved more than the kernel says passed: one of the two counts is wrong.
    pub contradicts: bool,
}
