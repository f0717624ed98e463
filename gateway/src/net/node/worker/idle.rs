//! TCP flows on which no byte moves: when they end, and what says that they live.
//!
//! A client that keeps its connection open over an idle time sends keep-alives (RFC 9293 §3.8.4), which our end answers
//! inside the kernel. They are seen where it matters, by the count of segments: taken once when half of the idle time is
//! over, and again at its end. Nothing is asked of a flow that is not idle, and nothing is sent to a subscriber. That a client
//! lives says nothing of the origin, whose end the client cannot ask any more: then it is asked by keep-alives of ours.

use std::rc::Rc;
use std::time::Duration;

use allowlist::Transport;

use super::Worker;
use crate::flow::engine::HTTPS_PORT;
use crate::flow::time::Monotonic;
use crate::net::node::flow_record::Flow;
use crate::net::node::settings::Limits;
use crate::net::sys::socket;

/// What is to be done about an idle flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// Nothing: bytes moved not long ago.
    Busy,
    /// Nothing yet; its segments are counted from here on.
    Half,
    /// It ends, unless segments came.
    Over,
}

impl Idle {
    /// Of a flow that was idle for so long of so long that it may be.
    fn of(idle: Duration, limit: Duration) -> Self {
        if idle >= limit {
            Self::Over
        } else if idle >= limit / 2 {
            Self::Half
        } else {
            Self::Busy
        }
    }
}

impl Worker {
    /// Ends every TCP flow that was idle for as long as it may be and whose subscriber sends no keep-alives.
    pub(super) fn end_idle(&self) {
        let now = self.shared.clock.monotonic();
        let mut alive = Vec::new();
        for flow in self.flows.borrow().values().filter(|flow| flow.transport() == Transport::Tcp) {
            let limit = self.shared.overload.shorten(idle_limit(&self.shared.limits, flow));
            match Idle::of(now.since(flow.last_activity.get()), limit) {
                Idle::Busy => flow.segments_seen.set(0),
                Idle::Half if flow.segments_seen.get() != 0 => {}
                Idle::Half => flow.segments_seen.set(segments(flow)),
                Idle::Over => {
                    let seen = flow.segments_seen.get();
                    if seen == 0 || seen == segments(flow) {
                        flow.cut.ask();
                    } else {
                        alive.push(Rc::clone(flow));
                    }
                }
            }
        }
        alive.iter().for_each(|flow| self.keep_alive(flow, now));
    }

    /// The subscriber has sent keep-alives: they count, as life and as bytes.
    fn keep_alive(&self, flow: &Rc<Flow>, now: Monotonic) {
        flow.last_activity.set(now);
        flow.segments_seen.set(0);
        if let Some(origin) = flow.state.borrow().origin.upgrade() {
            // A refinement: without it an origin that vanished is noticed with the next byte.
            let _ = socket::probe_when_silent(&*origin);
        }
        self.mark_dirty(flow);
    }
}

/// How long a flow may be idle, by the port that its subscriber dialled.
fn idle_limit(limits: &Limits, flow: &Flow) -> Duration {
    if flow.service_port() == HTTPS_PORT { limits.https_idle_timeout } else { limits.idle_timeout }
}

/// Segments that the subscriber's end has received, modulo 2³²; 0 when nobody says.
fn segments(flow: &Flow) -> u32 {
    let state = flow.state.borrow();
    let client = state.subscriber.as_ref().and_then(|side| side.socket());
    client.and_then(|client| socket::stream_state(client).ok()).map_or(0, |state| state.segments_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f34_half_of_the_time_and_all_of_it() {
        let of = |idle| Idle::of(Duration::from_millis(idle), Duration::from_millis(100));
        assert_eq!([of(49), of(50), of(99), of(100)], [Idle::Busy, Idle::Half, Idle::Half, Idle::Over]);
    }
}
