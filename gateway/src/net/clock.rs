//! The process's clocks; the one place where they are read.

use std::time::Instant;

use jiff::Timestamp;

use crate::flow::time::{Moment, Monotonic};

/// Reads both clocks; the monotonic one counts from the creation of this value.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::new_without_default, reason = "reading the clock is an act, not a default value")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Moment {
        Moment { wall: Timestamp::now(), monotonic: self.monotonic() }
    }

    /// The monotonic clock alone.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.start.elapsed())
    }
}
