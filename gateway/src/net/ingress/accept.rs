//! Accepting: room first, then the connection; errors back off and are got over.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::access::Access;
use super::{proxied, steered, transparent};
use crate::net::node::event::Event;
use crate::net::node::flow_record::SubscriberSide;
use crate::net::node::report::Refusal;
use crate::net::node::settings::{Interception, Listener, Mode};
use crate::net::node::worker::Worker;
use crate::net::sys::header_lengths::{Birth, HeaderLengths};
use crate::net::sys::socket;
use crate::net::tcp::relay;
use crate::net::tcp::stream::TcpStream;

/// The first pause after an error of accept(2); each next one is twice as long.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// The longest such pause: after descriptors come free, connections are accepted again within it.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How often a listener whose connections wait looks whether memory is there again.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(100);

/// Who has connected.
#[derive(Clone, Copy)]
pub struct Visitor {
    /// From where.
    pub peer: SocketAddr,
    /// Where the account of its headers begins; none when they were not looked at from the first on.
    pub birth: Option<Birth>,
}

impl Visitor {
    /// The subscriber's side of a flow over this connection.
    pub fn side(self, worker: &Worker, client: &Rc<TcpStream>) -> SubscriberSide {
        let shared = &worker.shared;
        SubscriberSide::stream(Rc::clone(client), self.peer.ip(), shared.byte_basis).observed(
            shared.headers.as_ref(),
            self.peer,
            self.birth,
        )
    }
}

/// Whether a listener's connections have had their headers looked at from the first segment on.
#[derive(Default)]
struct Headers {
    /// The worker's count of changes when it last looked at this listener.
    change: Cell<u64>,
    /// Ours is the filter that looks.
    attached: Cell<bool>,
    /// And it has been since before the connection that is accepted next was made.
    observed: Cell<bool>,
}

impl Headers {
    /// The birth of the connection that was just accepted.
    fn birth(&self, worker: &Worker, listener: &TcpListener) -> Option<Birth> {
        let lengths = worker.shared.headers.as_ref()?;
        // No cost where nothing changed: a change is that another process put its own filter there, or is gone.
        let (_, change) = worker.observes_headers();
        if self.change.replace(change) != change {
            self.attach(worker, lengths, listener);
        }
        self.observed.get().then(|| lengths.birth())
    }

    /// Puts the filter at the listener. What stands in its backlog was made before (its length: `tcpi_unacked`).
    fn attach(&self, worker: &Worker, lengths: &HeaderLengths, listener: &TcpListener) {
        self.observed.set(false);
        let (ours, _) = worker.observes_headers();
        self.attached.set(ours && lengths.attach(listener).is_ok());
    }

    /// Nothing stands in the backlog.
    fn note_empty(&self) {
        self.observed.set(self.attached.get());
    }
}

/// How accepted connections are served.
enum Service {
    Steered {
        service_port: Option<u16>,
        access: Access,
    },
    Proxied {
        peers: Vec<IpNet>,
    },
    /// The same from a balancer on this machine, over a Unix socket.
    Local,
    Transparent {
        interception: Interception,
        upstream_mark: u32,
    },
}

/// Accepts on `socket` until the worker drains. Without room for another flow connections wait in the kernel's backlog.
///
/// # Errors
/// Only when the event loop cannot watch the socket.
pub async fn run(worker: Rc<Worker>, bound: TcpListener, listener: Listener) -> io::Result<()> {
    let service = match listener.mode {
        Mode::Steered { service_port, access } => Service::Steered { service_port, access },
        Mode::ProxyProtocol { peers, .. } => Service::Proxied { peers },
        Mode::Transparent { interception, upstream_mark } => {
            Service::Transparent { interception, upstream_mark }
        }
    };
    serve(worker, bound, service).await
}

/// The same on a Unix socket, where a balancer of this machine sends a PROXY header.
///
/// # Errors
/// As [`run`].
pub async fn run_local(worker: Rc<Worker>, bound: TcpListener) -> io::Result<()> {
    serve(worker, bound, Service::Local).await
}

/// Accepts until the worker drains.
async fn serve(worker: Rc<Worker>, bound: TcpListener, service: Service) -> io::Result<()> {
    let headers = Headers::default();
    if let (Some(lengths), Service::Steered { .. } | Service::Transparent { .. }) =
        (&worker.shared.headers, &service)
    {
        headers.attach(&worker, lengths, &bound);
        if socket::stream_state(&bound).is_ok_and(|state| state.unacknowledged == 0) {
            headers.note_empty();
        }
    }
    let socket = socket::watch(bound)?;
    let draining = worker.draining.notified();
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => return Ok(()),
            () = accept_some(&worker, &socket, &service, &headers), if !waits(&worker, &service) => {}
            () = sleep(OVERLOAD_PAUSE), if waits(&worker, &service) => {}
        }
    }
}

/// Whether connections wait in the backlog: steered ones cannot be carried unread.
fn waits(worker: &Worker, service: &Service) -> bool {
    match service {
        Service::Steered { .. } => worker.shared.overload.is_unread(),
        Service::Proxied { .. } | Service::Local | Service::Transparent { .. } => false,
    }
}

/// Waits for connections and accepts those that are there, at most `accepts_per_wake_max` of them.
async fn accept_some(
    worker: &Rc<Worker>,
    socket: &AsyncFd<TcpListener>,
    service: &Service,
    headers: &Headers,
) {
    let Ok(mut ready) = socket.readable().await else {
        sleep(BACK_OFF_MAX).await;
        return;
    };
    let mut pause = BACK_OFF_MIN;
    for _ in 0..worker.shared.limits.accepts_per_wake_max {
        let Ok(permit) = std::sync::Arc::clone(&worker.shared.flow_permits).acquire_owned().await else {
            return;
        };
        match socket::accept(socket.get_ref()) {
            Ok((stream, peer)) => {
                let visitor =
                    peer.map(|peer| Visitor { peer, birth: headers.birth(worker, socket.get_ref()) });
                start(worker, stream, visitor, service, permit);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                headers.note_empty();
                ready.clear_ready();
                return;
            }
            // The client gave up before its turn (accept(2), "Error handling").
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                drop(permit);
                worker.count_event(Event::AcceptError);
                if pause == BACK_OFF_MIN {
                    tracing::warn!(%error, "cannot accept; trying again. Remedy for too many open files: raise RLIMIT_NOFILE or lower limits.flows_max");
                }
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(BACK_OFF_MAX);
            }
        }
    }
    tokio::task::yield_now().await;
}

/// Gives the connection a task of its own, which holds the permit until it ends.
fn start(
    worker: &Rc<Worker>,
    stream: std::net::TcpStream,
    visitor: Option<Visitor>,
    service: &Service,
    permit: OwnedSemaphorePermit,
) {
    if let Err(refusal) = admit(worker, service, visitor.map(|visitor| visitor.peer)) {
        worker.count_refusal(refusal);
        tracing::debug!(refusal = refusal.label(), "connection not carried: who sent it may not");
        let _ = socket::reset_on_close(&stream);
        return;
    }
    let Ok(client) = TcpStream::from_std(stream) else {
        worker.count_event(Event::AcceptError);
        return;
    };
    let worker = Rc::clone(worker);
    // The permit goes along and comes back when the task ends, however it ends.
    match (service, visitor) {
        (Service::Steered { service_port, .. }, Some(visitor)) => {
            let flow = steered::begin(worker, client, visitor, *service_port, permit);
            tokio::task::spawn_local(relay::serve(Box::pin(flow)));
        }
        (Service::Proxied { .. } | Service::Local, _) => {
            tokio::task::spawn_local(relay::serve(Box::pin(proxied::begin(worker, client, permit))));
        }
        (Service::Transparent { interception, upstream_mark }, Some(visitor)) => {
            let flow = transparent::begin(worker, client, visitor, *interception, *upstream_mark, permit);
            tokio::task::spawn_local(relay::serve(Box::pin(flow)));
        }
        // Not admitted.
        (Service::Steered { .. } | Service::Transparent { .. }, None) => {}
    }
}

/// Whether who sent a connection may; at a Unix socket its mode and group have said so.
fn admit(worker: &Worker, service: &Service, peer: Option<SocketAddr>) -> Result<(), Refusal> {
    match (service, peer) {
        (Service::Local, _) | (Service::Transparent { .. }, Some(_)) => Ok(()),
        (Service::Steered { access, .. }, Some(peer)) => {
            let is_served = access.admits(peer.ip(), &worker.shared.sessions);
            if is_served { Ok(()) } else { Err(Refusal::Client) }
        }
        (Service::Proxied { peers }, Some(peer)) => {
            let from = peer.ip().to_canonical();
            let is_peer = peers.iter().any(|allowed| allowed.contains(&from));
            if is_peer { Ok(()) } else { Err(Refusal::ProxyHeader) }
        }
        (Service::Steered { .. } | Service::Proxied { .. } | Service::Transparent { .. }, None) => {
            Err(Refusal::Client)
        }
    }
}
