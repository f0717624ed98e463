//! The time and the figures between two seals.

use jiff::Timestamp;

use crate::audit::Figures;
use crate::check::Sum;
use crate::period::{Period, to_millis};
use crate::record::Window;
use crate::unit::Volume;

/// The time and the figures between two seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where the seal before ended.
    pub(crate) start: Timestamp,
    /// End of the billing period: the latest end of this segment.
    pub(crate) end: Timestamp,
    /// The latest time any tick has shown; none before the first.
    pub(crate) high_water: Option<Timestamp>,
    /// The clock was set in this segment.
    pub(crate) stepped: bool,
    /// The segment was open at an unclean stop.
    pub(crate) recovered: bool,
    /// Rows of it were not as they were written.
    pub(crate) damaged: bool,
    /// Seen and pending.
    pub(crate) figures: Figures,
    /// Sum of all counters.
    pub(crate) usage: Volume,
    /// Sum of the checks of their rows.
    pub(crate) sum: Sum,
}

impl Segment {
    /// A new segment in the period that contains `start`.
    pub(crate) fn beginning(start: Timestamp, period: Period) -> Segment {
        let start = to_millis(start);
        Segment {
            start,
            end: period.end_of(start),
            high_water: None,
            stepped: false,
            recovered: false,
            damaged: false,
            figures: Figures::default(),
            usage: Volume::ZERO,
            sum: Sum::default(),
        }
    }

    /// The segment after this one: what is pending stays pending.
    pub(crate) fn following(self, start: Timestamp, period: Period) -> Segment {
        let pending = self.figures.pending_after;
        Segment {
            high_water: self.high_water,
            figures: Figures { seen: Volume::ZERO, pending_before: pending, pending_after: pending },
            ..Segment::beginning(start, period)
        }
    }

    /// Whether nothing was seen, nothing counted and nothing became pending or ceased to be.
    pub(crate) fn is_idle(self) -> bool {
        !self.damaged
            && self.usage.is_zero()
            && self.figures.seen.is_zero()
            && self.figures.pending_before == self.figures.pending_after
    }

    /// The window of a seal at `end`: inside the segment, never negative.
    pub(crate) fn window(self, end: Timestamp) -> Window {
        Window::clamped(self.start, to_millis(end).min(self.end))
    }
}
