//! What all workers share: published policy, sessions, trusted answers, limits, and the two counts that bound open flows.
//!
//! Asked when a flow opens, is judged or closes; never for a byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use billing_export::ByteBasis;
use tokio::sync::Semaphore;

use super::policy::{Exemption, PolicyCell};
use super::settings::{DialRules, Limits};
use crate::flow::engine::{Terms, World};
use crate::flow::session::{Sessions, SubscriberKey};
use crate::flow::time::Monotonic;
use crate::net::edge::silence::Silences;
use crate::net::lookup::Lookups;
use crate::net::sys::beats::Beats;
use crate::net::sys::clock;
use crate::net::sys::clock::Clock;
use crate::net::sys::egress::Egress;
use crate::net::sys::header_lengths::HeaderLengths;
use crate::net::sys::overload::Overload;
use crate::net::udp::connection_ids::ConnectionIds;
use crate::net::upstream::own_ends::OwnEnds;

/// What all workers share.
pub struct Shared {
    /// List, rating and limits: taken anew for each decision.
    pub policy: Arc<PolicyCell>,
    /// Whose an address is.
    pub sessions: Arc<Sessions>,
    /// Trusted answers and our own look-ups.
    pub lookups: Arc<Lookups>,
    /// What is counted.
    pub byte_basis: ByteBasis,
    /// Who sees the headers of what subscribers send, where that counts and the system lets us.
    pub headers: Option<Arc<HeaderLengths>>,
    /// The queues of this machine's interfaces.
    pub egress: Arc<Egress>,
    /// Limits of the data path.
    pub limits: Limits,
    /// Where the gateway may connect to.
    pub dial: Arc<DialRules>,
    /// Room for open flows, by the process's descriptor limit.
    pub flow_permits: Arc<Semaphore>,
    /// Whether memory or that room runs short.
    pub overload: Arc<Overload>,
    /// Room within it for UDP flows that hold an upstream socket before their name is known: a quarter, so that half-open
    /// flows never keep decided ones out.
    pub undecided_permits: Arc<Semaphore>,
    /// Servers' connection ids, by which a rebound flow is known.
    pub connection_ids: ConnectionIds,
    /// Where our own flows leave from, by which they are known when they come back.
    pub own_ends: Arc<OwnEnds>,
    /// Destinations that did not answer.
    pub silences: Silences,
    /// Open flows by subscriber address or session.
    pub open_by_subscriber: Mutex<HashMap<SubscriberKey, Places>>,
    /// When each worker's event loop last ran.
    pub beats: Beats,
    /// Accounts a worker holds between two reports.
    pub accounts_max: usize,
    /// When counts were last saved, and how long they may go unsaved.
    pub saved: Arc<Saved>,
    /// The process's clocks.
    pub clock: Clock,
}

/// One subscriber's open flows, and what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Of those that we have shaken hands for, and of others once they are answered.
    answered: usize,
    /// Of those that nobody has answered: anybody may have begun them in his name.
    unanswered: usize,
    /// Memory that the sockets of his flows held at the last look, in bytes.
    queued: u64,
}

/// Whether a flow may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Entrance {
    /// It has its place.
    Taken,
    /// It has one beyond the subscriber's limit: it is carried unread.
    OverLimit,
    /// The subscriber has too many UDP flows that nobody has answered.
    Crowded,
}

/// When counts were last saved. Written by the export task and watched by the workers, so that a disk that hangs for
/// ever suspends exemption too.
pub struct Saved {
    /// Milliseconds of the monotonic clock.
    at_ms: AtomicU64,
    /// How long counts may go unsaved before exemption stops.
    unsaved_max: Duration,
}

impl Saved {
    /// Saved at the start of the clock.
    pub const fn new(unsaved_max: Duration) -> Self {
        Self { at_ms: AtomicU64::new(0), unsaved_max }
    }

    /// Counts were saved at `now`.
    pub fn set(&self, now: Monotonic) {
        self.at_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    /// How long counts have gone unsaved.
    pub fn age(&self, now: Monotonic) -> Duration {
        Duration::from_millis(now.as_millis().saturating_sub(self.at_ms.load(Ordering::Relaxed)))
    }

    /// Whether they have gone unsaved for too long.
    pub fn is_overdue(&self, now: Monotonic) -> bool {
        self.age(now) > self.unsaved_max
    }
}

impl World for Shared {
    fn consult<R>(&self, judge: impl FnOnce(&Terms<'_>) -> R) -> R {
        let policy = self.policy.load();
        judge(&Terms {
            list: policy.list.as_deref(),
            exemption: policy.exemption,
            rating: &policy.rating,
            evidence: &**self.lookups.answers(),
            allowances: &**policy,
            now: clock::wall(),
        })
    }
}

impl Shared {
    /// Suspends exemption when counts have gone unsaved for too long; the export task allows it again.
    pub(in crate::net) fn suspend_if_unsaved(&self) {
        if self.saved.is_overdue(self.clock.monotonic()) && self.policy.load().exemption == Exemption::Allowed
        {
            tracing::error!(
                "counts have not been saved for longer than export.unsaved_max: everything is charged until they are"
            );
            self.policy.update(|next| next.exemption = Exemption::Suspended);
        }
    }

    /// Flows that hold room.
    pub(in crate::net) fn flows_in_use(&self) -> usize {
        self.overload.flows_max().saturating_sub(self.flow_permits.available_permits())
    }

    /// Whether a connection from `peer` is our own, come back; where it was going is asked only if it may be. The machine's
    /// addresses are not asked: it may have had the one for a moment only.
    pub(in crate::net) fn is_own_stream<D: IntoIterator<Item = SocketAddr>>(
        &self,
        peer: SocketAddr,
        destinations: impl FnOnce() -> D,
    ) -> bool {
        let (peer, now) = (canonical(peer), self.clock.monotonic());
        self.own_ends.has_stream(peer, || destinations().into_iter().map(canonical).collect(), now)
    }

    /// Whether datagrams from `peer` are our own, come back.
    pub(in crate::net) fn is_own_datagram(&self, peer: SocketAddr) -> bool {
        self.own_ends.has_datagrams(canonical(peer))
    }

    /// Takes one of the subscriber's places, unless UDP that nobody has answered has all that it may.
    pub(in crate::net) fn enter(&self, key: &SubscriberKey, waits_for_answer: bool) -> Entrance {
        let unanswered_max = self.limits.unanswered_per_subscriber_max;
        self.take_place(key, waits_for_answer, unanswered_max)
    }

    /// Takes a place in any case.
    pub(in crate::net) fn enter_crowded(&self, key: &SubscriberKey, waits_for_answer: bool) -> Entrance {
        self.take_place(key, waits_for_answer, usize::MAX)
    }

    /// Takes a place.
    fn take_place(&self, key: &SubscriberKey, waits_for_answer: bool, unanswered_max: usize) -> Entrance {
        let most = self.limits.flows_per_subscriber_max.of(key);
        let mut open = self.open();
        let places = open.entry(key.clone()).or_default();
        if waits_for_answer && places.unanswered >= unanswered_max {
            return Entrance::Crowded;
        }
        let entrance = if places.answered < most { Entrance::Taken } else { Entrance::OverLimit };
        let count = if waits_for_answer { &mut places.unanswered } else { &mut places.answered };
        *count = count.saturating_add(1);
        entrance
    }

    /// A flow was answered. It stays whatever else the subscriber has: what is over keeps the next ones out.
    pub(in crate::net) fn answered(&self, key: &SubscriberKey) {
        if let Some(places) = self.open().get_mut(key) {
            places.unanswered = places.unanswered.saturating_sub(1);
            places.answered = places.answered.saturating_add(1);
        }
    }

    /// Gives the place back.
    pub(in crate::net) fn leave(&self, key: &SubscriberKey, unanswered: bool) {
        let mut open = self.open();
        if let Some(places) = open.get_mut(key) {
            let count = if unanswered { &mut places.unanswered } else { &mut places.answered };
            *count = count.saturating_sub(1);
            if *places == Places::default() {
                open.remove(key);
            }
        }
    }

    /// Answered flows of every subscriber that has any, and whose they are by their place in the list.
    pub(in crate::net) fn holdings(&self) -> (Vec<usize>, HashMap<SubscriberKey, usize>) {
        self.holders(|places| (places.answered > 0).then_some(places.answered))
    }

    /// Memory that the sockets of every subscriber's flows hold, where they hold any, and whose they are.
    pub(in crate::net) fn queued(&self) -> (Vec<u64>, HashMap<SubscriberKey, usize>) {
        self.holders(|places| (places.queued > 0).then_some(places.queued))
    }

    /// What `of` says of every subscriber of whom it says something, and whose it is by the place in the list.
    fn holders<T>(&self, of: impl Fn(&Places) -> Option<T>) -> (Vec<T>, HashMap<SubscriberKey, usize>) {
        let open = self.open();
        let held = open.iter().filter_map(|(key, places)| Some((of(places)?, key.clone())));
        let (held, keys): (Vec<_>, Vec<_>) = held.unzip();
        drop(open);
        (held, keys.into_iter().zip(0..).collect())
    }

    /// Tells what the sockets of one worker's flows hold for each subscriber, where it told `before` at its last look.
    pub(in crate::net) fn tell_queued(
        &self,
        before: &HashMap<SubscriberKey, u64>,
        after: &HashMap<SubscriberKey, u64>,
    ) {
        if before.is_empty() && after.is_empty() {
            return;
        }
        let sum = |of: &HashMap<_, u64>| of.values().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        self.overload.change_queued(sum(before), sum(after));
        let mut open = self.open();
        for (key, bytes) in after {
            let places = open.entry(key.clone()).or_default();
            places.queued = places.queued.saturating_add(*bytes);
        }
        for (key, bytes) in before {
            if let Some(places) = open.get_mut(key) {
                places.queued = places.queued.saturating_sub(*bytes);
                if *places == Places::default() {
                    open.remove(key);
                }
            }
        }
    }

    /// The counts; a panic elsewhere does not make them unusable, for every change is a single step.
    fn open(&self) -> MutexGuard<'_, HashMap<SubscriberKey, Places>> {
        self.open_by_subscriber.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// IPv4 in its own spelling.
fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}
