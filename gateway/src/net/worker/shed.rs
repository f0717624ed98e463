//! Room for new flows when there is hardly any: the flows that have been idle longest are ended.

use allowlist::Transport;

use super::Worker;
use crate::net::overload::SHED_IDLE_MIN;

impl Worker {
    /// Ends this worker's share of the oldest idle TCP flows while the process has little room; those of UDP have short
    /// timers of their own.
    pub(super) fn shed(&self) {
        let overload = &self.shared.overload;
        let wanted = overload.to_shed(self.shared.flows_in_use(), self.flows.borrow().len());
        if wanted == 0 {
            return;
        }
        let now = self.shared.clock.monotonic();
        let flows = self.flows.borrow();
        let mut idle: Vec<_> = flows
            .values()
            .filter(|flow| flow.transport == Transport::Tcp && flow.state.borrow().subscriber.is_some())
            .filter(|flow| now.since(flow.last_activity.get()) >= SHED_IDLE_MIN)
            .collect();
        idle.sort_by_key(|flow| flow.last_activity.get());
        idle.truncate(wanted);
        for flow in &idle {
            flow.cut.ask();
        }
        overload.count_shed(idle.len() as u64);
        if !idle.is_empty() {
            tracing::warn!(flows = idle.len(), "little room for new flows: the longest idle are ended");
        }
    }
}
