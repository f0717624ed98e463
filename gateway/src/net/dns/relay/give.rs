//! Giving answers: what fits the client, the old answer where servers are silent, and what is said where there is none.

use std::borrow::Cow;

use super::Relay;
use crate::flow::time::Monotonic;
use crate::net::dns::cache::Key;
use crate::net::dns::count::Event;
use crate::net::dns::datagram::Posted;
use crate::net::dns::message::{Asked, SERV_FAIL};
use crate::net::dns::pending::{Asker, Form, Pending, Ticket};
use crate::wire::dns;

impl Relay {
    /// The old answer to a question, ready to be given.
    pub(super) fn stale(
        &self,
        asked: &Asked<'_>,
        key: Option<&Key>,
        form: Form,
        now: Monotonic,
    ) -> Option<Vec<u8>> {
        match form {
            Form::AsItIs => {}
            Form::Steered(steered) => {
                return self.unheard(asked, steered).inspect(|_| self.count(Event::Steered(steered)));
            }
        }
        let limits = self.plane.settings.stale?;
        let key = key?;
        let mut answer = self.plane.stale.as_ref()?.find(key, asked.question, limits.ttl, now)?;
        restore(&mut answer, asked.query, asked.question)?;
        asked.add_opt(&mut answer, &key.subnet.map(|subnet| subnet.scoped()).unwrap_or_default());
        self.count(Event::Stale);
        Some(answer)
    }

    /// What fits the client's transport.
    pub(super) fn fit<'a>(
        &self,
        asked: &Asked<'_>,
        answer: Cow<'a, [u8]>,
        is_datagram: bool,
    ) -> Cow<'a, [u8]> {
        if is_datagram { asked.fit(answer, asked.datagram_max()) } else { answer }
    }

    /// Gives an answer, and counts it by the code in its header.
    pub(in crate::net::dns) fn give(&self, asker: &Asker, answer: Option<Cow<'_, [u8]>>) {
        let code =
            answer.as_ref().and_then(|answer| answer.get(3)).map_or(0, |flags| u16::from(flags & 0x0f));
        self.give_coded(asker, answer, code);
    }

    /// Gives an answer, and counts it by its code.
    pub(in crate::net::dns) fn give_coded(&self, asker: &Asker, answer: Option<Cow<'_, [u8]>>, code: u16) {
        let Some(answer) = answer else {
            self.count(Event::Lost);
            return;
        };
        self.count(Event::Answer(code));
        match asker.give(answer) {
            Posted::Sent => {}
            Posted::Lost => self.count(Event::Lost),
            Posted::Waits => {
                let Some(listener) = asker.listener() else { return };
                self.note_unsent(listener);
                if listener.is_full() {
                    self.send_answers();
                }
            }
        }
    }

    /// Gives a query's answer; the query stays under way when it is to be kept only.
    pub(in crate::net::dns) fn give_pending(&self, pending: &mut Pending, answer: Cow<'_, [u8]>) {
        let Some(asker) = pending.asker.take() else { return };
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        let answer = self.fit(&asked, answer, pending.is_datagram);
        self.give(&asker, Some(answer));
    }

    /// Ends a query for which no server had an answer: what a server said of its failure; for silence the old answer, or
    /// SERVFAIL (RFC 8767 §6: who refuses or fails was heard, and may mean it).
    pub(in crate::net::dns) fn fail(&self, ticket: Ticket, now: Monotonic) {
        let Some(mut pending) = self.table.borrow_mut().remove(ticket) else { return };
        if pending.asker.is_none() {
            return;
        }
        let answer = match pending.form {
            Form::Steered(steered) => self.steered_failure(&mut pending, steered),
            Form::AsItIs => {
                let failure = pending.failure.take();
                let asked = pending.asked(self.plane.settings.udp_answer_max);
                if pending.has_failed {
                    failure
                } else {
                    self.stale(&asked, pending.key.as_ref(), pending.form, now)
                        .or(failure)
                        .or_else(|| asked.empty(SERV_FAIL))
                }
            }
        };
        if let Some(answer) = answer {
            self.give_pending(&mut pending, Cow::Owned(answer));
        }
    }
}

/// Puts the client's id and question into an answer.
pub(in crate::net::dns) fn restore(answer: &mut [u8], query: &[u8], question: &dns::Question) -> Option<()> {
    answer.get_mut(..2)?.copy_from_slice(query.get(..2)?);
    answer.get_mut(question.section.clone())?.copy_from_slice(query.get(question.section.clone())?);
    Some(())
}
