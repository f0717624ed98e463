//! One worker's part of the DNS plane: its sockets, and the tasks that serve them.

use std::rc::Rc;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::count::Transport;
use super::datagram::Listener;
use super::relay::Relay;
use super::sockets::WorkerSockets;
use super::{Plane, stream};
use crate::net::node::shared::Shared;

/// One worker's part of the plane before its thread runs.
pub struct Part {
    plane: Arc<Plane>,
    sockets: WorkerSockets,
}

impl Part {
    /// The part with these sockets.
    pub(super) const fn new(plane: Arc<Plane>, sockets: WorkerSockets) -> Self {
        Self { plane, sockets }
    }

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
