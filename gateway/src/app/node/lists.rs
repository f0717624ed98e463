//! The lists a node has accepted: the one in force, those still to come, and the names of those before.
//!
//! Every list ever accepted is kept in the state directory: the newest good one is what a node starts with when the file is
//! broken, and steered mode goes on carrying the names of all of them (decision 4). An edition whose date has not come
//! is *pending*: accepted, shown everywhere, and without effect until then. It is withdrawn by an edition with a higher
//! serial that takes effect no later.

mod accept;
mod gate;
mod kept;
mod open;

use std::path::Path;
use std::sync::Arc;

use allowlist::{Edition, Limits, Matcher, Routes};
use jiff::Timestamp;

pub use self::gate::{Gate, Offered};

use self::kept::Kept;
use super::input::InputFault;
use crate::net::node::policy::Policy;

/// Accepted lists that may be still to come; each is held compiled.
const PENDING_MAX: usize = 4;
/// Largest list that is read by itself; a node's own limit is `list.size_max`.
const LIST_BYTES_MAX: usize = 256 << 20;

/// An accepted list, compiled.
struct Accepted {
    edition: Edition,
    list: Arc<Matcher>,
}

/// What becomes of the names of lists that are no longer in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Former {
    /// Nobody is led here by them.
    LetGo,
    /// Steered mode carries them: at most so many hosts.
    Carried {
        /// Most hosts; those of the oldest lists are let go.
        hosts_max: usize,
    },
}

/// The lists this node has accepted.
pub struct ListKeeper {
    /// Where their copies are kept.
    kept: Kept,
    /// The newest, also where its copy cannot be used any more.
    newest: Option<Edition>,
    /// The highest serial ever kept, also of a copy that cannot be read any more.
    serial_min: u64,
    /// The list judged by, then those still to come; serials rise.
    lists: Vec<Accepted>,
    /// What becomes of the names of lists before that.
    former: Former,
    /// Their names.
    routes: Arc<Routes>,
    /// What was said of the newest one, and by which gate: as long as neither changes, it is not read again.
    said: Option<(Gate, Vec<String>)>,
    /// What of the newest one's chain could not be proven.
    unproven: Option<String>,
}

impl ListKeeper {
    /// Adds a list that is newer than all others.
    fn add(&mut self, accepted: Accepted, now: Timestamp) {
        // An edition ahead that takes effect no earlier than this one never does: it is withdrawn.
        let is_withdrawn = |other: &Accepted| {
            let from = other.list.effective_from();
            from > now && from >= accepted.list.effective_from()
        };
        let stays = self.lists.iter().rposition(|other| !is_withdrawn(other));
        let withdrawn = self.lists.split_off(stays.map_or(0, |last| last.saturating_add(1)));
        self.lists.push(accepted);
        self.leave(withdrawn);
        self.advance(now);
    }

    /// Lets the newest list whose time has begun come into force; true when that is another one than before. A list that
    /// was in force stays when the clock steps back.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let begun = self.lists.iter().rposition(|accepted| accepted.list.effective_from() <= now);
        let Some(left) = begun.filter(|left| *left > 0) else { return false };
        let former = self.lists.drain(..left).collect();
        self.leave(former);
        true
    }

    /// Lists that are no longer, or never will be, in force: their names may be carried on.
    fn leave(&mut self, former: Vec<Accepted>) {
        for accepted in former {
            let current = self.lists.first().map(|first| Arc::clone(&first.list));
            self.carry(&accepted.list, current.as_deref());
        }
    }

    /// Goes on carrying the names of a former list, where that is wanted.
    fn carry(&mut self, former: &Matcher, current: Option<&Matcher>) {
        let Former::Carried { hosts_max } = self.former else { return };
        let (routes, left_out) = self.routes.after(former, current, hosts_max);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                hosts_max,
                "hosts of the oldest lists are no longer carried (list.entries_max)"
            );
        }
        self.routes = Arc::new(routes);
    }

    /// Puts the lists into a policy.
    pub fn publish(&self, policy: &mut Policy) {
        policy.list = self.lists.first().map(|accepted| Arc::clone(&accepted.list));
        policy.pending = self.lists.iter().skip(1).map(|accepted| Arc::clone(&accepted.list)).collect();
        policy.routes = Arc::clone(&self.routes);
    }

    /// The kept list that a node goes on with at `at`, if its date has come by then.
    pub fn in_force(&self, at: Timestamp) -> Option<Arc<Matcher>> {
        let begun = self.lists.iter().rfind(|accepted| accepted.list.effective_from() <= at);
        begun.map(|accepted| Arc::clone(&accepted.list))
    }

    /// What of the newest one's chain could not be proven.
    pub fn unproven(&self) -> Option<&str> {
        self.unproven.as_deref()
    }
}

/// Reads a list that is given by itself, for a question that exempts nobody: its errors are notes.
///
/// # Errors
/// Why it is no list.
pub fn read_by_itself(path: &Path) -> Result<Offered, InputFault> {
    let limits = Limits { bytes_max: LIST_BYTES_MAX, ..Limits::default() };
    Gate { limits, accepted: Vec::new() }.read_leniently(path)
}
