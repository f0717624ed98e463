//! What sessions do to flows that are open: those of an address that changed hands are judged again, and no others.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Worker;
use crate::flow::engine::Observation;
use crate::flow::session::{Evidence, Holding, News, What};
use crate::net::node::event::Event;
use crate::net::node::flow_record::Flow;
use crate::net::node::meter::SubscriberSide;

/// How often the session of a flow that begins is looked for while the table is written; a look takes a microsecond. Written as
/// often as that, a flow may lose its session for one that went before it: its bytes are nobody's then.
const LOOKS: usize = 8;

impl Worker {
    /// Follows what happened to sessions since the last look; ten times a second, and before a flow begins.
    pub fn follow_sessions(self: &Rc<Self>) {
        let seen = self.sessions_seen.get();
        if self.shared.sessions.number() == seen {
            return;
        }
        match self.shared.sessions.news(seen) {
            News::Batches(batches) => {
                for batch in &batches {
                    let number = batch.number;
                    match &batch.what {
                        What::Blocks(blocks) => blocks.iter().for_each(|changed| {
                            let flows: Vec<_> = self.flows.borrow().of(changed.block).cloned().collect();
                            flows.iter().for_each(|flow| {
                                self.stand_again(flow, Evidence::Changed(number, changed));
                            });
                        }),
                        What::Everything => self.all_stand_again(number),
                    }
                    self.sessions_seen.set(number);
                }
            }
            News::TooMany(latest) => {
                self.all_stand_again(seen);
                self.sessions_seen.set(latest);
            }
        }
    }

    /// The session of an address, for a flow that begins: what is followed later was written after this look. Otherwise that of
    /// its holder before, going, would pass for its own.
    pub(super) fn holding_now(self: &Rc<Self>, source: IpAddr, port: Option<u16>) -> Option<Holding> {
        let mut holding = None;
        for _ in 0..LOOKS {
            self.follow_sessions();
            holding = self.shared.sessions.find_at(source, port);
            if self.shared.sessions.number() == self.sessions_seen.get() {
                break;
            }
        }
        holding
    }

    /// Looks whose every flow is, where nobody says what changed after the write with this number.
    fn all_stand_again(self: &Rc<Self>, number: u64) {
        let flows: Vec<_> = self.flows.borrow().values().cloned().collect();
        flows.iter().for_each(|flow| self.stand_again(flow, Evidence::Since(number)));
    }

    /// Looks whose a flow is; it is judged again where that changed.
    fn stand_again(self: &Rc<Self>, flow: &Rc<Flow>, evidence: Evidence<'_>) {
        let holding = self.shared.sessions.find_at(flow.source, flow.port());
        match holding.as_ref().filter(|holding| self.began_in(flow, holding)).cloned() {
            Some(holding) => {
                self.count_event(Event::FlowAdopted);
                self.observe(flow, Observation::Adopted(holding));
            }
            None => self.observe(flow, Observation::Sessions(holding, evidence)),
        }
    }

    /// Whether a flow that nobody's address was known for began in a session that is heard of only now: accounting may begin with
    /// the first packet, and come by a relay.
    fn began_in(&self, flow: &Flow, holding: &Holding) -> bool {
        let state = flow.state.borrow();
        if !state.engine.is_of_nobody_known() {
            return false;
        }
        let now = self.shared.clock.now();
        // Cut to the second: a flow that begins within the second in which its session did is not adopted.
        let began = match &state.subscriber {
            // Where the kernel does not say it, it may have been long ago.
            Some(SubscriberSide::Slot(_)) => flow.began.get().map(NonZeroU32::get),
            _ => seconds_before(now.wall, now.monotonic.since(flow.opened)),
        };
        let Some(began) = began else { return false };
        let age = u64::try_from(now.wall.as_second()).unwrap_or(0).saturating_sub(began.into());
        let is_young = age <= self.shared.limits.adopt.as_secs();
        is_young && holding.begun.is_some_and(|begun| begun.has_flow_of(began))
    }

    /// Notes when a flow began that the kernel counts, so long before now.
    pub(in crate::net) fn note_begin(&self, flow: &Flow, age: Duration) {
        let began = seconds_before(self.shared.clock.now().wall, age);
        flow.began.set(began.and_then(NonZeroU32::new));
    }
}

/// The Unix second so long before a time.
fn seconds_before(wall: Timestamp, age: Duration) -> Option<u32> {
    let age = SignedDuration::try_from(age).ok()?;
    u32::try_from(wall.checked_sub(age).ok()?.as_second()).ok()
}
