//! Conservation (decision 20): seen + pending before = usage rows + pending after, per direction.
//!
//! Pure. Sums are taken in 128 bits, so that the check itself cannot overflow.

use crate::unit::Volume;

/// What passed the sockets and what was waiting for a verdict, for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Figures {
    /// Counted at the socket calls.
    pub seen: Volume,
    /// Carried without a verdict when the file's window began.
    pub pending_before: Volume,
    /// Carried without a verdict when it ended.
    pub pending_after: Volume,
}

impl Figures {
    /// Whether the usage rows account for every byte.
    pub fn conserved(&self, rows: Volume) -> bool {
        let balanced = |seen: u64, before: u64, rows: u64, after: u64| {
            u128::from(seen).checked_add(u128::from(before))
                == u128::from(rows).checked_add(u128::from(after))
        };
        balanced(self.seen.up, self.pending_before.up, rows.up, self.pending_after.up)
            && balanced(self.seen.down, self.pending_before.down, rows.down, self.pending_after.down)
    }
}

/// Cuts the figures of one seal over the files it makes.
///
/// The first file carries all that was seen and what was pending before; what its rows do not account for is pending
/// for the next file, and so on; the last file carries what really was pending at the end. So each file of a conserved
/// seal is conserved by itself, the pending figures link file to file, `seen` adds up to what the sockets counted, and
/// what a seal does not account for shows in its last file.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// What is left to hand out.
    rest: Figures,
}

impl Split {
    /// The cut of one seal's figures.
    pub fn new(figures: Figures) -> Split {
        Split { rest: figures }
    }

    /// The figures of the next file, whose usage rows sum up to `rows`.
    pub fn next_file(&mut self, rows: Volume, last: bool) -> Figures {
        if last {
            return self.rest;
        }
        let carried = |seen: u64, before: u64, rows: u64| {
            let all = u128::from(seen).saturating_add(u128::from(before));
            // Rows beyond what was seen leave nothing to carry, and the file shows as not conserved.
            u64::try_from(all.saturating_sub(u128::from(rows))).unwrap_or(u64::MAX)
        };
        let after = Volume {
            up: carried(self.rest.seen.up, self.rest.pending_before.up, rows.up),
            down: carried(self.rest.seen.down, self.rest.pending_before.down, rows.down),
        };
        let figures = Figures { pending_after: after, ..self.rest };
        self.rest = Figures { seen: Volume::ZERO, pending_before: after, ..self.rest };
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal bytes both ways.
    fn both(bytes: u64) -> Volume {
        Volume { up: bytes, down: bytes }
    }

    #[test]
    fn b26_one_byte_too_many_or_too_few_is_not_conserved() {
        let figures = Figures { seen: both(100), pending_before: both(7), pending_after: both(5) };
        assert!(figures.conserved(both(102)));
        assert!(!figures.conserved(both(101)));
        assert!(!figures.conserved(both(103)));
        assert!(!figures.conserved(Volume { up: 102, down: 101 }));
        let most =
            Figures { seen: both(u64::MAX), pending_before: both(u64::MAX), pending_after: both(u64::MAX) };
        assert!(most.conserved(both(u64::MAX)));
    }

    #[test]
    fn b26_a_seal_over_three_files_is_conserved_in_each() {
        let whole = Figures { seen: both(100), pending_before: both(7), pending_after: both(5) };
        let mut split = Split::new(whole);
        let rows = [both(60), both(40), both(2)];
        let files = [
            split.next_file(rows[0], false),
            split.next_file(rows[1], false),
            split.next_file(rows[2], true),
        ];
        for (figures, rows) in files.iter().zip(rows) {
            assert!(figures.conserved(rows), "{figures:?}");
        }
        assert_eq!(files[0].pending_after, files[1].pending_before);
        assert_eq!(files[1].pending_after, files[2].pending_before);
        assert_eq!(files[2].pending_after, whole.pending_after);
        assert_eq!(files[0].seen, whole.seen);
    }

    #[test]
    fn b26_a_mismatch_shows_in_the_last_file_whichever_way_it_goes() {
        for rows in [[both(60), both(30)], [both(120), both(2)], [both(100), both(20)]] {
            let mut split =
                Split::new(Figures { seen: both(100), pending_before: both(0), pending_after: both(0) });
            let _ = split.next_file(rows[0], false);
            assert!(!split.next_file(rows[1], true).conserved(rows[1]), "{rows:?}");
        }
    }
}
