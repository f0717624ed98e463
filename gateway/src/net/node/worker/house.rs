//! Keeping house: deadlines, idle flows, dates, new policies and sessions, each in its time.

use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Worker;
use crate::net::sys::beats;

/// How often deadlines, idle flows and dates are looked at.
const HOUSEKEEPING: Duration = beats::INTERVAL;

/// Rounds of it between two sweeps of connection ids: a minute, as long as one is of use.
const ROUNDS_PER_SWEEP: u32 = 600;

impl Worker {
    /// Deadlines, idle flows, dates, new policies and sessions; runs until the worker's event loop ends.
    pub async fn keep_house(self: Rc<Self>) {
        let mut tick = tokio::time::interval(HOUSEKEEPING);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0_u32;
        loop {
            tick.tick().await;
            self.shared.beats.give(self.index, self.shared.clock.monotonic());
            if let Some(headers) = self.shared.headers.as_ref().filter(|_| self.index == 0) {
                headers.pass_time();
            }
            self.expire_undecided();
            self.follow_policy();
            self.follow_sessions();
            self.shed();
            rounds = rounds.wrapping_add(1);
            if rounds.is_multiple_of(10) {
                self.end_idle();
                self.settle_ended();
                self.look_at_queues();
                self.shared.suspend_if_unsaved();
            }
            if rounds.is_multiple_of(ROUNDS_PER_SWEEP) {
                self.shared.connection_ids.sweep(self.shared.clock.monotonic());
            }
        }
    }

    /// Settles flows whose deadline for a verdict has passed.
    fn expire_undecided(self: &Rc<Self>) {
        let now = self.shared.clock.monotonic();
        let limit = self.shared.overload.shorten(self.shared.limits.identify_deadline);
        loop {
            let flow = {
                let mut undecided = self.undecided.borrow_mut();
                match undecided.front().map(Weak::upgrade) {
                    None => return,
                    Some(Some(flow)) if now.since(flow.opened) < limit => return,
                    Some(flow) => {
                        undecided.pop_front();
                        flow
                    }
                }
            };
            if let Some(flow) = flow {
                self.deadline(&flow);
            }
        }
    }
}
