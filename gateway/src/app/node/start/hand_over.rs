//! A node between two processes: what it takes over at its start, what it offers to the next.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use config::Config;
use tokio::sync::watch;

use super::settings::byte_basis;
use super::{Args, Node, StartError};
use crate::app::export::Export;
use crate::app::export::orders::Order;
use crate::app::node::snapshot::Snapshot;
use crate::app::node::takeover;
use crate::app::node::takeover::incumbent::Incumbent;
use crate::app::node::takeover::successor::{Found, Freed, Predecessor};
use crate::app::node::takeover::words::Terms;
use crate::flow::session::SessionState;
use crate::net::ingress::inherited::{Inherited, Offered};
use crate::net::node::pool::{Remote, Sockets};
use crate::net::radius::{Accounting, Service};

/// How long a process that has ended may keep its lock on the ledger.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How often it is looked at.
const END_POLL: Duration = Duration::from_millis(20);

/// What was there before this process: sockets, and perhaps the process that has them.
#[derive(Default)]
pub(super) struct Before {
    /// Listening sockets.
    pub(super) inherited: Inherited,
    /// Whose they are.
    pub(super) predecessor: Option<Predecessor>,
}

impl Before {
    /// Finds it, beside what the service manager has passed.
    pub(super) fn find(args: &Args, config: &Config, inherited: Inherited) -> Result<Self, StartError> {
        if !args.take_over {
            return Ok(Self { inherited, predecessor: None });
        }
        match Predecessor::find(&takeover::path_in(&config.node.state_dir), terms(config))? {
            // A process that drains has no sockets to give, but ports that its flows came to.
            Found::Running(predecessor, sockets) if sockets.is_empty() => {
                Ok(Self { inherited: inherited.beside_draining(), predecessor: Some(predecessor) })
            }
            Found::Running(predecessor, inherited) => Ok(Self { inherited, predecessor: Some(predecessor) }),
            Found::Traces => {
                tracing::warn!("the gateway before this one ended without a word: an ordinary start");
                Ok(Self { inherited: inherited.beside_draining(), predecessor: None })
            }
            Found::Nobody => {
                tracing::info!("no gateway runs on this state folder: an ordinary start");
                Ok(Self { inherited, predecessor: None })
            }
        }
    }
}

impl Node {
    /// Waits until another process accepts in this one's place; its id.
    pub async fn successor(&self) -> u32 {
        let mut successor = self.incumbent.successor.subscribe();
        match successor.wait_for(Option::is_some).await.map(|process| *process) {
            Ok(Some(process)) => process,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Leaves listening sockets and admin endpoint to the process that took over; open flows go on.
    pub fn hand_over(&self) {
        if let Some(edge) = &self.edge {
            edge.leave();
        }
        self.status.set_draining();
        if let Some(Service { accounting, .. }) = &self.radius {
            // What happens to them from here on is heard by another process: as after a restart they hold for a while, and their
            // bytes are nobody's then.
            accounting.end();
            let (sessions, gap) = (Arc::clone(&self.shared.sessions), accounting.trust_gap());
            sessions.doubt_accounting(SessionState::Suspect);
            self.control.spawn(async move {
                tokio::time::sleep(gap).await;
                sessions.doubt_accounting(SessionState::Stale);
            });
        }
        self.workers.hand_over();
        self.admin_task.abort();
        // Resolvers connect again, to the process that has the socket.
        if let Some(tap) = &self.tap {
            tap.abort();
        }
    }
}

/// Opens the ledger of the process that is taken over from, when it is free.
pub(super) fn open_ledger(export: &mut Export, predecessor: &Predecessor) -> Result<(), StartError> {
    let freed = predecessor.release()?;
    export.open();
    match freed {
        Freed::Released => {}
        Freed::Left => {
            // The system closes what a process had one by one: the lock may outlast the connection for a moment.
            let ended = Instant::now();
            while !export.is_open() && ended.elapsed() < END_LIMIT {
                std::thread::sleep(END_POLL);
                export.open();
            }
        }
    }
    if !export.is_open() {
        let source = io::Error::other("export: the log says why");
        return Err(StartError::System { what: "open the ledger of the running process", source });
    }
    match freed {
        Freed::Released => {}
        Freed::Left => tracing::warn!(
            "the process before this one has ended before it had saved what it counted last; this one goes on"
        ),
    }
    Ok(())
}

/// A second descriptor of every listening socket, for the process that takes over.
pub(super) fn offers(
    sockets: &Sockets,
    dns: Option<&super::dns::Bound>,
    config: &Config,
    admin: &std::net::TcpListener,
) -> io::Result<Vec<Offered>> {
    let mut offers = sockets.offers()?;
    if let Some(dns) = dns {
        offers.extend(dns.offers()?);
    }
    offers.push(Offered::new(config.admin.address, admin.as_fd())?);
    Ok(offers)
}

/// What processes of this node must agree on.
fn terms(config: &Config) -> Terms {
    takeover::terms(&config.node.id, byte_basis(config))
}

/// What a new process takes over from this one.
pub(super) fn incumbent(
    config: &Config,
    offers: Vec<Offered>,
    snapshot: &Snapshot,
    (orders, accounting): (&mpsc::Sender<Order>, Option<Arc<Accounting>>),
    workers: &Remote,
) -> Arc<Incumbent> {
    Arc::new(Incumbent {
        path: takeover::path_in(&config.node.state_dir),
        terms: terms(config),
        offers: Mutex::new(offers),
        snapshot: snapshot.clone(),
        orders: orders.clone(),
        accounting,
        workers: workers.clone(),
        successor: watch::Sender::new(None),
        busy: AtomicBool::new(false),
        returned: AtomicBool::new(false),
        bound: AtomicU64::new(0),
    })
}
