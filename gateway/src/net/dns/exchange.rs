//! Asking the servers: which of them, over which way, with which id and letter case; and what a reply must be like before
//! it is believed to answer (id, server, question, letter for letter: RFC 5452 §9.1).

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::count::{Event, Upstream};
use super::lane::{Lane, Tried, Written};
use super::letters::{self, Heard, Repeats, Written as Letters};
use super::message::{FORM_ERR, SERV_FAIL};
use super::pending::{Form, Pending, Ticket, bit_of};
use super::relay::{Relay, restore};
use crate::flow::time::Monotonic;
use crate::wire::dns::{self, Facts, Outcome, layout};

/// Response code of a server that does not serve us.
const SERVER_REFUSED: u16 = 5;
/// Codes that say so little that a server may have meant the letters of the question: FORMERR, NXDOMAIN, NOTIMP.
const DOUBTFUL: [u16; 3] = [FORM_ERR, 3, 4];

/// How a query is sent next.
pub(super) struct Try {
    server: usize,
    over_stream: bool,
    /// Its question section.
    question: Box<[u8]>,
    /// How its name is written.
    written: Letters,
}

/// What a reply is to what was sent on its way.
enum Fit {
    /// It answers a query.
    Answers(Matched),
    /// It would answer one whose reply is still wanted, but for the case of its letters.
    OtherLetters((Ticket, Letters)),
    /// It answers nothing.
    Nothing,
}

/// A reply to a query that was sent.
struct Matched {
    /// Its query; none when that has had its answer.
    ticket: Option<Ticket>,
    /// The code in its header.
    code: u16,
    is_truncated: bool,
    /// It has no question, and nothing to say but its code.
    is_bare: bool,
    heard: Heard,
}

/// What follows a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is the answer.
    Give,
    /// It is kept for when nothing better comes: the same server is asked in lower case.
    LowerCase,
    /// So it is, and the next server is asked.
    Next,
    /// So it is, and another server is asked already.
    Wait,
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

    /// Takes a reply. What answers no query that was sent this way, letter for letter, is counted and changes nothing.
    pub(super) fn replied(self: &Rc<Self>, lane: &Rc<Lane>, reply: &mut [u8]) {
        let now = self.now();
        let matched = match self.match_reply(lane, reply) {
            Fit::Answers(matched) => matched,
            Fit::OtherLetters(tried) => {
                self.note_bad_reply(lane, now);
                return self.doubt_letters(tried, lane.server, now);
            }
            Fit::Nothing => return self.note_bad_reply(lane, now),
        };
        let mut table = self.table.borrow_mut();
        let Some(pending) = matched.ticket.and_then(|ticket| table.get(ticket)) else {
            drop(table);
            self.note_letters(lane.server, matched.heard, None, now);
            return self.count(Event::Upstream(Upstream::Late));
        };
        if let Some(health) = self.plane.health.get(lane.server) {
            health.answered();
        }
        pending.waiting = pending.waiting.saturating_sub(1);
        pending.heard |= bit_of(lane.server);
        self.note_letters(lane.server, matched.heard, Some(pending), now);
        let Some(reply) = self.for_client(pending, reply, &matched) else { return };
        let then = self.look_at(pending, &matched, lane);
        if then != Then::Give {
            pending.failure = Some(reply.to_vec());
        }
        let Some(ticket) = matched.ticket else { return };
        match then {
            Then::Give => {
                let Some(pending) = table.remove(ticket) else { return };
                drop(table);
                self.note_silent(&pending, now);
                return self.conclude(pending, &reply, now);
            }
            Then::LowerCase => {
                drop(table);
                self.ask_in_lower_case(ticket, lane.server, now);
            }
            Then::Next => {
                drop(table);
                self.try_next(ticket, now);
            }
            Then::Wait => drop(table),
        }
        self.count(Event::Upstream(Upstream::Failure));
    }

    /// What follows a reply.
    fn look_at(&self, pending: &mut Pending, matched: &Matched, lane: &Lane) -> Then {
        let bit = bit_of(lane.server);
        let has_failed = matched.is_bare || [SERV_FAIL, SERVER_REFUSED].contains(&matched.code);
        let is_mixed = matched.heard.written == Letters::Mixed && pending.failed_mixed & bit == 0;
        let are_doubted = || self.plane.letters.get(lane.server).is_some_and(|letters| letters.are_doubted());
        if is_mixed && (has_failed || DOUBTFUL.contains(&matched.code)) && are_doubted() {
            pending.failed_mixed |= bit;
            pending.has_failed = true;
            return Then::LowerCase;
        }
        // Asked in datagrams for want of TCP: a cut answer says nothing to a client over TCP.
        let is_cut = matched.is_truncated && !pending.is_datagram && !lane.is_stream();
        if !has_failed && !is_cut {
            return Then::Give;
        }
        pending.has_failed |= has_failed;
        if pending.server == lane.server || pending.waiting == 0 { Then::Next } else { Then::Wait }
    }

    /// A reply as its client may have it.
    fn for_client<'r>(
        &self,
        pending: &Pending,
        reply: &'r mut [u8],
        matched: &Matched,
    ) -> Option<Cow<'r, [u8]>> {
        if matched.is_bare {
            return self.without_question(pending, reply, matched.code).map(Cow::Owned);
        }
        restore(reply, &pending.query, &pending.question)?;
        Some(Cow::Borrowed(reply))
    }

    /// What a server says that has left out the question, with it: a client holds it against its own.
    fn without_question(&self, pending: &Pending, reply: &[u8], code: u16) -> Option<Vec<u8>> {
        let mut asked = pending.asked(self.plane.settings.udp_answer_max);
        // A server that knows no EDNS says so by leaving it out (RFC 6891 §7).
        if code == FORM_ERR && layout::edns_of_any(reply).is_none() {
            asked.edns = None;
        }
        asked.empty(code)
    }

    /// Notes which servers did not answer what another did.
    fn note_silent(&self, pending: &Pending, now: Monotonic) {
        let silent = pending.tried & !pending.heard;
        if silent == 0 {
            return;
        }
        for (server, health) in self.plane.health.iter().enumerate() {
            if silent & bit_of(server) != 0 {
                health.answered_elsewhere(pending.source, now);
            }
        }
    }

    /// Finds what a reply answers.
    fn match_reply(&self, lane: &Lane, reply: &[u8]) -> Fit {
        let mut tries = lane.tries.borrow_mut();
        let (matched, tried) = match dns::question(reply).ok().filter(|question| question.is_response) {
            Some(question) => {
                let Some(tried) = tries.get_mut(&question.id) else { return Fit::Nothing };
                let section = reply.get(question.section.clone()).unwrap_or_default();
                let exactly = match letters::repeats(tried.written, &tried.question, section) {
                    Repeats::Yes { exactly } => exactly,
                    Repeats::OtherLetters => {
                        return letters::wanted(tried).map_or(Fit::Nothing, Fit::OtherLetters);
                    }
                    Repeats::No => return Fit::Nothing,
                };
                let has_records = question.rcode == 0 && reply.get(6..8) != Some(&[0, 0]);
                let heard = Heard { written: tried.written, exactly, has_records };
                let code = u16::from(question.rcode);
                let is_truncated = question.truncated;
                (Matched { ticket: None, code, is_truncated, is_bare: false, heard }, tried)
            }
            None => {
                let Some((id, code)) = dns::bare_failure(reply) else { return Fit::Nothing };
                let Some(tried) = tries.get_mut(&id) else { return Fit::Nothing };
                let heard = Heard { written: tried.written, exactly: false, has_records: false };
                (Matched { ticket: None, code, is_truncated: false, is_bare: true, heard }, tried)
            }
        };
        let was_waiting = std::mem::replace(&mut tried.is_waiting, false);
        Fit::Answers(Matched { ticket: was_waiting.then_some(tried.ticket), ..matched })
    }

    /// Learns an answer, keeps it, then gives it.
    fn conclude(self: &Rc<Self>, mut pending: Box<Pending>, reply: &[u8], now: Monotonic) {
        let outcome = dns::answer(reply, &self.plane.answer_limits);
        let facts = match &outcome {
            Outcome::Answer(facts) => Some(facts),
            Outcome::NotAnAnswer | Outcome::Oversize | Outcome::Malformed { .. } => {
                self.count(Event::Unparsed);
                None
            }
        };
        // A client that asks for no validation (CD) may be given what the resolver would refuse: it vouches for nothing.
        // Nor does the answer to a signed query, which is easier to forge: its letters have the case that its client chose.
        let is_unchecked = layout::checking_disabled(&pending.query) || pending.is_signed;
        if let Some(facts) = facts.filter(|_| !is_unchecked) {
            self.plane.learn(&self.shared, facts, pending.subscriber.as_ref());
        }
        match pending.form {
            Form::AsItIs => {
                self.keep(&pending, reply, facts, now);
                self.give_pending(&mut pending, Cow::Borrowed(reply));
            }
            Form::Steered(steered) => self.conclude_steered(pending, steered, reply, facts, now),
        }
    }

    /// Keeps an answer for when the servers are silent; one that could not be read is not kept.
    fn keep(&self, pending: &Pending, reply: &[u8], facts: Option<&Facts>, now: Monotonic) {
        if let (Some(stale), Some(key), Some(facts)) = (&self.plane.stale, &pending.key, facts) {
            stale.keep(key, pending.source, reply, facts, now);
        }
    }
}
