//! The lists a node has accepted: the one in force, those still to come, and the names of those before.
//!
//! Every list ever accepted is kept in the state directory: the newest good one is what a node starts with when the file is
//! broken, and steered mode goes on carrying the names of all of them (decision 4). An edition whose date has not come
//! is *pending*: accepted, shown everywhere, and without effect until then. It is withdrawn by an edition with a higher
//! serial that takes effect no later.

mod gate;
mod kept;

use std::path::Path;
use std::sync::Arc;

use allowlist::{Chain, Document, Edition, Limits, Matcher, Routes};
use jiff::Timestamp;

pub use self::gate::{Gate, Offered};

use self::gate::Predecessor;
use self::kept::Kept;
use super::input::Fault;
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
    /// Reads those of the copies in `state_dir` that are needed: the newest that has begun and those still to come, and where
    /// their names are carried, all. What cannot be read, or does not pass the gate, is told and left out.
    pub fn open(state_dir: &Path, former: Former, gate: &Gate, now: Timestamp) -> (Self, Vec<Fault>) {
        let kept = Kept::new(state_dir);
        let (mut copies, fault) = kept.copies();
        let mut faults: Vec<Fault> = fault.into_iter().collect();
        let mut keeper = Self {
            kept,
            newest: None,
            serial_min: copies.last().map_or(0, |copy| copy.serial),
            lists: Vec::new(),
            former,
            routes: Arc::default(),
            said: None,
            unproven: None,
        };
        let mut lists: Vec<Accepted> = Vec::new();
        let mut withdrawn = Vec::new();
        while let Some(copy) = copies.pop() {
            match keeper.read_copy(&copy.path, gate) {
                Ok(accepted) => {
                    let from = accepted.list.effective_from();
                    let has_begun = from <= now;
                    // The one read before is newer: when it takes effect no later, this one never does.
                    let newer = lists.last().map(|newer| newer.list.effective_from());
                    if !has_begun && newer.is_some_and(|newer| newer <= from) {
                        withdrawn.push(accepted.list);
                    } else {
                        lists.push(accepted);
                    }
                    if has_begun || lists.len() > PENDING_MAX {
                        break;
                    }
                }
                Err(fault) => faults.push(fault),
            }
        }
        if let Former::Carried { .. } = former {
            let current = lists.last().map(|accepted: &Accepted| Arc::clone(&accepted.list));
            for copy in copies {
                match keeper.read_copy(&copy.path, gate) {
                    Ok(accepted) => keeper.carry(&accepted.list, current.as_deref()),
                    Err(fault) => faults.push(fault),
                }
            }
            for list in withdrawn.iter().rev() {
                keeper.carry(list, current.as_deref());
            }
        }
        lists.into_iter().rev().for_each(|accepted| keeper.add(accepted, now));
        (keeper, faults)
    }

    /// Reads a copy; the first that is read is the newest, which the next edition has to follow, whether or not it passes the
    /// gate of today.
    fn read_copy(&mut self, path: &Path, gate: &Gate) -> Result<Accepted, Fault> {
        let offered = gate.parse(path, gate.load(path)?)?;
        let edition = offered.edition();
        let is_newest = self.newest.is_none();
        if is_newest {
            self.newest = Some(edition.clone());
        }
        let notes = gate.lint(path, &offered.document)?;
        if is_newest {
            self.said = Some((gate.clone(), notes));
        }
        Ok(Accepted { edition, list: Arc::new(Matcher::new(&offered.document)) })
    }

    /// Reads the list in `path` and says whether it would be taken; nothing changes.
    ///
    /// # Errors
    /// Every problem of the list.
    pub fn examine(&self, path: &Path, gate: &Gate, now: Timestamp) -> Result<Offered, Fault> {
        let mut offered = gate.read(path)?;
        let chain = self.judge(&offered, path, gate, now)?;
        let serial = offered.document.serial();
        offered.notes.extend(chain.and_then(|chain| chain_note(chain, serial, path)));
        Ok(offered)
    }

    /// Takes the list in `path`, if nothing speaks against it, and keeps a copy. What is worth a word comes back: errors that
    /// were accepted, and that the copy could not be kept, where the list is in use all the same.
    ///
    /// # Errors
    /// Every problem of the list; then the one in force stays.
    pub fn accept(&mut self, path: &Path, gate: &Gate, now: Timestamp) -> Result<Vec<Fault>, Fault> {
        self.withdraw_refused(gate, now);
        let loaded = gate.load(path)?;
        // The same edition again, written the same way: it has passed.
        if let (Some(held), Some((said_by, words))) = (self.lists.last(), &self.said)
            && held.edition.sha256 == loaded.sha256
            && self.newest.as_ref() == Some(&held.edition)
            && said_by == gate
        {
            return Ok(note(words.clone()));
        }
        let offered = gate.judge(path, loaded)?;
        let chain = self.judge(&offered, path, gate, now)?;
        let edition = offered.edition();
        let serial = edition.serial;
        self.said = Some((gate.clone(), offered.notes.clone()));
        let mut words = offered.notes;
        if chain != Some(Chain::SameSerial) {
            words.extend(chain.and_then(|chain| chain_note(chain, serial, path)));
            self.unproven = match chain {
                Some(Chain::NotKnown) => Some(format!(
                    "serial {serial} follows an edition that this node never had: compare its SHA-256 with the publisher's"
                )),
                Some(Chain::SameSerial | Chain::Proven | Chain::NotStated) | None => None,
            };
        }
        match self.lists.last_mut().filter(|held| held.edition.serial == serial) {
            // Written in another way: that is what the next edition follows.
            Some(held) => held.edition = edition.clone(),
            None => {
                let list = Arc::new(Matcher::new(&offered.document));
                // The document is twice as large as what is made of it.
                drop(offered.document);
                self.add(Accepted { edition: edition.clone(), list }, now);
            }
        }
        let is_kept = self.newest.as_ref() == Some(&edition);
        self.serial_min = serial;
        self.newest = Some(edition);
        if !is_kept && let Err(error) = self.kept.keep(serial, &offered.text) {
            let folder = self.kept.folder().display();
            words.push(format!(
                "{folder}: the accepted list cannot be kept here: {error}; after a restart with a broken list file there is no last good one"
            ));
        }
        Ok(note(words))
    }

    /// Withdraws editions still to come that a changed gate refuses: they would come into force though nobody could take them
    /// today. The one in force stays, for it is the last good one. A copy that cannot be read speaks against nothing.
    fn withdraw_refused(&mut self, gate: &Gate, now: Timestamp) {
        if self.said.as_ref().is_none_or(|(said_by, _)| said_by == gate) {
            return;
        }
        let mut withdrawn = Vec::new();
        let kept = &self.kept;
        self.lists.retain(|accepted| {
            let serial = accepted.edition.serial;
            let is_ahead = accepted.list.effective_from() > now;
            let refused = is_ahead.then(|| gate.read(&kept.path(serial)).err()).flatten();
            let Some(fault) = refused.filter(|fault| !fault.unreadable) else { return true };
            tracing::error!(
                serial,
                error = fault.lines.join("; "),
                "edition still to come is withdrawn: the gate refuses it now"
            );
            withdrawn.push(Arc::clone(&accepted.list));
            false
        });
        for list in withdrawn {
            let current = self.lists.first().map(|first| Arc::clone(&first.list));
            self.carry(&list, current.as_deref());
        }
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
                let path = self.kept.path(serial);
                let kept = gate.load(&path).and_then(|loaded| gate.parse(&path, loaded));
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
pub fn read_by_itself(path: &Path) -> Result<Offered, Fault> {
    let limits = Limits { bytes_max: LIST_BYTES_MAX, ..Limits::default() };
    Gate { limits, accepted: Vec::new() }.read_leniently(path)
}

/// What is not proven of an edition's chain, in words.
fn chain_note(chain: Chain, serial: u64, path: &Path) -> Option<String> {
    let path = path.display();
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
