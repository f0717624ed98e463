//! Accepting: room first, then the connection; errors back off and are got over.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::settings::{Interception, Listener, Mode};
use super::socket;
use super::worker::Worker;
use super::{proxied, steered, transparent};

/// The first pause after an error of accept(2); each next one is twice as long.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
/// The longest such pause: after descriptors come free, connections are accepted again within it.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How often a listener whose connections wait looks whether memory is there again.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(100);
/// How accepted connections are served, as cheap to copy as possible.
#[derive(Clone)]
enum Service {
    Steered { service_port: Option<u16> },
    Proxied { peers: Rc<[IpNet]> },
    Transparent { interception: Interception, upstream_mark: u32 },
}

/// Accepts on `socket` until the worker drains. Without room for another flow connections wait in the kernel's backlog.
///
/// # Errors
/// Only when the event loop cannot watch the socket.
pub async fn run(worker: Rc<Worker>, bound: TcpListener, listener: Listener) -> io::Result<()> {
    let service = match listener.mode {
        Mode::Steered { service_port } => Service::Steered { service_port },
        Mode::ProxyProtocol { peers, .. } => Service::Proxied { peers: peers.into() },
        Mode::Transparent { interception, upstream_mark } => {
            Service::Transparent { interception, upstream_mark }
        }
    };
    let socket = socket::watch(bound)?;
    let draining = worker.draining.notified();
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => return Ok(()),
            () = accept_some(&worker, &socket, &service), if !waits(&worker, &service) => {}
            () = sleep(OVERLOAD_PAUSE), if waits(&worker, &service) => {}
        }
    }
}

/// Whether connections wait in the backlog: steered ones cannot be carried unread.
fn waits(worker: &Worker, service: &Service) -> bool {
    match service {
        Service::Steered { .. } => worker.shared.overload.is_unread(),
        Service::Proxied { .. } | Service::Transparent { .. } => false,
    }
}

/// Waits for connections and accepts those that are there, at most `accepts_per_wake_max` of them.
async fn accept_some(worker: &Rc<Worker>, socket: &AsyncFd<TcpListener>, service: &Service) {
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
            Ok((stream, peer)) => start(worker, stream, peer, service.clone(), permit),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                return;
            }
            // The client gave up before its turn (accept(2), "Error handling").
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                drop(permit);
                worker.count_accept_error();
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
    peer: SocketAddr,
    service: Service,
    permit: OwnedSemaphorePermit,
) {
    let Ok(client) = TcpStream::from_std(stream) else {
        worker.count_accept_error();
        return;
    };
    let worker = Rc::clone(worker);
    // A kind of task for each service: in one for all, every flow would keep room for the largest of them. The permit goes
    // along and comes back when the task ends, however it ends.
    match service {
        Service::Steered { service_port } => {
            tokio::task::spawn_local(steered::serve(worker, client, peer, service_port, permit));
        }
        Service::Proxied { peers } => {
            tokio::task::spawn_local(proxied::serve(worker, client, peer, peers, permit));
        }
        Service::Transparent { interception, upstream_mark } => {
            let flow = transparent::serve(worker, client, peer, interception, upstream_mark, permit);
            tokio::task::spawn_local(flow);
        }
    }
}
