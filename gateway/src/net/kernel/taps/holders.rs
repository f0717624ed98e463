//! Whether a flow began before its address had the holder whom it has now.
//!
//! The kernel begins flows, and this process hears of them later: of a first segment after milliseconds, of what has no first bytes
//! after a second. Whose they are is what the table says by then. So a flow that began before its holder came counts for nobody.

use std::collections::VecDeque;
use std::time::Duration;

/// Writes whose time is known.
const WRITES_MAX: usize = 65_536;
/// Longer than a flow may have begun before it is heard of, while the process looks.
const KEPT: Duration = Duration::from_secs(10);

/// When writes to the table of sessions were seen.
#[derive(Debug)]
pub(super) struct Holders {
    /// The latest number of a look, and its time; numbers rise, and so do times.
    seen: VecDeque<(u64, Duration)>,
    /// Number of the latest write that is older than all of them.
    before: u64,
}

impl Holders {
    /// Of a process that starts when the latest write has this number: what came with it was there before.
    pub(super) const fn new(number: u64) -> Self {
        Self { seen: VecDeque::new(), before: number }
    }

    /// The latest write has this number at this look.
    pub(super) fn look(&mut self, number: u64, now: Duration) {
        let latest = self.seen.back().map_or(self.before, |(number, _)| *number);
        if number > latest {
            self.seen.push_back((number, now));
        }
        while let Some((number, at)) = self.seen.front().copied() {
            if self.seen.len() <= WRITES_MAX && now.saturating_sub(at) < KEPT {
                break;
            }
            self.before = number;
            self.seen.pop_front();
        }
    }

    /// Whether a flow that began at `opened` may have begun before the write with number `since`.
    pub(super) fn began_before(&self, opened: Duration, since: u64) -> bool {
        if since <= self.before {
            return false;
        }
        let place = self.seen.partition_point(|(number, _)| *number < since);
        // A write that no look has seen yet was a moment ago. The clock goes in steps of milliseconds: a flow that began in the
        // step of the look may have begun before it.
        self.seen.get(place).is_none_or(|(_, seen)| opened <= *seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b19_a_flow_that_began_before_the_holder_was_seen_to_come_is_not_his() {
        let at = Duration::from_millis;
        let mut holders = Holders::new(3);
        holders.look(3, at(1_000));
        holders.look(5, at(1_020));
        holders.look(8, at(1_040));
        assert!(!holders.began_before(at(0), 3), "there when the process started");
        for since in [4, 5] {
            assert!(holders.began_before(at(1_020), since), "{since}: in the same step of the clock");
            assert!(!holders.began_before(at(1_024), since), "{since}");
        }
        assert!(holders.began_before(at(1_040), 6) && !holders.began_before(at(1_044), 8));
        assert!(holders.began_before(at(1_050), 9), "no look has seen it");
        holders.look(8, at(11_030));
        assert!(
            !holders.began_before(at(0), 5) && holders.began_before(at(0), 6),
            "long ago, and not so long"
        );
        for number in 9..=WRITES_MAX as u64 + 20 {
            holders.look(number, at(11_031));
        }
        assert_eq!(holders.seen.len(), WRITES_MAX);
    }
}
