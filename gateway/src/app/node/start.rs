//! `gateway run`: a node from its configuration, and the node while it runs.

mod dns;
pub mod edge;
mod hand_over;
mod lookups;
mod memory;
mod room;
mod settings;

use std::hash::RandomState;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use allowlist::Validity;
use config::{Config, Workers};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::lists::ListKeeper;
use super::reload::outcome::Outcome;
use super::reload::{self, load};
use super::snapshot::Snapshot;
use super::status::Status;
use super::takeover::incumbent::Incumbent;
use super::takeover::successor::{Predecessor, TakeOverError};
use super::{log, shutdown, takeover};
use crate::app::export::Export;
use crate::app::export::orders::{Ending, Order};
use crate::app::{EXIT_CONFIG, EXIT_IO};
use crate::flow::allowance::AllowancePlan;
use crate::flow::session::Sessions;
use crate::net::admin;
use crate::net::dns::Plane;
use crate::net::edge::Edge;
use crate::net::edge::silence::Silences;
use crate::net::ingress::inherited::{InheritError, Inherited};
use crate::net::ingress::local::Standing;
use crate::net::node::policy::{Exemption, Policy, PolicyCell};
use crate::net::node::pool::{Remote, Sockets};
use crate::net::node::report::ReportSource;
use crate::net::node::shared::{Saved, Shared};
use crate::net::sys::beats::Beats;
use crate::net::sys::clock::{Clock, wall};
use crate::net::sys::egress::Egress;
use crate::net::sys::overload::Overload;
use crate::net::udp::connection_ids::ConnectionIds;
pub use dns::certificate_fault;
use hand_over::Before;
use lookups::lookups;
pub use lookups::static_answer_problem;
pub use settings::nat64;
use settings::{byte_basis, dial_rules, headers, limits, listeners, plan};

/// One in so many flows may be UDP with an upstream socket and without a name.
const UNDECIDED_SHARE: usize = 4;
/// How long the last saving, sealing and publishing may take before the process ends without them.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often a stopping node looks whether they are done.
const STOP_POLL: Duration = Duration::from_millis(10);
/// How often the dates of accepted lists are looked at.
const DATES_POLL: Duration = Duration::from_secs(1);

/// Operation not permitted (errno(3)).
const EPERM: i32 = rustix::io::Errno::PERM.raw_os_error();

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  gateway check --config /etc/zrgw/gateway.toml && gateway run --config /etc/zrgw/gateway.toml
  gateway run --config /etc/zrgw/gateway.toml --take-over

Signals: SIGHUP reads list, subscribers, rating groups and the certificate of DNS over TLS again (bad input keeps
the old, loudly);
SIGUSR2 starts this program anew with --take-over: no connection is refused, open flows go on in the old
process until they end, and if the new one does not start the old one goes on; SIGTERM and SIGINT drain open flows, seal and publish; a second one ends at once.
Exit codes: 0 stopped as asked, 74 an address or folder cannot be used, or counts were lost at the end, 78 the configuration has problems.";

/// Runs the gateway.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Take listening sockets and ledger over from the gateway that runs on this state folder, if one does
    #[arg(long)]
    pub take_over: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    // First of all: a descriptor that the service manager did not open after all would be one of ours a moment later.
    let passed = Inherited::from_service_manager();
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(fault) => {
            // What collects the log reads this line too, in the form it knows.
            let text = std::fs::read_to_string(&args.config).unwrap_or_default();
            let shape = shape(config::log::format_of(&text));
            log::install(config::Level::Error.label(), shape);
            log::tell(shape, &fault.lines);
            return ExitCode::from(if fault.unreadable { EXIT_IO } else { EXIT_CONFIG });
        }
    };
    let shape = shape(config.log.format);
    log::install(config.log.level.label(), shape);
    if !config.node.core_dumps {
        memory::keep_to_ourselves();
    }
    for note in config.notes.iter().chain(&config.local_peers()) {
        tracing::warn!("{}: {note}", args.config.display());
    }
    for (key, problem) in config.unmarked_groups() {
        tracing::warn!("{}: {problem}", config.at(&key));
    }
    let started = control_thread().and_then(|control| {
        let signals = {
            let _context = control.enter();
            shutdown::Signals::new()
        };
        let passed = passed.map_err(StartError::Inherited)?;
        Ok((Node::start_on(control, &config, Before::find(args, &config, passed)?)?, signals))
    });
    match started {
        Ok((node, signals)) => {
            let limits = shutdown::DrainLimits { idle: config.limits.drain, hard: config.limits.drain_hard };
            let mut config = config;
            let reload = |node: &Node| {
                reload::reread(&args.config, &mut config);
                node.reload(&config);
            };
            let renew = || takeover::start_successor(&args.config);
            match shutdown::serve(node, signals, limits, reload, renew) {
                Ending::Sealed | Ending::Kept | Ending::HandedOn => ExitCode::SUCCESS,
                Ending::Lost => ExitCode::from(EXIT_IO),
            }
        }
        Err(StartError::Config(message)) => {
            log::tell(shape, &[format!("{}:{message}", args.config.display())]);
            ExitCode::from(EXIT_CONFIG)
        }
        Err(error) => {
            log::tell(shape, &[format!("{}: {error}", args.config.display())]);
            ExitCode::from(EXIT_IO)
        }
    }
}

/// Shape of the log's lines by the configuration.
fn shape(format: config::Format) -> log::Shape {
    match format {
        config::Format::Text => log::Shape::Text,
        config::Format::Json => log::Shape::Json,
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for what cannot be; `line:column: …`.
    #[error("{0}")]
    Config(String),
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {source}; {remedy}")]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A Unix socket cannot be listened at.
    #[error("listener.socket: cannot listen at {}: {source}; its folder must be there and ours, its path free, and its group one of ours", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The running process keeps what it has.
    #[error(transparent)]
    TakeOver(#[from] TakeOverError),
    /// A socket that was passed cannot be used.
    #[error(transparent)]
    Inherited(InheritError),
    /// Threads, event loops or limits.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
}

/// A running node.
pub struct Node {
    /// Addresses of the listeners, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// Address of the admin endpoint.
    pub admin: SocketAddr,
    /// What the node says of itself.
    pub status: Arc<Status>,
    /// Keeper of the kernel's rules, with transparent listeners.
    edge: Option<Arc<Edge>>,
    /// What a new process takes over.
    incumbent: Arc<Incumbent>,
    /// Serves the admin endpoint.
    admin_task: AbortHandle,
    /// Takes dnstap.
    tap: Option<AbortHandle>,
    /// Unix sockets of balancers on this machine.
    local: Vec<PathBuf>,
    /// What the workers share.
    shared: Arc<Shared>,
    policy: Arc<PolicyCell>,
    keeper: Arc<Mutex<ListKeeper>>,
    /// The DNS plane, if there is one.
    plane: Option<Arc<Plane>>,
    workers: Remote,
    /// Room for open flows, and how much of it there is when none is open.
    flow_permits: Arc<Semaphore>,
    flows_max: usize,
    /// Trusted answers over a restart.
    snapshot: Snapshot,
    orders: mpsc::Sender<Order>,
    export: JoinHandle<Ending>,
    /// Look-ups, admin endpoint and signals run here; dropped last.
    control: tokio::runtime::Runtime,
}

/// The event loop of look-ups, admin endpoint and signals.
fn control_thread() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|source| StartError::System { what: "start the control thread", source })
}

impl Node {
    /// Starts a node: binds, reads list and subscribers, opens the ledger, then accepts. A list, table or ledger that
    /// cannot be used is told and charged for, never a reason not to carry traffic.
    ///
    /// # Errors
    /// What makes carrying traffic impossible: an address in use, no threads, limits that contradict the machine.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_on(control_thread()?, config, Before::default())
    }

    /// The same on an event loop that is there already, with what was there before.
    fn start_on(
        control: tokio::runtime::Runtime,
        config: &Config,
        before: Before,
    ) -> Result<Self, StartError> {
        let Before { mut inherited, predecessor } = before;
        let system = |what| move |source| StartError::System { what, source };
        let workers = match config.node.workers {
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(count) => usize::from(count),
        };
        let flows_max = room::flows_max(config, workers)?;
        let mut sockets = Sockets::bind(&listeners(config), workers, &mut inherited)
            .map_err(|(address, source)| listen_error("listener.address", address, source))?;
        for socket in &config.sockets {
            let path = &socket.path;
            let failed = |source| StartError::Socket { path: path.clone(), source };
            sockets.bind_local(dns::place(socket), &mut inherited).map_err(failed)?;
        }
        let listeners = sockets.addresses.clone();
        let dns = dns::bind(config, workers, &mut inherited)?;
        let admin_listener = admin::bind(config.admin.address, &mut inherited)
            .map_err(|source| listen_error("admin.address", config.admin.address, source))?;
        let admin = admin_listener.local_addr().map_err(system("read the admin address"))?;
        inherited.close_rest();
        let offers = hand_over::offers(&sockets, dns.as_ref(), config, &admin_listener)
            .map_err(system("keep a second descriptor of the listening sockets"))?;
        let clock = Clock::new();
        let asked_at = dns.as_ref().map_or(&[][..], |dns| dns.addresses());
        let own: Vec<SocketAddr> = listeners.iter().chain(asked_at).copied().chain([admin]).collect();
        let dial = Arc::new(dial_rules(config, own).map_err(system("list this machine's addresses"))?);
        control.spawn(Arc::clone(&dial.own_addresses).follow());
        let (mut keeper, kept_faults) = ListKeeper::open(
            &config.node.state_dir,
            reload::former(config),
            &reload::gate(&config.list),
            clock.now().wall,
        );
        let policy = Arc::new(PolicyCell::new(first_policy(config)));
        let lookups = lookups(config, &policy, &dial, clock, control.handle())?;
        let sessions = Arc::new(Sessions::new(config.limits.sessions_max, RandomState::new()));
        let mut outcome = reload::refresh(config, &mut keeper, (&policy, &sessions), clock.now().wall);
        outcome.notes.extend(kept_faults);
        // Behind the list: what no list speaks of is not taken back.
        let snapshot = Snapshot::new(&config.node.state_dir, Arc::clone(&lookups));
        snapshot.restore();
        control.spawn(snapshot.clone().keep(config.trusted_answers.snapshot_interval));
        control.spawn(Arc::clone(&lookups).follow_schedule());
        let status =
            Status::new(&config.node.id, clock.now().wall, (&policy, &sessions), Arc::clone(&lookups));
        let saved = Arc::new(Saved::new(config.export.unsaved_max));
        let egress = Egress::new(clock, config.export.egress_interfaces.clone());
        let flow_permits = Arc::new(Semaphore::new(flows_max));
        let overload = Overload::new(config.limits.memory_max.map(|bytes| bytes as u64), flows_max);
        control.spawn(Arc::clone(&overload).watch());
        status.set_overload(Arc::clone(&overload), Arc::clone(&egress));
        let limits = limits(config, workers, flows_max);
        let shared = Arc::new(Shared {
            policy: Arc::clone(&policy),
            sessions,
            lookups: Arc::clone(&lookups),
            byte_basis: byte_basis(config),
            headers: headers(config),
            egress: Arc::clone(&egress),
            silences: Silences::new(limits.silence),
            limits,
            dial,
            flow_permits: Arc::clone(&flow_permits),
            overload,
            undecided_permits: Arc::new(Semaphore::new((flows_max / UNDECIDED_SHARE).max(1))),
            connection_ids: ConnectionIds::default(),
            own_ends: Arc::default(),
            open_by_subscriber: Mutex::default(),
            beats: Beats::new(workers),
            accounts_max: config.export.accounts_max,
            saved: Arc::clone(&saved),
            clock,
        });
        // The ledger is open before the first connection is accepted: nothing is carried that could not be counted.
        let mut export = Export::new(plan(config), &shared, Arc::clone(&status))
            .map_err(|message| StartError::Config(format!("1:1: {message}")))?;
        match &predecessor {
            Some(predecessor) => hand_over::open_ledger(&mut export, predecessor)?,
            None => export.open(),
        }
        let plane = dns.as_ref().map(|bound| Arc::clone(&bound.plane));
        let mut tap = None;
        let parts = dns.map_or_else(Vec::new, |bound| {
            let plane = Arc::clone(&bound.plane);
            status.set_dns_tls(bound.tls_fault.clone());
            // The process that is taken over from serves the socket until this one accepts.
            let standing = if predecessor.is_some() { Standing::Replaced } else { Standing::Respected };
            let started = bound.start(&shared, control.handle(), standing);
            status.set_dns(plane, started.faults);
            tap = started.tap;
            started.parts
        });
        let handles = sockets.start(&shared, parts).map_err(system("start the workers"))?;
        let rules = edge::plan(config);
        let edge = (!rules.taps.is_empty()).then(|| Edge::new(rules, Arc::clone(&shared), flows_max));
        if let Some(edge) = &edge {
            status.set_edge(Arc::clone(edge));
            control.spawn(Arc::clone(edge).keep());
        }
        let remote = Remote::new(&handles);
        export.employ(handles.into_iter().map(|handle| Box::new(handle) as Box<dyn ReportSource>).collect());
        let (orders, inbox) = mpsc::channel();
        let export = std::thread::Builder::new()
            .name("export".to_owned())
            .spawn(move || export.run(&inbox))
            .map_err(system("start the export thread"))?;
        let admin_task = control.spawn(admin::serve(
            admin_listener,
            config.admin.connections_max,
            config.admin.hosts.clone(),
            Arc::clone(&status) as _,
        ));
        let keeper = Arc::new(Mutex::new(keeper));
        control.spawn(follow_dates(Arc::clone(&keeper), Arc::clone(&policy)));
        let incumbent = hand_over::incumbent(config, offers, &snapshot, &orders, &remote);
        incumbent.listen();
        if let Some(Err(error)) = predecessor.map(Predecessor::accepting) {
            tracing::warn!(%error, "the process before this one has ended, and its open flows with it");
        }
        let node = Self {
            incumbent,
            admin_task: admin_task.abort_handle(),
            tap,
            local: config.sockets.iter().map(|socket| socket.path.clone()).collect(),
            listeners,
            admin,
            status,
            edge,
            shared,
            policy,
            keeper,
            plane,
            workers: remote,
            flows_max,
            flow_permits,
            snapshot,
            orders,
            export,
            control,
        };
        node.tell(outcome);
        for path in &node.local {
            tracing::info!("a balancer of this machine may connect to {}", path.display());
        }
        tracing::info!(workers, flows_max, listeners = ?node.listeners, admin = %node.admin, "gateway runs");
        Ok(node)
    }

    /// Reads list, subscribers, rating groups and the certificate of DNS over TLS again; what is bad keeps the old.
    pub fn reload(&self, config: &Config) -> Outcome {
        dns::follow(self.plane.as_deref(), config, &self.status);
        let outcome = {
            let mut keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let published = (&*self.policy, &*self.shared.sessions);
            reload::refresh(config, &mut keeper, published, wall())
        };
        self.tell(outcome.clone());
        outcome
    }

    /// Accept nothing more; open flows go on.
    pub fn drain(&self) {
        self.incumbent.withdraw();
        self.status.set_draining();
        // First of all, so that no new flow is led to a listener that is about to close.
        if let Some(edge) = &self.edge {
            edge.stand_aside();
        }
        self.workers.drain();
    }

    /// Ends flows idle for at least `idle`; zero ends all.
    pub fn cut_idle(&self, idle: Duration) {
        self.workers.cut_idle(idle);
    }

    /// Whether the event loops of all workers have run within `limit`.
    pub fn workers_run(&self, limit: Duration) -> bool {
        self.shared.beats.all_within(limit, self.shared.clock.monotonic())
    }

    /// Connections that hold room for a flow, also those whose first bytes are still read.
    pub fn connections(&self) -> usize {
        self.flows_max.saturating_sub(self.flow_permits.available_permits())
    }

    /// Takes the last counts, seals, publishes and ends all threads; what became of what was counted, lost when that could not
    /// be done in `STOP_LIMIT`.
    pub fn stop(self) -> Ending {
        let asked = Instant::now();
        let _ = self.orders.send(Order::Stop(asked + STOP_LIMIT));
        while !self.export.is_finished() && asked.elapsed() < STOP_LIMIT {
            std::thread::sleep(STOP_POLL);
        }
        let ended = self.export.is_finished().then(|| self.export.join().ok()).flatten();
        self.snapshot.write_last();
        if self.incumbent.successor.borrow().is_none() {
            for path in &self.local {
                let _ = std::fs::remove_file(path);
            }
        }
        self.incumbent.leave();
        self.control.shutdown_background();
        ended.unwrap_or(Ending::Lost)
    }

    /// The event loop of signals and timers.
    pub fn control(&self) -> &tokio::runtime::Runtime {
        &self.control
    }

    /// Logs what a reading of list and subscribers came to, and tells the status.
    fn tell(&self, outcome: Outcome) {
        let policy = self.policy.load();
        // First what was not taken: what is in force says little before that.
        let list_stays =
            if policy.list.is_some() { "the last good one stays" } else { "there is none to stay" };
        let table_stays =
            if self.shared.sessions.is_empty() { "there is none to stay" } else { "the last good one stays" };
        for (what, stays, fault) in
            [("list", list_stays, &outcome.list), ("subscribers", table_stays, &outcome.subscribers)]
        {
            for line in fault.iter().flat_map(|fault| &fault.lines) {
                tracing::error!("{what} not taken, {stays}: {line}");
            }
        }
        for line in outcome.notes.iter().flat_map(|note| &note.lines) {
            tracing::warn!("{line}");
        }
        match &policy.list {
            Some(list) => match list.validity(wall()) {
                Validity::InForce => {
                    tracing::info!(id = %list.list_id(), serial = list.serial(), "list in force")
                }
                Validity::NotYetInForce => {
                    tracing::warn!(serial = list.serial(), from = %list.effective_from(), "the list is not in force yet: nothing is exempt");
                }
                Validity::Expired => {
                    tracing::error!(serial = list.serial(), expired = %list.expires(), "the list has expired: everything is charged as list_expired until a new one is accepted");
                }
            },
            None => tracing::error!("no list: everything is charged as no_list"),
        }
        for pending in &policy.pending {
            tracing::warn!(
                serial = pending.serial(),
                from = %pending.effective_from(),
                "a list is accepted and pending: it comes into force at its date; a higher serial that takes effect no later withdraws it"
            );
        }
        let sessions = &self.shared.sessions;
        if sessions.unbound() > 0 {
            let (unbound, sessions_max) = (sessions.unbound(), sessions.held_max());
            tracing::error!(
                unbound,
                sessions_max,
                "prefixes of the subscriber table found no room: raise limits.sessions_max"
            );
        }
        tracing::info!(prefixes = sessions.len(), "subscribers");
        self.status.set_reload(outcome);
    }
}

/// Publishes a list when its date comes: it may be handed over days ahead.
async fn follow_dates(keeper: Arc<Mutex<ListKeeper>>, policy: Arc<PolicyCell>) {
    let mut tick = tokio::time::interval(DATES_POLL);
    loop {
        tick.tick().await;
        let mut keeper = keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if keeper.advance(wall()) {
            policy.update(|next| keeper.publish(next));
            let serial = policy.load().list.as_ref().map(|list| list.serial());
            tracing::info!(serial, "another list comes into force");
        }
    }
}

/// The policy before anything is read: nothing is exempt.
fn first_policy(config: &Config) -> Policy {
    Policy {
        generation: 0,
        list: None,
        pending: Vec::new(),
        routes: Arc::default(),
        rating: Arc::new(reload::rating(config)),
        allowance: Arc::new(AllowancePlan::unlimited()),
        allowances: Arc::default(),
        exemption: Exemption::Suspended,
    }
}

/// A listen error with the remedy that fits it.
fn listen_error(key: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it (`ss -ltnp` names it) or choose another address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: `ip address` lists those it has"
        }
        // EPERM is the word for an option of the socket (IP_TRANSPARENT, ip(7)), EACCES for the port (bind(2)).
        io::ErrorKind::PermissionDenied if source.raw_os_error() == Some(EPERM) => {
            "transparent listeners need CAP_NET_ADMIN: run as root, or grant it"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose another port"
        }
        _ => "choose another address",
    };
    StartError::Listen { key, address, source, remedy }
}
