//! Open flows while another process takes the listener over: each pair of addresses gets a socket of its own.
//!
//! A UDP socket that is connected to a subscriber (or a balancer) takes what comes from there before the listening sockets
//! of the same port do (`SO_REUSEPORT` groups skip to the best match), so that the flows that are open stay with this
//! process, both ways, while everything else goes to the new one. The listener's own socket is closed: what it holds is
//! the new process's.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::port::{Manner, Port, Sent};
use super::table::{FlowEnds, Key};
use super::{BACK_OFF, Relay};
use crate::net::node::report::DropCause;
use crate::net::sys::socket;

use crate::net::sys::batch::Train;

/// Who sends, and the local address it sends to.
pub(super) type Pair = (SocketAddr, Option<IpAddr>);

/// A socket for one pair of addresses.
pub(super) struct Own {
    port: Rc<Port>,
    /// Takes what comes to it.
    task: AbortHandle,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The pair of addresses of a flow.
fn pair_of(key: &Key) -> Pair {
    (key.peer, key.ends.local())
}

impl Relay {
    /// Gives every open flow, and each that begins from now on, a socket of its own; with false, none that begins.
    pub fn keep_flows(self: &Rc<Self>, keep: bool) {
        self.keeping.set(keep);
        if keep {
            let keys: Vec<Key> = self.table.borrow().iter().map(|(key, _)| *key).collect();
            keys.iter().for_each(|key| self.keep(key));
        }
    }

    /// Another process takes what comes to the listener's socket; open flows go on over their own.
    pub fn hand_over(self: &Rc<Self>) {
        self.keep_flows(true);
        self.draining.set(true);
        self.port.borrow_mut().take();
        // Its task waits for the socket that is no longer there.
        self.handed_over.notify_one();
    }

    /// Gives a flow a socket of its own. Without one its next datagrams begin a flow at the new process.
    pub(super) fn keep(self: &Rc<Self>, key: &Key) {
        let pair = pair_of(key);
        if self.own.borrow().contains_key(&pair) {
            return;
        }
        let local = SocketAddr::new(key.ends.local().unwrap_or(self.bound.ip()), self.bound.port());
        let transparent = match key.ends {
            FlowEnds::Transparent { .. } => true,
            FlowEnds::Steered { .. } | FlowEnds::Proxied { .. } => false,
        };
        let connected = socket::connect_listening_datagrams(local, key.peer, transparent);
        let port = match connected.and_then(Port::new) {
            Ok(port) => Rc::new(port),
            Err(error) => {
                tracing::debug!(%error, "a UDP flow is left to the new process");
                return;
            }
        };
        let task = tokio::task::spawn_local(take_all(Rc::clone(self), Rc::clone(&port))).abort_handle();
        self.own.borrow_mut().insert(pair, Own { port, task });
    }

    /// Whether a flow may begin.
    pub(super) fn takes_flows(&self, key: &Key) -> bool {
        // Several flows of a balancer share a pair of addresses: those that begin there come to no other process.
        let shared = match key.ends {
            FlowEnds::Steered { .. } | FlowEnds::Transparent { .. } => false,
            FlowEnds::Proxied { .. } => true,
        };
        // Without the listener's socket all that comes was put into a flow's own one: by its peer, or by anybody between its
        // bind and its connect. It comes to no other process either.
        let is_handed_over = self.port.borrow().is_none();
        !self.draining.get() || is_handed_over || (shared && self.own.borrow().contains_key(&pair_of(key)))
    }

    /// Closes the sockets of pairs without a flow.
    pub(super) fn sweep_own(&self) {
        if self.own.borrow().is_empty() {
            return;
        }
        let pairs: std::collections::HashSet<Pair> =
            self.table.borrow().iter().map(|(key, _)| pair_of(key)).collect();
        self.own.borrow_mut().retain(|pair, _| pairs.contains(pair));
    }

    /// Sends to the subscriber: over the flow's own socket where it has one, else over the listener's.
    pub(super) fn send_down(&self, key: &Key, manner: Manner, train: &Train<'_>) -> Sent {
        if let Some(own) = self.own.borrow().get(&pair_of(key)) {
            return own.port.send(key.peer, None, manner, train);
        }
        match &*self.port.borrow() {
            Some(port) => port.send(key.peer, key.ends.local(), manner, train),
            None => Sent { lost: train.count(), cause: Some(DropCause::Unreachable), ..Sent::default() },
        }
    }
}

/// Takes what comes to a flow's own socket until the flow ends.
async fn take_all(relay: Rc<Relay>, port: Rc<Port>) {
    loop {
        if port.readable().await.is_err() {
            return;
        }
        // ICMP errors say that the subscriber is gone for the moment; its flow ends when it is idle.
        if relay.receive(&port).is_err() {
            sleep(BACK_OFF).await;
        }
        tokio::task::yield_now().await;
    }
}
