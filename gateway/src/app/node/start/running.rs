//! A node while it runs: it reloads, drains, and stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Config;

use super::{Node, dns};
use crate::app::export::orders::{Ending, Order};
use crate::app::node::input::InputFault;
use crate::app::node::reload;
use crate::app::node::reload::outcome::Reloaded;
use crate::net::sys::clock::wall;

/// How long the last saving, sealing and publishing may take before the process ends without them.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often a stopping node looks whether they are done.
const STOP_POLL: Duration = Duration::from_millis(10);

impl Node {
    /// Reads list, subscribers, rating groups and the certificate of DNS over TLS again; what is bad keeps the old.
    pub fn reload(&self, config: &Config) -> Reloaded {
        dns::follow(self.plane.as_deref(), config, &self.status);
        let outcome = {
            let mut keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let published = (&*self.policy, &*self.shared.sessions);
            reload::refresh(config, &mut keeper, published, wall())
        };
        let outcome = Reloaded { radius: self.renew_clients(config), ..outcome };
        self.tell(outcome.clone());
        outcome
    }

    /// Takes the clients of accounting anew, or says why those before stay.
    fn renew_clients(&self, config: &Config) -> Option<InputFault> {
        let cell = &self.radius.as_ref()?.accounting.clients;
        match reload::radius::clients(config, &cell.load()) {
            Ok(clients) => {
                cell.store(Arc::new(clients));
                None
            }
            Err(fault) => Some(fault),
        }
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
        // First: whoever has the ledger's lock has the sessions too.
        if let Some(radius) = self.radius {
            radius.stop();
        }
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
}
