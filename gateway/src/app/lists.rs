//! The lists a node has accepted: the one in force, those still to come, and the names of those before.
//!
//! Every list ever accepted is kept in the state directory: the newest good one is what a node starts with when the file is
//! broken, and steered mode goes on carrying the names of all of them (DESIGN decision 4). An edition whose date has not come
//! is *pending*: accepted, shown everywhere, and without effect until then. It is withdrawn by an edition with a higher
//! serial that takes effect no later.

mod gate;
mod kept;

use std::path::Path;
use std::sync::Arc;

use allowlist::{Chain, Document, Edition, Limits, Matcher};
use jiff::Timestamp;

pub use self::gate::{Gate, Offered};

use self::gate::Predecessor;
use self::kept::{KEPT_LISTS_MAX, Kept};
use super::input::Fault;
use crate::net::policy::Policy;

/// Accepted lists that may be still to come; each is held compiled.
const PENDING_MAX: usize = 4;
/// Largest list that is read by itself; a node's own limit is `list.size_max`.
const LIST_BYTES_MAX: usize = 256 << 20;

/// An accepted list, compiled.
struct Accepted {
    edition: Edition,
    list: Arc<Matcher>,
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
    /// Lists before the one judged by.
    before: Vec<Arc<Matcher>>,
    /// What of the newest one's chain could not be proven.
    unproven: Option<String>,
}

impl ListKeeper {
    /// Reads the copies in `state_dir`; what cannot be read, or does not pass the gate, is told and left out.
    pub fn open(state_dir: &Path, gate: &Gate, now: Timestamp) -> (Self, Vec<Fault>) {
        let kept = Kept::new(state_dir);
        let (copies, fault) = kept.copies();
        let mut faults: Vec<Fault> = fault.into_iter().collect();
        let mut keeper = Self {
            kept,
            newest: None,
            serial_min: copies.last().map_or(0, |copy| copy.serial),
            lists: Vec::new(),
            before: Vec::new(),
            unproven: None,
        };
        for copy in copies {
            let offered = match gate.parse(&copy.path) {
                Ok(offered) => offered,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            // The newest is what the next edition has to follow, whether or not it passes the gate of today.
            keeper.newest = Some(offered.edition());
            match gate.lint(&copy.path, &offered.document) {
                Ok(_) => keeper.add(&offered, now),
                Err(fault) => faults.push(fault),
            }
        }
        (keeper, faults)
    }

    /// Reads the list in `path` and says whether it would be taken; nothing changes.
    ///
    /// # Errors
    /// Every problem of the list.
    pub fn examine(&self, path: &Path, gate: &Gate, now: Timestamp) -> Result<Offered, Fault> {
        let mut offered = gate.read(path)?;
        let chain = self.judge(&offered, path, gate, now)?;
        offered.notes.extend(chain.and_then(|chain| chain_note(chain, &offered, path)));
        Ok(offered)
    }

    /// Takes the list in `path`, if nothing speaks against it, and keeps a copy. What is worth a word comes back: errors that
    /// were accepted, and that the copy could not be kept, where the list is in use all the same.
    ///
    /// # Errors
    /// Every problem of the list; then the one in force stays.
    pub fn accept(&mut self, path: &Path, gate: &Gate, now: Timestamp) -> Result<Vec<Fault>, Fault> {
        let offered = gate.read(path)?;
        let chain = self.judge(&offered, path, gate, now)?;
        let serial = offered.document.serial();
        let is_held = self.lists.last().is_some_and(|last| last.edition.serial == serial);
        let mut words = offered.notes.clone();
        if chain != Some(Chain::SameSerial) {
            words.extend(chain.and_then(|chain| chain_note(chain, &offered, path)));
            self.unproven = match chain {
                Some(Chain::NotKnown) => Some(format!(
                    "serial {serial} follows an edition that this node never had: compare its SHA-256 with the publisher's"
                )),
                Some(Chain::SameSerial | Chain::Proven | Chain::NotStated) | None => None,
            };
        }
        // The same edition again, and written the same way.
        if is_held && self.newest.as_ref().is_some_and(|newest| newest.sha256 == offered.sha256) {
            return Ok(note(words));
        }
        if !is_held {
            self.add(&offered, now);
        }
        self.serial_min = serial;
        self.newest = Some(offered.edition());
        if let Err(error) = self.kept.keep(serial, &offered.text) {
            let folder = self.kept.folder().display();
            words.push(format!(
                "{folder}: the accepted list cannot be kept here: {error}; after a restart with a broken list file there is no last good one"
            ));
        }
        Ok(note(words))
    }

    /// Whether the offered list may follow those accepted; none where there are none.
    fn judge(
        &self,
        offered: &Offered,
        path: &Path,
        gate: &Gate,
        now: Timestamp,
    ) -> Result<Option<Chain>, Fault> {
        let serial = offered.document.serial();
        let is_ahead = |accepted: &&Accepted| accepted.list.effective_from() > now;
        if let Some(newest) = &self.newest {
            let in_force = self.lists.first().filter(|first| !is_ahead(first));
            let pending = self.lists.last().filter(is_ahead);
            let predecessor = Predecessor {
                newest: newest.clone(),
                in_force: in_force.map(|first| first.edition.clone()),
                pending_from: pending.map(|pending| pending.list.effective_from()),
            };
            let same = |document: &Document| {
                let kept = gate.parse(&self.kept.path(serial));
                kept.is_ok_and(|kept| kept.document == *document)
            };
            let chain = predecessor.may_be_followed_by(offered, path, same).map_err(|mut fault| {
                if offered.document.list_id() != newest.list_id {
                    let folder = self.kept.folder().display();
                    fault.lines.push(format!(
                        "to start over with another list, stop the gateway and remove {folder}"
                    ));
                }
                fault
            })?;
            self.judge_serial(offered, path)?;
            let from = offered.document.effective_from().instant();
            let ahead = self.lists.iter().filter(|accepted| {
                let theirs = accepted.list.effective_from();
                now < theirs && theirs < from && accepted.edition.serial < serial
            });
            if ahead.count() >= PENDING_MAX {
                let message = format!(
                    "found one more list ahead of its date, wanted at most {PENDING_MAX}: hand it over when one of them has come into force, or let it take effect before them"
                );
                return Err(Fault::whole(path, &message));
            }
            return Ok(Some(chain));
        }
        self.judge_serial(offered, path).map(|()| None)
    }

    /// Refuses a list older than one whose copy cannot be read any more.
    fn judge_serial(&self, offered: &Offered, path: &Path) -> Result<(), Fault> {
        let (serial, wanted) = (offered.document.serial(), self.serial_min);
        if serial >= wanted {
            return Ok(());
        }
        let message = format!(
            "found serial {serial}, wanted at least {wanted}: this edition is older than one already accepted"
        );
        Err(Fault::whole(path, &message))
    }

    /// Compiles a list that is newer than all others.
    fn add(&mut self, offered: &Offered, now: Timestamp) {
        let list = Arc::new(Matcher::new(&offered.document));
        // An edition ahead that takes effect no earlier than this one never does: it is withdrawn.
        let is_withdrawn = |accepted: &Accepted| {
            let from = accepted.list.effective_from();
            from > now && from >= list.effective_from()
        };
        let stays =
            self.lists.iter().rposition(|accepted| !is_withdrawn(accepted)).map_or(0, |last| last + 1);
        self.before.extend(self.lists.drain(stays..).map(|accepted| accepted.list));
        self.lists.push(Accepted { edition: offered.edition(), list });
        self.advance(now);
    }

    /// Lets the newest list whose time has begun come into force; true when that is another one than before. A list that
    /// was in force stays when the clock steps back.
    pub fn advance(&mut self, now: Timestamp) -> bool {
        let begun = self.lists.iter().rposition(|accepted| accepted.list.effective_from() <= now);
        let left = begun.unwrap_or(0);
        self.before.extend(self.lists.drain(..left).map(|accepted| accepted.list));
        let surplus = self.before.len().saturating_add(self.lists.len()).saturating_sub(KEPT_LISTS_MAX);
        self.before.drain(..surplus.min(self.before.len()));
        left > 0
    }

    /// Puts the lists into a policy.
    pub fn publish(&self, policy: &mut Policy) {
        policy.list = self.lists.first().map(|accepted| Arc::clone(&accepted.list));
        policy.pending = self.lists.iter().skip(1).map(|accepted| Arc::clone(&accepted.list)).collect();
        policy.routes = self.before.clone();
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
pub fn read_by_itself(path: &Path) -> Result<Offered, Fault> {
    let limits = Limits { bytes_max: LIST_BYTES_MAX, ..Limits::default() };
    Gate { limits, accepted: Vec::new() }.read_leniently(path)
}

/// What is not proven of an edition's chain, in words.
fn chain_note(chain: Chain, offered: &Offered, path: &Path) -> Option<String> {
    let (path, serial) = (path.display(), offered.document.serial());
    match chain {
        Chain::SameSerial | Chain::Proven => None,
        Chain::NotStated => Some(format!(
            "{path}: serial {serial} states no previous_sha256: that it follows the edition accepted before is not proven"
        )),
        Chain::NotKnown => Some(format!(
            "{path}: serial {serial} follows an edition that this node never had: that it follows the one accepted before is not proven"
        )),
    }
}

/// Lines worth a word, if there are any.
fn note(lines: Vec<String>) -> Vec<Fault> {
    if lines.is_empty() { Vec::new() } else { vec![Fault { lines, unreadable: false }] }
}
