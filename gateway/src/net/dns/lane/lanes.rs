//! All ways to one server, of one worker: which of them a query takes, and what becomes of those that are worn, guessed at or
//! lost.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::connection::converse;
use super::receive::receive;
use super::{IDLE, Lane, Way, new_lane};
use crate::flow::time::Monotonic;
use crate::net::dns::relay::Relay;
use crate::net::dns::settings::Server;

/// Queries that wait to be written to a connection.
const WRITES_MAX: usize = 1_024;

/// The ways to one server, of one worker.
pub(in crate::net::dns) struct Lanes {
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
pub(in crate::net::dns) enum GivenUp {
    /// It is closed: what waits there is asked again, over TCP where that is not closed too.
    Closed,
    /// TCP is closed. Another port takes its place for what is asked from here on; what waits there goes on waiting.
    Replaced,
}

impl Lanes {
    /// No way is open yet.
    pub(in crate::net::dns) fn new(server: Server, number: usize, ports: usize) -> Self {
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
    pub(in crate::net::dns) fn is_tls(&self) -> bool {
        self.server.tls.is_some()
    }

    /// Whether a query goes over a connection, which is `wanted` for it. After bad replies all do, once one stands: until
    /// then, and where none can be made, a fresh port is better than no answer.
    pub(in crate::net::dns) fn uses_stream(&self, wanted: bool, now: Monotonic) -> bool {
        let is_open = || self.stream.as_ref().is_none_or(|lane| lane.is_open.get());
        self.is_tls() || (now >= self.closed_until && (wanted || (now < self.stream_until && is_open())))
    }

    /// A way for datagrams, chosen by `random`.
    ///
    /// # Errors
    /// What the system says when no socket can be made.
    pub(in crate::net::dns) fn port(
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
    pub(in crate::net::dns) fn stream(
        &mut self,
        relay: &Rc<Relay>,
        now: Monotonic,
        connect: Duration,
    ) -> Rc<Lane> {
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
    pub(in crate::net::dns) fn give_up(
        &mut self,
        lane: &Rc<Lane>,
        now: Monotonic,
        linger: Duration,
    ) -> (GivenUp, bool) {
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
    pub(in crate::net::dns) fn close(&mut self, lane: &Rc<Lane>) {
        self.ending.retain(|(known, _)| !Rc::ptr_eq(known, lane));
        lane.end();
    }

    /// Forgets a connection that has ended; when it never stood, none is tried for a while.
    pub(in crate::net::dns) fn forget_stream(&mut self, lane: &Rc<Lane>, was_open: bool, now: Monotonic) {
        if self.stream.as_ref().is_some_and(|known| Rc::ptr_eq(known, lane)) {
            self.stream = None;
        }
        if !was_open && !self.is_tls() {
            self.closed_until = now.plus(CLOSED_PAUSE);
            self.stream_until = Monotonic::default();
        }
    }

    /// Ends ways whose last replies have had their time.
    pub(in crate::net::dns) fn sweep(&mut self, now: Monotonic) {
        self.ending.retain(|(lane, until)| {
            let stays = now < *until;
            if !stays {
                lane.end();
            }
            stays
        });
    }
}
