//! Our own look-ups of listed names, and the trusted answers they feed (DESIGN decisions 1, 4, 11).
//!
//! One look-up at a time for each name, however many flows ask (trap V5); a budget over all names; answers in private
//! space are dropped unless a laboratory permits them. Steered mode dials what it finds here; `proxy_protocol` flows with
//! a listed name at an unknown address ask here before they are exempt.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use allowlist::DomainName;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock::Clock;
use super::settings::DialRules;
use crate::flow::binding::{AnswerLimits, Learnt, Nat64, TrustedAnswers};
use crate::flow::time::Monotonic;

/// Shortest time an answer is used before it is asked again: TTL 0 does not mean a query per flow.
const TTL_MIN: Duration = Duration::from_secs(5);
/// Longest time an answer is used before it is asked again (RFC 8767 §4 advises a cap of days).
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// How long an answer is used while the resolver gives none (RFC 8767 §5).
const STALE_MAX: Duration = Duration::from_secs(86_400);
/// Shortest time between two questions about one name.
const NAME_PAUSE: Duration = Duration::from_secs(1);
/// Names remembered at once; about 300 bytes each.
const CACHE_NAMES_MAX: usize = 65_536;
/// Pairs of name and address remembered as not vouched for; over it they are asked about again, within the budget.
const DENIED_PAIRS_MAX: usize = 65_536;

/// Servers and limits of our own look-ups (DESIGN §7).
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
    /// CNAME records of an answer; with more it is not believed.
    pub cnames_max: u8,
    /// How long a name without an answer, or a pair the answer did not vouch for, is left alone.
    pub negative_ttl: Duration,
    /// Look-ups started in one second.
    pub per_second_max: u32,
    /// Look-ups under way at once.
    pub in_flight_max: usize,
}

/// Our resolver and what it found.
pub struct Lookups {
    settings: LookupSettings,
    dial: Arc<DialRules>,
    clock: Clock,
    runtime: Handle,
    resolver: Option<TokioResolver>,
    trusted: RwLock<TrustedAnswers>,
    state: Mutex<State>,
}

/// Look-ups under way and answers in use.
#[derive(Default)]
struct State {
    flights: HashMap<DomainName, watch::Receiver<Option<Answer>>>,
    cache: HashMap<DomainName, Cached>,
    denied: HashMap<(DomainName, IpAddr), Monotonic>,
    budget: Budget,
    counts: LookupCounts,
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
    /// Not asked: over `lookup.per_second_max` or `lookup.in_flight_max`.
    pub refused: u64,
}

/// Why a look-up gave no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No resolver is configured.
    #[error("no resolver configured (upstream.resolvers)")]
    NoResolver,
    /// The budget is used up.
    #[error("too many look-ups (lookup.per_second_max, lookup.in_flight_max)")]
    Busy,
    /// The resolvers did not answer, or answered with a failure.
    #[error("no answer from the resolvers (upstream.resolvers)")]
    Failed,
    /// The name has no address that may be dialled.
    #[error("no address that may be dialled (upstream.allow_private permits private ones in a laboratory)")]
    NoAddress,
}

/// Addresses, or why there are none.
type Answer = Result<Arc<[IpAddr]>, LookupError>;

/// The last answer for a name.
struct Cached {
    answer: Answer,
    asked: Monotonic,
    fresh_until: Monotonic,
    /// The last answer with addresses, for when there are none.
    stale: Option<(Arc<[IpAddr]>, Monotonic)>,
}

/// Look-ups started in the present second.
#[derive(Default)]
struct Budget {
    second: Monotonic,
    used: u32,
}

impl Budget {
    /// Takes one, if any is left of `per_second_max`.
    fn take(&mut self, now: Monotonic, per_second_max: u32) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.used = 0;
        }
        let left = self.used < per_second_max;
        if left {
            self.used = self.used.saturating_add(1);
        }
        left
    }
}

impl Lookups {
    /// Look-ups that run on `runtime`.
    ///
    /// # Errors
    /// The resolver library's, in words.
    pub fn new(
        settings: LookupSettings,
        answers: AnswerLimits,
        dial: Arc<DialRules>,
        clock: Clock,
        runtime: Handle,
    ) -> Result<Arc<Self>, String> {
        let resolver = if settings.resolvers.is_empty() { None } else { Some(resolver(&settings)?) };
        let trusted = RwLock::new(TrustedAnswers::new(answers, Nat64::default(), RandomState::new()));
        let state = Mutex::default();
        Ok(Arc::new(Self { settings, dial, clock, runtime, resolver, trusted, state }))
    }

    /// Puts in a trusted answer of the configuration.
    pub fn pin(&self, name: &DomainName, address: IpAddr) {
        self.trusted.write().unwrap_or_else(PoisonError::into_inner).pin(name, address);
    }

    /// Whether `address` is a trusted answer for `name`. Asked once a flow, never for a byte.
    pub fn vouches(&self, name: &DomainName, address: IpAddr) -> bool {
        let now = self.clock.monotonic();
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).vouches(name, address, now)
    }

    /// Pairs of name and address held.
    pub fn pairs(&self) -> usize {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).pairs()
    }

    /// What the look-ups came to since the last call.
    pub fn take_counts(&self) -> LookupCounts {
        std::mem::take(&mut self.state().counts)
    }

    /// Drops trusted answers past their retention.
    pub fn sweep(&self) {
        let now = self.clock.monotonic();
        self.trusted.write().unwrap_or_else(PoisonError::into_inner).sweep(now);
    }

    /// Asks whether `name` may be at `address`. None: it is known that a look-up does not help just now, or none may be
    /// started. Otherwise the answer in its time, at most `total_timeout` away.
    pub fn verify(
        self: &Arc<Self>,
        name: &DomainName,
        address: IpAddr,
    ) -> Option<impl Future<Output = bool> + 'static> {
        let address = address.to_canonical();
        let now = self.clock.monotonic();
        let pair = (name.clone(), address);
        let flight = {
            let mut state = self.state();
            let denied_lately =
                state.denied.get(&pair).is_some_and(|denied| now.since(*denied) < self.settings.negative_ttl);
            // Flows to many addresses under one name must not use up the budget of all names.
            let asked_just_now =
                state.cache.get(name).is_some_and(|known| now.since(known.asked) < NAME_PAUSE);
            if denied_lately || (asked_just_now && !state.flights.contains_key(name)) {
                return None;
            }
            self.ask(&mut state, name, now).ok()?
        };
        let lookups = Arc::clone(self);
        Some(async move {
            let vouched = landed(flight).await.is_ok_and(|answer| answer.contains(&address));
            if !vouched {
                lookups.deny(pair);
            }
            vouched
        })
    }

    /// Remembers that a look-up did not vouch for the pair: another flow to the same address need not ask again at once, one
    /// to another address of a rotating site must.
    fn deny(&self, pair: (DomainName, IpAddr)) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        if state.denied.len() >= DENIED_PAIRS_MAX {
            state.denied.retain(|_, denied| now.since(*denied) < self.settings.negative_ttl);
        }
        if state.denied.len() < DENIED_PAIRS_MAX {
            state.denied.insert(pair, now);
        }
    }

    /// The addresses to dial for `name`, from the last answer while it is fresh, else asked; from a stale answer while the
    /// resolvers give none.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn resolve(self: &Arc<Self>, name: &DomainName) -> Answer {
        let now = self.clock.monotonic();
        let flight = {
            let mut state = self.state();
            if let Some(known) = state.cache.get(name)
                && known.fresh_until > now
            {
                return known.or_stale(now);
            }
            self.ask(&mut state, name, now)
        };
        match flight {
            Ok(flight) => match landed(flight).await {
                Ok(addresses) => Ok(addresses),
                Err(error) => self.stale(name, now, error),
            },
            Err(error) => self.stale(name, now, error),
        }
    }

    /// The last known addresses of `name`, or `error`.
    fn stale(&self, name: &DomainName, now: Monotonic, error: LookupError) -> Answer {
        self.state().cache.get(name).and_then(|known| known.stale_addresses(now)).ok_or(error)
    }

    /// Joins the look-up under way for `name`, or starts one.
    fn ask(
        self: &Arc<Self>,
        state: &mut State,
        name: &DomainName,
        now: Monotonic,
    ) -> Result<watch::Receiver<Option<Answer>>, LookupError> {
        if let Some(flight) = state.flights.get(name) {
            return Ok(flight.clone());
        }
        let Some(resolver) = self.resolver.clone() else { return Err(LookupError::NoResolver) };
        if state.flights.len() >= self.settings.in_flight_max
            || !state.budget.take(now, self.settings.per_second_max)
        {
            state.counts.refused = state.counts.refused.saturating_add(1);
            return Err(LookupError::Busy);
        }
        let (sender, receiver) = watch::channel(None);
        state.flights.insert(name.clone(), receiver.clone());
        let lookups = Arc::clone(self);
        let name = name.clone();
        self.runtime.spawn(async move {
            let (answer, ttl) = lookups.query(&resolver, &name).await;
            lookups.land(&name, &answer, ttl);
            // Nobody may be waiting any more; the answer is kept all the same.
            let _ = sender.send(Some(answer));
        });
        Ok(receiver)
    }

    /// One look-up of A and AAAA with its time limit; the addresses that may be used and how long. One of the two is enough:
    /// there are resolvers that never answer for AAAA (RFC 4074 §3).
    async fn query(&self, resolver: &TokioResolver, name: &DomainName) -> (Answer, Duration) {
        let (v4, v6) = tokio::join!(
            self.query_one(resolver, name, RecordType::A),
            self.query_one(resolver, name, RecordType::AAAA)
        );
        let (found, ttl) = match (v4, v6) {
            (Ok((mut found, v4_ttl)), Ok((more, v6_ttl))) => {
                // A family without addresses says nothing about how long the other's hold.
                let ttl = match (found.is_empty(), more.is_empty()) {
                    (false, false) | (true, true) => v4_ttl.min(v6_ttl),
                    (false, true) => v4_ttl,
                    (true, false) => v6_ttl,
                };
                found.extend(more);
                (found, ttl)
            }
            (Ok((found, ttl)), Err(_)) | (Err(_), Ok((found, ttl))) if !found.is_empty() => (found, ttl),
            (Ok(_), Err(error)) | (Err(error), Ok(_) | Err(_)) => {
                return (Err(error), self.settings.negative_ttl);
            }
        };
        let usable: Arc<[IpAddr]> =
            found.into_iter().filter(|address| self.dial.permits_address(*address)).collect();
        if usable.is_empty() {
            return (Err(LookupError::NoAddress), self.settings.negative_ttl);
        }
        (Ok(usable), ttl.clamp(TTL_MIN, TTL_MAX))
    }

    /// The addresses of one record type and how long they hold; none when the name has none of this type, or too many CNAMEs.
    async fn query_one(
        &self,
        resolver: &TokioResolver,
        name: &DomainName,
        kind: RecordType,
    ) -> Result<(Vec<IpAddr>, Duration), LookupError> {
        // The final dot: no search domain is ever appended to a listed name.
        let asked = resolver.lookup(format!("{name}."), kind);
        let found = match tokio::time::timeout(self.settings.total_timeout, asked).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) if error.is_no_records_found() && !is_failure(&error) => {
                return Ok((Vec::new(), self.settings.negative_ttl));
            }
            Ok(Err(_)) | Err(_) => return Err(LookupError::Failed),
        };
        let ttl = found.valid_until().saturating_duration_since(std::time::Instant::now());
        let cnames =
            found.answers().iter().filter(|record| record.record_type() == RecordType::CNAME).count();
        if cnames > usize::from(self.settings.cnames_max) {
            return Ok((Vec::new(), self.settings.negative_ttl));
        }
        let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
        Ok((addresses.map(|address| address.to_canonical()).collect(), ttl))
    }

    /// Learns the answer, then lets those who wait have it.
    fn land(&self, name: &DomainName, answer: &Answer, ttl: Duration) {
        let now = self.clock.monotonic();
        if let Ok(addresses) = answer {
            let mut trusted = self.trusted.write().unwrap_or_else(PoisonError::into_inner);
            let full = addresses.iter().any(|address| trusted.learn(name, *address, now) == Learnt::Full);
            drop(trusted);
            if full {
                tracing::warn!("trusted answers are full: raise trusted_answers.pairs_max");
            }
        }
        let mut state = self.state();
        state.flights.remove(name);
        let count = match answer {
            Ok(_) => &mut state.counts.answered,
            Err(LookupError::NoAddress) => &mut state.counts.empty,
            Err(LookupError::Failed | LookupError::Busy | LookupError::NoResolver) => {
                &mut state.counts.failed
            }
        };
        *count = count.saturating_add(1);
        if state.cache.len() >= CACHE_NAMES_MAX && !state.cache.contains_key(name) {
            state.cache.retain(|_, known| known.fresh_until > now);
            if state.cache.len() >= CACHE_NAMES_MAX {
                return;
            }
        }
        let stale = match answer {
            Ok(addresses) => Some((Arc::clone(addresses), now)),
            Err(_) => state.cache.remove(name).and_then(|known| known.stale),
        };
        let cached = Cached { answer: answer.clone(), asked: now, fresh_until: now.plus(ttl), stale };
        state.cache.insert(name.clone(), cached);
    }

    /// The state; a panic elsewhere does not make it unusable, for every change to it is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    /// The answer, or the last one that had addresses.
    fn or_stale(&self, now: Monotonic) -> Answer {
        match &self.answer {
            Ok(addresses) => Ok(Arc::clone(addresses)),
            Err(error) => self.stale_addresses(now).ok_or(*error),
        }
    }

    /// The last addresses, while they may be used.
    fn stale_addresses(&self, now: Monotonic) -> Option<Arc<[IpAddr]>> {
        let (addresses, learnt) = self.stale.as_ref()?;
        (now.since(*learnt) <= STALE_MAX).then(|| Arc::clone(addresses))
    }
}

/// Whether an answer without records says that the server failed, not that there are none.
fn is_failure(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(found)) => {
            !matches!(found.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => true,
    }
}

/// Waits for a look-up to end.
async fn landed(mut flight: watch::Receiver<Option<Answer>>) -> Answer {
    match flight.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(LookupError::Failed)),
        // The look-up's task ended without an answer: the runtime is stopping.
        Err(_) => Err(LookupError::Failed),
    }
}

/// The resolver library, asked for exactly what the settings say: no hosts file, no search domains, no cache of its own.
fn resolver(settings: &LookupSettings) -> Result<TokioResolver, String> {
    let servers = settings
        .resolvers
        .iter()
        .map(|server| {
            let mut udp = ConnectionConfig::udp();
            udp.port = server.port();
            let mut tcp = ConnectionConfig::tcp();
            tcp.port = server.port();
            NameServerConfig::new(server.ip(), true, vec![udp, tcp])
        })
        .collect();
    let mut options = ResolverOpts::default();
    options.timeout = settings.try_timeout;
    options.attempts = usize::from(settings.tries.saturating_sub(1));
    options.edns0 = true;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ndots = 0;
    TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, Vec::new(), servers),
        TokioRuntimeProvider::default(),
    )
    .with_options(options)
    .build()
    .map_err(|error| error.to_string())
}
