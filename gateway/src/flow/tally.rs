//! What one flow has carried, and how much of it has been reported.
//!
//! Monotone: a reading is never taken back. Bytes carried before the verdict are simply not reported yet;
//! when the verdict latches they go where it says (DESIGN decision 3).

use billing_export::Volume;

/// The bytes of one flow in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    carried: Volume,
    reported: Volume,
}

impl Tally {
    /// Adds bytes received from the subscriber.
    pub fn add_up(&mut self, bytes: u64) {
        self.carried.up = self.carried.up.saturating_add(bytes);
    }

    /// Raises the bytes delivered to the subscriber to `total`, the socket's own running total; a lower one changes nothing.
    pub fn raise_down(&mut self, total: u64) {
        self.carried.down = self.carried.down.max(total);
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

/// What a datagram with this much payload counts: the payload, for the byte basis is `payload`. The one place where the
/// bytes of its headers would be added (DESIGN decision 13).
pub fn datagram_bytes(payload: usize) -> u64 {
    u64::try_from(payload).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b26_what_is_taken_adds_up_to_what_was_carried() {
        let mut tally = Tally::default();
        let mut taken = Volume::ZERO;
        for step in 0..1_000_u64 {
            tally.add_up(step % 7);
            tally.raise_down(step * 3);
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
        tally.add_up(u64::from(u32::MAX));
        tally.add_up(2);
        assert_eq!(tally.carried().up, 4_294_967_297);
        tally.raise_down(5_000_000_000);
        tally.raise_down(4_000_000_000);
        assert_eq!(tally.carried().down, 5_000_000_000);
        tally.add_up(u64::MAX);
        assert_eq!(tally.carried().up, u64::MAX);
    }
}
