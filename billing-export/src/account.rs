//! What one counter is kept for, and what the data path reports once a tick. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::class::{Class, Reason};
use crate::subscriber::Session;
use crate::unit::{Disposition, Flags, Volume};

/// The list version a verdict was taken under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListVersion {
    /// The list's id.
    pub id: Arc<str>,
    /// Its serial, which only rises.
    pub serial: u64,
}

/// The class of a counter with what belongs to that class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// Not charged, for this service.
    Exempt {
        /// Service id of the list.
        service: Arc<str>,
        /// The operator's rating group.
        rating_group: u32,
        /// Who exempts it.
        disposition: Disposition,
    },
    /// Charged, for this reason.
    Charged(Reason),
    /// Nobody's, for this reason.
    Unattributed(Reason),
}

impl Entry {
    /// The entry of a reason, in the class the reason belongs to.
    pub fn because(reason: Reason) -> Entry {
        match reason.class() {
            Class::Unattributed => Entry::Unattributed(reason),
            Class::Charged | Class::Exempt => Entry::Charged(reason),
        }
    }

    /// The entry with a reason that belongs to no subscriber moved to its own class.
    #[must_use]
    pub fn normalised(self) -> Entry {
        match self {
            Entry::Charged(reason) => Entry::because(reason),
            Entry::Exempt { .. } | Entry::Unattributed(_) => self,
        }
    }

    /// The class.
    pub fn class(&self) -> Class {
        match self {
            Entry::Exempt { .. } => Class::Exempt,
            Entry::Charged(_) => Class::Charged,
            Entry::Unattributed(_) => Class::Unattributed,
        }
    }

    /// The reason; none for exempt bytes.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Entry::Exempt { .. } => None,
            Entry::Charged(reason) | Entry::Unattributed(reason) => Some(*reason),
        }
    }

    /// The service; none unless exempt.
    pub fn service(&self) -> Option<&Arc<str>> {
        match self {
            Entry::Exempt { service, .. } => Some(service),
            Entry::Charged(_) | Entry::Unattributed(_) => None,
        }
    }
}

/// What one counter is kept for: a usage row of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// Whose bytes.
    pub session: Session,
    /// Under which list; none while no list was ever accepted.
    pub list: Option<ListVersion>,
    /// As what.
    pub entry: Entry,
}

/// Bytes of one account since the last tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The counter.
    pub account: Account,
    /// Remarks, united with those already on the counter.
    pub flags: Flags,
    /// The bytes, not a running total.
    pub volume: Volume,
}

/// All that the workers report for one second.
///
/// `seen + pending before = usage + pending_after` holds per direction if no byte was lost or doubled on the way;
/// `seen` is counted at the socket calls, never summed from `usage`. `pending before` is the `pending_after` of the
/// tick before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Rises with every tick from 1 in each run; a repeated number is applied once.
    pub sequence: u64,
    /// The moment the tick's counting began: it decides the period.
    pub from: Timestamp,
    /// The moment the counters were pulled.
    pub at: Timestamp,
    /// Bytes that passed the sockets in this tick.
    pub seen: Volume,
    /// Bytes carried for flows without a verdict, at `at`.
    pub pending_after: Volume,
    /// Bytes attributed in this tick.
    pub usage: Vec<Usage>,
    /// Exempt accounts that reached a cap: their records say so.
    pub capped: Vec<Account>,
    /// What was spent of allowances, where it changed.
    pub spent: Vec<Spent>,
    /// The clock was set within the tick: its times are those of two clocks. A tick that is merely long is none: a disk that
    /// was full makes it so.
    pub stepped: bool,
}

/// What one subscriber has had exempt under one allowance in one span of time, in bytes of both directions.
///
/// Kept beside the counters, and written with the tick that counts the bytes, so that a restart gives nothing anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// A session of the subscriber; only whose it is counts.
    pub subscriber: Session,
    /// The allowance, in the words of whoever caps.
    pub allowance: String,
    /// The day or month, in the same words.
    pub span: String,
    /// The bytes: the running sum of the span.
    pub bytes: u64,
}
