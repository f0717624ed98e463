//! Accepts the next edition, or says why not: what speaks against it, and what of its chain is not proven.

use std::path::Path;
use std::sync::Arc;

use allowlist::{Chain, Document, Matcher};
use jiff::Timestamp;

use super::gate::Predecessor;
use super::{Accepted, Gate, ListKeeper, Offered, PENDING_MAX};
use crate::app::node::input::InputFault;

impl ListKeeper {
    /// Reads the list in `path` and says whether it would be taken; nothing changes.
    ///
    /// # Errors
    /// Every problem of the list.
    pub fn examine(&self, path: &Path, gate: &Gate, now: Timestamp) -> Result<Offered, InputFault> {
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
    pub fn accept(
        &mut self,
        path: &Path,
        gate: &Gate,
        now: Timestamp,
    ) -> Result<Vec<InputFault>, InputFault> {
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
    ) -> Result<Option<Chain>, InputFault> {
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
                return Err(InputFault::whole(path, &message));
            }
            return Ok(Some(chain));
        }
        self.judge_serial(offered, path).map(|()| None)
    }

    /// Refuses a list older than one whose copy cannot be read any more.
    fn judge_serial(&self, offered: &Offered, path: &Path) -> Result<(), InputFault> {
        let (serial, wanted) = (offered.document.serial(), self.serial_min);
        if serial >= wanted {
            return Ok(());
        }
        let message = format!(
            "found serial {serial}, wanted at least {wanted}: this edition is older than one already accepted"
        );
        Err(InputFault::whole(path, &message))
    }
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
fn note(lines: Vec<String>) -> Vec<InputFault> {
    if lines.is_empty() { Vec::new() } else { vec![InputFault { lines, unreadable: false }] }
}
