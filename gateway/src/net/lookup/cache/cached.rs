//! What is known of one name: its last answer, the addresses that outlive it, and what came of the name.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::MOVE_PAUSE;
use crate::flow::time::Monotonic;
use crate::net::lookup::Answer;

/// A flow that reaches a name is noted at most so often, unless it is the first.
const NOTE_PAUSE: Duration = Duration::from_secs(1);

/// What came of a name, from what is dropped first to what is dropped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It was asked for.
    Asked,
    /// The list names it itself.
    Listed,
    /// A flow of one subscriber reached it.
    Used,
    /// Flows of several did.
    Shared,
}

impl Rank {
    /// Its place in arrays.
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// The last answer for a name.
pub(in crate::net::lookup) struct Cached {
    pub(in crate::net::lookup) answer: Answer,
    pub(in crate::net::lookup) asked: Monotonic,
    pub(in crate::net::lookup) fresh_until: Monotonic,
    /// The last inquiry vouched for what was wanted, or further questions brought further addresses: an unknown address
    /// may be one more of a rotating site.
    pub(in crate::net::lookup) worth_asking: bool,
    /// The last answer with addresses, for when there are none.
    pub(in crate::net::lookup) last: Option<Last>,
    pub(super) rank: Rank,
    /// Its key among those of its rank.
    pub(super) place: u64,
    /// When a flow that reached it was last noted.
    pub(super) noted: Monotonic,
    /// When it was given its place.
    pub(super) moved: Monotonic,
    /// Keyed hash of the first subscriber whose flow reached it.
    pub(super) user: Option<u64>,
}

/// The last addresses of a name that our own look-ups found.
#[derive(Clone)]
pub(in crate::net::lookup) struct Last {
    pub(in crate::net::lookup) addresses: Arc<[IpAddr]>,
    /// How long they are evidence; after it they are dialled all the same. None: the run before found them, and the trusted
    /// answers say whether they count.
    pub(in crate::net::lookup) counts_until: Option<Monotonic>,
}

/// An answer that has come.
pub(in crate::net::lookup) struct Landed<'a> {
    /// What it says.
    pub(in crate::net::lookup) answer: &'a Answer,
    /// How long it is fresh.
    pub(in crate::net::lookup) ttl: Duration,
    /// How long its addresses are evidence.
    pub(in crate::net::lookup) retention: Duration,
    /// The list names it itself.
    pub(in crate::net::lookup) listed: bool,
}

impl Cached {
    /// One whose place is not known yet.
    pub(super) fn new(
        answer: Answer,
        asked: Monotonic,
        fresh_until: Monotonic,
        last: Option<Last>,
        rank: Rank,
    ) -> Self {
        Self {
            answer,
            asked,
            fresh_until,
            worth_asking: false,
            last,
            rank,
            place: 0,
            noted: asked,
            moved: asked,
            user: None,
        }
    }

    /// Whether something came of the name.
    pub(in crate::net::lookup) fn is_known(&self) -> bool {
        self.rank > Rank::Asked
    }

    /// Whether a flow that reaches the name is to be noted.
    pub(in crate::net::lookup) fn is_noteworthy(&self, now: Monotonic) -> bool {
        let pause = match self.rank {
            Rank::Asked | Rank::Listed => Duration::ZERO,
            // Another subscriber's may be the next.
            Rank::Used => NOTE_PAUSE,
            Rank::Shared => MOVE_PAUSE,
        };
        now.since(self.noted) >= pause
    }
}
