//! The system's clock in the export task: looked at once a tick; a step is told once, with its size.

use std::time::Duration;

use jiff::SignedDuration;

use super::Export;
use crate::flow::belief::Step;
use crate::flow::time::Monotonic;
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::net::sys::clock::{Clock, Follower};

/// How long a step stays among what wants attention.
const TOLD_FOR: Duration = Duration::from_secs(3_600);

/// What is known of the system's clock.
pub(super) struct Watched {
    follower: Follower,
    /// A step was believed since the last tick.
    stepped: bool,
    /// The last step that is over, and when it was.
    last: Option<(Step, Monotonic)>,
}

impl Watched {
    /// Nothing was seen yet.
    pub(super) fn new() -> Self {
        Self { follower: Follower::new(), stepped: false, last: None }
    }

    /// Whether a step was believed since this was last asked.
    pub(super) fn take_stepped(&mut self) -> bool {
        std::mem::take(&mut self.stepped)
    }

    /// What of it wants the operator's eye.
    pub(super) fn attention(&self, clock: Clock) -> Option<Attention> {
        let text = match (self.follower.doubted(), self.last) {
            (Some(by), _) => {
                format!(
                    "the system's clock was set by {by:#}: not believed until it has stood, time goes on without it"
                )
            }
            (None, Some((step, at))) if clock.monotonic().since(at) < TOLD_FOR => match step {
                Step::Taken(by) => format!("the system's clock was set by {by:#} and is followed"),
                Step::Doubted(by) | Step::Withdrawn(by) => {
                    format!("the system's clock was set by {by:#} for a moment, which was not believed")
                }
            },
            (None, Some(_) | None) => return None,
        };
        Some(Attention::new(AttentionReason::ClockStep, text))
    }
}

impl Export {
    /// Looks at the system's clock.
    pub(super) fn watch_clock(&mut self) {
        let Some(step) = self.watched.follower.look() else { return };
        self.status.count_clock_step(step);
        let told = |by: SignedDuration| format!("{by:#}");
        match step {
            Step::Doubted(by) => {
                tracing::warn!(
                    by = told(by),
                    "the clock was set: time goes on without it until it has stood"
                );
                return;
            }
            Step::Withdrawn(by) => {
                tracing::warn!(
                    by = told(by),
                    "the clock is back where it would have been: the step was not believed"
                );
            }
            Step::Taken(by) => {
                self.watched.stepped = true;
                tracing::warn!(
                    by = told(by),
                    "the clock was set, and is followed: records around it are flagged clock_step"
                );
            }
        }
        self.watched.last = Some((step, self.clock.monotonic()));
    }
}
