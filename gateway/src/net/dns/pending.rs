//! Queries under way: each in a numbered place with a generation, so that a late reply to one never meets another.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, mpsc};

use super::cache::Key;
use super::count::Steered;
use super::datagram::{Listener, Posted};
use super::limit::UnderWayPlace;
use super::message::Asked;
use super::source::Source;
use crate::flow::session::SubscriberKey;
use crate::flow::time::Monotonic;
use crate::wire::dns::Question;
use crate::wire::dns::layout::Edns;

/// Where an answer goes.
pub(super) enum Asker {
    /// Back in a datagram.
    Datagram {
        /// The socket it came to.
        listener: Rc<Listener>,
        /// Who asked.
        to: std::net::SocketAddr,
        /// The address it was asked at.
        at: Option<std::net::IpAddr>,
    },
    /// To the task of its connection, which has room for it.
    Connection(Cell<Option<mpsc::OwnedPermit<Vec<u8>>>>, Rc<Backlog>),
}

impl Asker {
    /// Gives the answer. It is lost when the client has gone.
    pub(super) fn give(&self, answer: Cow<'_, [u8]>) -> Posted {
        match self {
            Self::Datagram { listener, to, at } => listener.post(&answer, *to, *at),
            Self::Connection(room, backlog) => match room.take().filter(|_| backlog.add(answer.len())) {
                Some(room) => {
                    room.send(answer.into_owned());
                    Posted::Sent
                }
                None => Posted::Lost,
            },
        }
    }

    /// The socket that answers wait at to be sent together.
    pub(super) const fn listener(&self) -> Option<&Rc<Listener>> {
        match self {
            Self::Datagram { listener, .. } => Some(listener),
            Self::Connection(..) => None,
        }
    }
}

/// Bytes of answers that wait to be written on one connection. Somebody's own zone gives answers of 64 KiB, and who does not read
/// them would hold as many as he may ask.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Cell<usize>,
    is_over: Cell<bool>,
    changed: Notify,
}

/// With so many bytes no other query is read.
const BACKLOG_PAUSE: usize = 128 << 10;
/// With more the connection ends: its client does not read.
const BACKLOG_MAX: usize = 1 << 20;

impl Backlog {
    /// One more answer waits; false when that is too much, and the connection is to end.
    fn add(&self, bytes: usize) -> bool {
        let sum = self.bytes.get().saturating_add(bytes);
        if sum > BACKLOG_MAX {
            self.is_over.set(true);
            self.changed.notify_one();
            return false;
        }
        self.bytes.set(sum);
        true
    }

    /// So many bytes were written.
    pub(super) fn written(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
        self.changed.notify_one();
    }

    /// Waits until another query may be read; false when the connection is to end.
    pub(super) async fn may_read(&self) -> bool {
        while self.bytes.get() >= BACKLOG_PAUSE && !self.is_over.get() {
            self.changed.notified().await;
        }
        !self.is_over.get()
    }
}

/// What the answer of a server is made into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Passed on as it is.
    AsItIs,
    /// That of a steered name: ours, where there is one.
    Steered(Steered),
}

/// A query under way.
pub(super) struct Pending {
    /// Where the answer goes; none when an old one was given and the new one is only kept.
    pub asker: Option<Asker>,
    /// Whether answers must fit into a datagram.
    pub is_datagram: bool,
    /// The query as the client wrote it.
    pub query: Box<[u8]>,
    /// Its question.
    pub question: Question,
    /// Its OPT record.
    pub edns: Option<Edns>,
    /// Whether a signature covers it (TSIG, SIG(0)): then it is sent as it is but for its id.
    pub is_signed: bool,
    /// What its answer is kept by; none: it is not.
    pub key: Option<Key>,
    /// Whom it counts for.
    pub source: Source,
    /// Who asks, as trusted answers have it.
    pub subscriber: Option<SubscriberKey>,
    /// What its answer is made into.
    pub form: Form,
    /// When it came.
    pub asked: Monotonic,
    /// When the next try is due.
    pub next_try: Monotonic,
    /// Tries made.
    pub tries: u8,
    /// Tries that may still be answered.
    pub waiting: u8,
    /// Servers tried, a bit each.
    pub tried: u16,
    /// Servers that said something to it, or could not be asked for no fault of theirs, a bit each.
    pub heard: u16,
    /// The server tried last.
    pub server: usize,
    /// Whether TCP is used where the server takes it: its client uses it, or somebody forges replies.
    pub over_stream: bool,
    /// Whether the last try went over a connection.
    pub was_stream: bool,
    /// Servers that did not answer it over a connection, a bit each: they are asked in datagrams.
    pub streams_lost: u16,
    /// Servers that were asked in mixed letters, a bit each.
    pub mixed: u16,
    /// Servers whose reply had other letters, a bit each.
    pub altered: u16,
    /// Servers that failed it in mixed letters and may know it in lower case, a bit each.
    pub failed_mixed: u16,
    /// The server that is asked again when the next try is due, in other letters.
    pub again: Option<usize>,
    /// How often it was asked again because its port was given up.
    pub asked_again: u8,
    /// What a server answered that is of no use, for when nothing better comes.
    pub failure: Option<Vec<u8>>,
    /// Whether a server said that it failed, refused or knows no such name: then no old answer is given for what it said.
    pub has_failed: bool,
    /// The answer with the name's own addresses, given when it has none of the other family: whether it has is asked.
    pub alone: Option<Vec<u8>>,
    /// Its place among all under way.
    pub _place: UnderWayPlace,
}

impl Pending {
    /// Asks for another type of the same name.
    pub(super) fn ask_for(&mut self, kind: u16) {
        self.question.kind = kind;
        // The last four bytes of the section are type and class.
        let at = self.question.section.end.saturating_sub(4);
        if let Some(place) = self.query.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = kind.to_be_bytes();
        }
    }

    /// Forgets the tries that were made, as for another query of the same client, who has waited since the first.
    pub(super) fn begin_again(&mut self, now: Monotonic) {
        self.next_try = now;
        (self.tries, self.waiting, self.asked_again) = (0, 0, 0);
        (self.tried, self.heard, self.streams_lost) = (0, 0, 0);
        (self.mixed, self.altered, self.failed_mixed, self.again) = (0, 0, 0, None);
        self.over_stream = !self.is_datagram;
        (self.failure, self.has_failed) = (None, false);
    }

    /// The query as answers are built for it.
    pub(super) fn asked(&self, udp_bytes_max: usize) -> Asked<'_> {
        Asked { query: &self.query, question: &self.question, edns: self.edns, udp_bytes_max }
    }
}

/// The bit of a server.
pub(super) fn bit_of(server: usize) -> u16 {
    u32::try_from(server).ok().and_then(|server| 1_u16.checked_shl(server)).unwrap_or(0)
}

/// Number and generation of a query under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    place: usize,
    generation: u32,
}

/// One place of the table.
#[derive(Default)]
struct Slot {
    generation: u32,
    pending: Option<Box<Pending>>,
}

/// Queries under way. Its size follows the most that were under way at once, which `in_flight_max` bounds.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Table {
    /// Puts a query in.
    pub(super) fn insert(&mut self, pending: Box<Pending>) -> Ticket {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len().saturating_sub(1)
        });
        let mut generation = 0;
        if let Some(slot) = self.slots.get_mut(place) {
            slot.pending = Some(pending);
            generation = slot.generation;
        }
        Ticket { place, generation }
    }

    /// The query of a ticket, while it is under way.
    pub(super) fn get(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        let slot = self.slots.get_mut(ticket.place)?;
        slot.pending.as_deref_mut().filter(|_| slot.generation == ticket.generation)
    }

    /// Takes a query out; its ticket is worth nothing from here on.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Box<Pending>> {
        let slot = self.slots.get_mut(ticket.place)?;
        if slot.generation != ticket.generation {
            return None;
        }
        let pending = slot.pending.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.place);
        Some(pending)
    }

    /// All queries under way with their tickets.
    pub(super) fn all(&self) -> impl Iterator<Item = (Ticket, &Pending)> {
        self.slots.iter().enumerate().filter_map(|(place, slot)| {
            let pending = slot.pending.as_deref()?;
            Some((Ticket { place, generation: slot.generation }, pending))
        })
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn f14_answers_that_nobody_reads_have_a_limit_on_each_connection() {
        let backlog = Rc::new(Backlog::default());
        let (answers, mut queue) = mpsc::channel::<Vec<u8>>(128);
        let give = |length: usize| {
            let room = answers.clone().try_reserve_owned().unwrap();
            let asker = Asker::Connection(Cell::new(Some(room)), Rc::clone(&backlog));
            matches!(asker.give(Cow::Owned(vec![0; length])), Posted::Sent)
        };
        assert!(give(BACKLOG_PAUSE - 1) && backlog.may_read().await);
        assert!(give(1) && give(BACKLOG_MAX - BACKLOG_PAUSE), "at the limit");
        // No other query is read until something is written.
        assert!(tokio::time::timeout(Duration::from_millis(10), backlog.may_read()).await.is_err());
        let length = queue.recv().await.unwrap().len();
        backlog.written(length);
        backlog.written(BACKLOG_MAX - BACKLOG_PAUSE);
        assert!(backlog.may_read().await);
        assert!(!give(BACKLOG_MAX), "one byte over");
        assert!(!backlog.may_read().await, "and the connection ends");
    }
}
