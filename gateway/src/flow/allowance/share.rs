//! One flow's part in its subscriber's allowances, and the counters that all flows of the subscriber share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use billing_export::Volume;

use super::{Scope, Span, Subscriber};

/// Most limits one flow's bytes fall under: three scopes for a day and a month each.
const PARTS_MAX: usize = 6;

/// What one subscriber has had exempt under one allowance in one span. Shared by the subscriber's flows on all workers.
#[derive(Debug)]
pub struct Counter {
    /// Whose.
    pub subscriber: Subscriber,
    /// Of what.
    pub scope: Scope,
    /// When.
    pub span: Span,
    /// Bytes that were exempt.
    exempt: AtomicU64,
    /// Bytes that have moved and are not counted yet.
    moving: AtomicU64,
    /// Whether it waits to be saved.
    changed: AtomicBool,
}

// The counts stand alone: no other memory is read on the strength of them, so no order between them is needed.
impl Counter {
    /// Nothing spent.
    pub const fn new(subscriber: Subscriber, scope: Scope, span: Span) -> Self {
        Self {
            subscriber,
            scope,
            span,
            exempt: AtomicU64::new(0),
            moving: AtomicU64::new(0),
            changed: AtomicBool::new(false),
        }
    }

    /// Bytes that were exempt.
    pub fn exempt(&self) -> u64 {
        self.exempt.load(Ordering::Relaxed)
    }

    /// Raises what was exempt to what the ledger has; less changes nothing.
    pub fn restore(&self, exempt: u64) {
        self.exempt.fetch_max(exempt, Ordering::Relaxed);
    }

    /// True the first time since [`Counter::saving`].
    pub fn note_changed(&self) -> bool {
        // What was counted before is seen by whoever takes the mark away.
        !self.changed.swap(true, Ordering::AcqRel)
    }

    /// What to save; what is counted from here on is a new change.
    pub fn saving(&self) -> u64 {
        self.changed.swap(false, Ordering::AcqRel);
        self.exempt()
    }

    /// What is left of `limit`, with what is on the move.
    fn left(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.exempt().saturating_add(self.moving.load(Ordering::Relaxed)))
    }

    /// Whether less than `limit` is spent, with what is on the move.
    fn has_room(&self, limit: u64) -> bool {
        self.left(limit) > 0
    }

    /// Whether less is left of `limit` than is on the move.
    fn is_near(&self, limit: u64) -> bool {
        let moving = self.moving.load(Ordering::Relaxed);
        self.exempt().saturating_add(moving.saturating_mul(2)) >= limit
    }

    /// Counts at most `bytes`, so that `limit` is not passed; how many were counted.
    fn count(&self, bytes: u64, limit: u64) -> u64 {
        let mut counted = 0;
        let _ = self.exempt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |exempt| {
            counted = bytes.min(limit.saturating_sub(exempt));
            exempt.checked_add(counted)
        });
        counted
    }

    /// Takes back what was counted a moment ago.
    fn uncount(&self, bytes: u64) {
        // Never below zero: only what `count` added is taken back.
        self.exempt.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Holds bytes on the move against the limit.
    fn hold(&self, bytes: u64) {
        self.moving.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lets them go.
    fn let_go(&self, bytes: u64) {
        self.moving.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One limit with its counter.
#[derive(Clone, Debug)]
pub struct Part {
    /// The counter.
    pub counter: Arc<Counter>,
    /// Its limit, in bytes.
    pub limit: u64,
}

/// One exempt flow's part in its subscriber's allowances.
#[derive(Debug)]
pub struct Share {
    parts: Box<[Part]>,
    /// Bytes of this flow that are on the move.
    moving: u64,
}

impl Share {
    /// The share in these counters; more than there are kinds of limits are not looked at.
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self { parts: parts.into_iter().take(PARTS_MAX).collect(), moving: 0 }
    }

    /// Whether anything is left of every allowance, with what is on the move.
    pub fn has_room(&self) -> bool {
        self.parts.iter().all(|part| part.counter.has_room(part.limit))
    }

    /// Bytes that are left of every allowance, with what is on the move.
    pub fn left(&self) -> u64 {
        self.parts.iter().map(|part| part.counter.left(part.limit)).min().unwrap_or(u64::MAX)
    }

    /// Holds bytes that have just moved against every limit until they are counted, at a guess. True when that comes near a
    /// limit, so that they are to be counted now: less than as much again is left.
    pub fn moved(&mut self, bytes: u64) -> bool {
        self.hold(bytes);
        self.parts.iter().any(|part| part.counter.is_near(part.limit))
    }

    /// Counts bytes of this flow: what of them is exempt. The rest is over a limit; up comes before down, for one reading
    /// says nothing of their order. What was held is counted with it, but for what is `still_moving`.
    ///
    /// Two flows that reach a limit at once may each leave a little of it to the other: together they never pass it.
    pub fn take(&mut self, volume: Volume, still_moving: u64) -> Volume {
        self.let_go();
        self.hold(still_moving);
        let mut counted = [0; PARTS_MAX];
        let mut left = volume.up.saturating_add(volume.down);
        for (part, counted) in self.parts.iter().zip(&mut counted) {
            left = part.counter.count(left, part.limit);
            *counted = left;
        }
        for (part, counted) in self.parts.iter().zip(counted) {
            // A later part may have granted less; what is left at the end was counted by every one.
            part.counter.uncount(counted.saturating_sub(left));
        }
        let up = volume.up.min(left);
        Volume { up, down: volume.down.min(left.saturating_sub(up)) }
    }

    /// The counters.
    pub fn counters(&self) -> impl Iterator<Item = &Arc<Counter>> {
        self.parts.iter().map(|part| &part.counter)
    }

    /// Holds bytes against every limit.
    fn hold(&mut self, bytes: u64) {
        self.moving = self.moving.saturating_add(bytes);
        for part in &self.parts {
            part.counter.hold(bytes);
        }
    }

    /// Holds nothing any more.
    fn let_go(&mut self) {
        let moving = std::mem::take(&mut self.moving);
        for part in &self.parts {
            part.counter.let_go(moving);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
mod tests {
    use billing_export::Session;
    use jiff::civil::date;

    use super::super::Length;
    use super::*;

    /// A counter of nobody.
    fn counter() -> Arc<Counter> {
        let span = Span { length: Length::Day, first: date(2026, 11, 25) };
        Arc::new(Counter::new(Subscriber::of(&Session::none()), Scope::Overall, span))
    }

    /// A share in counters with these limits.
    fn share(parts: &[(&Arc<Counter>, u64)]) -> Share {
        Share::new(parts.iter().map(|(counter, limit)| Part { counter: Arc::clone(counter), limit: *limit }))
    }

    const fn bytes(up: u64, down: u64) -> Volume {
        Volume { up, down }
    }

    #[test]
    fn t31_a_count_that_passes_the_limit_is_split_to_the_byte() {
        let counter = counter();
        let mut share = share(&[(&counter, 100)]);
        assert_eq!(share.take(bytes(10, 20), 0), bytes(10, 20));
        assert!(share.has_room());
        assert_eq!(share.take(bytes(30, 50), 0), bytes(30, 40));
        assert_eq!(counter.exempt(), 100);
        assert!(!share.has_room());
        assert_eq!(share.take(bytes(5, 5), 0), bytes(0, 0));
        assert_eq!(share.take(bytes(u64::MAX, u64::MAX), 0), bytes(0, 0));
        assert_eq!(counter.exempt(), 100);
    }

    #[test]
    fn t31_what_moves_is_counted_at_once_when_as_much_again_reaches_any_limit() {
        let (narrow, wide) = (counter(), counter());
        let mut share = share(&[(&narrow, 100), (&wide, 1_000)]);
        assert!(!share.moved(49));
        assert!(share.moved(1), "twice fifty is the narrower one");
    }

    #[test]
    fn t31_a_limit_of_zero_and_one_that_was_lowered_leave_nothing() {
        let counter = counter();
        assert!(!share(&[(&counter, 0)]).has_room());
        counter.restore(50);
        let mut lowered = share(&[(&counter, 20)]);
        assert!(!lowered.has_room());
        assert_eq!(lowered.take(bytes(1, 1), 0), bytes(0, 0));
        counter.restore(40);
        assert_eq!(counter.exempt(), 50);
    }

    #[test]
    fn t31_the_narrowest_limit_holds_and_the_wider_ones_count_no_more_than_it() {
        let (day, month) = (counter(), counter());
        month.restore(70);
        let mut share = share(&[(&day, 50), (&month, 100)]);
        assert_eq!(share.take(bytes(0, 40), 0), bytes(0, 30));
        assert_eq!((day.exempt(), month.exempt()), (30, 100));
        assert!(!share.has_room());
    }

    #[test]
    fn t31_bytes_on_the_move_count_for_every_flow_until_they_are_counted_or_gone() {
        let counter = counter();
        let (mut one, mut other) = (share(&[(&counter, 100)]), share(&[(&counter, 100)]));
        assert!(!one.moved(49));
        assert!(one.moved(11), "as much again would be too much");
        assert!(one.has_room());
        assert!(other.moved(40));
        assert!(!one.has_room(), "together they have reached it");
        // Of the one less has passed than was thought, and some is still on its way.
        assert_eq!(one.take(bytes(0, 45), 10), bytes(0, 45));
        assert!(other.has_room());
        assert!(other.moved(5));
        assert!(!other.has_room());
        drop(other);
        assert!(one.has_room());
        assert_eq!(one.take(bytes(0, 10), 0), bytes(0, 10));
        drop(one);
        let mut last = share(&[(&counter, 100)]);
        assert!(!last.moved(22) && last.has_room());
        assert!(last.moved(22) && last.has_room());
        assert!(last.moved(1) && !last.has_room());
    }

    #[test]
    fn t31_flows_of_many_threads_never_pass_the_limit_together() {
        const LIMIT: u64 = 1_000_000;
        let (day, month) = (counter(), counter());
        let granted: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> = (1..=4_u64)
                .map(|step| {
                    let mut share = share(&[(&day, LIMIT), (&month, 2 * LIMIT)]);
                    scope.spawn(move || {
                        let mut granted = 0;
                        for round in 0..100_000_u64 {
                            share.moved(step);
                            let volume = share.take(bytes(step, round % 7), 0);
                            granted += volume.up + volume.down;
                        }
                        granted
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(granted, LIMIT);
        assert_eq!((day.exempt(), month.exempt()), (LIMIT, LIMIT));
        assert!(share(&[(&day, LIMIT + 1)]).has_room(), "nothing is left on the move");
    }

    #[test]
    fn a_change_is_told_once_until_it_is_saved() {
        let counter = counter();
        assert!(counter.note_changed());
        assert!(!counter.note_changed());
        counter.restore(7);
        assert_eq!(counter.saving(), 7);
        assert!(counter.note_changed());
    }
}
