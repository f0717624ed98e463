//! One row of a usage file: immutable once sealed, named for ever by `(node_id, epoch, record_seq)`. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::account::Account;
use crate::error::UnknownLabel;
use crate::period::to_millis;
use crate::unit::{ByteBasis, Cause, Flags, NodeId, Volume};

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes of one account.
    Usage,
    /// A correction of an earlier record.
    Adjust,
    /// Nothing happened in the window; silence would mean loss.
    Heartbeat,
    /// Something is missing, or does not add up, in the window.
    Gap,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Usage, Kind::Adjust, Kind::Heartbeat, Kind::Gap];

    /// The word used in files.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Adjust => "adjust",
            Kind::Heartbeat => "heartbeat",
            Kind::Gap => "gap",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownLabel;

    fn from_str(text: &str) -> Result<Kind, UnknownLabel> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.label() == text)
            .ok_or_else(|| UnknownLabel::new("kind", text, "usage, adjust, heartbeat or gap"))
    }
}

/// The time a record speaks of: from `start` (included) to `end`, never negative, whole milliseconds.
///
/// It is the window of the seal, equal for all rows of one seal: the part of the billing period between the seal
/// before and this one. A correction starts where the usage record it corrects does, whose day it counts for, and ends where
/// the records sealed before it do. The times of single flows stay inside the gateway (decision 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// First instant.
    start: Timestamp,
    /// First instant after.
    end: Timestamp,
}

impl Window {
    /// The window between two instants; one that would end before it starts has length zero at `start`.
    pub fn clamped(start: Timestamp, end: Timestamp) -> Window {
        let start = to_millis(start);
        Window { start, end: to_millis(end).max(start) }
    }

    /// The window between two instants; `None` if it would end before it starts.
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Window> {
        (start <= end).then(|| Window::clamped(start, end))
    }

    /// First instant.
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// First instant after.
    pub fn end(self) -> Timestamp {
        self.end
    }
}

/// The record an `adjust` corrects, on the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Its epoch.
    pub epoch: u32,
    /// Its number within the epoch.
    pub seq: u64,
}

/// A signed number of bytes, at most 64 bits without the sign: only corrections are negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Change(i128);

impl Change {
    /// The change; `None` beyond ±(2⁶⁴−1).
    pub fn new(bytes: i128) -> Option<Change> {
        u64::try_from(bytes.unsigned_abs()).is_ok().then_some(Change(bytes))
    }

    /// The bytes.
    pub fn bytes(self) -> i128 {
        self.0
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a record says, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Bytes of one account.
    Usage {
        /// The account.
        account: Account,
        /// The bytes of the window.
        volume: Volume,
        /// Running total of (session, service, class, reason) in the epoch, this record included.
        total: Volume,
    },
    /// A correction.
    Adjust {
        /// The record corrected.
        reference: Reference,
        /// The account.
        account: Account,
        /// Change of the upward bytes.
        up: Change,
        /// Change of the downward bytes.
        down: Change,
        /// Running total of the account in the epoch, which the correction leaves as it is: what it corrects may be of an
        /// epoch before.
        total: Volume,
    },
    /// Nothing happened.
    Heartbeat,
    /// Something is missing.
    Gap,
}

/// One row of a usage file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The gateway.
    pub node_id: NodeId,
    /// Rises when state is created or restored.
    pub epoch: u32,
    /// From 1, contiguous in the epoch.
    pub seq: u64,
    /// The time spoken of.
    pub window: Window,
    /// What the bytes count.
    pub byte_basis: ByteBasis,
    /// Why it was closed.
    pub cause: Option<Cause>,
    /// Remarks.
    pub flags: Flags,
    /// What it says.
    pub body: Body,
}

impl Record {
    /// The kind of the record.
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Usage { .. } => Kind::Usage,
            Body::Adjust { .. } => Kind::Adjust,
            Body::Heartbeat => Kind::Heartbeat,
            Body::Gap => Kind::Gap,
        }
    }

    /// The account, where the record has one.
    pub fn account(&self) -> Option<&Account> {
        match &self.body {
            Body::Usage { account, .. } | Body::Adjust { account, .. } => Some(account),
            Body::Heartbeat | Body::Gap => None,
        }
    }

    /// The bytes the record adds to a sum, upward and downward.
    pub fn bytes(&self) -> (i128, i128) {
        match &self.body {
            Body::Usage { volume, .. } => (i128::from(volume.up), i128::from(volume.down)),
            Body::Adjust { up, down, .. } => (up.bytes(), down.bytes()),
            Body::Heartbeat | Body::Gap => (0, 0),
        }
    }
}
