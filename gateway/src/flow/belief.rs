//! Which time is believed: the wall clock, as long as it goes on as the monotonic clock does; after a step only when it has
//! stood. Pure: both clocks are arguments.
//!
//! A clock that is wrong for some seconds would date records into years to come, expire a list and begin a new day of
//! allowances. While a step is in doubt time goes on by the monotonic clock from the last wall time that was believed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::time::Monotonic;

/// Differences up to this are followed at once: clocks that are slewed, leap seconds, a thread that was late between two
/// readings.
pub const FOLLOWED_MAX: SignedDuration = SignedDuration::from_secs(2);
/// A step is believed when it has stood for so long: longer than a clock is wrong by mistake while a time daemon starts, and
/// short beside a billing period.
pub const CONFIRMED_AFTER: Duration = Duration::from_secs(30);

/// What was seen of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was set by so much; not believed yet.
    Doubted(SignedDuration),
    /// It was set back to where it would have been: the step by so much never was.
    Withdrawn(SignedDuration),
    /// The step by so much has stood and is believed.
    Taken(SignedDuration),
}

impl Step {
    /// All labels.
    pub const LABELS: [&str; 3] = ["doubted", "withdrawn", "taken"];

    /// The label's value in metrics.
    pub const fn label(self) -> &'static str {
        let [doubted, withdrawn, taken] = Self::LABELS;
        match self {
            Self::Doubted(_) => doubted,
            Self::Withdrawn(_) => withdrawn,
            Self::Taken(_) => taken,
        }
    }
}

/// A step that is not believed yet.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// By how much.
    by: SignedDuration,
    /// When it was seen.
    since: Monotonic,
}

/// The time that is believed.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    /// A wall time that is believed, and the point of the monotonic clock then.
    anchor: (Timestamp, Monotonic),
    /// What is in doubt.
    doubt: Option<Doubt>,
}

impl Belief {
    /// Believes the first reading: there is nothing to hold it against.
    pub fn new(wall: Timestamp, at: Monotonic) -> Self {
        Self { anchor: (wall, at), doubt: None }
    }

    /// The believed time at a point not before the last one observed.
    pub fn at(&self, at: Monotonic) -> Timestamp {
        let (wall, then) = self.anchor;
        SignedDuration::try_from(at.since(then))
            .ok()
            .and_then(|elapsed| wall.checked_add(elapsed).ok())
            .unwrap_or(wall)
    }

    /// By how much the clock differs from what is believed, if that is in doubt.
    pub fn doubted(&self) -> Option<SignedDuration> {
        self.doubt.map(|doubt| doubt.by)
    }

    /// Looks at both clocks.
    pub fn observe(&mut self, wall: Timestamp, at: Monotonic) -> Option<Step> {
        let by = wall.duration_since(self.at(at));
        if by.abs() <= FOLLOWED_MAX {
            self.anchor = (wall, at);
            return self.doubt.take().map(|doubt| Step::Withdrawn(doubt.by));
        }
        match self.doubt {
            Some(doubt) if by.saturating_sub(doubt.by).abs() <= FOLLOWED_MAX => {
                if at.since(doubt.since) < CONFIRMED_AFTER {
                    return None;
                }
                *self = Self::new(wall, at);
                Some(Step::Taken(by))
            }
            Some(_) | None => {
                self.doubt = Some(Doubt { by, since: at });
                Some(Step::Doubted(by))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine: its true time goes on with the monotonic clock, its wall clock is wrong by `off`.
    struct Machine {
        belief: Belief,
        seconds: i64,
        off: SignedDuration,
    }

    /// A school day's noon.
    fn noon() -> Timestamp {
        "2026-04-06T12:00:00Z".parse().unwrap()
    }

    impl Machine {
        /// A machine that was started with a clock that is wrong by `off`.
        fn new(off: SignedDuration) -> Self {
            Self { belief: Belief::new(noon() + off, Monotonic::default()), seconds: 0, off }
        }

        /// Goes on for so many ticks; what was seen, and the greatest error of the believed time in seconds.
        fn run(&mut self, ticks: i64) -> (Vec<Step>, i64) {
            let (mut steps, mut error) = (Vec::new(), 0);
            for _ in 0..ticks {
                self.seconds += 1;
                let at = Monotonic::new(Duration::from_secs(self.seconds.unsigned_abs()));
                let truth = noon() + SignedDuration::from_secs(self.seconds);
                steps.extend(self.belief.observe(truth + self.off, at));
                error = error.max(self.belief.at(at).duration_since(truth).as_secs().abs());
            }
            (steps, error)
        }
    }

    const DAY: i64 = 86_400;

    #[test]
    fn f13_a_clock_that_is_wrong_for_a_moment_is_never_believed() {
        for off in [400 * DAY, DAY, -DAY, -3_600, 3_600, 3].map(SignedDuration::from_secs) {
            for length in [1, 2, 29] {
                let mut machine = Machine::new(SignedDuration::ZERO);
                assert_eq!(machine.run(10), (vec![], 0));
                machine.off = off;
                assert_eq!(machine.run(length), (vec![Step::Doubted(off)], 0), "{off} for {length} s");
                machine.off = SignedDuration::ZERO;
                assert_eq!(machine.run(100), (vec![Step::Withdrawn(off)], 0), "{off} for {length} s");
                assert_eq!(machine.belief.doubted(), None);
            }
        }
    }

    #[test]
    fn f13_a_correction_that_stands_is_followed_within_half_a_minute() {
        // A machine whose battery is empty, one that was years ahead, one an hour behind, one that slept.
        for off in [-20 * 365 * DAY, 400 * DAY, -3_600, DAY].map(SignedDuration::from_secs) {
            let mut machine = Machine::new(off);
            machine.run(5);
            machine.off = SignedDuration::ZERO;
            let (steps, _) = machine.run(31);
            assert_eq!(steps, [Step::Doubted(-off), Step::Taken(-off)]);
            assert_eq!(machine.run(100), (vec![], 0));
        }
    }

    #[test]
    fn f13_steps_on_steps_are_believed_only_when_the_last_has_stood() {
        let mut machine = Machine::new(SignedDuration::ZERO);
        for day in 1..20 {
            machine.off = SignedDuration::from_secs(day * DAY);
            let (steps, error) = machine.run(29);
            assert_eq!((steps, error), (vec![Step::Doubted(machine.off)], 0));
        }
        let (steps, _) = machine.run(2);
        assert_eq!(steps, [Step::Taken(machine.off)]);
    }

    #[test]
    fn f66_a_reading_that_comes_late_and_a_slewed_clock_are_no_steps() {
        let mut belief = Belief::new(noon(), Monotonic::default());
        // A disk that stood still for an hour, and half a second of drift.
        let late = Monotonic::new(Duration::from_secs(3_600));
        let wall = noon() + SignedDuration::from_millis(3_600_500);
        assert_eq!(belief.observe(wall, late), None);
        assert_eq!(belief.at(late), wall);
        // At the limit it is followed, one over it is a step.
        let next = Monotonic::new(Duration::from_secs(3_601));
        let wall = wall + SignedDuration::from_secs(1) + FOLLOWED_MAX;
        assert_eq!(belief.observe(wall, next), None);
        let over = FOLLOWED_MAX + SignedDuration::from_nanos(1);
        let last = Monotonic::new(Duration::from_secs(3_602));
        let step = belief.observe(wall + SignedDuration::from_secs(1) + over, last);
        assert_eq!(step, Some(Step::Doubted(over)));
    }
}
