//! Open counters: ticks are added, a seal turns them into records. Pure; the store keeps a durable mirror.
//!
//! A tick is first *staged* (everything checked, nothing changed), then written and committed by the store, then
//! *applied* here. A refused tick changes nothing. Counts are 64-bit, checked, and at most [`COUNT_MAX`], the greatest
//! integer the store keeps exactly.
//!
//! Memory: one open counter costs about 400 bytes with its key; their number is limited by `accounts_max`. Running
//! totals of accounts without an open counter stay in the store.

mod segment;
mod stage;

use std::collections::{HashMap, HashSet};

use crate::account::{Account, Tick};
use crate::check::Check;
use crate::subscriber::Session;
use crate::unit::{Flag, Flags, Volume};

pub(crate) use segment::Segment;

/// The greatest count kept: SQLite's integers are signed 64-bit.
pub(crate) const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

/// One open counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counter {
    /// Its row in the store; given when first written.
    pub(crate) id: Option<i64>,
    /// The row of its running total; given when first written.
    pub(crate) total_id: Option<i64>,
    /// The running total when the counter was opened.
    pub(crate) total_before: Volume,
    /// Bytes since then.
    pub(crate) volume: Volume,
    /// Remarks since then.
    pub(crate) flags: Flags,
    /// A cap was reached since then.
    pub(crate) capped: bool,
    /// The check of its row as it was last written; none before.
    pub(crate) check: Option<Check>,
}

/// A running total as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Opening {
    /// Its row; none if the account has none yet.
    pub(crate) total_id: Option<i64>,
    /// The bytes.
    pub(crate) total: Volume,
}

/// What a tick changes, checked and not yet applied.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Counters with their new values.
    pub(crate) changes: Vec<(Account, Counter)>,
    /// The segment with its new values.
    pub(crate) segment: Segment,
    /// The tick's number.
    pub(crate) sequence: u64,
}

/// The open counters of one node.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By account.
    open: HashMap<Account, Counter>,
    /// The segment they belong to.
    segment: Segment,
    /// Number of the last tick applied in this run; 0 before the first.
    last_sequence: u64,
    /// Most open counters.
    accounts_max: usize,
    /// Sessions that ended in this segment: what is counted for them is not to be continued. Not on the disk: after a restart
    /// their records close like all others.
    ended: HashSet<Session>,
    /// Those of them whose Stop was lost.
    lost: HashSet<Session>,
}

impl Ledger {
    /// A ledger as the store has it.
    pub(crate) fn new(
        open: HashMap<Account, Counter>,
        segment: Segment,
        last_sequence: u64,
        accounts_max: usize,
    ) -> Ledger {
        Ledger { open, segment, last_sequence, accounts_max, ended: HashSet::new(), lost: HashSet::new() }
    }

    /// The segment.
    pub(crate) fn segment(&self) -> Segment {
        self.segment
    }

    /// Whether the tick was applied before.
    pub(crate) fn has_applied(&self, tick: &Tick) -> bool {
        tick.sequence <= self.last_sequence
    }

    /// Takes over what was staged and is committed.
    pub(crate) fn apply(&mut self, staged: Staged) {
        self.open.extend(staged.changes);
        self.segment = staged.segment;
        self.last_sequence = staged.sequence;
    }

    /// Notes that a session has ended; of more than there may be counters nothing is noted.
    pub(crate) fn end(&mut self, session: Session) {
        if self.ended.len() < self.accounts_max {
            self.ended.insert(session);
        }
    }

    /// Notes that nobody told of a session's end; of more than there may be counters nothing is noted.
    pub(crate) fn lose(&mut self, session: Session) {
        if self.lost.len() < self.accounts_max {
            self.lost.insert(session);
        }
    }

    /// Remarks on the last record of a session.
    pub(crate) fn remarks_on_end(&self, session: &Session) -> Flags {
        if self.lost.contains(session) { Flags::from(Flag::StopLost) } else { Flags::NONE }
    }

    /// Whether the session ended in this segment.
    pub(crate) fn has_ended(&self, session: &Session) -> bool {
        self.ended.contains(session)
    }

    /// Begins the next segment after a committed seal: no counter is open.
    pub(crate) fn begin(&mut self, segment: Segment) {
        self.open.clear();
        self.ended.clear();
        self.lost.clear();
        self.segment = segment;
    }

    /// The open counters in the order of their records: those that share a running total stand together.
    pub(crate) fn in_order(&self) -> Vec<(&Account, &Counter)> {
        let mut rows: Vec<_> = self.open.iter().collect();
        rows.sort_unstable_by(|(a, _), (b, _)| {
            (&a.session, &a.entry, &a.list).cmp(&(&b.session, &b.entry, &b.list))
        });
        rows
    }
}
