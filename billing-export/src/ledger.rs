//! Open counters: ticks are added, a seal turns them into records. Pure; the store keeps a durable mirror.
//!
//! A tick is first *staged* (everything checked, nothing changed), then written and committed by the store, then
//! *applied* here. A refused tick changes nothing. Counts are 64-bit, checked, and at most [`COUNT_MAX`], the greatest
//! integer the store keeps exactly.
//!
//! Memory: one open counter costs about 400 bytes with its key; their number is limited by `accounts_max`. Running
//! totals of accounts without an open counter stay in the store.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::account::{Account, Entry, Tick};
use crate::audit::Figures;
use crate::check::{Check, Sum};
use crate::class::{Class, Reason};
use crate::error::LedgerError;
use crate::period::{Period, to_millis};
use crate::record::Window;
use crate::subscriber::Session;
use crate::unit::{Flag, Flags, Volume};

/// The greatest count kept: SQLite's integers are signed 64-bit.
pub(crate) const COUNT_MAX: u64 = i64::MAX.unsigned_abs();
/// Longest service or list id kept, in bytes; the list document allows 40.
const TEXT_LEN_MAX: usize = 253;

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

/// The time and the figures between two seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where the seal before ended.
    pub(crate) start: Timestamp,
    /// End of the billing period: the latest end of this segment.
    pub(crate) end: Timestamp,
    /// The latest time any tick has shown; none before the first.
    pub(crate) high_water: Option<Timestamp>,
    /// The clock was set in this segment.
    pub(crate) stepped: bool,
    /// The segment was open at an unclean stop.
    pub(crate) recovered: bool,
    /// Rows of it were not as they were written.
    pub(crate) damaged: bool,
    /// Seen and pending.
    pub(crate) figures: Figures,
    /// Sum of all counters.
    pub(crate) usage: Volume,
    /// Sum of the checks of their rows.
    pub(crate) sum: Sum,
}

impl Segment {
    /// A new segment in the period that contains `start`.
    pub(crate) fn beginning(start: Timestamp, period: Period) -> Segment {
        let start = to_millis(start);
        Segment {
            start,
            end: period.end_of(start),
            high_water: None,
            stepped: false,
            recovered: false,
            damaged: false,
            figures: Figures::default(),
            usage: Volume::ZERO,
            sum: Sum::default(),
        }
    }

    /// The segment after this one: what is pending stays pending.
    pub(crate) fn following(self, start: Timestamp, period: Period) -> Segment {
        let pending = self.figures.pending_after;
        Segment {
            high_water: self.high_water,
            figures: Figures { seen: Volume::ZERO, pending_before: pending, pending_after: pending },
            ..Segment::beginning(start, period)
        }
    }

    /// Whether nothing was seen, nothing counted and nothing became pending or ceased to be.
    pub(crate) fn is_idle(self) -> bool {
        !self.damaged
            && self.usage.is_zero()
            && self.figures.seen.is_zero()
            && self.figures.pending_before == self.figures.pending_after
    }

    /// The window of a seal at `end`: inside the segment, never negative.
    pub(crate) fn window(self, end: Timestamp) -> Window {
        Window::clamped(self.start, to_millis(end).min(self.end))
    }
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
}

impl Ledger {
    /// A ledger as the store has it.
    pub(crate) fn new(
        open: HashMap<Account, Counter>,
        segment: Segment,
        last_sequence: u64,
        accounts_max: usize,
    ) -> Ledger {
        Ledger { open, segment, last_sequence, accounts_max, ended: HashSet::new() }
    }

    /// The segment.
    pub(crate) fn segment(&self) -> Segment {
        self.segment
    }

    /// Whether the tick was applied before.
    pub(crate) fn has_applied(&self, tick: &Tick) -> bool {
        tick.sequence <= self.last_sequence
    }

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

    /// Whether the session ended in this segment.
    pub(crate) fn has_ended(&self, session: &Session) -> bool {
        self.ended.contains(session)
    }

    /// Begins the next segment after a committed seal: no counter is open.
    pub(crate) fn begin(&mut self, segment: Segment) {
        self.open.clear();
        self.ended.clear();
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

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of tests are small")]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::account::Usage;

    /// An empty ledger at noon.
    fn ledger(accounts_max: usize) -> Ledger {
        let noon = "2026-04-06T12:00:00Z".parse().unwrap();
        Ledger::new(HashMap::new(), Segment::beginning(noon, Period::default()), 0, accounts_max)
    }

    /// A tick of one second with this usage, all of it seen.
    fn tick(sequence: u64, usage: &[(Entry, u64)]) -> Tick {
        let from: Timestamp = "2026-04-06T12:00:00Z".parse().unwrap();
        Tick {
            sequence,
            from,
            at: from + SignedDuration::from_secs(1),
            seen: Volume { up: usage.iter().map(|(_, bytes)| bytes).sum(), down: 0 },
            pending_after: Volume::ZERO,
            usage: usage
                .iter()
                .map(|(entry, bytes)| Usage {
                    account: Account { session: Session::none(), list: None, entry: entry.clone() },
                    flags: Flags::NONE,
                    volume: Volume { up: *bytes, down: 0 },
                })
                .collect(),
            capped: Vec::new(),
            spent: Vec::new(),
            stepped: false,
        }
    }

    /// Stages with empty totals, and applies.
    fn add(ledger: &mut Ledger, tick: &Tick) -> Result<(), LedgerError> {
        let staged = ledger.stage(tick, &mut |_| Ok::<_, LedgerError>(Opening::default()))?;
        ledger.apply(staged);
        Ok(())
    }

    #[test]
    fn one_account_twice_in_a_tick_is_one_counter() {
        let mut ledger = ledger(1);
        let entry = Entry::Charged(Reason::NoName);
        add(&mut ledger, &tick(1, &[(entry.clone(), 3), (entry, 4)])).unwrap();
        let rows = ledger.in_order();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].1.volume.up, 7);
    }

    #[test]
    fn accounts_at_the_limit_and_one_over() {
        let mut ledger = ledger(2);
        let [a, b, c] = [Reason::NoName, Reason::Port, Reason::Denied].map(Entry::Charged);
        add(&mut ledger, &tick(1, &[(a.clone(), 1), (b, 1)])).unwrap();
        let before = ledger.segment();
        let refused = add(&mut ledger, &tick(2, &[(a, 1), (c, 1)])).unwrap_err();
        assert_eq!(refused, LedgerError::AccountsMax { found: 3, max: 2 });
        assert!(refused.to_string().contains("export.accounts_max"));
        assert_eq!(ledger.segment(), before);
    }

    #[test]
    fn b12_the_greatest_count_is_kept_and_one_more_is_refused_whole() {
        let mut ledger = ledger(9);
        let entry = Entry::Charged(Reason::NoName);
        add(&mut ledger, &tick(1, &[(entry.clone(), COUNT_MAX)])).unwrap();
        let refused = add(&mut ledger, &tick(2, &[(entry.clone(), 1)])).unwrap_err();
        assert!(matches!(refused, LedgerError::TooLarge { .. }));
        assert_eq!(ledger.in_order()[0].1.volume.up, COUNT_MAX);
        let mut other = tick(1, &[]);
        other.pending_after.down = COUNT_MAX + 1;
        assert!(add(&mut self::ledger(9), &other).is_err());
    }

    #[test]
    fn a_reason_without_a_subscriber_moves_to_its_own_class() {
        let mut ledger = ledger(9);
        add(&mut ledger, &tick(1, &[(Entry::Charged(Reason::NoSubscriber), 1)])).unwrap();
        assert_eq!(ledger.in_order()[0].0.entry, Entry::Unattributed(Reason::NoSubscriber));
    }

    #[test]
    fn b9_f66_steps_both_ways_are_seen_and_a_smeared_second_or_a_long_tick_is_not() {
        let period = Period::default();
        let noon: Timestamp = "2026-04-06T12:00:00Z".parse().unwrap();
        let at = |millis: i64| noon + SignedDuration::from_millis(millis);
        let mut segment = Segment::beginning(noon, period);
        let mut show = |from, to, stepped| {
            let tick = Tick { from: at(from), at: at(to), stepped, ..tick(1, &[]) };
            observe_clock(&mut segment, &tick)
        };
        assert!(!show(0, 1_000, false));
        assert!(!show(1_000, 1_999, false), "a smeared second is a little shorter");
        assert!(show(1_999, -3_600_000, false), "set back within the tick");
        assert!(show(-3_600_000, -3_599_000, false), "and behind until it catches up");
        assert!(!show(1_999, 3_000, false));
        assert!(!show(3_000, 86_400_000, false), "f66: a day without a tick is no step");
        assert!(show(86_400_000, 172_800_000, true), "set forward within the tick, as its reader says");
    }

    #[test]
    fn texts_that_no_row_could_carry_are_refused() {
        let entry = |service: &str| Entry::Exempt {
            service: service.into(),
            rating_group: 1,
            disposition: crate::unit::Disposition::Observed,
        };
        for bad in ["", "a\nb", &"x".repeat(254)] {
            assert!(matches!(
                add(&mut ledger(9), &tick(1, &[(entry(bad), 1)])),
                Err(LedgerError::Text { .. })
            ));
        }
        assert!(add(&mut ledger(9), &tick(1, &[(entry(&"x".repeat(253)), 1)])).is_ok());
    }
}
