//! The two ends of a flow, and one thing for each.

/// One of the two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Who sent the first captured packet.
    First,
    /// The other.
    Second,
}

impl Side {
    /// The other end.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// One thing for each end.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair<T> {
    pub(super) first: T,
    pub(super) second: T,
}

impl<T> Pair<T> {
    /// That of `side`.
    pub(super) const fn of(&self, side: Side) -> &T {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    /// That of `side`, to change.
    pub(super) const fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        }
    }
}
