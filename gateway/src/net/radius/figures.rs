//! What is counted of accounting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::flow::session::accounting::{Outcome, Takeover};
use crate::net::sys::attention::{Attention, AttentionReason};
use crate::wire::radius::Status;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// What was decided.
    Decided(Outcome),
    /// It was answered before.
    Repeated,
    /// It was not made with the secret.
    BadAuthenticator,
    /// It breaks the format.
    Malformed,
}

/// The words of the label `result`, of requests of clients.
const RESULTS: [&str; 9] = [
    "applied",
    "old",
    "reopened",
    "no_subscriber",
    "no_address",
    "full",
    "repeated",
    "bad_authenticator",
    "malformed",
];
/// The words of the label `status`.
const STATUSES: [&str; 6] = ["start", "interim", "stop", "on", "off", "other"];

impl Result {
    /// Its place among [`RESULTS`].
    const fn place(self) -> usize {
        match self {
            Self::Decided(Outcome::Applied) => 0,
            Self::Decided(Outcome::Old) => 1,
            Self::Decided(Outcome::Reopened) => 2,
            Self::Decided(Outcome::NoSubscriber) => 3,
            Self::Decided(Outcome::NoAddress) => 4,
            Self::Decided(Outcome::Full) => 5,
            Self::Repeated => 6,
            Self::BadAuthenticator => 7,
            Self::Malformed => 8,
        }
    }
}

/// The place of a status among [`STATUSES`].
const fn place_of(status: Status) -> usize {
    match status {
        Status::Start => 0,
        Status::Interim => 1,
        Status::Stop => 2,
        Status::On => 3,
        Status::Off => 4,
        Status::Other(_) => 5,
    }
}

/// What was heard of one client.
#[derive(Debug, Default)]
pub struct Heard {
    requests: [[AtomicU64; RESULTS.len()]; STATUSES.len()],
    clock_doubts: AtomicU64,
    /// Milliseconds of the monotonic clock at which it last said something that we believe came from it, and one more; 0: never.
    last_ms: AtomicU64,
    /// The same, at which a request was refused, and one whose time was not believed.
    refused_ms: AtomicU64,
    doubted_ms: AtomicU64,
}

/// How long after the last request of its kind the operator is told.
const TOLD_MS: u64 = 600_000;

impl Heard {
    /// Counts a request that came at this time.
    pub(super) fn count(&self, status: Status, result: Result, now_ms: u64) {
        if matches!(result, Result::BadAuthenticator | Result::Malformed) {
            self.refused_ms.store(now_ms.saturating_add(1), Ordering::Relaxed);
        }
        let place = self.requests.get(place_of(status)).and_then(|row| row.get(result.place()));
        if let Some(count) = place {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a request whose time was not believed.
    pub(super) fn doubt(&self, now_ms: u64) {
        self.doubted_ms.store(now_ms.saturating_add(1), Ordering::Relaxed);
        self.clock_doubts.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request was refused in the last ten minutes.
    pub(super) fn is_refused_of_late(&self, now_ms: u64) -> bool {
        is_of_late(&self.refused_ms, now_ms)
    }

    /// Whether the time of a request was not believed in the last ten minutes.
    pub(super) fn is_doubted_of_late(&self, now_ms: u64) -> bool {
        is_of_late(&self.doubted_ms, now_ms)
    }

    /// It said something.
    pub(super) fn note(&self, now_ms: u64) {
        self.last_ms.store(now_ms.saturating_add(1), Ordering::Relaxed);
    }

    /// When it last said something, in milliseconds of the monotonic clock.
    pub fn last_ms(&self) -> Option<u64> {
        self.last_ms.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Requests by status and result, without those of which there were none.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        self.requests.iter().zip(STATUSES).flat_map(|(row, status)| {
            row.iter().zip(RESULTS).filter_map(move |(count, result)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0).then_some((status, result, count))
            })
        })
    }

    /// Requests whose time was not believed.
    pub fn clock_doubts(&self) -> u64 {
        self.clock_doubts.load(Ordering::Relaxed)
    }
}

/// Whether what happened at a time, and one millisecond more, was of late; 0: it never did.
fn is_of_late(at: &AtomicU64, now_ms: u64) -> bool {
    at.load(Ordering::Relaxed).checked_sub(1).is_some_and(|at| now_ms.saturating_sub(at) < TOLD_MS)
}

/// Upper ends of the buckets of commit times, in microseconds.
const BUCKETS_US: [u64; 10] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000];

/// What is counted of all of it.
#[derive(Debug, Default)]
pub struct Figures {
    unknown_clients: AtomicU64,
    takeovers: [AtomicU64; 3],
    /// Commits by how long they took, the last for longer ones, and their sum in microseconds.
    commits: [AtomicU64; BUCKETS_US.len() + 1],
    commits_us: AtomicU64,
    /// Datagrams that found no room at our sockets.
    dropped: AtomicU64,
    /// Whether the disk takes nothing.
    is_stuck: AtomicBool,
    /// Whether nobody hears accounting any more.
    has_ended: AtomicBool,
    /// Whether addresses found no room in the table of sessions.
    is_full: AtomicBool,
    /// Sessions that are active, suspect, stale.
    states: [AtomicU64; 3],
}

impl Figures {
    /// The words of the states.
    pub const STATES: [&str; 3] = ["active", "suspect", "stale"];

    /// Counts a packet from nobody's address.
    pub(super) fn count_unknown(&self) {
        self.unknown_clients.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets from addresses of no client.
    pub fn unknown_clients(&self) -> u64 {
        self.unknown_clients.load(Ordering::Relaxed)
    }

    /// Counts datagrams that found no room.
    pub(super) fn count_dropped(&self, count: u32) {
        self.dropped.fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Datagrams that found no room at our sockets: requests of clients, and whatever else came there.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Nobody hears accounting any more.
    pub(super) fn set_ended(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Counts how an address, or a session, changed hands.
    pub(super) fn count_takeover(&self, kind: Takeover) {
        let place = match kind {
            Takeover::LaterStart => 0,
            Takeover::EqualStart => 1,
            Takeover::SubscriberChanged => 2,
        };
        if let Some(count) = self.takeovers.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes of hands by kind.
    pub fn takeovers(&self) -> [(&'static str, u64); 3] {
        let kinds = [Takeover::LaterStart, Takeover::EqualStart, Takeover::SubscriberChanged];
        let mut counts = self.takeovers.iter().map(|count| count.load(Ordering::Relaxed));
        kinds.map(|kind| (kind.label(), counts.next().unwrap_or(0)))
    }

    /// Counts a commit.
    pub(super) fn count_commit(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BUCKETS_US.iter().position(|end| us <= *end).unwrap_or(BUCKETS_US.len());
        if let Some(count) = self.commits.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.commits_us.fetch_add(us, Ordering::Relaxed);
        self.is_stuck.store(false, Ordering::Relaxed);
    }

    /// The histogram of commit times in Prometheus text form (cumulative buckets, in seconds).
    pub fn commits(&self) -> String {
        use std::fmt::Write as _;
        const NAME: &str = "zrgw_radius_commit_seconds";
        let mut text = format!(
            "# HELP {NAME} Time to have the disk take what a batch of requests changes\n# TYPE {NAME} histogram\n"
        );
        let mut sum = 0_u64;
        let ends = BUCKETS_US.iter().map(|end| decimal(*end)).chain(["+Inf".to_owned()]);
        for (count, end) in self.commits.iter().zip(ends) {
            sum = sum.saturating_add(count.load(Ordering::Relaxed));
            let _ = writeln!(text, "{NAME}_bucket{{le=\"{end}\"}} {sum}");
        }
        let _ = writeln!(text, "{NAME}_sum {}", decimal(self.commits_us.load(Ordering::Relaxed)));
        let _ = writeln!(text, "{NAME}_count {sum}");
        text
    }

    /// The disk takes nothing; whether that was known.
    pub(super) fn set_stuck(&self) -> bool {
        self.is_stuck.swap(true, Ordering::Relaxed)
    }

    /// Addresses found no room in the table of sessions.
    pub(super) fn set_full(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    /// So many sessions are in each state.
    pub(super) fn set_states(&self, states: [u64; 3]) {
        for (place, count) in self.states.iter().zip(states) {
            place.store(count, Ordering::Relaxed);
        }
    }

    /// Sessions by state, in the order of [`Self::STATES`].
    pub fn states(&self) -> [u64; 3] {
        self.states.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// What wants attention.
    pub fn attention(&self) -> Vec<Attention> {
        let full = self.is_full.load(Ordering::Relaxed).then(|| {
            let text = "addresses of sessions of accounting found no room and are nobody's: raise limits.sessions_max and restart";
            Attention::new(AttentionReason::SessionsFull, text)
        });
        let stuck = self.is_stuck.load(Ordering::Relaxed).then(|| {
            let text = "what accounting changes cannot be saved, and no access server is answered; sessions stay as they are. \
                        Remedy: the log says why (node.state_dir)";
            Attention::new(AttentionReason::RadiusUnsaved, text)
        });
        let ended = self.has_ended.load(Ordering::Relaxed).then(|| {
            let text = "nobody hears accounting any more, and its sessions are stale: restart the gateway, and report what its log \
                        says of a thread that panicked";
            Attention::new(AttentionReason::RadiusEnded, text)
        });
        full.into_iter().chain(stuck).chain(ended).collect()
    }
}

/// Seconds of microseconds, without a fraction of a number.
fn decimal(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_in_one_bucket_and_the_buckets_add_up() {
        let figures = Figures::default();
        for us in [0, 500, 501, 2_000_000, 2_000_001] {
            figures.count_commit(Duration::from_micros(us));
        }
        let text = figures.commits();
        for line in [
            "zrgw_radius_commit_seconds_bucket{le=\"0.0005\"} 2",
            "zrgw_radius_commit_seconds_bucket{le=\"0.001\"} 3",
            "zrgw_radius_commit_seconds_bucket{le=\"2\"} 4",
            "zrgw_radius_commit_seconds_bucket{le=\"+Inf\"} 5",
            "zrgw_radius_commit_seconds_sum 4.001002",
            "zrgw_radius_commit_seconds_count 5",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_result_has_a_word_of_its_own() {
        let decided = [
            Outcome::Applied,
            Outcome::Old,
            Outcome::Reopened,
            Outcome::NoSubscriber,
            Outcome::NoAddress,
            Outcome::Full,
        ];
        for outcome in decided {
            assert_eq!(RESULTS[Result::Decided(outcome).place()], outcome.label());
        }
        let heard = Heard::default();
        heard.count(Status::Stop, Result::Repeated, 5);
        assert!(!heard.is_refused_of_late(5));
        heard.count(Status::Other(9), Result::Malformed, 5);
        let counted: Vec<_> = heard.requests().collect();
        assert_eq!(counted, [("stop", "repeated", 1), ("other", "malformed", 1)]);
        assert!(heard.is_refused_of_late(5) && heard.is_refused_of_late(TOLD_MS + 4));
        assert!(!heard.is_refused_of_late(TOLD_MS + 5) && !heard.is_doubted_of_late(5));
        assert_eq!(heard.last_ms(), None);
    }
}
