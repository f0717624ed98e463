//! Works out what a tick changes, and refuses what could not be kept.
//!
//! Everything is checked here and nothing is changed. A tick that is refused leaves the ledger as it was.

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of tests are small")]
mod tests;

use std::collections::{HashMap, HashSet};

use super::{COUNT_MAX, Counter, Ledger, Opening, Segment, Staged};
use crate::account::{Account, Entry, Tick};
use crate::class::{Class, Reason};
use crate::error::LedgerError;
use crate::period::to_millis;
use crate::subscriber::Session;
use crate::unit::{Flag, Flags, Volume};

/// Longest service or list id kept, in bytes; the list document allows 40.
const TEXT_LEN_MAX: usize = 253;

impl Ledger {
    /// Checks a tick and works out what it changes. `opening` gives the running total of an account that has no open
    /// counter.
    pub(crate) fn stage<E: From<LedgerError>>(
        &self,
        tick: &Tick,
        opening: &mut dyn FnMut(&Account) -> Result<Opening, E>,
    ) -> Result<Staged, E> {
        let mut segment = self.segment;
        let stepped = observe_clock(&mut segment, tick);
        segment.figures.seen = sum("bytes seen in the period", segment.figures.seen, tick.seen)?;
        segment.figures.pending_after = sum("bytes pending", Volume::ZERO, tick.pending_after)?;
        let flags = if stepped { Flags::from(Flag::ClockStep) } else { Flags::NONE };
        let usage = tick.usage.iter().map(|usage| (&usage.account, usage.volume, usage.flags.union(flags)));
        let mut staged = self.stage_changes(segment, tick.sequence, usage, opening)?;
        self.stage_caps(&mut staged, &tick.capped);
        Ok(staged)
    }

    /// What an unclean stop changes: every open counter is flagged, and what was pending, whose flows ended with the
    /// process, is nobody's for the reason `undecided`.
    pub(crate) fn stage_recovery<E: From<LedgerError>>(
        &self,
        opening: &mut dyn FnMut(&Account) -> Result<Opening, E>,
    ) -> Result<Staged, E> {
        let mut segment = self.segment;
        let lost = segment.figures.pending_after;
        segment.figures.pending_after = Volume::ZERO;
        segment.recovered = true;
        let orphan =
            Account { session: Session::none(), list: None, entry: Entry::Unattributed(Reason::Undecided) };
        let flags = Flags::from(Flag::Recovered);
        let kept = self.open.keys().map(|account| (account, Volume::ZERO, flags));
        let orphaned = (!lost.is_zero()).then_some((&orphan, lost, flags));
        self.stage_changes(segment, self.last_sequence, kept.chain(orphaned), opening)
    }

    /// Adds bytes to counters, checked.
    fn stage_changes<'a, E: From<LedgerError>>(
        &self,
        mut segment: Segment,
        sequence: u64,
        usage: impl Iterator<Item = (&'a Account, Volume, Flags)>,
        opening: &mut dyn FnMut(&Account) -> Result<Opening, E>,
    ) -> Result<Staged, E> {
        let mut changes: Vec<(Account, Counter)> = Vec::with_capacity(usage.size_hint().0);
        let mut places: HashMap<Account, usize> = HashMap::with_capacity(usage.size_hint().0);
        let mut opened: usize = 0;
        for (account, volume, flags) in usage {
            let account = Account { entry: account.entry.clone().normalised(), ..account.clone() };
            let known = self.open.get(&account);
            if volume.is_zero() && known.is_none() {
                continue;
            }
            segment.usage = sum("bytes counted in the period", segment.usage, volume)?;
            let place = match places.get(&account) {
                Some(place) => *place,
                None => {
                    let counter = match known {
                        Some(counter) => *counter,
                        None => {
                            opened = opened.saturating_add(1);
                            self.open_counter(&account, opened, opening)?
                        }
                    };
                    places.insert(account.clone(), changes.len());
                    changes.push((account, counter));
                    changes.len().saturating_sub(1)
                }
            };
            if let Some((_, counter)) = changes.get_mut(place) {
                counter.volume = sum("bytes of one counter", counter.volume, volume)?;
                counter.flags = counter.flags.union(flags);
                // Other counters of the period may share the total, so the whole period's usage has to fit above it.
                sum("running total of one account", counter.total_before, segment.usage)?;
            }
        }
        Ok(Staged { changes, segment, sequence })
    }

    /// Notes caps that were reached. An account of which nothing is counted in this segment has no record to say so.
    fn stage_caps(&self, staged: &mut Staged, capped: &[Account]) {
        let mut capped: HashSet<&Account> = capped.iter().collect();
        for (account, counter) in &mut staged.changes {
            counter.capped |= capped.remove(account);
        }
        let unchanged = capped.into_iter().filter_map(|account| Some((account, self.open.get(account)?)));
        let unchanged =
            unchanged.map(|(account, counter)| (account.clone(), Counter { capped: true, ..*counter }));
        staged.changes.extend(unchanged);
    }

    /// A counter for an account that has none, the `opened`-th of its tick.
    fn open_counter<E: From<LedgerError>>(
        &self,
        account: &Account,
        opened: usize,
        opening: &mut dyn FnMut(&Account) -> Result<Opening, E>,
    ) -> Result<Counter, E> {
        let found = self.open.len().saturating_add(opened);
        if found > self.accounts_max {
            return Err(LedgerError::AccountsMax { found, max: self.accounts_max }.into());
        }
        check_texts(account)?;
        let Opening { total_id, total } = opening(account)?;
        Ok(Counter {
            id: None,
            total_id,
            total_before: total,
            volume: Volume::ZERO,
            flags: Flags::NONE,
            capped: false,
            check: None,
        })
    }
}

/// Notes the tick's times in the segment; true if the clock was set around this tick: whoever reads it says so, or its time
/// is before the latest one seen.
fn observe_clock(segment: &mut Segment, tick: &Tick) -> bool {
    let (from, at) = (to_millis(tick.from), to_millis(tick.at));
    let back = at < from || segment.high_water.is_some_and(|latest| from < latest);
    segment.high_water = Some(segment.high_water.unwrap_or(at).max(at).max(from));
    let stepped = back || tick.stepped;
    segment.stepped |= stepped;
    stepped
}

/// Both directions added, at most [`COUNT_MAX`].
fn sum(what: &'static str, a: Volume, b: Volume) -> Result<Volume, LedgerError> {
    let fits = |volume: &Volume| volume.up <= COUNT_MAX && volume.down <= COUNT_MAX;
    a.checked_add(b).filter(fits).ok_or(LedgerError::TooLarge { what, max: COUNT_MAX })
}

/// Refuses texts and numbers that could not be written into a usage row and read back.
fn check_texts(account: &Account) -> Result<(), LedgerError> {
    let check = |what: &'static str, text: &str| {
        if text.is_empty() || text.len() > TEXT_LEN_MAX || text.chars().any(char::is_control) {
            return Err(LedgerError::Text { what, found: text.chars().take(TEXT_LEN_MAX).collect() });
        }
        Ok(())
    };
    if let Some(list) = &account.list {
        check("list_id", &list.id)?;
        if list.serial > COUNT_MAX {
            return Err(LedgerError::TooLarge { what: "list_serial", max: COUNT_MAX });
        }
    }
    match account.entry.class() {
        Class::Exempt => check("service_id", account.entry.service().map_or("", |service| service)),
        Class::Charged | Class::Unattributed => Ok(()),
    }
}
