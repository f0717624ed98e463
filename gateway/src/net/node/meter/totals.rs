//! Running totals of one side of a flow, and how much of them was told.

use billing_export::Volume;

use crate::flow::engine::{Reading, Unknowable};

/// Running totals of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Bytes of both directions.
    carried: Volume,
    /// Those of them that were told: at a call, or at a reading.
    told: Volume,
}

impl Totals {
    /// Raises the totals; a lower one changes nothing.
    pub(super) fn raise(&mut self, to: Volume) {
        self.carried.up = self.carried.up.max(to.up);
        self.carried.down = self.carried.down.max(to.down);
    }

    /// Adds bytes that the subscriber sent and that are told at once.
    pub(super) fn see_up(&mut self, bytes: u64) {
        self.carried.up = self.carried.up.saturating_add(bytes);
        self.told.up = self.told.up.saturating_add(bytes);
    }

    /// What was not told before.
    fn tell(&mut self) -> Volume {
        // Never negative: `told` is a former value of `carried`, which only rises.
        let new = Volume {
            up: self.carried.up.saturating_sub(self.told.up),
            down: self.carried.down.saturating_sub(self.told.down),
        };
        self.told = self.carried;
        new
    }

    /// What is known by now, and that it is told.
    pub(super) fn reading(&mut self, unknowable: Unknowable, contradicts: bool) -> Reading {
        let unseen = self.tell();
        Reading { carried: self.carried, unseen, refused: Volume::ZERO, unknowable, contradicts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_what_is_told_adds_up_and_never_falls() {
        let mut totals = Totals::default();
        let mut told = Volume::ZERO;
        for step in [5_u64, 3, 9, 9, 0, 20] {
            totals.raise(Volume { up: step, down: 2 * step });
            told = told.checked_add(totals.tell()).unwrap();
        }
        assert_eq!(told, Volume { up: 20, down: 40 });
        assert_eq!(totals.tell(), Volume::ZERO);
    }
}
