//! Taking the servers' replies: what a reply must be like before it is believed to answer, and what follows it.
//!
//! It must have the id, server and question of a query that was sent, letter for letter (RFC 5452 §9.1). What answers nothing is
//! counted and changes nothing. An answer is learnt, kept and given; for a failure another server is asked.

use std::borrow::Cow;
use std::rc::Rc;

use crate::flow::time::Monotonic;
use crate::net::dns::count::{Event, Upstream};
use crate::net::dns::lane::Lane;
use crate::net::dns::letters::{self, Heard, Repeats, Written as Letters};
use crate::net::dns::message::{FORM_ERR, SERV_FAIL};
use crate::net::dns::pending::{Form, Pending, Ticket, bit_of};
use crate::net::dns::relay::{Relay, restore};
use crate::wire::dns::{self, Facts, Outcome, layout};

/// Response code of a server that does not serve us.
const SERVER_REFUSED: u16 = 5;
/// Codes that say so little that a server may have meant the letters of the question: FORMERR, NXDOMAIN, NOTIMP.
const DOUBTFUL: [u16; 3] = [FORM_ERR, 3, 4];

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
    /// Takes a reply. What answers no query that was sent this way, letter for letter, is counted and changes nothing.
    pub(in crate::net::dns) fn replied(self: &Rc<Self>, lane: &Rc<Lane>, reply: &mut [u8]) {
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
