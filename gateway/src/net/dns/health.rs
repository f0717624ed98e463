//! How a server stands, as all workers see it.
//!
//! That questions of subscribers stay without an answer says nothing about a server: names that nobody answers for can be
//! made up at will. It makes us ask one of our own ([`super::probe`]), and that one decides. A server that answers us and
//! not them is passed over when others answered what it did not, for several sources. Who refuses us is down at once. The
//! time is an argument.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::source::Source;
use crate::flow::time::Monotonic;

/// Questions without an answer since it last gave one, after which we ask one of our own.
const UNANSWERED_MAX: u64 = 3;
/// Questions of our own without an answer after which a server is down, one of each kind.
const PROBES_MAX: u64 = 2;
/// Sources whose questions others answered, after which a server is passed over.
const ELSEWHERE_MAX: u32 = 3;
/// How long it is passed over then before we ask it again.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(5);

/// How a server stands.
#[derive(Default)]
pub(super) struct Health {
    /// Whether anything of the following is set: all that a reply has to look at.
    is_doubted: AtomicBool,
    /// Whether it is passed over.
    is_down: AtomicBool,
    /// Questions that were not answered in their time.
    unanswered: AtomicU64,
    /// Our own questions without an answer.
    probes: AtomicU64,
    /// Sources whose questions others answered, by one bit each.
    elsewhere: AtomicU64,
    /// When we may ask next, in milliseconds.
    next_probe: AtomicU64,
}

impl Health {
    /// It answered a subscriber's question.
    pub(super) fn answered(&self) {
        if self.is_doubted.load(Ordering::Relaxed) {
            self.elsewhere.store(0, Ordering::Relaxed);
            self.clear();
            self.is_doubted.store(false, Ordering::Relaxed);
        }
    }

    /// It answered our own question.
    pub(super) fn probe_answered(&self) {
        // What others answer and it does not stays noted, unless that was what it was passed over for.
        if self.is_down() {
            self.elsewhere.store(0, Ordering::Relaxed);
        }
        self.clear();
    }

    /// Forgets what an answer disproves.
    fn clear(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
        self.probes.store(0, Ordering::Relaxed);
        self.is_down.store(false, Ordering::Relaxed);
    }

    /// It did not answer a question in time.
    pub(super) fn timed_out(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// It did not answer our own question in time.
    pub(super) fn probe_timed_out(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
        if self.probes.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= PROBES_MAX {
            self.is_down.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the last question of our own had no answer, so that another kind is to be asked.
    pub(super) fn wants_root(&self) -> bool {
        !self.probes.load(Ordering::Relaxed).is_multiple_of(PROBES_MAX)
    }

    /// It cannot be reached.
    pub(super) fn unreachable(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
        self.is_down.store(true, Ordering::Relaxed);
    }

    /// Another server answered what this one had not, for `source`.
    pub(super) fn answered_elsewhere(&self, source: Source, now: Monotonic) {
        let bit = 1_u64.checked_shl(u32::try_from(source.place(64)).unwrap_or(0)).unwrap_or(0);
        let noted = self.elsewhere.fetch_or(bit, Ordering::Relaxed) | bit;
        self.is_doubted.store(true, Ordering::Relaxed);
        if noted.count_ones() >= ELSEWHERE_MAX && !self.is_down() {
            self.next_probe.store(now.plus(ELSEWHERE_PAUSE).as_millis(), Ordering::Relaxed);
            self.is_down.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is passed over.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Whether to ask it a question of our own, and the next one after `pause`; true for one worker.
    pub(super) fn wants_probe(&self, now: Monotonic, pause: Duration) -> bool {
        if !self.is_doubted.load(Ordering::Relaxed) {
            return false;
        }
        if self.unanswered.load(Ordering::Relaxed) < UNANSWERED_MAX && !self.is_down() {
            return false;
        }
        let due = self.next_probe.load(Ordering::Relaxed);
        let next = now.plus(pause).as_millis();
        due <= now.as_millis()
            && self.next_probe.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;
    use crate::net::dns::source::Sources;

    /// Time between two of our own questions.
    const PAUSE: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(ms))
    }

    #[test]
    fn f10_questions_without_an_answer_make_us_ask_and_nothing_else() {
        let health = Health::default();
        assert!(!health.wants_probe(at(0), PAUSE), "nobody asks a server that nobody doubts");
        for _ in 0..1_000 {
            health.timed_out();
        }
        assert!(!health.is_down());
        assert!(health.wants_probe(at(10), PAUSE), "one worker asks");
        assert!(!health.wants_probe(at(10), PAUSE), "the others do not");
        health.probe_answered();
        assert!(!health.is_down() && !health.wants_probe(at(2_000), PAUSE));
    }

    #[test]
    fn f10_our_own_questions_find_a_server_down_and_up_again() {
        let health = Health::default();
        for _ in 1..UNANSWERED_MAX {
            health.timed_out();
        }
        assert!(!health.wants_probe(at(0), PAUSE), "one below");
        health.timed_out();
        assert!(health.wants_probe(at(0), PAUSE));
        health.probe_timed_out();
        assert!(!health.is_down(), "one may be lost");
        assert!(!health.wants_probe(at(999), PAUSE) && health.wants_probe(at(1_000), PAUSE));
        health.probe_timed_out();
        assert!(health.is_down());
        assert!(health.wants_probe(at(2_000), PAUSE), "we go on asking");
        health.probe_answered();
        assert!(!health.is_down());
        health.unreachable();
        assert!(health.is_down() && health.wants_probe(at(9_000), PAUSE));
        health.answered();
        assert!(!health.is_down() && !health.wants_probe(at(20_000), PAUSE));
    }

    #[test]
    fn f10_what_others_answer_counts_by_sources() {
        let health = Health::default();
        let sources = Sources::new(32, 56, RandomState::new());
        let of = |last: u8| sources.of([10, 7, 0, last].into(), None);
        for _ in 0..1_000 {
            health.answered_elsewhere(of(1), at(0));
        }
        assert!(!health.is_down(), "one source alone");
        (0..UNANSWERED_MAX).for_each(|_| health.timed_out());
        assert!(health.wants_probe(at(0), PAUSE));
        health.probe_answered();
        (2..=200).for_each(|last| health.answered_elsewhere(of(last), at(0)));
        assert!(health.is_down(), "though it answers us");
        assert!(!health.wants_probe(at(4_999), PAUSE) && health.wants_probe(at(5_000), PAUSE));
        health.probe_answered();
        assert!(!health.is_down());
        (1..=200).for_each(|last| {
            health.answered_elsewhere(of(last), at(6_000));
            health.answered();
        });
        assert!(!health.is_down(), "what it answers in between says otherwise");
    }
}
