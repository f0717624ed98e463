//! When a sink that failed is tried again. Pure.

use std::time::Duration;

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(1);

/// The pauses between tries at one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause.
    max: Duration,
    /// The pause after the next failure.
    next: Duration,
    /// Before this time it is not tried; none after a success.
    until: Option<Duration>,
}

impl Backoff {
    /// A sink that has not failed; pauses are at most `max`.
    pub fn new(max: Duration) -> Backoff {
        Backoff { max, next: FIRST.min(max), until: None }
    }

    /// It failed at `now`, a time since some fixed moment.
    pub fn failed(&mut self, now: Duration) {
        self.until = Some(now.saturating_add(self.next));
        self.next = self.next.saturating_mul(2).min(self.max);
    }

    /// It took what there was.
    pub fn succeeded(&mut self) {
        *self = Backoff::new(self.max);
    }

    /// How long it is to be left alone from `now` on; zero when it may be tried.
    pub fn left(&self, now: Duration) -> Duration {
        self.until.unwrap_or_default().saturating_sub(now)
    }

    /// Whether its last try failed.
    pub fn is_failing(&self) -> bool {
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_a_success_ends_them() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(5 * second);
        let mut now = Duration::from_secs(100);
        assert_eq!((backoff.left(now), backoff.is_failing()), (Duration::ZERO, false));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            backoff.failed(now);
            pauses.push(backoff.left(now).as_secs());
            assert!(backoff.is_failing());
            now += backoff.left(now);
            assert_eq!(backoff.left(now), Duration::ZERO);
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.succeeded();
        assert_eq!(backoff, Backoff::new(5 * second));
        // A limit below the first pause is the pause.
        let mut short = Backoff::new(second / 4);
        short.failed(Duration::MAX - second / 8);
        assert_eq!(short.left(Duration::ZERO), Duration::MAX);
    }
}
