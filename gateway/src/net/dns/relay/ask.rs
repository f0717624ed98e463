//! Taking a client's query: it is admitted, read, and answered by us, or put among those that the servers are asked.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{Relay, Taken};
use crate::flow::session::{Holding, SubscriberKey};
use crate::flow::steer::Steering;
use crate::flow::time::Monotonic;
use crate::net::dns::cache::Key;
use crate::net::dns::count::{Event, Refused, Steered, Transport};
use crate::net::dns::limit::{Full, UnderWayPlace};
use crate::net::dns::message::{Asked, BAD_VERS, REFUSED, SERV_FAIL};
use crate::net::dns::pending::{Asker, Form, Pending};
use crate::net::dns::source::Source;
use crate::wire::dns::layout::{self, Additional, Edns};
use crate::wire::dns::{self, OPCODE_QUERY, Question, TYPE_ANY};

/// Types IXFR and AXFR (RFC 1995, RFC 5936): zones are not had here.
const TRANSFERS: [u16; 2] = [251, 252];

/// A query with one question whose every record can be read.
struct Readable<'q> {
    /// As the client wrote it.
    query: &'q [u8],
    question: Question,
    edns: Option<Edns>,
    /// Whether a signature covers it.
    is_signed: bool,
}

impl<'q> Readable<'q> {
    /// Reads a query; none when it is another message.
    fn of(query: &'q [u8]) -> Option<Self> {
        let question = dns::question(query).ok().filter(|question| question.opcode == OPCODE_QUERY)?;
        let Additional { edns, is_signed, end } = layout::additional(query, &question).ok()?;
        // What stands behind a message goes nowhere.
        let query = query.get(..end).unwrap_or(query);
        Some(Self { query, question, edns, is_signed })
    }

    /// The query as answers are built for it.
    fn asked(&self, udp_bytes_max: usize) -> Asked<'_> {
        Asked { query: self.query, question: &self.question, edns: self.edns, udp_bytes_max }
    }

    /// What its answer is kept by.
    fn key(&self) -> Option<Key> {
        Key::of(self.query, &self.question, self.edns.as_ref(), self.is_signed)
    }
}

/// What is settled of a query before a server is asked.
struct Errand {
    /// When it came.
    came: Monotonic,
    /// How it came.
    transport: Transport,
    /// Whom it counts for.
    source: Source,
    /// What its answer is made into.
    form: Form,
    /// What its answer is kept by; none: it is not.
    key: Option<Key>,
}

impl Relay {
    /// Takes a query. Its answer goes to `asker`, at once or in its time.
    pub(in crate::net::dns) fn ask(
        self: &Rc<Self>,
        query: &[u8],
        from: SocketAddr,
        transport: Transport,
        asker: Asker,
    ) -> Taken {
        self.count(Event::Query(transport));
        let policy = self.shared.policy.load();
        let now = self.now();
        let holding = self.shared.sessions.find_at(from.ip(), Some(from.port()));
        let subscriber = holding.as_ref().map(|holding| &holding.session);
        if let Some(refused) = self.unwelcome(query, from, subscriber) {
            self.count(Event::Refused(refused));
            return Taken::Dropped;
        }
        let source = self.plane.sources.of(from.ip(), subscriber);
        let Some(claimant) = self.claimant(source, transport, now) else {
            return self.over_limit(query, &asker, (source, subscriber), now);
        };
        let Some(read) = Readable::of(query) else { return self.answer_form(query, from, &asker) };
        let asked = read.asked(self.plane.settings.udp_answer_max);
        if let Some((refused, code, answer)) = refusal(&asked) {
            self.count(Event::Refused(refused));
            self.give_coded(&asker, answer.map(Cow::Owned), code);
            return Taken::Answered;
        }
        let payer = holding.as_ref().and_then(Holding::counted);
        let form = form_of(self.steer(&policy, payer, &read.question));
        if let Form::Steered(steered) = form
            && let Some(own) = self.unheard_at_once(&asked, steered)
        {
            self.count(Event::Steered(steered));
            self.give(&asker, Some(Cow::Owned(own)));
            return Taken::Answered;
        }
        self.plane.look_for_tunnel(source, from.ip(), &read.question, now);
        let keeps = self.plane.stale.is_some();
        let key = keeps.then(|| read.key()).flatten();
        let errand = Errand { came: now, transport, source, form, key };
        let place = match self.plane.under_way.take(claimant) {
            Ok(place) => place,
            Err(full) => return self.answer_without_room(&asked, &asker, &errand, full),
        };
        let subscriber = subscriber.cloned().map(SubscriberKey::Session);
        drop(policy);
        let pending = pending(read, errand, asker, subscriber, place);
        let ticket = self.table.borrow_mut().insert(Box::new(pending));
        self.try_next(ticket, now);
        Taken::Answered
    }

    /// Who takes a place among the queries under way; none when a datagram's source has used up its allowance.
    fn claimant(&self, source: Source, transport: Transport, now: Monotonic) -> Option<Source> {
        match transport {
            Transport::Udp => self.plane.allowances.take(source, now).is_ok().then_some(source),
            // The connection's task has taken its turn.
            Transport::Tcp | Transport::Tls => Some(source.proven()),
        }
    }

    /// Answers a query for which there is no room among those under way: a datagram's source that has too many may come over
    /// TCP, else the old answer serves.
    fn answer_without_room(&self, asked: &Asked<'_>, asker: &Asker, errand: &Errand, full: Full) -> Taken {
        self.count(Event::Refused(Refused::InFlight));
        let is_datagram = errand.transport == Transport::Udp;
        let is_own = is_datagram && full == Full::Source;
        if is_own && self.send_to_tcp(asked, asker, errand.source, errand.came) {
            return Taken::Answered;
        }
        let answer = self.stale(asked, errand.key.as_ref(), errand.form, errand.came);
        let answer = answer.or_else(|| asked.empty(SERV_FAIL));
        let fit = |answer| self.fit(asked, Cow::Owned(answer), is_datagram);
        self.give(asker, answer.map(fit));
        Taken::Answered
    }
}

/// Why a query that can be read is not passed on, and its answer with the answer's code; none when it is passed on.
fn refusal(asked: &Asked<'_>) -> Option<(Refused, u16, Option<Vec<u8>>)> {
    if asked.edns.is_some_and(|edns| edns.version != 0) {
        return Some((Refused::Operation, BAD_VERS, asked.empty(BAD_VERS)));
    }
    if TRANSFERS.contains(&asked.question.kind) {
        return Some((Refused::Transfer, REFUSED, asked.empty(REFUSED)));
    }
    if asked.question.kind == TYPE_ANY {
        return Some((Refused::Any, 0, asked.minimal_any()));
    }
    None
}

/// What the answer of a server is made into.
fn form_of(steering: Steering) -> Form {
    match steering {
        Steering::V4 => Form::Steered(Steered::V4),
        Steering::V6 => Form::Steered(Steered::V6),
        Steering::Service => Form::Steered(Steered::Service),
        Steering::Relay(_) => Form::AsItIs,
    }
}

/// A query that no server was asked yet.
fn pending(
    read: Readable<'_>,
    errand: Errand,
    asker: Asker,
    subscriber: Option<SubscriberKey>,
    place: UnderWayPlace,
) -> Pending {
    let is_datagram = errand.transport == Transport::Udp;
    Pending {
        asker: Some(asker),
        is_datagram,
        query: read.query.into(),
        question: read.question,
        edns: read.edns,
        is_signed: read.is_signed,
        key: errand.key,
        source: errand.source,
        subscriber,
        form: errand.form,
        asked: errand.came,
        next_try: errand.came,
        tries: 0,
        waiting: 0,
        tried: 0,
        heard: 0,
        server: 0,
        over_stream: !is_datagram,
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
    }
}
