//! What every subscriber has spent of its allowances, as all workers share it: asked when a flow becomes exempt, never for a
//! byte.
//!
//! The rules are [`crate::flow::allowance`]'s; here stand the locks, the limit of the table, and what is to be saved.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use billing_export::{Session, Spent};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use crate::flow::allowance::NoCounter;
use crate::flow::allowance::{
    AllowancePlan, Calendar, Counter, Length, Part, Scope, Share, Span, Subscriber,
};

/// Parts of the table, each behind a lock of its own: a sweep of one holds up nobody who needs another.
const SHARDS: u64 = 64;

/// What a counter is found by.
type Key = (Subscriber, Scope, Length);
/// A part of the table.
type Shard = Mutex<HashMap<Key, Arc<Counter>>>;

/// The counters of all subscribers.
pub struct Allowances {
    /// The first part of the table.
    first: Shard,
    /// The others.
    others: Box<[Shard]>,
    hasher: RandomState,
    /// Counters in all shards.
    counters: AtomicUsize,
    /// Day and month at the last look, and where.
    calendar: ArcSwapOption<(TimeZone, Calendar)>,
    /// Counters that changed since they were last saved.
    changed: Mutex<Vec<Arc<Counter>>>,
    /// Verdicts that found no free counter, since the start.
    full: AtomicU64,
}

/// Sizes for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllowanceFigures {
    /// Counters held.
    pub counters: u64,
    /// Verdicts that found no free counter, since the start.
    pub full: u64,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            first: Mutex::default(),
            others: (1..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            counters: AtomicUsize::new(0),
            calendar: ArcSwapOption::empty(),
            changed: Mutex::default(),
            full: AtomicU64::new(0),
        }
    }
}

impl Allowances {
    /// The day and the month in force at `at`.
    pub fn calendar(&self, plan: &AllowancePlan, at: Timestamp) -> Option<Calendar> {
        let former = self.calendar.load();
        // Midnight may have moved elsewhere since.
        let former = former.as_deref().filter(|(zone, _)| zone == plan.zone()).map(|(_, calendar)| calendar);
        if let Some(former) = former.filter(|former| former.covers(at)) {
            return Some(*former);
        }
        let calendar = plan.calendar(at, former)?;
        self.calendar.store(Some(Arc::new((plan.zone().clone(), calendar))));
        Some(calendar)
    }

    /// The share of a flow of `session` in what it may have exempt of `service`; none where nothing limits it.
    ///
    /// # Errors
    /// A counter is wanted and there is no room for it: what cannot be counted is not exempt.
    pub fn share(
        &self,
        plan: &AllowancePlan,
        session: &Session,
        (service, at_shared_address): (&str, bool),
        at: Timestamp,
    ) -> Result<Option<Share>, NoCounter> {
        let mut bounds = plan.bounds(service, at_shared_address).peekable();
        if bounds.peek().is_none() {
            return Ok(None);
        }
        let calendar = self.calendar(plan, at).ok_or(NoCounter)?;
        let subscriber = Subscriber::of(session);
        let parts: Result<Vec<Part>, NoCounter> = bounds
            .map(|bound| {
                let span = calendar.span(bound.length);
                let key = (subscriber.clone(), bound.scope, bound.length);
                let counter = self.counter(key, span, plan.counters_max())?;
                Ok(Part { counter, limit: bound.limit })
            })
            .collect();
        parts.map(|parts| Some(Share::new(parts))).inspect_err(|NoCounter| {
            self.full.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Whether `session` has anything left for `service`, as far as its allowances say, and room to count it.
    pub fn has_room(&self, plan: &AllowancePlan, session: &Session, service: &str, at: Timestamp) -> bool {
        let Some(calendar) = self.calendar(plan, at) else { return false };
        let subscriber = Subscriber::of(session);
        let mut missing = 0_usize;
        let has_room = plan.bounds(service, false).all(|bound| {
            let span = calendar.span(bound.length);
            let key = (subscriber.clone(), bound.scope, bound.length);
            let known = self.shard(&key).get(&key).filter(|counter| counter.span == span).cloned();
            match known {
                Some(counter) => Share::new([Part { counter, limit: bound.limit }]).has_room(),
                None => {
                    missing = missing.saturating_add(1);
                    bound.limit > 0
                }
            }
        });
        has_room && self.counters.load(Ordering::Relaxed).saturating_add(missing) <= plan.counters_max()
    }

    /// Notes that something was counted on this share.
    pub fn note_changed(&self, share: &Share) {
        for counter in share.counters().filter(|counter| counter.note_changed()) {
            self.changed().push(Arc::clone(counter));
        }
    }

    /// What has changed since the last call, to be saved.
    pub fn take_changes(&self) -> Vec<Spent> {
        let changed = std::mem::take(&mut *self.changed());
        changed.iter().map(|counter| spent(counter)).collect()
    }

    /// Everything that is known, for who has not saved the changes one by one.
    pub fn everything(&self) -> Vec<Spent> {
        let shards = self.others.iter().chain([&self.first]);
        shards
            .flat_map(|shard| lock(shard).values().map(|counter| spent(counter)).collect::<Vec<_>>())
            .collect()
    }

    /// Raises a counter to what was saved of it, where there is such a limit and the span is in force.
    ///
    /// # Errors
    /// There is no room for the counter.
    pub fn restore(&self, plan: &AllowancePlan, saved: &Spent, at: Timestamp) -> Result<(), NoCounter> {
        let Some(calendar) = self.calendar(plan, at) else { return Ok(()) };
        let spans = [Length::Day, Length::Month].map(|length| calendar.span(length));
        let span = spans.into_iter().find(|span| span.label() == saved.span);
        let (Some(span), Some(scope)) = (span, Scope::from_label(&saved.allowance)) else { return Ok(()) };
        if !plan.has(&scope, span.length) {
            return Ok(());
        }
        let key = (Subscriber::of(&saved.subscriber), scope, span.length);
        self.counter(key, span, plan.counters_max())?.restore(saved.bytes);
        Ok(())
    }

    /// Drops counters of spans that are over; open flows keep theirs until they are judged again.
    pub fn sweep(&self, calendar: &Calendar) {
        for shard in self.others.iter().chain([&self.first]) {
            let mut shard = lock(shard);
            let before = shard.len();
            shard.retain(|(_, _, length), counter| counter.span == calendar.span(*length));
            let dropped = before.saturating_sub(shard.len());
            self.counters.fetch_sub(dropped, Ordering::Relaxed);
        }
    }

    /// Sizes for metrics.
    pub fn figures(&self) -> AllowanceFigures {
        AllowanceFigures {
            counters: self.counters.load(Ordering::Relaxed) as u64,
            full: self.full.load(Ordering::Relaxed),
        }
    }

    /// The counter of `key` for `span`, made if need be; one of a span that is over makes way for it.
    fn counter(&self, key: Key, span: Span, counters_max: usize) -> Result<Arc<Counter>, NoCounter> {
        let mut shard = self.shard(&key);
        let known = shard.get(&key);
        if let Some(counter) = known.filter(|counter| counter.span == span) {
            return Ok(Arc::clone(counter));
        }
        if known.is_none() {
            let room = |count: usize| if count < counters_max { count.checked_add(1) } else { None };
            self.counters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| NoCounter)?;
        }
        let (subscriber, scope, _) = &key;
        let counter = Arc::new(Counter::new(subscriber.clone(), scope.clone(), span));
        shard.insert(key, Arc::clone(&counter));
        Ok(counter)
    }

    /// The part of the table that holds `key`.
    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<Key, Arc<Counter>>> {
        let number = usize::try_from(self.hasher.hash_one(&key.0) % SHARDS).unwrap_or(usize::MAX);
        lock(self.others.get(number).unwrap_or(&self.first))
    }

    /// The list of changed counters.
    fn changed(&self) -> MutexGuard<'_, Vec<Arc<Counter>>> {
        lock(&self.changed)
    }
}

/// A counter in the words of the ledger; what is counted from here on is a new change.
fn spent(counter: &Counter) -> Spent {
    Spent {
        bytes: counter.saving(),
        subscriber: counter.subscriber.session().clone(),
        allowance: counter.scope.to_string(),
        span: counter.span.label(),
    }
}

/// What a lock guards; a panic elsewhere does not make it unusable, for every change is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
