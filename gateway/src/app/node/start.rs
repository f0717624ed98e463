//! `gateway run`: a node from its configuration, and the node while it runs.

mod begin;
mod bound;
mod dns;
pub mod edge;
mod error;
mod hand_over;
mod known;
mod lookups;
mod memory;
mod radius;
mod room;
mod running;
mod settings;
pub mod sinks;
mod tell;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::lists::ListKeeper;
use super::reload::{self, load};
use super::snapshot::Snapshot;
use super::status::Status;
use super::takeover::incumbent::Incumbent;
use super::{log, shutdown, takeover};
use crate::app::export::orders::{Ending, Order};
use crate::app::{EXIT_CONFIG, EXIT_IO};
use crate::net::dns::Plane;
use crate::net::edge::Edge;
use crate::net::ingress::inherited::Inherited;
use crate::net::node::policy::PolicyCell;
use crate::net::node::pool::Remote;
use crate::net::node::shared::Shared;
use crate::net::radius::Service;
pub use dns::certificate_fault;
pub use error::StartError;
use hand_over::Before;
pub use lookups::static_answer_problem;
pub use settings::nat64;

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
        Err(StartError::Clients { lines }) => {
            log::tell(shape, &lines);
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
    /// Hears accounting, where there is some.
    radius: Option<Service>,
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
