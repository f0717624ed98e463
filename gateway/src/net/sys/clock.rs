//! The process's clocks; the one place where they are read.
//!
//! The wall time of everything is the one that is believed ([`Belief`]): the export task looks at the system's clock once a
//! tick, and in between time goes on by the monotonic clock. A step of the system's clock reaches nothing before it has stood.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::flow::belief::{Belief, Step};
use crate::flow::time::{Moment, Monotonic};

/// Where the process's monotonic time begins.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The believed wall time there, in nanoseconds since 1970; it moves as the belief does.
static WALL_THEN: LazyLock<AtomicI64> = LazyLock::new(|| {
    let (wall, at) = read();
    AtomicI64::new(begun_at(wall, at))
});

/// Both clocks of the system.
fn read() -> (Timestamp, Monotonic) {
    let begun = *BEGUN;
    (Timestamp::now(), Monotonic::new(begun.elapsed()))
}

/// The wall time at which the process began, in nanoseconds, by a wall time and its point of the monotonic clock.
fn begun_at(wall: Timestamp, at: Monotonic) -> i64 {
    let elapsed = i128::from(at.as_nanos());
    i64::try_from(wall.as_nanosecond().saturating_sub(elapsed)).unwrap_or(i64::MAX)
}

/// The wall time that is believed.
pub fn wall() -> Timestamp {
    let then = WALL_THEN.load(Ordering::Relaxed);
    let begun = *BEGUN;
    let elapsed = SignedDuration::try_from(begun.elapsed()).unwrap_or_default();
    let then = Timestamp::from_nanosecond(then.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    then.checked_add(elapsed).unwrap_or(then)
}

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
        Moment { wall: wall(), monotonic: self.monotonic() }
    }

    /// The monotonic clock alone.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.start.elapsed())
    }
}

/// Looks at the system's clock, and says what is believed.
#[derive(Debug)]
pub struct Follower {
    belief: Belief,
}

impl Follower {
    /// Goes on from what the process believes.
    #[expect(clippy::new_without_default, reason = "reading the clock is an act, not a default value")]
    pub fn new() -> Self {
        let (_, at) = read();
        Self { belief: Belief::new(wall(), at) }
    }

    /// Looks at both clocks; from then on [`wall`] says what is believed.
    pub fn look(&mut self) -> Option<Step> {
        let (wall, at) = read();
        let step = self.belief.observe(wall, at);
        WALL_THEN.store(begun_at(self.belief.at(at), at), Ordering::Relaxed);
        step
    }

    /// By how much the system's clock differs from what is believed, if that is in doubt.
    pub fn doubted(&self) -> Option<SignedDuration> {
        self.belief.doubted()
    }
}
