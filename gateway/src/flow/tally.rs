//! What one flow has carried, and how much of it has been reported.
//!
//! Monotone: a reading is never taken back. Bytes carried before the verdict are simply not reported yet;
//! when the verdict latches they go where it says (decision 3).

use billing_export::Volume;

/// The bytes of one flow in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    carried: Volume,
    reported: Volume,
}

impl Tally {
    /// Raises the bytes carried to `total`, the meter's own running totals; lower ones change nothing.
    pub fn raise(&mut self, total: Volume) {
        self.carried.up = self.carried.up.max(total.up);
        self.carried.down = self.carried.down.max(total.down);
    }

    /// Bytes carried so far.
    pub const fn carried(&self) -> Volume {
        self.carried
    }

    /// Bytes carried and not reported: what is pending while there is no verdict.
    pub fn unreported(&self) -> Volume {
        // `reported` is a former value of `carried`, which never falls, so neither difference can be negative.
        Volume {
            up: self.carried.up.saturating_sub(self.reported.up),
            down: self.carried.down.saturating_sub(self.reported.down),
        }
    }

    /// Takes the unreported bytes; the next call gives only what came after.
    pub fn take(&mut self) -> Volume {
        let taken = self.unreported();
        self.reported = self.carried;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_what_is_taken_adds_up_to_what_was_carried() {
        let mut tally = Tally::default();
        let mut taken = Volume::ZERO;
        for step in 0..1_000_u64 {
            tally.raise(Volume { up: step * 7 % 1_001, down: step * 3 });
            if step % 5 == 0 {
                taken = taken.checked_add(tally.take()).unwrap();
            }
        }
        taken = taken.checked_add(tally.take()).unwrap();
        assert_eq!(taken, tally.carried());
        assert_eq!(tally.take(), Volume::ZERO);
    }

    #[test]
    fn t29_counts_pass_four_gibibytes_and_never_fall() {
        let mut tally = Tally::default();
        tally.raise(Volume { up: 4_294_967_297, down: 5_000_000_000 });
        tally.raise(Volume { up: 4_294_967_296, down: 4_000_000_000 });
        assert_eq!(tally.carried(), Volume { up: 4_294_967_297, down: 5_000_000_000 });
        tally.raise(Volume { up: u64::MAX, down: u64::MAX });
        assert_eq!(tally.carried(), Volume { up: u64::MAX, down: u64::MAX });
    }
}
