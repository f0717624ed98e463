//! A way to a server: a socket with a random source port for datagrams, or a connection over TCP or TLS.
//!
//! Each keeps what was asked over it, so that a reply is held against id, server and question exactly. All ways to one server
//! stand in [`Lanes`].

pub(super) mod connection;
mod lanes;
mod receive;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(super) use self::lanes::{GivenUp, Lanes};
pub(super) use self::receive::REPLIES_PER_CALL_MAX;
use super::letters;
use super::outbox::Outbox;
use super::pending::Ticket;
use crate::flow::time::Monotonic;

/// Queries sent from one source port before another takes its place.
const QUERIES_PER_PORT_MAX: usize = 4_096;
/// Time after which another source port takes its place.
const PORT_AGE_MAX: Duration = Duration::from_secs(60);
/// Queries asked over one connection: ids must stay rare enough to be drawn at random.
const QUERIES_PER_CONNECTION_MAX: usize = 16_384;
/// Time without a reply after which a connection to a server ends (RFC 7766 §6.2.3: the client closes first).
const IDLE: Duration = Duration::from_secs(10);
/// Draws of an id that is not in use.
const ID_DRAWS_MAX: usize = 16;

/// How queries leave.
enum Way {
    /// In datagrams from a port of its own, connected: the kernel drops what comes from elsewhere.
    Datagrams(UdpSocket),
    /// Over a connection, by its task.
    Stream(mpsc::Sender<Vec<u8>>),
}

/// What became of a query for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is written in its turn.
    Taken,
    /// As many wait as may.
    Full,
    /// The connection has ended.
    Closed,
}

/// One query that was sent.
pub(super) struct Tried {
    /// Whose it is.
    pub ticket: Ticket,
    /// The question section as it was sent.
    pub question: Box<[u8]>,
    /// How its name was written.
    pub written: letters::Written,
    /// Whether its reply is still wanted.
    pub is_waiting: bool,
}

/// Hashes ids. They are drawn by us at random, so that nobody chooses which fall together.
#[derive(Default)]
pub(super) struct IdHasher(u64);

/// Spreads what is hashed over all bits (2⁶⁴ divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(SPREAD);
        }
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = u64::from(id).wrapping_mul(SPREAD);
    }
}

/// A way to a server.
pub(super) struct Lane {
    /// The number of the server.
    pub server: usize,
    way: Way,
    /// What was sent, by id.
    pub tries: RefCell<HashMap<u16, Tried, BuildHasherDefault<IdHasher>>>,
    /// Replies that answer nothing.
    pub bad: Cell<u32>,
    /// Whether its connection stands; of datagrams always.
    is_open: Cell<bool>,
    opened: Monotonic,
    /// Its reading task.
    task: RefCell<Option<AbortHandle>>,
}

impl Lane {
    /// Whether replies come over a connection.
    pub(super) fn is_stream(&self) -> bool {
        match self.way {
            Way::Datagrams(_) => false,
            Way::Stream(_) => true,
        }
    }

    /// An id that is not in use here.
    pub(super) fn free_id(&self, mut draw: impl FnMut() -> Option<u16>) -> Option<u16> {
        let tries = self.tries.borrow();
        (0..ID_DRAWS_MAX).find_map(|_| draw().filter(|id| !tries.contains_key(id)))
    }

    /// Sends queries in datagrams; `lost` is told of those that the system did not take, with its word. How many it took.
    pub(super) fn send_all<T>(&self, queries: &mut Outbox<T>, lost: impl FnMut(T, Errno)) -> usize {
        match &self.way {
            // Past the event loop, which calls a new socket not ready until it has first looked at it.
            Way::Datagrams(socket) => queries.send(socket, lost),
            Way::Stream(_) => 0,
        }
    }

    /// Hands a query to the connection.
    pub(super) fn write(&self, query: Vec<u8>) -> Written {
        match &self.way {
            Way::Datagrams(_) => Written::Closed,
            Way::Stream(writes) => match writes.try_send(query) {
                Ok(()) => Written::Taken,
                Err(mpsc::error::TrySendError::Full(_)) => Written::Full,
                Err(mpsc::error::TrySendError::Closed(_)) => Written::Closed,
            },
        }
    }

    /// Whether another is to take its place.
    pub(super) fn is_worn(&self, now: Monotonic) -> bool {
        let asked = self.tries.borrow().len();
        match &self.way {
            Way::Datagrams(_) => asked >= QUERIES_PER_PORT_MAX || now.since(self.opened) > PORT_AGE_MAX,
            Way::Stream(writes) => asked >= QUERIES_PER_CONNECTION_MAX || writes.is_closed(),
        }
    }

    /// Ends its task, and with it the socket.
    fn end(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
        }
    }
}

/// A way on which nothing was sent yet.
fn new_lane(server: usize, way: Way, opened: Monotonic) -> Rc<Lane> {
    let is_open = match way {
        Way::Datagrams(_) => true,
        Way::Stream(_) => false,
    };
    Rc::new(Lane {
        is_open: Cell::new(is_open),
        server,
        way,
        tries: RefCell::default(),
        bad: Cell::new(0),
        opened,
        task: RefCell::default(),
    })
}
