//! Ways to servers that are given up for guesses, refused or lost: what waits on them is asked again, there or elsewhere.

use std::rc::Rc;

use super::count::{Event, Upstream};
use super::lane::{GivenUp, Lane};
use super::pending::{Ticket, bit_of};
use super::relay::Relay;
use crate::flow::time::Monotonic;

/// Bad replies, in multiples of what is permitted, at which a port that was replaced is closed before its time.
const BAD_WHILE_WAITING: u32 = 5;
/// How often a query is asked again for a port that was given up, before that counts as a try.
const ASKED_AGAIN_MAX: u8 = 4;

impl Relay {
    /// Counts a reply that answers nothing; too many on a port, and it is given up.
    pub(super) fn note_bad_reply(self: &Rc<Self>, lane: &Rc<Lane>, now: Monotonic) {
        self.count(Event::Upstream(Upstream::BadReply));
        lane.bad.set(lane.bad.get().saturating_add(1));
        let most = self.plane.settings.bad_replies_max;
        // Exactly then: what is still read of a port that was given up must not give it up again.
        if !lane.is_stream() && lane.bad.get() == most {
            self.give_up_port(lane, now);
        } else if !lane.is_stream() && lane.bad.get() == most.saturating_mul(BAD_WHILE_WAITING) {
            self.close_port(lane, now);
        }
    }

    /// Too many replies on a port answered nothing: somebody is guessing. What waits there is asked again over TCP; where that
    /// is closed it goes on waiting, for the genuine answer may be on its way, and what comes after it takes another port.
    fn give_up_port(self: &Rc<Self>, lane: &Rc<Lane>, now: Monotonic) {
        self.count(Event::Upstream(Upstream::GaveUpPort));
        let given_up = {
            let mut lanes = self.lanes.borrow_mut();
            let linger = self.plane.settings.total_timeout;
            lanes.get_mut(lane.server).map(|lanes| lanes.give_up(lane, now, linger))
        };
        let Some((given_up, is_told)) = given_up else { return };
        let server = lane.server;
        match given_up {
            GivenUp::Closed => {
                if is_told {
                    tracing::warn!(
                        server,
                        "replies that answer no query: this server is asked over TCP for a while"
                    );
                }
                self.ask_again(lane, true, now);
            }
            GivenUp::Replaced if is_told => {
                tracing::warn!(
                    server,
                    "replies that answer no query, and TCP is closed: the port is changed"
                );
            }
            GivenUp::Replaced => {}
        }
    }

    /// A port that was replaced goes on having bad replies: it is closed, so that guesses are bounded.
    fn close_port(self: &Rc<Self>, lane: &Rc<Lane>, now: Monotonic) {
        if let Some(lanes) = self.lanes.borrow_mut().get_mut(lane.server) {
            lanes.close(lane);
        }
        self.ask_again(lane, false, now);
    }

    /// Asks the same server again what waits on a way that was given up, for that is not the server's fault; so often.
    fn ask_again(self: &Rc<Self>, lane: &Rc<Lane>, over_stream: bool, now: Monotonic) {
        for ticket in self.abandon(lane) {
            {
                let mut table = self.table.borrow_mut();
                let Some(pending) = table.get(ticket) else { continue };
                pending.over_stream |= over_stream;
                // Somebody guesses: other letters were his.
                pending.altered &= !bit_of(lane.server);
                if pending.asked_again < ASKED_AGAIN_MAX {
                    pending.asked_again = pending.asked_again.saturating_add(1);
                    pending.tries = pending.tries.saturating_sub(1);
                    pending.tried &= !bit_of(lane.server);
                }
            }
            self.try_next(ticket, now);
        }
    }

    /// Nobody listens at the server's port: what waits is asked elsewhere at once.
    pub(super) fn lane_refused(self: &Rc<Self>, lane: &Rc<Lane>) {
        let now = self.now();
        self.count(Event::Upstream(Upstream::Unreachable));
        if let Some(health) = self.plane.health.get(lane.server) {
            health.unreachable();
        }
        for ticket in self.abandon(lane) {
            self.try_next(ticket, now);
        }
    }

    /// A connection has ended: what still waits on it is asked elsewhere; or there again in datagrams, when it never stood.
    pub(super) fn lane_lost(self: &Rc<Self>, lane: &Rc<Lane>, was_open: bool) {
        let now = self.now();
        let is_tls = {
            let mut lanes = self.lanes.borrow_mut();
            let Some(lanes) = lanes.get_mut(lane.server) else { return };
            lanes.forget_stream(lane, was_open, now);
            lanes.is_tls()
        };
        if !was_open && !is_tls {
            self.count(Event::Upstream(Upstream::Unreachable));
            tracing::warn!(server = lane.server, "no TCP to this server: it is asked in datagrams alone");
            return self.ask_again(lane, false, now);
        }
        let tickets = self.abandon(lane);
        if tickets.is_empty() {
            return;
        }
        self.count(Event::Upstream(Upstream::Unreachable));
        if let Some(health) = self.plane.health.get(lane.server) {
            health.timed_out();
        }
        for ticket in tickets {
            if let Some(pending) = self.table.borrow_mut().get(ticket) {
                pending.streams_lost |= bit_of(lane.server);
            }
            self.try_next(ticket, now);
        }
    }

    /// The queries that wait for a reply on this way, which waits for none from here on.
    fn abandon(&self, lane: &Lane) -> Vec<Ticket> {
        let mut tries = lane.tries.borrow_mut();
        let waiting = tries.values_mut().filter(|tried| tried.is_waiting);
        let mut tickets = Vec::new();
        let mut table = self.table.borrow_mut();
        for tried in waiting {
            tried.is_waiting = false;
            if let Some(pending) = table.get(tried.ticket) {
                pending.waiting = pending.waiting.saturating_sub(1);
                tickets.push(tried.ticket);
            }
        }
        tickets
    }
}
