//! Ways to a server: sockets with random source ports for datagrams, and one connection over TCP or TLS. Each keeps what
//! was asked over it, so that a reply is held against id, server and question exactly.

pub(super) mod connection;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::connection::converse;
use super::letters;
use super::outbox::Outbox;
use super::pending::Ticket;
use super::relay::{BUFFER_BYTES, Relay};
use super::settings::Server;
use crate::flow::time::Monotonic;

/// Queries sent from one source port before another takes its place.
const QUERIES_PER_PORT_MAX: usize = 4_096;
/// Time after which another source port takes its place.
const PORT_AGE_MAX: Duration = Duration::from_secs(60);
/// Queries that wait to be written to a connection.
const WRITES_MAX: usize = 1_024;
/// Queries asked over one connection: ids must stay rare enough to be drawn at random.
const QUERIES_PER_CONNECTION_MAX: usize = 16_384;
/// Time without a reply after which a connection to a server ends (RFC 7766 §6.2.3: the client closes first).
const IDLE: Duration = Duration::from_secs(10);
/// Draws of an id that is not in use.
const ID_DRAWS_MAX: usize = 16;
/// Replies read in one call; then other work gets its turn.
pub(super) const REPLIES_PER_CALL_MAX: usize = 32;

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

/// The ways to one server, of one worker.
pub(super) struct Lanes {
    server: Server,
    number: usize,
    ports: Vec<Option<Rc<Lane>>>,
    stream: Option<Rc<Lane>>,
    /// Ways given up, which may still bring replies, until then.
    ending: Vec<(Rc<Lane>, Monotonic)>,
    /// Until when a connection is used for what came in datagrams.
    stream_until: Monotonic,
    /// Until when no connection is tried: the last one was not made.
    closed_until: Monotonic,
    /// Until when nothing more is said of bad replies.
    silent_until: Monotonic,
}

/// How long TCP is used after bad replies.
const STREAM_PAUSE: Duration = Duration::from_secs(30);
/// How long TCP is not tried after a connection could not be made.
const CLOSED_PAUSE: Duration = Duration::from_secs(60);
/// Time between two lines of the log about the same.
const SILENCE: Duration = Duration::from_secs(60);

/// What becomes of a port with too many bad replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It is closed: what waits there is asked again, over TCP where that is not closed too.
    Closed,
    /// TCP is closed. Another port takes its place for what is asked from here on; what waits there goes on waiting.
    Replaced,
}

impl Lanes {
    /// No way is open yet.
    pub(super) fn new(server: Server, number: usize, ports: usize) -> Self {
        let ports = (0..ports).map(|_| None).collect();
        Self {
            server,
            number,
            ports,
            stream: None,
            ending: Vec::new(),
            stream_until: Monotonic::default(),
            closed_until: Monotonic::default(),
            silent_until: Monotonic::default(),
        }
    }

    /// Whether the server is asked over connections alone.
    pub(super) fn is_tls(&self) -> bool {
        self.server.tls.is_some()
    }

    /// Whether a query goes over a connection, which is `wanted` for it. After bad replies all do, once one stands: until
    /// then, and where none can be made, a fresh port is better than no answer.
    pub(super) fn uses_stream(&self, wanted: bool, now: Monotonic) -> bool {
        let is_open = || self.stream.as_ref().is_none_or(|lane| lane.is_open.get());
        self.is_tls() || (now >= self.closed_until && (wanted || (now < self.stream_until && is_open())))
    }

    /// A way for datagrams, chosen by `random`.
    ///
    /// # Errors
    /// What the system says when no socket can be made.
    pub(super) fn port(
        &mut self,
        relay: &Rc<Relay>,
        random: u16,
        now: Monotonic,
        linger: Duration,
    ) -> io::Result<Rc<Lane>> {
        let chosen = usize::from(random).checked_rem(self.ports.len()).unwrap_or(0);
        let Some(slot) = self.ports.get_mut(chosen) else { return Err(io::ErrorKind::InvalidInput.into()) };
        if let Some(lane) = slot {
            if !lane.is_worn(now) {
                return Ok(Rc::clone(lane));
            }
            self.ending.push((Rc::clone(lane), now.plus(linger)));
        }
        let unspecified = match self.server.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        // Port 0: the kernel draws one at random (udp(7), RFC 6056 §3.3.1).
        let socket = std::net::UdpSocket::bind(unspecified)?;
        socket.connect(self.server.address)?;
        socket.set_nonblocking(true)?;
        let lane = new_lane(self.number, Way::Datagrams(UdpSocket::from_std(socket)?), now);
        let task = tokio::task::spawn_local(receive(Rc::clone(relay), Rc::clone(&lane)));
        *lane.task.borrow_mut() = Some(task.abort_handle());
        *slot = Some(Rc::clone(&lane));
        Ok(lane)
    }

    /// The connection, opened when there is none.
    pub(super) fn stream(&mut self, relay: &Rc<Relay>, now: Monotonic, connect: Duration) -> Rc<Lane> {
        if let Some(lane) = &self.stream {
            if !lane.is_worn(now) {
                return Rc::clone(lane);
            }
            self.ending.push((Rc::clone(lane), now.plus(IDLE)));
        }
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        let lane = new_lane(self.number, Way::Stream(writes), now);
        let (relay, server, own) = (Rc::clone(relay), self.server.clone(), Rc::clone(&lane));
        let task = tokio::task::spawn_local(async move {
            let _ = converse(&relay, &own, &server, queue, connect).await;
            relay.lane_lost(&own, own.is_open.get());
        });
        *lane.task.borrow_mut() = Some(task.abort_handle());
        self.stream = Some(Rc::clone(&lane));
        lane
    }

    /// Gives up a way for datagrams: at once, and datagrams for a while, where TCP is not known to be closed. What is given
    /// up, and whether to say so.
    pub(super) fn give_up(&mut self, lane: &Rc<Lane>, now: Monotonic, linger: Duration) -> (GivenUp, bool) {
        for slot in &mut self.ports {
            if slot.as_ref().is_some_and(|known| Rc::ptr_eq(known, lane)) {
                *slot = None;
            }
        }
        let is_told = now >= self.silent_until;
        if is_told {
            self.silent_until = now.plus(SILENCE);
        }
        if now < self.closed_until {
            self.end_idle();
            // As many as are reckoned with in the process's room for descriptors.
            if self.ending.len() < self.ports.len() {
                self.ending.push((Rc::clone(lane), now.plus(linger)));
                return (GivenUp::Replaced, is_told);
            }
        } else {
            self.stream_until = now.plus(STREAM_PAUSE);
        }
        lane.end();
        (GivenUp::Closed, is_told)
    }

    /// Ends ways given up on which nothing is waited for.
    fn end_idle(&mut self) {
        self.ending.retain(|(lane, _)| {
            let is_awaited = lane.tries.borrow().values().any(|tried| tried.is_waiting);
            if !is_awaited {
                lane.end();
            }
            is_awaited
        });
    }

    /// Closes a way for datagrams that was replaced. The task that calls ends when it next waits.
    pub(super) fn close(&mut self, lane: &Rc<Lane>) {
        self.ending.retain(|(known, _)| !Rc::ptr_eq(known, lane));
        lane.end();
    }

    /// Forgets a connection that has ended; when it never stood, none is tried for a while.
    pub(super) fn forget_stream(&mut self, lane: &Rc<Lane>, was_open: bool, now: Monotonic) {
        if self.stream.as_ref().is_some_and(|known| Rc::ptr_eq(known, lane)) {
            self.stream = None;
        }
        if !was_open && !self.is_tls() {
            self.closed_until = now.plus(CLOSED_PAUSE);
            self.stream_until = Monotonic::default();
        }
    }

    /// Ends ways whose last replies have had their time.
    pub(super) fn sweep(&mut self, now: Monotonic) {
        self.ending.retain(|(lane, until)| {
            let stays = now < *until;
            if !stays {
                lane.end();
            }
            stays
        });
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

/// Receives replies to datagrams until the way ends.
async fn receive(relay: Rc<Relay>, lane: Rc<Lane>) {
    let Way::Datagrams(socket) = &lane.way else { return };
    loop {
        // ICMP says that nobody listens there (udp(7), "ECONNREFUSED"): an error without anything to read.
        let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await else { return };
        if ready.is_error() {
            let taken: io::Result<()> = socket.try_io(Interest::ERROR, || match socket.take_error()? {
                Some(error) => Err(error),
                None => Err(io::ErrorKind::WouldBlock.into()),
            });
            if taken.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                relay.lane_refused(&lane);
            }
        }
        let mut lengths = [0; REPLIES_PER_CALL_MAX];
        let mut count = 0;
        let received = socket.try_io(Interest::READABLE, || {
            count = receive_some(socket, &mut relay.buffer.borrow_mut(), &mut lengths)?;
            // A call that is not filled leaves nothing: the event loop is told so without another call.
            if count < REPLIES_PER_CALL_MAX { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        {
            let mut buffer = relay.buffer.borrow_mut();
            for (place, length) in buffer.chunks_exact_mut(BUFFER_BYTES).zip(lengths).take(count) {
                relay.replied(&lane, place.get_mut(..length).unwrap_or_default());
            }
        }
        if let Err(error) = received
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::debug!(server = lane.server, %error, "server not reached");
            relay.lane_refused(&lane);
        }
        tokio::task::yield_now().await;
    }
}

/// Receives the replies that have come (recvmmsg(2)), each into its part of `buffer`; how many, with their lengths.
fn receive_some(
    socket: &UdpSocket,
    buffer: &mut [u8],
    lengths: &mut [usize; REPLIES_PER_CALL_MAX],
) -> io::Result<usize> {
    let mut parts = buffer.chunks_exact_mut(BUFFER_BYTES);
    let mut slices: [[IoSliceMut<'_>; 1]; REPLIES_PER_CALL_MAX] =
        std::array::from_fn(|_| [IoSliceMut::new(parts.next().unwrap_or_default())]);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(REPLIES_PER_CALL_MAX, None);
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_DONTWAIT, None)?;
    let mut count = 0_usize;
    for (length, reply) in lengths.iter_mut().zip(received) {
        *length = reply.bytes;
        count = count.saturating_add(1);
    }
    Ok(count)
}
