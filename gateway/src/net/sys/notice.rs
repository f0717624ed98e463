//! Lines of the log that may have many occasions: one a minute says how many there were. The time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::flow::time::Monotonic;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Occasions of one kind, of all workers.
#[derive(Debug, Default)]
pub struct Notice {
    /// Those that no line has told of.
    untold: AtomicU64,
    /// When the next line may be written, in milliseconds.
    next: AtomicU64,
}

impl Notice {
    /// Notes an occasion; how many there were since the last line when the next one is due, for one worker.
    pub fn note(&self, now: Monotonic) -> Option<u64> {
        self.untold.fetch_add(1, Ordering::Relaxed);
        let due = self.next.load(Ordering::Relaxed);
        let next = now.plus(PAUSE).as_millis();
        let is_due = due <= now.as_millis()
            && self.next.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_due.then(|| self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f42_one_line_a_minute_says_how_many_there_were() {
        let notice = Notice::default();
        let at = |ms| Monotonic::new(Duration::from_millis(ms));
        assert_eq!(notice.note(at(5)), Some(1));
        assert!((0..100).all(|_| notice.note(at(60_004)).is_none()));
        assert_eq!(notice.note(at(60_005)), Some(101));
        assert_eq!(notice.note(at(60_005)), None);
    }
}
