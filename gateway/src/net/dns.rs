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
mod pending;
mod probe;
mod random;
mod relay;
pub mod settings;
mod source;
mod steered;
mod stream;
pub mod tap;
pub mod tls;
mod tunnels;
mod unsent;

use std::hash::RandomState;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use billing_export::SubscriberType;
use tokio::task::AbortHandle;
use tokio_rustls::rustls::ServerConfig;

use self::cache::StaleAnswers;
pub use self::count::described;
use self::count::{Counts, Event, Transport};
use self::datagram::Listener;
use self::health::Health;
use self::letters::Letters;
use self::limit::{Allowances, Connections, UnderWay};
use self::relay::Relay;
use self::settings::Settings;
use self::source::{Source, Sources};
use self::tunnels::Tunnels;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::net::ingress::inherited::{Inherited, Offered, complete_connections, complete_datagrams};
use crate::net::node::shared::Shared;
use crate::net::sys::notice::Notice;
use crate::net::sys::socket;
use crate::wire::dns::{AnswerLimits, Facts, Question};

/// Records of an answer that is read for learning; with more it is relayed and not learnt.
const RECORDS_MAX: u16 = 512;

/// Ports drawn for port 0, until one is free for connections and datagrams.
const PORT_DRAWS_MAX: usize = 16;

/// What all workers of the DNS plane share.
pub struct Plane {
    settings: Settings,
    /// Addresses we listen at: what comes from there is no query.
    own: Vec<SocketAddr>,
    /// Tells apart whom limits are counted for.
    sources: Sources,
    allowances: Allowances,
    /// How often a source over its limit is told so; none: never.
    truncations: Option<Allowances>,
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
            Allowances::new(settings.queries_per_second_max, settings.burst_max, settings.sources_max);
        let most = settings.truncated_per_second_max;
        let truncations = (most > 0).then(|| Allowances::new(most, most, settings.sources_max));
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

/// The sockets of one worker.
struct WorkerSockets {
    datagrams: Vec<UdpSocket>,
    streams: Vec<TcpListener>,
    tls: Vec<TcpListener>,
}

/// The listening sockets of all workers, bound before any thread starts.
pub struct Sockets {
    by_worker: Vec<WorkerSockets>,
    /// The addresses bound: those for datagrams and TCP, then those for TLS.
    pub addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds every address once for each worker: `listen` for datagrams and TCP, `tls_listen` for TLS; takes those from
    /// `inherited` that are open already.
    ///
    /// # Errors
    /// The address and what the system says.
    pub fn bind(
        listen: &[SocketAddr],
        tls_listen: &[SocketAddr],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let empty = || WorkerSockets { datagrams: Vec::new(), streams: Vec::new(), tls: Vec::new() };
        let mut by_worker: Vec<_> = (0..workers).map(|_| empty()).collect();
        let mut addresses = Vec::new();
        for wanted in listen {
            let fail = |error| (*wanted, error);
            let ((bound, streams), datagrams) = bind_both(*wanted, workers, inherited).map_err(fail)?;
            let share = |address| datagram::bind(address, true);
            let datagrams = complete_datagrams(datagrams, workers, share).map_err(fail)?;
            for ((sockets, streams), datagrams) in by_worker.iter_mut().zip(streams).zip(datagrams) {
                sockets.streams.extend(streams);
                sockets.datagrams.extend(datagrams);
            }
            addresses.push(bound);
        }
        for wanted in tls_listen {
            let fail = |error| (*wanted, error);
            let (bound, streams) = bind_streams(*wanted, workers, inherited).map_err(fail)?;
            for (sockets, streams) in by_worker.iter_mut().zip(streams) {
                sockets.tls.extend(streams);
            }
            addresses.push(bound);
        }
        Ok(Self { by_worker, addresses })
    }

    /// A second descriptor of each socket, for the process that takes over from this one. `wanted` are the addresses of
    /// the configuration in the order of those bound.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub fn offers(&self, wanted: &[SocketAddr]) -> io::Result<Vec<Offered>> {
        let mut offers = Vec::new();
        for sockets in &self.by_worker {
            let streams = sockets.streams.iter().chain(&sockets.tls);
            let streams = streams.map(|socket| (socket.local_addr(), socket.as_fd()));
            let datagrams = sockets.datagrams.iter().map(|socket| (socket.local_addr(), socket.as_fd()));
            for (bound, socket) in streams.chain(datagrams) {
                let bound = bound?;
                let place = self.addresses.iter().position(|address| *address == bound);
                let wanted = place.and_then(|place| wanted.get(place)).copied().unwrap_or(bound);
                offers.push(Offered::new(wanted, socket)?);
            }
        }
        Ok(offers)
    }

    /// The part of each worker, in their order.
    pub fn into_parts(self, plane: &Arc<Plane>) -> Vec<Part> {
        let part = |sockets| Part { plane: Arc::clone(plane), sockets };
        self.by_worker.into_iter().map(part).collect()
    }
}

/// An address that is bound for connections, and its sockets of each worker.
type Streams = (SocketAddr, Vec<Vec<TcpListener>>);

/// Binds `wanted` for connections once for each worker, and once for datagrams, or takes those that are open already. A port
/// that the system draws is free for connections; another is drawn when it is not for datagrams.
fn bind_both(
    wanted: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<(Streams, Vec<UdpSocket>)> {
    let passed = inherited.take_datagrams(wanted);
    let mut draws = if wanted.port() == 0 { PORT_DRAWS_MAX } else { 1 };
    loop {
        draws = draws.saturating_sub(1);
        let (bound, streams) = bind_streams(wanted, workers, inherited)?;
        if !passed.is_empty() {
            return Ok(((bound, streams), passed));
        }
        if wanted.port() != 0 && inherited.is_exclusive() {
            datagram::bind(bound, false)?;
        }
        match datagram::bind(bound, true) {
            Ok(datagrams) => return Ok(((bound, streams), vec![datagrams])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && draws > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// Binds `wanted` for connections once for each worker, or completes those that are open already.
fn bind_streams(wanted: SocketAddr, workers: usize, inherited: &mut Inherited) -> io::Result<Streams> {
    let mut passed = inherited.take_connections(wanted);
    if passed.is_empty() {
        if wanted.port() != 0 && inherited.is_exclusive() {
            socket::probe_exclusive(wanted)?;
        }
        passed.push(socket::listen(wanted)?);
    }
    let bound = passed.first().map_or(Ok(wanted), TcpListener::local_addr)?;
    Ok((bound, complete_connections(passed, workers, socket::listen)?))
}

/// One worker's part of the plane before its thread runs.
pub struct Part {
    plane: Arc<Plane>,
    sockets: WorkerSockets,
}

impl Part {
    /// Starts to serve on the worker's event loop; the handles end the taking of queries, not what was taken.
    pub fn start(self, shared: &Arc<Shared>) -> Vec<AbortHandle> {
        let mut tasks = Vec::new();
        let relay = Relay::new(Arc::clone(shared), self.plane);
        tokio::task::spawn_local(Rc::clone(&relay).keep_time());
        tokio::task::spawn_local(Rc::clone(&relay).keep_sending());
        for bound in self.sockets.datagrams {
            let relay = Rc::clone(&relay);
            let task = tokio::task::spawn_local(async move {
                let served = match Listener::new(bound) {
                    Ok(listener) => listener.serve(relay).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "DNS listener lost; restart the gateway");
                }
            });
            tasks.push(task.abort_handle());
        }
        let plain = self.sockets.streams.into_iter().map(|bound| (bound, Transport::Tcp));
        let tls = self.sockets.tls.into_iter().map(|bound| (bound, Transport::Tls));
        for (bound, transport) in plain.chain(tls) {
            let relay = Rc::clone(&relay);
            let task = tokio::task::spawn_local(async move {
                match tokio::net::TcpListener::from_std(bound) {
                    Ok(listener) => stream::serve(relay, listener, transport).await,
                    Err(error) => tracing::error!(%error, "DNS listener lost; restart the gateway"),
                }
            });
            tasks.push(task.abort_handle());
        }
        tasks
    }
}
