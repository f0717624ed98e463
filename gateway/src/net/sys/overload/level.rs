//! How short memory is, in levels: each begins at a share of memory, and ends well below it so that it does not flutter.

/// Shares of memory, in thousandths, at which the levels begin.
pub(super) const BRISK: u64 = 850;
/// See [`BRISK`].
const UNREAD: u64 = 920;
/// See [`BRISK`].
const PAST: u64 = 950;
/// How far below its beginning a level ends.
pub(super) const SLACK: u64 = 50;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is enough.
    #[default]
    Normal,
    /// Timers are shortened.
    Brisk,
    /// Names of new flows are not read.
    Unread,
    /// New flows are led past this process where that is possible.
    Past,
}

impl Level {
    /// All, in their order.
    pub(super) const ALL: [Self; 4] = [Self::Normal, Self::Brisk, Self::Unread, Self::Past];

    /// The number that the metric shows.
    pub const fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Brisk => 1,
            Self::Unread => 2,
            Self::Past => 3,
        }
    }

    /// The share of memory at which it begins, in thousandths.
    const fn begins(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Brisk => BRISK,
            Self::Unread => UNREAD,
            Self::Past => PAST,
        }
    }

    /// The level at this share of memory, after this one.
    pub fn next(self, thousandths: u64) -> Self {
        let stays = |level: Self| {
            let slack = if level <= self { SLACK } else { 0 };
            thousandths >= level.begins().saturating_sub(slack)
        };
        Self::ALL.into_iter().rev().find(|level| stays(*level)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_a_level_begins_at_its_share_and_ends_well_below_it() {
        let from = |level: Level, thousandths| level.next(thousandths);
        for (level, begins) in [(Level::Brisk, 850), (Level::Unread, 920), (Level::Past, 950)] {
            assert!(from(Level::Normal, begins - 1) < level);
            assert_eq!(from(Level::Normal, begins), level);
            assert_eq!(from(level, begins - 50), level);
            assert!(from(level, begins - 51) < level);
        }
        assert_eq!(from(Level::Past, 0), Level::Normal);
        assert_eq!(from(Level::Past, 899), Level::Unread);
        assert_eq!(from(Level::Normal, u64::MAX), Level::Past);
    }
}
