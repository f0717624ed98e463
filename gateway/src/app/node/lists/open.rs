//! Opens the accepted lists at a start: reads those of the kept copies that are needed.

use std::path::Path;
use std::sync::Arc;

use allowlist::Matcher;
use jiff::Timestamp;

use super::kept::Kept;
use super::{Accepted, Former, Gate, ListKeeper, PENDING_MAX};
use crate::app::node::input::InputFault;

impl ListKeeper {
    /// Reads those of the copies in `state_dir` that are needed: the newest that has begun and those still to come, and where
    /// their names are carried, all. What cannot be read, or does not pass the gate, is told and left out.
    pub fn open(state_dir: &Path, former: Former, gate: &Gate, now: Timestamp) -> (Self, Vec<InputFault>) {
        let kept = Kept::new(state_dir);
        let (mut copies, fault) = kept.copies();
        let mut faults: Vec<InputFault> = fault.into_iter().collect();
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
    fn read_copy(&mut self, path: &Path, gate: &Gate) -> Result<Accepted, InputFault> {
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
}
