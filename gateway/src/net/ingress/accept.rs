//! Accepting: room first, then the connection; errors back off and are got over.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::{proxied, steered, transparent};
use crate::net::node::event::Event;
use crate::net::node::flow_record::SubscriberSide;
use crate::net::node::report::Refusal;
use crate::net::node::settings::Mode;
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

/// A listener of one worker.
pub struct Acceptor {
    worker: Rc<Worker>,
    bound: TcpListener,
    mode: Mode,
    headers: Headers,
}

impl Acceptor {
    /// A bound listener. Whoever connects from here on has the headers of his segments looked at: it stands before the node
    /// says that it is ready, and before the kernel leads anybody here.
    pub fn new(worker: Rc<Worker>, bound: TcpListener, mode: Mode) -> Self {
        let headers = Headers::default();
        if let Some(lengths) = worker.shared.headers.as_ref().filter(|_| mode.meets_subscribers()) {
            headers.attach(&worker, lengths, &bound);
            if socket::stream_state(&bound).is_ok_and(|state| state.unacknowledged == 0) {
                headers.note_empty();
            }
        }
        Self { worker, bound, mode, headers }
    }

    /// Accepts until the worker drains. Without room for another flow connections wait in the kernel's backlog.
    ///
    /// # Errors
    /// Only when the event loop cannot watch the socket.
    pub async fn run(self) -> io::Result<()> {
        let Self { worker, bound, mode, headers } = self;
        let socket = socket::watch(bound)?;
        let draining = worker.draining.notified();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => return Ok(()),
                () = accept_some(&worker, &socket, &mode, &headers), if !waits(&worker, &mode) => {}
                () = sleep(OVERLOAD_PAUSE), if waits(&worker, &mode) => {}
            }
        }
    }
}

/// Whether connections wait in the backlog: steered ones cannot be carried unread.
fn waits(worker: &Worker, mode: &Mode) -> bool {
    match mode {
        Mode::Steered { .. } => worker.shared.overload.is_unread(),
        Mode::ProxyProtocol { .. } | Mode::Transparent { .. } => false,
    }
}

/// Waits for connections and accepts those that are there, at most `accepts_per_wake_max` of them.
async fn accept_some(worker: &Rc<Worker>, socket: &AsyncFd<TcpListener>, mode: &Mode, headers: &Headers) {
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
                start(worker, stream, visitor, mode, permit);
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
    mode: &Mode,
    permit: OwnedSemaphorePermit,
) {
    if let Err(refusal) = admit(worker, mode, visitor.map(|visitor| visitor.peer)) {
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
    match (mode, visitor) {
        (Mode::Steered { service_port, .. }, Some(visitor)) => {
            let flow = steered::begin(worker, client, visitor, *service_port, permit);
            tokio::task::spawn_local(relay::serve(Box::pin(flow)));
        }
        (Mode::ProxyProtocol { subscriber_tlv, .. }, _) => {
            let flow = proxied::begin(worker, client, *subscriber_tlv, permit);
            tokio::task::spawn_local(relay::serve(Box::pin(flow)));
        }
        (Mode::Transparent { interception, upstream_mark }, Some(visitor)) => {
            let flow = transparent::begin(worker, client, visitor, *interception, *upstream_mark, permit);
            tokio::task::spawn_local(relay::serve(Box::pin(flow)));
        }
        // Not admitted.
        (Mode::Steered { .. } | Mode::Transparent { .. }, None) => {}
    }
}

/// Whether who sent a connection may.
fn admit(worker: &Worker, mode: &Mode, peer: Option<SocketAddr>) -> Result<(), Refusal> {
    let peer = peer.map(|peer| peer.ip());
    let (admitted, refusal) = match (mode, peer) {
        (Mode::Transparent { .. }, peer) => (peer.is_some(), Refusal::Client),
        (Mode::Steered { access, .. }, Some(peer)) => {
            (access.admits(peer, &worker.shared.sessions), Refusal::Client)
        }
        (Mode::Steered { .. }, None) => (false, Refusal::Client),
        (Mode::ProxyProtocol { peers, .. }, peer) => {
            // One without an address at a listener with addresses: nobody who may be there.
            let refusal = if peer.is_some() { Refusal::ProxyHeader } else { Refusal::Client };
            (peers.admit(peer), refusal)
        }
    };
    if admitted { Ok(()) } else { Err(refusal) }
}
