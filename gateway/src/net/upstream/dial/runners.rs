//! A name's addresses in a race: each attempt under way with its time, and what is noted of who won and who failed.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::timeout;

use super::{DialError, First, connect, failure_of};
use crate::flow::race::{Race, STAGGER, Step};
use crate::flow::time::Monotonic;
use crate::net::node::worker::Worker;
use crate::net::tcp::stream::TcpStream;

/// An attempt under way.
struct Runner<'r> {
    target: SocketAddr,
    begun: Monotonic,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + 'r>>,
}

/// A name's addresses in a race.
pub(super) struct Runners<'r> {
    worker: &'r Worker,
    targets: &'r [SocketAddr],
    under_way: Vec<Runner<'r>>,
}

impl<'r> Runners<'r> {
    /// None has begun.
    pub(super) fn new(worker: &'r Worker, targets: &'r [SocketAddr]) -> Self {
        Self { worker, targets, under_way: Vec::with_capacity(1) }
    }

    /// Lets them run: whoever answers first, or what the last one said.
    pub(super) async fn race(&mut self) -> Result<(TcpStream, SocketAddr), DialError> {
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
