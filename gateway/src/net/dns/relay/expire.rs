//! Queries whose time has come: silent servers are counted, others asked, and old answers given while new ones are waited for.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::Relay;
use crate::flow::time::Monotonic;
use crate::net::dns::count::{Event, Upstream};
use crate::net::dns::pending::{Pending, Ticket, bit_of};

impl Relay {
    /// Brings on every query whose time has come.
    pub(super) fn expire(self: &Rc<Self>) {
        let now = self.now();
        let settings = &self.plane.settings;
        let due = |pending: &Pending| {
            let age = now.since(pending.asked);
            age >= settings.total_timeout
                || now >= pending.next_try
                || (pending.asker.is_some() && settings.stale.is_some_and(|stale| age >= stale.after))
        };
        let tickets: Vec<(Ticket, Duration, bool)> = self
            .table
            .borrow()
            .all()
            .filter(|(_, pending)| due(pending))
            .map(|(ticket, pending)| (ticket, now.since(pending.asked), now >= pending.next_try))
            .collect();
        for (ticket, age, next) in tickets {
            if age >= settings.total_timeout {
                self.timed_out(ticket);
                self.fail(ticket, now);
                continue;
            }
            if settings.stale.is_some_and(|stale| age >= stale.after) {
                self.give_stale(ticket, now);
            }
            if next {
                let again = self.table.borrow_mut().get(ticket).and_then(|pending| pending.again.take());
                if let Some(server) = again {
                    self.ask_in_lower_case(ticket, server, now);
                } else {
                    self.timed_out(ticket);
                    self.try_next(ticket, now);
                }
            }
        }
    }

    /// Counts that the server asked last has not answered in time.
    fn timed_out(&self, ticket: Ticket) {
        let mut table = self.table.borrow_mut();
        if let Some(pending) = table.get(ticket).filter(|pending| pending.waiting > 0) {
            self.count(Event::Upstream(Upstream::Timeout));
            if pending.was_stream {
                pending.streams_lost |= bit_of(pending.server);
            }
            if let Some(health) = self.plane.health.get(pending.server) {
                health.timed_out();
            }
        }
    }

    /// Gives the old answer while the new one is still waited for (RFC 8767 §5).
    fn give_stale(&self, ticket: Ticket, now: Monotonic) {
        let mut table = self.table.borrow_mut();
        let may_be_given = |pending: &&mut Pending| {
            pending.asker.is_some() && !pending.has_failed && pending.alone.is_none()
        };
        let Some(pending) = table.get(ticket).filter(may_be_given) else { return };
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        if let Some(answer) = self.stale(&asked, pending.key.as_ref(), pending.form, now) {
            self.give_pending(pending, Cow::Owned(answer));
        }
    }
}
