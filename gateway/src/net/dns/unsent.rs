//! What one wake of the worker has to send, sent together when all that is ready has had its turn: answers to clients, and
//! queries to a server from one source port. A call of the system for many datagrams costs less than one for each.

use std::mem;
use std::rc::Rc;

use rustix::io::Errno;

use super::count::{Event, Upstream};
use super::datagram::Listener;
use super::lane::Lane;
use super::outbox::Outbox;
use super::pending::{Ticket, bit_of};
use super::relay::Relay;

/// Errors that say nothing about the server: there was no room here, or the query is longer than a datagram may be.
const OURS: [Errno; 4] = [Errno::AGAIN, Errno::NOBUFS, Errno::NOMEM, Errno::MSGSIZE];

/// A query that waits to be sent, or was not taken.
pub(super) struct Query {
    ticket: Ticket,
    id: u16,
}

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Unsent {
    /// Sockets where answers wait.
    listeners: Vec<Rc<Listener>>,
    /// The way that queries wait for: one at a time.
    lane: Option<Rc<Lane>>,
    /// The queries.
    queries: Outbox<Query>,
    /// Queries that the system did not take, and why.
    lost: Vec<(Rc<Lane>, Query, Errno)>,
}

impl Relay {
    /// The way that queries of this wake to a server take, while it has room in its call.
    ///
    /// They share one source port, drawn for them together, and each has an id of its own. Whoever forges an answer to one
    /// of them still has to hit its port among all and its id among all: for each query the chance of each guess is what it
    /// is with a port drawn for it alone.
    pub(super) fn lane_of_wake(&self, server: usize) -> Option<Rc<Lane>> {
        let unsent = self.unsent.borrow();
        unsent.lane.as_ref().filter(|lane| lane.server == server && !unsent.queries.is_full()).cloned()
    }

    /// Puts in a query for `lane`.
    pub(super) fn post_query(&self, lane: &Rc<Lane>, ticket: Ticket, id: u16, query: &[u8]) {
        let is_other = !self.unsent.borrow().lane.as_ref().is_some_and(|known| Rc::ptr_eq(known, lane));
        if is_other || self.unsent.borrow().queries.is_full() {
            self.send_queries();
        }
        let mut unsent = self.unsent.borrow_mut();
        if unsent.lane.is_none() {
            unsent.lane = Some(Rc::clone(lane));
            self.has_unsent.notify_one();
        }
        unsent.queries.push(Query { ticket, id }, None, query);
    }

    /// Notes that answers wait at a socket.
    pub(super) fn note_unsent(&self, listener: &Rc<Listener>) {
        let mut unsent = self.unsent.borrow_mut();
        if !unsent.listeners.iter().any(|known| Rc::ptr_eq(known, listener)) {
            unsent.listeners.push(Rc::clone(listener));
            self.has_unsent.notify_one();
        }
    }

    /// Sends what waits, after all that is ready at the moment has had its turn; runs until the worker ends.
    pub(super) async fn keep_sending(self: Rc<Self>) {
        loop {
            self.has_unsent.notified().await;
            self.send_answers();
            self.send_queries();
            self.ask_lost_again();
        }
    }

    /// Sends the answers that wait.
    pub(super) fn send_answers(&self) {
        let listeners = mem::take(&mut self.unsent.borrow_mut().listeners);
        for listener in listeners {
            listener.send_all(|| self.count(Event::Lost));
        }
    }

    /// Sends the queries that wait. Those that the system does not take are asked elsewhere when the worker next rests.
    fn send_queries(&self) {
        let mut unsent = self.unsent.borrow_mut();
        let Unsent { lane, queries, lost, .. } = &mut *unsent;
        let Some(lane) = lane.take() else { return };
        let sent = lane.send_all(queries, |query, error| {
            lost.push((Rc::clone(&lane), query, error));
        });
        self.plane.counts.count_many(Event::Upstream(Upstream::Sent), sent);
        if !lost.is_empty() {
            self.has_unsent.notify_one();
        }
    }

    /// Asks the next server what the system did not take. Each query has its number of tries: this ends.
    fn ask_lost_again(self: &Rc<Self>) {
        let lost = mem::take(&mut self.unsent.borrow_mut().lost);
        if lost.is_empty() {
            return;
        }
        let now = self.now();
        for (lane, Query { ticket, id }, error) in lost {
            let is_waiting =
                lane.tries.borrow().get(&id).is_some_and(|tried| tried.is_waiting && tried.ticket == ticket);
            // Not twice: what its way gave up was asked again then.
            if !is_waiting {
                continue;
            }
            if !OURS.contains(&error) {
                // It is the answer to what was sent there before, which waits in vain.
                tracing::debug!(server = lane.server, %error, "server not reached");
                self.lane_refused(&lane);
                continue;
            }
            self.count(Event::Upstream(Upstream::Unsent));
            lane.tries.borrow_mut().remove(&id);
            if let Some(pending) = self.table.borrow_mut().get(ticket) {
                pending.waiting = pending.waiting.saturating_sub(1);
                pending.heard |= bit_of(lane.server);
            }
            if error == Errno::MSGSIZE {
                self.try_next(ticket, now);
            }
            // Without room here it has its next try in its time: at once it would find no more room.
        }
    }
}
