//! The DNS plane: subscribers ask here, the operator's resolvers answer, and what they answer is learnt (decisions 4
//! and 11).
//!
//! Bytes are relayed; a copy is observed. Names that are exempt are answered with our own addresses, where the operator
//! wants it so. Recursion and validation stay in the operator's resolvers. A resolver that is down, or an answer that
//! cannot be read, never keeps an answer from a client that could have had it.
//!
//! ```text
//!  datagram, stream ─► relay: admitted? steered? ─► exchange ─► lane ─► server
//!         ▲                       │ our answer         │ learn, keep      │
//!         └───────────────────────┴────────────────────┴──────────────────┘
//! ```
//!
//! Each worker has its own sockets, table and ways to the servers; allowances, old answers, counts and the health of the
//! servers are shared. RFC 1035, 5452 (forged answers), 6891, 7766, 7858, 8482, 8767, 9460.

mod admit;
mod cache;
mod count;
mod datagram;
mod exchange;
mod forms;
mod health;
mod lane;
mod letters;
mod limit;
mod lost;
mod message;
mod outbox;
mod part;
mod pending;
mod probe;
mod random;
mod relay;
pub mod settings;
mod sockets;
mod source;
mod steered;
mod stream;
pub mod tap;
pub mod tls;
mod tunnels;
mod unsent;

use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use billing_export::SubscriberType;
use tokio_rustls::rustls::ServerConfig;

use self::cache::StaleAnswers;
pub use self::count::described;
use self::count::{Counts, Event};
use self::health::Health;
use self::letters::Letters;
use self::limit::{Connections, QueryRates, UnderWay};
pub use self::part::Part;
use self::settings::Settings;
pub use self::sockets::Sockets;
use self::source::{Source, Sources};
use self::tunnels::Tunnels;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::node::shared::Shared;
use crate::net::sys::notice::Notice;
use crate::wire::dns::{AnswerLimits, Facts, Question};

/// Records of an answer that is read for learning; with more it is relayed and not learnt.
const RECORDS_MAX: u16 = 512;

/// What all workers of the DNS plane share.
pub struct Plane {
    settings: Settings,
    /// Addresses we listen at: what comes from there is no query.
    own: Vec<SocketAddr>,
    /// Tells apart whom limits are counted for.
    sources: Sources,
    allowances: QueryRates,
    /// How often a source over its limit is told so; none: never.
    truncations: Option<QueryRates>,
    /// Tells of sources over their limits, for each kind of subscriber.
    over_limit: [Notice; SubscriberType::ALL.len()],
    connections: Arc<Connections>,
    /// Queries under way.
    under_way: Arc<UnderWay>,
    /// Old answers, where they are given.
    stale: Option<StaleAnswers>,
    /// How the servers stand, in their order.
    health: Vec<Health>,
    /// What they do to letters.
    letters: Vec<Letters>,
    counts: Counts,
    /// Clients whose questions may carry a tunnel.
    tunnels: Tunnels,
    answer_limits: AnswerLimits,
    /// Certificate and key of DNS over TLS for clients; none: its connections are closed at once.
    tls: ArcSwapOption<ServerConfig>,
}

impl Plane {
    /// A plane that listens at `own`.
    pub fn new(settings: Settings, own: Vec<SocketAddr>) -> Self {
        let allowances =
            QueryRates::new(settings.queries_per_second_max, settings.burst_max, settings.sources_max);
        let most = settings.truncated_per_second_max;
        let truncations = (most > 0).then(|| QueryRates::new(most, most, settings.sources_max));
        let under_way = Arc::new(UnderWay::new(
            settings.in_flight_max,
            settings.in_flight_per_client_max,
            settings.sources_max,
        ));
        let sources = Sources::new(settings.source_prefix_v4, settings.source_prefix_v6, RandomState::new());
        let stale = settings
            .stale
            .map(|limits| StaleAnswers::new(limits.entries_max, limits.age_max, RandomState::new()));
        let tunnels = Tunnels::new(settings.tunnel_places_max, settings.tunnel_names_max, RandomState::new());
        let health = settings.servers.iter().map(|_| Health::default()).collect();
        let letters = settings.servers.iter().map(|_| Letters::default()).collect();
        let answer_limits = AnswerLimits { records_max: RECORDS_MAX, ..AnswerLimits::default() };
        Self {
            settings,
            own,
            sources,
            allowances,
            truncations,
            over_limit: Default::default(),
            connections: Arc::default(),
            under_way,
            stale,
            health,
            letters,
            counts: Counts::default(),
            tunnels,
            answer_limits,
            tls: ArcSwapOption::empty(),
        }
    }

    /// Takes a certificate and its key for connections that begin from here on.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) {
        self.tls.store(Some(tls));
    }

    /// Whether there is a certificate to show.
    pub fn has_tls(&self) -> bool {
        self.tls.load().is_some()
    }

    /// All counts: metric, label (empty: none), its value, count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64)> {
        self.counts.all()
    }

    /// Old answers held.
    pub fn stale_answers(&self) -> usize {
        self.stale.as_ref().map_or(0, StaleAnswers::len)
    }

    /// Servers that do not answer, and all of them.
    pub fn servers_down(&self) -> (usize, usize) {
        (self.health.iter().filter(|health| health.is_down()).count(), self.health.len())
    }

    /// Whether a query's source is one of our own listening sockets.
    fn is_own(&self, from: SocketAddr) -> bool {
        self.own
            .iter()
            .any(|own| own.port() == from.port() && (own.ip() == from.ip() || own.ip().is_unspecified()))
    }

    /// Looks for signs of a tunnel in a question of `source`, who is at `client`; they are counted, and change nothing.
    fn look_for_tunnel(&self, source: Source, client: IpAddr, question: &Question, now: Monotonic) {
        if self.tunnels.note(source, question, now) {
            self.counts.count(Event::TunnelSuspected);
            let client = client.to_canonical();
            let host = question.name.host().unwrap_or_default();
            tracing::debug!(%client, name = %host.escape_ascii(), "questions that look like a tunnel");
        }
    }

    /// Learns an answer of a server, for whoever asked.
    fn learn(&self, shared: &Shared, facts: &Facts, subscriber: Option<&SubscriberKey>) {
        if facts.found.addresses.is_empty() && facts.found.hints.is_empty() && facts.found.targets.is_empty()
        {
            return;
        }
        shared.lookups.answers().learn(facts, subscriber);
    }
}
