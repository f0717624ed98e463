//! Connections to origins: only where the rules permit, each try with its time limit; of a name's addresses in a race (see
//! [`crate::flow::race`]).

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::timeout;

use super::own_ends::StreamEnd;
use crate::flow::race::{Race, STAGGER, Step, TRIED_MAX};
use crate::flow::silence::Failure;
use crate::flow::time::Monotonic;
use crate::net::node::event::Event;
use crate::net::node::worker::Worker;
use crate::net::sys::socket;
use crate::net::tcp::stream::TcpStream;

/// Addresses of one name that are looked at for those that are tried.
pub const ADDRESSES_MAX: usize = 32;

/// How long after it was connected a connection of ours may come back: what it carries first is on its way by then.
const RETURN_MAX: Duration = Duration::from_secs(5);

/// Who speaks first on a connection to an origin, as far as we know when we dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The subscriber, with a hello of TLS or HTTP, whose servers say nothing before they are asked.
    Hello,
    /// The subscriber, with bytes that nobody has read.
    Bytes,
    /// It may be the origin.
    Unknown,
}

/// Why no origin was reached.
#[derive(Debug)]
pub enum DialError {
    /// Private, our own, or no address at all.
    NotPermitted,
    /// The last try's failure.
    Connect(io::Error),
}

/// Connects to the one of `destinations` that may be dialled and answers first, each try within `upstream.connect_timeout`. The
/// subscriber's first bytes are at hand.
///
/// # Errors
/// [`DialError::NotPermitted`] when no destination may be dialled, else what the last one said.
pub async fn dial(
    worker: &Worker,
    destinations: impl IntoIterator<Item = SocketAddr>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let rules = &worker.shared.dial;
    let mut permitted = destinations.into_iter().filter_map(|destination| rules.target(destination));
    let Some(first) = permitted.next() else { return Err(DialError::NotPermitted) };
    let Some(second) = permitted.next() else { return dial_one(worker, first).await };
    let mut targets = vec![first, second];
    targets.extend(permitted.take(ADDRESSES_MAX.saturating_sub(2)));
    worker.failures.borrow_mut().sort(&mut targets, worker.shared.clock.monotonic());
    targets.truncate(TRIED_MAX);
    let mut runners = Runners { worker, targets: &targets, under_way: Vec::with_capacity(1) };
    runners.race().await
}

/// Connects to the only destination there is.
async fn dial_one(worker: &Worker, target: SocketAddr) -> Result<(TcpStream, SocketAddr), DialError> {
    let limit = worker.shared.limits.connect_timeout;
    match timeout(limit, connect(worker, target, First::Hello, limit)).await {
        Ok(Ok(origin)) => Ok((origin, target)),
        Ok(Err(error)) => Err(DialError::Connect(error)),
        Err(_) => Err(DialError::Connect(io::ErrorKind::TimedOut.into())),
    }
}

/// An attempt under way.
struct Runner<'r> {
    target: SocketAddr,
    begun: Monotonic,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + 'r>>,
}

/// A name's addresses in a race.
struct Runners<'r> {
    worker: &'r Worker,
    targets: &'r [SocketAddr],
    under_way: Vec<Runner<'r>>,
}

impl<'r> Runners<'r> {
    /// Lets them run: whoever answers first, or what the last one said.
    async fn race(&mut self) -> Result<(TcpStream, SocketAddr), DialError> {
        let mut race = Race::new(self.targets.len(), self.now());
        let mut outcome = io::Error::from(io::ErrorKind::TimedOut);
        loop {
            let now = self.now();
            match race.step(now) {
                Step::Begin(number) => self.begin(number, now),
                Step::Lost => return Err(DialError::Connect(outcome)),
                Step::Wait(next) => {
                    let end = self.under_way.iter().map(|runner| self.end_of(runner)).min();
                    let until = next.into_iter().chain(end).min().unwrap_or(now);
                    match timeout(until.since(now), poll_fn(|context| self.poll(context))).await {
                        Ok((runner, Ok(origin))) => {
                            self.note_won(&runner);
                            return Ok((origin, runner.target));
                        }
                        Ok((runner, Err(error))) => {
                            if failure_of(&error).is_some() {
                                self.note_failed(&runner);
                            }
                            race.failed(self.now());
                            outcome = error;
                        }
                        Err(_) => {
                            while let Some(runner) = self.take_overdue() {
                                self.note_failed(&runner);
                                race.failed(self.now());
                                outcome = io::ErrorKind::TimedOut.into();
                            }
                        }
                    }
                }
            }
        }
    }

    /// Begins with the target of this number.
    fn begin(&mut self, number: usize, now: Monotonic) {
        // The race counts as many as there are.
        let Some(target) = self.targets.get(number).copied() else { return };
        let (worker, limit) = (self.worker, self.worker.shared.limits.connect_timeout);
        let connecting = Box::pin(connect(worker, target, First::Hello, limit));
        self.under_way.push(Runner { target, begun: now, connecting });
    }

    /// The first of those under way that has come to something.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Runner<'r>, io::Result<TcpStream>)> {
        for index in 0..self.under_way.len() {
            let Some(runner) = self.under_way.get_mut(index) else { break };
            if let Poll::Ready(outcome) = runner.connecting.as_mut().poll(context) {
                return Poll::Ready((self.under_way.remove(index), outcome));
            }
        }
        Poll::Pending
    }

    /// One whose time is over.
    fn take_overdue(&mut self) -> Option<Runner<'r>> {
        let now = self.now();
        let index = self.under_way.iter().position(|runner| self.end_of(runner) <= now)?;
        Some(self.under_way.remove(index))
    }

    /// When a runner's time is over.
    fn end_of(&self, runner: &Runner<'_>) -> Monotonic {
        runner.begun.plus(self.worker.shared.limits.connect_timeout)
    }

    /// One has failed.
    fn note_failed(&self, runner: &Runner<'_>) {
        self.worker.failures.borrow_mut().failed(runner.target, self.now());
    }

    /// One has won; those that had their time before it and said nothing are tried behind others from here on.
    fn note_won(&self, winner: &Runner<'_>) {
        let mut failures = self.worker.failures.borrow_mut();
        failures.reached(winner.target);
        let beaten = self.under_way.iter().filter(|runner| winner.begun.since(runner.begun) >= STAGGER);
        beaten.for_each(|runner| failures.failed(runner.target, self.now()));
    }

    /// The clock.
    fn now(&self) -> Monotonic {
        self.worker.shared.clock.monotonic()
    }
}

/// Whether no port was free towards the destination (connect(2), `EADDRNOTAVAIL`), or the wanted one was not.
pub fn is_about_ports(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// How the destination failed, by the system's word; none where the fault is ours: no port, no descriptor, a rule of this
/// machine.
pub fn failure_of(error: &io::Error) -> Option<Failure> {
    match error.kind() {
        io::ErrorKind::TimedOut => Some(Failure::Silent),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Some(Failure::Told),
        _ => None,
    }
}

/// Connects from an address of ours and a port that the system chooses; where none is free towards the target, from
/// `upstream.source_addresses`. It may take so long as `limit` says, which is the caller's to keep.
///
/// # Errors
/// As [`establish`].
pub async fn connect(
    worker: &Worker,
    target: SocketAddr,
    first: First,
    limit: Duration,
) -> io::Result<TcpStream> {
    let mut tried = connect_from(worker, target, first, None, limit).await;
    if tried.as_ref().is_err_and(is_about_ports) {
        worker.count_event(Event::PortsUsedUp);
        let of_family = |source: &&IpAddr| source.is_ipv4() == target.is_ipv4();
        for source in worker.shared.dial.sources.iter().filter(of_family) {
            tried = connect_from(worker, target, first, Some(*source), limit).await;
            if !tried.as_ref().is_err_and(is_about_ports) {
                break;
            }
        }
    }
    tried
}

/// Connects from a port that the system chooses, of `source` where it is given.
async fn connect_from(
    worker: &Worker,
    target: SocketAddr,
    first: First,
    source: Option<IpAddr>,
    limit: Duration,
) -> io::Result<TcpStream> {
    establish_own(worker, socket::stream_socket(target, source)?, target, first, limit).await
}

/// Connects `socket` from an address of ours, which is noted: the connection is known by it if it comes back within the
/// `limit` of time that it may take.
///
/// # Errors
/// As [`establish`].
pub async fn establish_own(
    worker: &Worker,
    socket: std::net::TcpStream,
    target: SocketAddr,
    first: First,
    limit: Duration,
) -> io::Result<TcpStream> {
    match first {
        First::Hello | First::Bytes => socket::acknowledge_with_first_bytes(&socket),
        First::Unknown => {}
    }
    let origin = begin(socket, target)?;
    // At once: what comes back does not wait until we are told that it is connected.
    let end = note_own_end(worker, &origin, target, limit);
    match first {
        First::Hello => origin.set_own_end(end),
        // A balancer that greets its clients answers before it has come back to us.
        First::Bytes | First::Unknown => {}
    }
    await_connected(origin).await
}

/// Connects `socket`, which never blocks, and sets it up for the relay.
///
/// # Errors
/// The system's word: nobody listens, no way to there, no port left.
pub async fn establish(socket: std::net::TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    await_connected(begin(socket, target)?).await
}

/// Notes where a connection of ours leaves from.
fn note_own_end(
    worker: &Worker,
    socket: &TcpStream,
    target: SocketAddr,
    limit: Duration,
) -> Option<StreamEnd> {
    let shared = &worker.shared;
    let local = socket.local_addr().ok()?;
    let now = shared.clock.monotonic();
    shared.own_ends.note_stream(local, target, now, now.plus(limit).plus(RETURN_MAX))
}

/// Begins to connect.
fn begin(socket: std::net::TcpStream, target: SocketAddr) -> io::Result<TcpStream> {
    // A refinement: a connection without it carries the same bytes. An origin that vanished is noticed by the subscriber's
    // next byte or the flow's idle time; probes of our own would find it no sooner.
    let _ = socket::set_nodelay(&socket);
    socket::begin_connection(&socket, target)?;
    TcpStream::from_std(socket)
}

/// Waits for the other side.
async fn await_connected(origin: TcpStream) -> io::Result<TcpStream> {
    // The event says whether it failed: only then is the system asked why.
    let ready = origin.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if ready.is_error() || ready.is_write_closed() {
        return Err(origin.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address where nobody listens.
    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Connects as dialling does.
    async fn direct(target: SocketAddr) -> io::Result<TcpStream> {
        establish(socket::stream_socket(target, None)?, target).await
    }

    #[tokio::test]
    async fn an_address_where_nobody_listens_is_told_from_one_where_somebody_does() {
        let refused = direct(closed()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = direct(listener.local_addr().unwrap()).await.unwrap();
        assert!(origin.as_std().nodelay().unwrap());
        assert_eq!(origin.as_std().peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn an_origin_that_closes_at_once_was_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closer = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let origin = direct(address).await.unwrap();
        closer.join().unwrap();
        origin.readable().await.unwrap();
        assert_eq!(origin.try_read(&mut [0]).unwrap(), 0);
    }
}
