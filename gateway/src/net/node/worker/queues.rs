//! Memory that the sockets of flows hold in the kernel: how much, whose, and what is done about it.
//!
//! Bytes wait in a socket because their receiver does not take them. The process's own memory shows nothing of that, and
//! a receiver who never reads holds megabytes on each connection. Once a second the sockets of flows that moved something
//! since, or held something, are asked; what they hold counts into memory (`limits.memory_max`) and to their subscriber.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::Worker;
use crate::flow::room::Recent;
use crate::flow::session::SubscriberKey;
use crate::flow::stall::{Memory, Queue, STALL_MIN, choose};
use crate::flow::time::Monotonic;
use crate::net::node::flow_record::Flow;
use crate::net::sys::socket;

/// Less than this is no queue: what a socket keeps at hand.
const QUEUE_MIN: u64 = 16 << 10;

/// Whatever passed before, a flow of which nothing has passed for so long moves nothing.
const STILL: Duration = Duration::from_secs(5);

/// What the sockets of one flow hold.
#[derive(Clone, Copy)]
struct Held {
    bytes: u64,
    /// What had passed when it was last looked at, both ways.
    carried: u64,
    /// Bytes that passed lately.
    recent: Recent,
    /// When the first was seen to wait.
    since: Monotonic,
    /// When any passed last.
    moved: Monotonic,
    /// The round in which it was last looked at.
    round: u64,
}

/// A flow whose sockets hold something, whose it is, and what they hold.
type Found<'f> = (&'f Rc<Flow>, SubscriberKey, Held);

/// What the sockets of a worker's flows hold.
#[derive(Default)]
pub(super) struct Queues {
    /// Of each flow that holds something, by its number.
    held: HashMap<u64, Held>,
    /// Of each subscriber, as it was told to all.
    told: HashMap<SubscriberKey, u64>,
    round: u64,
}

impl Worker {
    /// Asks the sockets, tells what they hold, and ends what stalls where that is too much.
    pub(super) fn look_at_queues(&self) {
        let now = self.shared.clock.monotonic();
        let mut queues = self.queues.borrow_mut();
        let queues = &mut *queues;
        queues.round = queues.round.wrapping_add(1);
        let mut by_subscriber: HashMap<SubscriberKey, u64> = HashMap::new();
        let flows = self.flows.borrow();
        let mut found = Vec::new();
        for flow in flows.values().filter(|flow| !flow.cut.is_asked()) {
            let known = queues.held.get(&flow.id).copied();
            // What moved nothing since the last look holds what it held.
            let may_hold = known.is_some() || now.since(flow.last_activity.get()) <= STALL_MIN;
            let Some(bytes) = may_hold.then(|| kernel_bytes(flow)).filter(|bytes| *bytes >= QUEUE_MIN) else {
                continue;
            };
            let state = flow.state.borrow();
            let carried = state.engine.carried();
            let carried = carried.up.saturating_add(carried.down);
            let held = follow(known, bytes, carried, queues.round, now);
            queues.held.insert(flow.id, held);
            let subscriber = state.engine.subscriber();
            let sum = by_subscriber.entry(subscriber.clone()).or_insert(0);
            *sum = sum.saturating_add(bytes);
            found.push((flow, subscriber, held));
        }
        let round = queues.round;
        queues.held.retain(|_, held| held.round == round);
        self.shared.tell_queued(&queues.told, &by_subscriber);
        queues.told = by_subscriber;
        if found.is_empty() {
            return;
        }
        // What comes free is told at once: other workers are not to end theirs for it.
        let left = self.end_stalled(&found, &queues.told, now);
        self.shared.tell_queued(&queues.told, &left);
        queues.told = left;
    }

    /// Ends what stalls where its subscriber, or all together, hold too much; what is left of what they `held` here.
    fn end_stalled(
        &self,
        found: &[Found<'_>],
        held: &HashMap<SubscriberKey, u64>,
        now: Monotonic,
    ) -> HashMap<SubscriberKey, u64> {
        let mut left = held.clone();
        let overload = &self.shared.overload;
        let share = overload.queue_share(self.shared.limits.socket_memory_per_subscriber_max);
        let surplus = overload.queue_surplus();
        let (holdings, holders) = self.shared.queued();
        let (mut flows, mut candidates) = (Vec::new(), Vec::new());
        for (flow, subscriber, held) in found {
            let Some(holder) = holders.get(subscriber).copied() else { continue };
            let still = now.since(held.moved) >= STILL;
            let recent = if still { 0 } else { held.recent.at(now) };
            candidates.push(Queue { holder, bytes: held.bytes, recent, age: now.since(held.since) });
            flows.push((flow, subscriber, held.bytes));
        }
        let chosen = choose(&candidates, &Memory { holdings: &holdings, share, surplus });
        for (flow, subscriber, bytes) in chosen.iter().filter_map(|index| flows.get(*index)) {
            flow.cut.ask_for_room();
            if let Some(sum) = left.get_mut(*subscriber) {
                *sum = sum.saturating_sub(*bytes);
            }
        }
        overload.count_stalled(chosen.len() as u64);
        if !chosen.is_empty() {
            tracing::info!(
                flows = chosen.len(),
                "flows whose receivers take nothing are ended (limits.socket_memory_per_subscriber_max)"
            );
        }
        left
    }
}

/// What is known of a flow's sockets after one more look.
fn follow(known: Option<Held>, bytes: u64, carried: u64, round: u64, now: Monotonic) -> Held {
    match known {
        None => Held { bytes, carried, recent: Recent::default(), since: now, moved: now, round },
        Some(known) => {
            let more = carried.saturating_sub(known.carried);
            let moved = if more > 0 { now } else { known.moved };
            Held { bytes, carried, recent: known.recent.plus(more, now), moved, round, ..known }
        }
    }
}

/// Memory that the sockets of a TCP flow hold; datagrams never wait for their receiver.
fn kernel_bytes(flow: &Flow) -> u64 {
    let state = flow.state.borrow();
    let Some(client) = state.subscriber.as_ref().and_then(|side| side.socket()) else { return 0 };
    let of = |socket| socket::memory(socket).unwrap_or(0);
    let origin = state.origin.upgrade();
    of(client).saturating_add(origin.as_deref().map_or(0, of))
}
