//! The two clocks of the gateway, as values that are passed in.
//!
//! Dates of lists and records are wall-clock ([`jiff::Timestamp`]); retentions and deadlines follow
//! the monotonic clock, which a step of the wall clock cannot move (trap B9).

use std::time::Duration;

use jiff::Timestamp;

/// A point of the monotonic clock: time since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The point `since_start` after the start of the process.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds since the process started.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whole nanoseconds since the process started; 584 years fit.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The point `span` later, at most the end of the clock.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// One reading of both clocks, taken together.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Date and time, for lists and records.
    pub wall: Timestamp,
    /// For retentions and deadlines.
    pub monotonic: Monotonic,
}
