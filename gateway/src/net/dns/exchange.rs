//! Asking the servers: which of them is asked, over which way, with which id and letter case.
//!
//! What comes back is taken in `reply`.

mod reply;

use std::rc::Rc;
use std::time::Duration;

use super::count::{Event, Upstream};
use super::lane::{Tried, Written};
use super::letters::Written as Letters;
use super::pending::{Pending, Ticket, bit_of};
use super::relay::Relay;
use crate::flow::time::Monotonic;

/// How a query is sent next.
pub(super) struct Try {
    server: usize,
    over_stream: bool,
    /// Its question section.
    question: Box<[u8]>,
    /// How its name is written.
    written: Letters,
}

impl Relay {
    /// Asks the next server, or the same again; ends the query when there is nothing left to try.
    pub(super) fn try_next(self: &Rc<Self>, ticket: Ticket, now: Monotonic) {
        let settings = &self.plane.settings;
        let servers = settings.servers.len();
        let tries_max = usize::from(settings.tries).max(servers);
        loop {
            let prepared = {
                let mut table = self.table.borrow_mut();
                let Some(pending) = table.get(ticket) else { return };
                if usize::from(pending.tries) >= tries_max {
                    pending.next_try = pending.asked.plus(settings.total_timeout);
                    if pending.waiting > 0 {
                        return;
                    }
                    None
                } else {
                    let server = self.choose(pending);
                    pending.server = server;
                    pending.tries = pending.tries.saturating_add(1);
                    pending.tried |= bit_of(server);
                    pending.again = None;
                    pending.next_try = now.plus(self.pause(pending));
                    self.prepare(pending, server, now)
                }
            };
            let Some(next) = prepared else { return self.fail(ticket, now) };
            if self.send(ticket, next, now) {
                return;
            }
        }
    }

    /// Time until the next try: shorter where a server was not tried.
    pub(super) fn pause(&self, pending: &Pending) -> Duration {
        let settings = &self.plane.settings;
        let another = settings.servers.len() > pending.tried.count_ones() as usize;
        if another { settings.failover_after } else { settings.try_timeout }
    }

    /// The server for the next try: the first that is not down and was not tried, then any that was not tried, then any.
    fn choose(&self, pending: &Pending) -> usize {
        let count = self.plane.settings.servers.len();
        let untried = |server: &usize| pending.tried & bit_of(*server) == 0;
        let up = |server: &usize| self.plane.health.get(*server).is_some_and(|health| !health.is_down());
        let found = (0..count).find(|server| untried(server) && up(server));
        let found = found.or_else(|| (0..count).find(untried)).or_else(|| (0..count).find(up));
        found.unwrap_or(0)
    }

    /// Writes the query as it is sent, before its id: letters in random case over datagrams, and no larger answer wanted than
    /// we give.
    pub(super) fn prepare(&self, pending: &mut Pending, server: usize, now: Monotonic) -> Option<Try> {
        let over_stream = {
            let lanes = self.lanes.borrow();
            let lanes = lanes.get(server)?;
            let is_lost = !lanes.is_tls() && pending.streams_lost & bit_of(server) != 0;
            !is_lost && lanes.uses_stream(pending.over_stream, now)
        };
        let mut query = self.query.borrow_mut();
        query.clear();
        query.extend_from_slice(&pending.query);
        if let Some(edns) = pending.edns.filter(|_| !over_stream && !pending.is_signed) {
            let size = u16::try_from(edns.udp_bytes_max.min(self.plane.settings.udp_answer_max)).ok()?;
            let end = edns.size_at.checked_add(2)?;
            query.get_mut(edns.size_at..end)?.copy_from_slice(&size.to_be_bytes());
        }
        let section = query.get_mut(pending.question.section.clone())?;
        let written = self.written(pending, server, over_stream, now);
        let name = section.get_mut(..pending.question.name.wire().len())?;
        match written {
            Letters::Own => {}
            Letters::Mixed => {
                self.mix_case(name)?;
                pending.mixed |= bit_of(server);
            }
            Letters::Lower | Letters::Known => name.make_ascii_lowercase(),
        }
        let question = Box::from(&*section);
        Some(Try { server, over_stream, question, written })
    }

    /// Writes each letter of a name in random case (draft-vixie-dnsext-dns0x20). Lengths of labels are no letters.
    fn mix_case(&self, name: &mut [u8]) -> Option<()> {
        let mut random = self.random.borrow_mut();
        let (mut bits, mut left) = (0_u64, 0_u32);
        for byte in name.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
            if left == 0 {
                bits = random.u64()?;
                left = u64::BITS;
            }
            *byte = if bits & 1 == 0 { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
            bits >>= 1;
            left = left.saturating_sub(1);
        }
        Some(())
    }

    /// Sends the try that was prepared, or has it wait for the others of this wake; false when its server cannot be reached.
    pub(super) fn send(self: &Rc<Self>, ticket: Ticket, next: Try, now: Monotonic) -> bool {
        let Try { server, over_stream, .. } = next;
        match self.post(ticket, next, now) {
            Some(Written::Taken) => {}
            // We wrote faster than the connection is made or carries: the server is not at fault.
            Some(Written::Full) => {
                self.count(Event::Upstream(Upstream::Unsent));
                if let Some(pending) = self.table.borrow_mut().get(ticket) {
                    pending.heard |= bit_of(server);
                }
                return false;
            }
            Some(Written::Closed) | None => {
                self.count(Event::Upstream(Upstream::Unreachable));
                // Whose fault it is our own question will show: descriptors may have run out.
                if let Some(health) = self.plane.health.get(server) {
                    health.timed_out();
                }
                return false;
            }
        }
        if let Some(pending) = self.table.borrow_mut().get(ticket) {
            pending.waiting = pending.waiting.saturating_add(1);
            pending.was_stream = over_stream;
        }
        true
    }

    /// Gives a try its way and its id; none when there is no way.
    fn post(self: &Rc<Self>, ticket: Ticket, next: Try, now: Monotonic) -> Option<Written> {
        let Try { server, over_stream, question, written } = next;
        let settings = &self.plane.settings;
        let of_wake = self.lane_of_wake(server).filter(|lane| !over_stream && !lane.is_worn(now));
        let lane = match of_wake {
            Some(lane) => lane,
            None => {
                let mut lanes = self.lanes.borrow_mut();
                let lanes = lanes.get_mut(server)?;
                if over_stream {
                    lanes.stream(self, now, settings.try_timeout)
                } else {
                    let port = self.random.borrow_mut().u16()?;
                    lanes.port(self, port, now, settings.total_timeout).ok()?
                }
            }
        };
        let id = lane.free_id(|| self.random.borrow_mut().u16())?;
        let mut query = self.query.borrow_mut();
        query.get_mut(..2)?.copy_from_slice(&id.to_be_bytes());
        lane.tries.borrow_mut().insert(id, Tried { ticket, question, written, is_waiting: true });
        if !lane.is_stream() {
            self.post_query(&lane, ticket, id, &query);
            return Some(Written::Taken);
        }
        let taken = lane.write(query.clone());
        match taken {
            Written::Taken => self.count(Event::Upstream(Upstream::Sent)),
            Written::Full | Written::Closed => {
                lane.tries.borrow_mut().remove(&id);
            }
        }
        Some(taken)
    }
}
