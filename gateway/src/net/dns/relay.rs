//! One worker's DNS plane: each query is admitted, then answered by us, or passed on and its answer passed back.
//!
//! Nothing here waits: queries stand in a table until a reply, or the passing of time, brings them on. An answer is learnt
//! before it is sent on (decision 11): a flow that follows it at once is never ahead of what it is judged by.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Plane;
use super::cache::Key;
use super::count::{Event, Refused, Steered, Transport, Upstream};
use super::datagram::Posted;
use super::lane::{Lanes, REPLIES_PER_CALL_MAX};
use super::limit::Full;
use super::message::{Asked, BAD_VERS, REFUSED, SERV_FAIL};
use super::pending::{Asker, Form, Pending, Table, Ticket, bit_of};
use super::random::Random;
use super::unsent::Unsent;
use crate::flow::session::{Holding, SubscriberKey};
use crate::flow::steer::Steering;
use crate::flow::time::Monotonic;
use crate::net::node::shared::Shared;
use crate::wire::dns::layout::{self, Additional};
use crate::wire::dns::{self, OPCODE_QUERY, TYPE_ANY};

/// Longest message read.
pub(super) const BUFFER_BYTES: usize = 65_536;
/// How often deadlines are looked at while queries are under way.
const TICK: Duration = Duration::from_millis(20);
/// Types IXFR and AXFR (RFC 1995, RFC 5936): zones are not had here.
const TRANSFERS: [u16; 2] = [251, 252];

/// What became of a query at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has, or will have, an answer.
    Answered,
    /// It is dropped without a word.
    Dropped,
}

/// One worker's DNS plane.
pub(super) struct Relay {
    pub(super) shared: Arc<Shared>,
    pub(super) plane: Arc<Plane>,
    pub(super) table: RefCell<Table>,
    pub(super) lanes: RefCell<Vec<Lanes>>,
    pub(super) random: RefCell<Random>,
    /// Where replies are received, [`BUFFER_BYTES`] for each of a call.
    pub(super) buffer: RefCell<Box<[u8]>>,
    /// Where a query is written as it is sent.
    pub(super) query: RefCell<Vec<u8>>,
    /// What waits to be sent together.
    pub(super) unsent: RefCell<Unsent>,
    /// Wakes the task that sends it.
    pub(super) has_unsent: Notify,
}

impl Relay {
    /// A worker's part of the plane.
    pub(super) fn new(shared: Arc<Shared>, plane: Arc<Plane>) -> Rc<Self> {
        let ports = plane.settings.upstream_sockets;
        let servers = plane.settings.servers.iter().enumerate();
        let lanes = servers.map(|(number, server)| Lanes::new(server.clone(), number, ports)).collect();
        Rc::new(Self {
            shared,
            plane,
            table: RefCell::default(),
            lanes: RefCell::new(lanes),
            random: RefCell::new(Random::new()),
            buffer: RefCell::new(vec![0; BUFFER_BYTES.saturating_mul(REPLIES_PER_CALL_MAX)].into()),
            query: RefCell::default(),
            unsent: RefCell::default(),
            has_unsent: Notify::new(),
        })
    }

    /// Counts an event.
    pub(super) fn count(&self, event: Event) {
        self.plane.counts.count(event);
    }

    /// The time.
    pub(super) fn now(&self) -> Monotonic {
        self.shared.clock.monotonic()
    }

    /// Looks at deadlines until the worker ends.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if !self.table.borrow().is_empty() {
                self.expire();
            }
            let now = self.now();
            self.probe(now);
            self.lanes.borrow_mut().iter_mut().for_each(|lanes| lanes.sweep(now));
        }
    }

    /// Takes a query. Its answer goes to `asker`, at once or in its time.
    pub(super) fn ask(
        self: &Rc<Self>,
        query: &[u8],
        from: SocketAddr,
        transport: Transport,
        asker: Asker,
    ) -> Taken {
        self.count(Event::Query(transport));
        let policy = self.shared.policy.load();
        let now = self.now();
        let holding = self.shared.sessions.find(from.ip());
        let subscriber = holding.as_ref().map(|holding| &holding.session);
        if let Some(refused) = self.unwelcome(query, from, subscriber) {
            self.count(Event::Refused(refused));
            return Taken::Dropped;
        }
        let source = self.plane.sources.of(from.ip(), subscriber);
        let claimant = match transport {
            Transport::Udp if self.plane.allowances.take(source, now).is_err() => {
                return self.over_limit(query, &asker, (source, subscriber), now);
            }
            Transport::Udp => source,
            // The connection's task has taken its turn.
            Transport::Tcp | Transport::Tls => source.proven(),
        };
        let question = dns::question(query).ok().filter(|question| question.opcode == OPCODE_QUERY);
        let read = question.and_then(|question| Some((layout::additional(query, &question).ok()?, question)));
        let Some((Additional { edns, is_signed, end }, question)) = read else {
            return self.answer_form(query, from, &asker);
        };
        // What stands behind a message goes nowhere.
        let query = query.get(..end).unwrap_or(query);
        let udp_bytes_max = self.plane.settings.udp_answer_max;
        let asked = Asked { query, question: &question, edns, udp_bytes_max };
        let refuse = |refused, code, answer: Option<Vec<u8>>| {
            self.count(Event::Refused(refused));
            self.give_coded(&asker, answer.map(Cow::Owned), code);
            Taken::Answered
        };
        if edns.is_some_and(|edns| edns.version != 0) {
            return refuse(Refused::Operation, BAD_VERS, asked.empty(BAD_VERS));
        }
        if TRANSFERS.contains(&question.kind) {
            return refuse(Refused::Transfer, REFUSED, asked.empty(REFUSED));
        }
        if question.kind == TYPE_ANY {
            return refuse(Refused::Any, 0, asked.minimal_any());
        }
        let payer = holding.as_ref().and_then(Holding::counted);
        let form = match self.steer(&policy, payer, &question) {
            Steering::V4 => Form::Steered(Steered::V4),
            Steering::V6 => Form::Steered(Steered::V6),
            Steering::Service => Form::Steered(Steered::Service),
            Steering::Relay(_) => Form::AsItIs,
        };
        if let Form::Steered(steered) = form
            && let Some(own) = self.unheard_at_once(&asked, steered)
        {
            self.count(Event::Steered(steered));
            self.give(&asker, Some(Cow::Owned(own)));
            return Taken::Answered;
        }
        self.plane.look_for_tunnel(source, from.ip(), &question, now);
        let keeps = self.plane.stale.is_some();
        let key = keeps.then(|| Key::of(query, &question, edns.as_ref(), is_signed)).flatten();
        let place = match self.plane.under_way.take(claimant) {
            Ok(place) => place,
            Err(full) => {
                self.count(Event::Refused(Refused::InFlight));
                let is_own = transport == Transport::Udp && full == Full::Source;
                if is_own && self.send_to_tcp(&asked, &asker, source, now) {
                    return Taken::Answered;
                }
                let answer = self.stale(&asked, key.as_ref(), form, now).or_else(|| asked.empty(SERV_FAIL));
                let fit = |answer| self.fit(&asked, Cow::Owned(answer), transport == Transport::Udp);
                self.give(&asker, answer.map(fit));
                return Taken::Answered;
            }
        };
        let subscriber = subscriber.cloned().map(SubscriberKey::Session);
        drop(policy);
        let pending = Pending {
            asker: Some(asker),
            is_datagram: transport == Transport::Udp,
            query: query.into(),
            question,
            edns,
            is_signed,
            key,
            source,
            subscriber,
            form,
            asked: now,
            next_try: now,
            tries: 0,
            waiting: 0,
            tried: 0,
            heard: 0,
            server: 0,
            over_stream: transport != Transport::Udp,
            was_stream: false,
            streams_lost: 0,
            mixed: 0,
            altered: 0,
            failed_mixed: 0,
            again: None,
            asked_again: 0,
            failure: None,
            has_failed: false,
            alone: None,
            _place: place,
        };
        let ticket = self.table.borrow_mut().insert(Box::new(pending));
        self.try_next(ticket, now);
        Taken::Answered
    }

    /// The old answer to a question, ready to be given.
    fn stale(&self, asked: &Asked<'_>, key: Option<&Key>, form: Form, now: Monotonic) -> Option<Vec<u8>> {
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
    fn fit<'a>(&self, asked: &Asked<'_>, answer: Cow<'a, [u8]>, is_datagram: bool) -> Cow<'a, [u8]> {
        if is_datagram { asked.fit(answer, asked.datagram_max()) } else { answer }
    }

    /// Gives an answer, and counts it by the code in its header.
    pub(super) fn give(&self, asker: &Asker, answer: Option<Cow<'_, [u8]>>) {
        let code =
            answer.as_ref().and_then(|answer| answer.get(3)).map_or(0, |flags| u16::from(flags & 0x0f));
        self.give_coded(asker, answer, code);
    }

    /// Gives an answer, and counts it by its code.
    pub(super) fn give_coded(&self, asker: &Asker, answer: Option<Cow<'_, [u8]>>, code: u16) {
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
    pub(super) fn give_pending(&self, pending: &mut Pending, answer: Cow<'_, [u8]>) {
        let Some(asker) = pending.asker.take() else { return };
        let asked = pending.asked(self.plane.settings.udp_answer_max);
        let answer = self.fit(&asked, answer, pending.is_datagram);
        self.give(&asker, Some(answer));
    }

    /// Ends a query for which no server had an answer: what a server said of its failure; for silence the old answer, or
    /// SERVFAIL (RFC 8767 §6: who refuses or fails was heard, and may mean it).
    pub(super) fn fail(&self, ticket: Ticket, now: Monotonic) {
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

    /// Brings on every query whose time has come.
    fn expire(self: &Rc<Self>) {
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

/// Puts the client's id and question into an answer.
pub(super) fn restore(answer: &mut [u8], query: &[u8], question: &dns::Question) -> Option<()> {
    answer.get_mut(..2)?.copy_from_slice(query.get(..2)?);
    answer.get_mut(question.section.clone())?.copy_from_slice(query.get(question.section.clone())?);
    Some(())
}
