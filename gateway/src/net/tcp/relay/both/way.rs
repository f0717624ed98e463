//! The two directions of a flow, and whose fault an error is in each.

use std::io;

use crate::net::tcp::relay::Failed;

/// One of the directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Subscriber → origin.
    Up,
    /// Origin → subscriber.
    Down,
}

impl Way {
    /// The other direction.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }

    /// Whose fault an error of the sender's socket is.
    pub(super) fn sender_failed(self, error: io::Error) -> Failed {
        match self {
            Self::Up => Failed::subscriber(error),
            Self::Down => Failed::origin(error),
        }
    }

    /// Whose fault an error of the receiver's socket is.
    pub(super) fn receiver_failed(self, error: io::Error) -> Failed {
        self.other().sender_failed(error)
    }
}
