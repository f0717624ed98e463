//! The start of a node: its parts come to be in an order in which nothing is promised that cannot be kept.
//!
//! Sockets are bound first, then list and subscribers are read, then the ledger is opened. Only then is the first connection
//! accepted, and the process before this one hears last that it may drain.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use config::{Config, Workers};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::bound::Bound;
use super::hand_over::{self, Before};
use super::known::Known;
use super::settings::{byte_basis, headers, limits, plan};
use super::{Node, StartError, control_thread, dns, edge, radius, room};
use crate::app::export::Export;
use crate::app::export::orders::{Ending, Order};
use crate::app::node::lists::ListKeeper;
use crate::app::node::status::Status;
use crate::app::node::takeover::successor::Predecessor;
use crate::net::admin;
use crate::net::dns::Part;
use crate::net::edge::Edge;
use crate::net::edge::silence::Silences;
use crate::net::ingress::local::Standing;
use crate::net::kernel::claims::Claims;
use crate::net::kernel::load::Kernel;
use crate::net::node::policy::PolicyCell;
use crate::net::node::pool::Remote;
use crate::net::node::report::ReportSource;
use crate::net::node::shared::{Saved, Shared};
use crate::net::radius::Service;
use crate::net::sys::beats::Beats;
use crate::net::sys::clock::{Clock, wall};
use crate::net::sys::egress::Egress;
use crate::net::sys::overload::Overload;
use crate::net::udp::connection_ids::ConnectionIds;

/// One in so many flows may be UDP with an upstream socket and without a name.
const UNDECIDED_SHARE: usize = 4;
/// How often the dates of accepted lists are looked at.
const DATES_POLL: Duration = Duration::from_secs(1);

/// How large a node is.
#[derive(Clone, Copy)]
struct Size {
    /// Workers.
    workers: usize,
    /// Most open flows.
    flows_max: usize,
}

impl Size {
    /// By the configuration, and by what the machine has room for.
    fn of(config: &Config) -> Result<Self, StartError> {
        let workers = match config.node.workers {
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(count) => usize::from(count),
        };
        Ok(Self { workers, flows_max: room::flows_max(config, workers)? })
    }
}

/// A node that may serve: its sockets are bound, its list is read, its ledger is open.
struct Prepared<'c> {
    config: &'c Config,
    size: Size,
    bound: Bound,
    known: Known,
    shared: Arc<Shared>,
    export: Export,
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
    pub(super) fn start_on(control: Runtime, config: &Config, before: Before) -> Result<Self, StartError> {
        let Before { inherited, predecessor } = before;
        let size = Size::of(config)?;
        let bound = Bound::new(config, size.workers, inherited)?;
        let clock = Clock::new();
        let (known, outcome) = Known::read(config, bound.own(), clock, control.handle())?;
        let shared = share(config, &known, size, clock, control.handle());
        // The ledger is open before the first connection is accepted: nothing is carried that could not be counted.
        let export = open_export(config, &shared, &known.status, predecessor.as_ref())?;
        let prepared = Prepared { config, size, bound, known, shared, export };
        let node = prepared.serve(control, predecessor)?;
        node.tell(outcome);
        for path in &node.local {
            tracing::info!("a balancer of this machine may connect to {}", path.display());
        }
        let Size { workers, flows_max } = size;
        tracing::info!(workers, flows_max, listeners = ?node.listeners, admin = %node.admin, "gateway runs");
        Ok(node)
    }
}

impl Prepared<'_> {
    /// Begins to serve: DNS plane, workers, kernel rules, counting, admin endpoint; then the process that has the sockets may
    /// let go of them.
    fn serve(self, control: Runtime, predecessor: Option<Predecessor>) -> Result<Node, StartError> {
        let Prepared { config, size: Size { flows_max, .. }, bound, known, shared, mut export } = self;
        let Bound { sockets, listeners, dns, radius, admin_listener, admin, offers } = bound;
        let Known { policy, keeper, snapshot, status, .. } = known;
        let plane = dns.as_ref().map(|bound| Arc::clone(&bound.plane));
        let (tap, parts) = serve_dns(dns, &shared, &status, control.handle(), predecessor.is_some());
        // Before the first flow: whose it is must be known by then.
        let radius = hear_accounting(radius, config, &shared, &status, predecessor.is_some())?;
        let kernel = load_kernel(config)?;
        if let Some((kernel, _)) = &kernel {
            status.set_kernel(Arc::clone(&kernel.figures));
        }
        let handles = sockets
            .start(&shared, parts, kernel)
            .map_err(|source| StartError::System { what: "start the workers", source })?;
        let edge = keep_edge(config, &shared, &status, control.handle(), flows_max);
        let remote = Remote::new(&handles);
        export.employ(handles.into_iter().map(|handle| Box::new(handle) as Box<dyn ReportSource>).collect());
        let (orders, export) = run_export(export)?;
        let admin_task = control.spawn(admin::serve(
            admin_listener,
            config.admin.connections_max,
            config.admin.hosts.clone(),
            Arc::clone(&status) as _,
        ));
        let keeper = Arc::new(Mutex::new(keeper));
        control.spawn(follow_dates(Arc::clone(&keeper), Arc::clone(&policy)));
        let accounting = radius.as_ref().map(|service| Arc::clone(&service.accounting));
        let incumbent = hand_over::incumbent(config, offers, &snapshot, (&orders, accounting), &remote);
        incumbent.listen();
        if let Some(Err(error)) = predecessor.map(Predecessor::accepting) {
            tracing::warn!(%error, "the process before this one has ended, and its open flows with it");
        }
        Ok(Node {
            incumbent,
            admin_task: admin_task.abort_handle(),
            tap,
            local: config.sockets.iter().map(|socket| socket.place.path.clone()).collect(),
            listeners,
            admin,
            status,
            edge,
            flow_permits: Arc::clone(&shared.flow_permits),
            shared,
            policy,
            keeper,
            plane,
            radius,
            workers: remote,
            flows_max,
            snapshot,
            orders,
            export,
            control,
        })
    }
}

/// What all workers share. What watches memory and queues begins here.
fn share(config: &Config, known: &Known, size: Size, clock: Clock, control: &Handle) -> Arc<Shared> {
    let Size { workers, flows_max } = size;
    let saved = Arc::new(Saved::new(config.export.unsaved_max));
    let egress = Egress::new(clock, config.export.egress_interfaces.clone());
    let flow_permits = Arc::new(Semaphore::new(flows_max));
    let overload = Overload::new(config.limits.memory_max.map(|bytes| bytes as u64), flows_max);
    control.spawn(Arc::clone(&overload).watch());
    known.status.set_overload(Arc::clone(&overload), Arc::clone(&egress));
    let limits = limits(config, workers, flows_max);
    Arc::new(Shared {
        policy: Arc::clone(&known.policy),
        sessions: Arc::clone(&known.sessions),
        lookups: Arc::clone(&known.lookups),
        byte_basis: byte_basis(config),
        headers: headers(config),
        egress,
        silences: Silences::new(limits.silence),
        limits,
        dial: Arc::clone(&known.dial),
        flow_permits,
        overload,
        undecided_permits: Arc::new(Semaphore::new((flows_max / UNDECIDED_SHARE).max(1))),
        connection_ids: ConnectionIds::default(),
        own_ends: Arc::default(),
        open_by_subscriber: Mutex::default(),
        beats: Beats::new(workers),
        accounts_max: config.export.accounts_max,
        saved,
        clock,
    })
}

/// Opens the ledger, or has the process that is taken over from let go of it first.
fn open_export(
    config: &Config,
    shared: &Shared,
    status: &Arc<Status>,
    predecessor: Option<&Predecessor>,
) -> Result<Export, StartError> {
    let mut export = plan(config)
        .and_then(|plan| Export::new(plan, shared, Arc::clone(status)))
        .map_err(|message| StartError::Config(format!("1:1: {message}")))?;
    match predecessor {
        Some(predecessor) => hand_over::open_ledger(&mut export, predecessor)?,
        None => export.open(),
    }
    Ok(export)
}

/// Lets the DNS plane serve, if there is one; what ends the taking of dnstap, and the workers' parts.
fn serve_dns(
    dns: Option<dns::Bound>,
    shared: &Arc<Shared>,
    status: &Status,
    control: &Handle,
    takes_over: bool,
) -> (Option<AbortHandle>, Vec<Part>) {
    let Some(bound) = dns else { return (None, Vec::new()) };
    let plane = Arc::clone(&bound.plane);
    status.set_dns_tls(bound.tls_fault.clone());
    // The process that is taken over from serves the socket until this one accepts.
    let standing = if takes_over { Standing::Replaced } else { Standing::Respected };
    let started = bound.start(shared, control, standing);
    status.set_dns(plane, started.faults);
    (started.tap, started.parts)
}

/// Restores sessions of accounting and hears it, if there is some.
fn hear_accounting(
    bound: Option<radius::Bound>,
    config: &Config,
    shared: &Arc<Shared>,
    status: &Status,
    takes_over: bool,
) -> Result<Option<Service>, StartError> {
    let Some(bound) = bound else { return Ok(None) };
    let addresses = bound.addresses();
    let service = bound.start(config, &shared.sessions, shared.clock, takes_over)?;
    status.set_accounting(Arc::clone(&service.accounting));
    tracing::info!(?addresses, "RADIUS accounting is heard");
    Ok(Some(service))
}

/// Has the kernel hold what it is to hold, where it keeps the packets.
fn load_kernel(config: &Config) -> Result<Option<(Kernel, Claims)>, StartError> {
    let plan = edge::kernel_plan(config);
    Ok(plan.map(Kernel::load).transpose()?)
}

/// Begins to keep the kernel's rules, with transparent listeners.
fn keep_edge(
    config: &Config,
    shared: &Arc<Shared>,
    status: &Status,
    control: &Handle,
    flows_max: usize,
) -> Option<Arc<Edge>> {
    let rules = edge::plan(config);
    let edge = (!rules.taps.is_empty()).then(|| Edge::new(rules, Arc::clone(shared), flows_max));
    if let Some(edge) = &edge {
        status.set_edge(Arc::clone(edge));
        control.spawn(Arc::clone(edge).keep());
    }
    edge
}

/// Lets the export task work on a thread of its own; how it is told, and how it ends.
fn run_export(export: Export) -> Result<(mpsc::Sender<Order>, JoinHandle<Ending>), StartError> {
    let (orders, inbox) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("export".to_owned())
        .spawn(move || export.run(&inbox))
        .map_err(|source| StartError::System { what: "start the export thread", source })?;
    Ok((orders, thread))
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
