//! Room for new flows when there is hardly any: some that are open are ended, which ones `flow::room` says.

use std::time::Duration;

use super::Worker;
use crate::flow::room::{Candidate, Room, choose};

/// How often it is told that flows are ended.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Worker {
    /// Ends this worker's part of what is to go while the process has little room.
    pub(super) fn shed(&self) {
        let overload = &self.shared.overload;
        let open = self.shared.flows_in_use();
        let surplus = overload.surplus(open);
        if surplus == 0 {
            return;
        }
        let now = self.shared.clock.monotonic();
        let (mut holdings, mut holders) = self.shared.holdings();
        let flows = self.flows.borrow();
        let (mut held, mut candidates, mut ending) = (Vec::new(), Vec::new(), 0_usize);
        for flow in flows.values().filter(|flow| flow.has_place.get()) {
            let state = flow.state.borrow();
            // UDP whose name may yet come has a room and a deadline of its own.
            let waits = state.engine.is_unanswered() && state.engine.claim().identity().is_none();
            if state.subscriber.is_none() || waits {
                continue;
            }
            if flow.cut.is_asked() {
                ending = ending.saturating_add(1);
                continue;
            }
            let holder = *holders.entry(state.engine.subscriber()).or_insert_with(|| {
                // Its session has ended since: it has no others.
                holdings.push(0);
                holdings.len().saturating_sub(1)
            });
            candidates.push(Candidate {
                holder,
                answered: !state.engine.is_unanswered(),
                age: now.since(flow.opened),
                idle: now.since(flow.last_activity.get()),
                recent: flow.recent.get().at(now),
            });
            held.push(flow);
        }
        let own = candidates.len().saturating_add(ending);
        let wanted = overload.to_shed(open, own).saturating_sub(ending);
        let room = Room { holdings: &holdings, places: overload.flows_max(), surplus, wanted };
        let chosen = choose(&candidates, &room);
        for flow in chosen.iter().filter_map(|index| held.get(*index)) {
            flow.cut.ask_for_room();
        }
        overload.count_shed(chosen.len() as u64);
        let told_lately = self.shed_told.get().is_some_and(|told| now.since(told) < TOLD_EVERY);
        if !chosen.is_empty() && !told_lately {
            self.shed_told.set(Some(now));
            tracing::warn!(
                flows = chosen.len(),
                "little room for new flows: some of whoever holds most are ended"
            );
        }
    }
}
