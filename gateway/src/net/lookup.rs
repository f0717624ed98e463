//! Our own look-ups of listed names, which feed the trusted answers (decisions 1, 4, 11).
//!
//! One look-up at a time for each name, however many flows ask (trap V5); a budget over all names, with shares and turns
//! (`turns`); answers in private space are dropped unless a laboratory permits them. Steered mode dials what it finds here;
//! `proxy_protocol` flows with a listed name at an unknown address ask here before they are exempt (`verify`); listed names are
//! asked for again as their answers run out (`schedule`).

pub mod answers;
mod ask;
mod cache;
mod copy;
mod flight;
mod schedule;
mod turns;
mod verify;
mod whereabouts;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allowlist::DomainName;
use tokio::runtime::Handle;

use self::ask::Resolvers;
use self::cache::{Cache, Landed};
pub use self::copy::CopyError;
use self::flight::Flights;
pub use self::turns::Asker;
use self::verify::{Denied, Inquiry, Personal};
pub use self::whereabouts::Whereabouts;
use crate::flow::session::SubscriberKey;
use crate::net::lookup::answers::Answers;
use crate::net::node::policy::PolicyCell;
use crate::net::node::settings::DialRules;
use crate::net::sys::clock::Clock;

/// Shortest time an answer is used before it is asked again: TTL 0 does not mean a query per flow.
const TTL_MIN: Duration = Duration::from_secs(5);
/// Longest time an answer is used before it is asked again (RFC 8767 §4 advises a cap of days).
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// Shortest time between two questions about one name.
const NAME_PAUSE: Duration = Duration::from_secs(1);
/// Names in a row whose own servers fail before it is taken for a fault of the resolvers.
const SERVER_FAILURES_MAX: u32 = 8;

/// Servers and limits of our own look-ups (a key of `config/examples/full.toml`).
#[derive(Clone, Debug)]
pub struct LookupSettings {
    /// The operator's resolvers; none: nothing is looked up.
    pub resolvers: Vec<SocketAddr>,
    /// For one try.
    pub try_timeout: Duration,
    /// Tries at each server.
    pub tries: u8,
    /// For the whole look-up.
    pub total_timeout: Duration,
    /// How long a steered flow waits for it when an address is known already.
    pub stale_after: Duration,
    /// CNAME records of an answer; with more it is not believed.
    pub cnames_max: u8,
    /// How long a name without an answer, or a pair the answer did not vouch for, is left alone.
    pub negative_ttl: Duration,
    /// Look-ups started in one second.
    pub per_second_max: u32,
    /// Look-ups under way at once.
    pub in_flight_max: usize,
    /// Inquiries that flows of one subscriber start in a minute.
    pub per_subscriber_minute_max: u32,
    /// Look-ups of each kind that wait for their turn.
    pub waiting_max: usize,
    /// Of these, one subscriber's.
    pub waiting_per_subscriber_max: usize,
    /// Names whose answers are kept; about 400 bytes each.
    pub names_max: usize,
    /// Scheduled look-ups started in one second, beside the others; none: 0.
    pub scheduled_per_second_max: usize,
}

/// Our resolver and what it found.
pub struct Lookups {
    settings: LookupSettings,
    answers: Arc<Answers>,
    policy: Arc<PolicyCell>,
    dial: Arc<DialRules>,
    clock: Clock,
    runtime: Handle,
    resolvers: Option<Resolvers>,
    state: Mutex<State>,
}

/// Look-ups under way and answers in use.
struct State {
    flights: Flights,
    cache: Cache,
    inquiries: HashMap<DomainName, Inquiry>,
    denied: Denied,
    personal: Personal,
    counts: LookupCounts,
    alarm: Alarm,
}

impl State {
    /// Nothing asked yet.
    fn new(settings: &LookupSettings) -> Self {
        Self {
            flights: Flights::new(settings),
            cache: Cache::new(settings.names_max),
            inquiries: HashMap::new(),
            denied: Denied::default(),
            personal: Personal::default(),
            counts: LookupCounts::default(),
            alarm: Alarm::default(),
        }
    }
}

/// Whether the resolvers are of no use.
#[derive(Default)]
struct Alarm {
    /// Failures since the last answer that was one.
    failures: u32,
    /// It is raised.
    is_raised: bool,
}

impl Alarm {
    /// Notes what became of a look-up. No answer raises it at once. That a name's own servers fail is no fault of the
    /// resolvers, but nothing else for long is: they may be cut off from everybody.
    fn note(&mut self, error: Option<LookupError>) {
        match error {
            None | Some(LookupError::NoAddress) => *self = Self::default(),
            Some(LookupError::Failed) => {
                self.failures = self.failures.saturating_add(1);
                self.is_raised = true;
            }
            Some(LookupError::ServerFailure) => {
                self.failures = self.failures.saturating_add(1);
                self.is_raised |= self.failures >= SERVER_FAILURES_MAX;
            }
            // Nobody was asked.
            Some(LookupError::Busy | LookupError::NoResolver) => {}
        }
    }
}

/// What the look-ups came to, since the last reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LookupCounts {
    /// Answered with at least one address that may be used.
    pub answered: u64,
    /// No address, or none that may be used.
    pub empty: u64,
    /// No answer in time, or a failure.
    pub failed: u64,
    /// Not asked: over `lookup.waiting_max`, out of time while it waited, or over `lookup.per_subscriber_minute_max`.
    pub refused: u64,
    /// Scheduled look-ups that were answered.
    pub scheduled: u64,
    /// Scheduled look-ups that failed.
    pub scheduled_failed: u64,
}

/// Why a look-up gave no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No resolver is configured.
    #[error("no resolver configured (upstream.resolvers)")]
    NoResolver,
    /// The budget is used up.
    #[error("too many look-ups (lookup.per_second_max, lookup.in_flight_max, lookup.waiting_max)")]
    Busy,
    /// The resolvers did not answer.
    #[error("no answer from the resolvers (upstream.resolvers)")]
    Failed,
    /// They answered that they could not find out (SERVFAIL and its like): the name's own servers are at fault.
    #[error(
        "the resolvers could not find out: its own servers do not answer, or it is not signed as it says"
    )]
    ServerFailure,
    /// The name has no address that may be dialled.
    #[error("no address that may be dialled (upstream.allow_private permits private ones in a laboratory)")]
    NoAddress,
}

/// Addresses, or why there are none.
type Answer = Result<Arc<[IpAddr]>, LookupError>;

impl Lookups {
    /// Look-ups that run on `runtime` and feed `answers`.
    ///
    /// # Errors
    /// The resolver library's, in words.
    pub fn new(
        settings: LookupSettings,
        answers: Arc<Answers>,
        policy: Arc<PolicyCell>,
        dial: Arc<DialRules>,
        clock: Clock,
        runtime: Handle,
    ) -> Result<Arc<Self>, String> {
        let resolvers = Resolvers::new(&settings)?;
        let state = Mutex::new(State::new(&settings));
        Ok(Arc::new(Self { settings, answers, policy, dial, clock, runtime, resolvers, state }))
    }

    /// The trusted answers that are fed.
    pub const fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// What the look-ups came to since the last call.
    pub fn take_counts(&self) -> LookupCounts {
        std::mem::take(&mut self.state().counts)
    }

    /// Whether the resolvers gave no answer when they were last asked, or for long nothing but failures: an alarm, for unknown
    /// addresses are charged.
    pub fn is_failing(&self) -> bool {
        self.state().alarm.is_raised
    }

    /// Takes a further question of an inquiry from the budget of all names.
    fn take_further(&self) -> bool {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let taken = state.flights.take_further(now);
        if !taken {
            state.counts.refused = state.counts.refused.saturating_add(1);
        }
        taken
    }

    /// One look-up with its time limit, learnt; the addresses that may be dialled, and how long.
    async fn query(
        &self,
        resolvers: &Resolvers,
        subscriber: &SubscriberKey,
        name: &DomainName,
    ) -> (Answer, Duration) {
        let found = match resolvers.addresses(&resolvers.all, name).await {
            Ok(found) => found,
            Err(error) => return (Err(error), self.settings.negative_ttl),
        };
        self.answers.learn_for(subscriber, name, &found);
        let ttl = Duration::from_secs(u64::from(found.ttl));
        let usable: Arc<[IpAddr]> =
            found.addresses.into_iter().filter(|address| self.dial.permits_address(*address)).collect();
        if usable.is_empty() {
            return (Err(LookupError::NoAddress), self.settings.negative_ttl);
        }
        (Ok(usable), ttl.clamp(TTL_MIN, TTL_MAX))
    }

    /// Counts a scheduled look-up.
    fn count_scheduled(&self, error: Option<LookupError>) {
        let mut state = self.state();
        state.alarm.note(error);
        let counts = &mut state.counts;
        let count = if error.is_none() { &mut counts.scheduled } else { &mut counts.scheduled_failed };
        *count = count.saturating_add(1);
    }

    /// Keeps the answer for those who ask next.
    fn land(self: &Arc<Self>, name: &DomainName, answer: &Answer, ttl: Duration) {
        let listed = self.policy.load().names_itself(name);
        let now = self.clock.monotonic();
        let mut state = self.state();
        let count = match answer {
            Ok(_) => &mut state.counts.answered,
            Err(LookupError::NoAddress) => &mut state.counts.empty,
            Err(
                LookupError::Failed
                | LookupError::ServerFailure
                | LookupError::Busy
                | LookupError::NoResolver,
            ) => &mut state.counts.failed,
        };
        *count = count.saturating_add(1);
        state.alarm.note(answer.as_ref().err().copied());
        let landed = Landed { answer, ttl, retention: self.answers.retention(), listed };
        state.cache.land(name, &landed, now);
        self.end(&mut state, name);
    }

    /// A flow of `subscriber` has reached `name`: it is kept longer than names that nobody reached.
    pub fn note_use(&self, name: &DomainName, subscriber: &SubscriberKey) {
        let now = self.clock.monotonic();
        self.state().cache.note_use(name, subscriber, now);
    }

    /// The state; a panic elsewhere does not make it unusable, for every change to it is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
