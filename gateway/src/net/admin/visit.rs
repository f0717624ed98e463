//! Connections to the endpoint: each has a place, and gives it back in time.
//!
//! A request is complete, and its answer begun, within [`REQUEST_TIME`] of its first byte, or of the connection's beginning.
//! Between two requests a connection may wait for [`IDLE_TIME`]. When every place is taken the connection that was served
//! longest ago, or never, makes room: a newcomer is served within moments, however many others wait or drip.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// From the first byte of a request to that of its answer.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Between two requests, and between two pieces of an answer.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long one connection may last.
const LIFETIME: Duration = Duration::from_secs(60);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_millis(500);

/// A listener with a number of places.
pub(super) struct Limited {
    listener: TcpListener,
    places_max: usize,
    places: Arc<Mutex<Vec<Permit>>>,
    /// Number of the next connection.
    next: u64,
}

/// One place.
struct Permit {
    /// Whose it is.
    number: u64,
    /// When its connection began, or was last answered.
    served: Instant,
    /// Ends the connection when it is dropped.
    _end: oneshot::Sender<()>,
}

impl Limited {
    /// With so many places, at least one.
    pub(super) fn new(listener: TcpListener, places_max: usize) -> Self {
        Self { listener, places_max: places_max.max(1), places: Arc::default(), next: 0 }
    }

    /// Gives a connection its place; who was served longest ago gives one up when there is none.
    fn seat(&mut self, stream: TcpStream) -> Visit {
        let now = Instant::now();
        let (end, asked) = oneshot::channel();
        let number = self.next;
        self.next = number.wrapping_add(1);
        let mut places = lock(&self.places);
        while places.len() >= self.places_max {
            let oldest = places.iter().enumerate().min_by_key(|(_, place)| (place.served, place.number));
            let Some((index, _)) = oldest else { break };
            places.swap_remove(index);
        }
        places.push(Permit { number, served: now, _end: end });
        drop(places);
        Visit {
            stream,
            number,
            asked,
            is_asking: true,
            over: now + LIFETIME,
            due: Box::pin(sleep_until(now + REQUEST_TIME)),
            places: Arc::clone(&self.places),
        }
    }
}

/// The places; a panic elsewhere does not make them unusable.
fn lock(places: &Mutex<Vec<Permit>>) -> MutexGuard<'_, Vec<Permit>> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

impl axum::serve::Listener for Limited {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (self.seat(stream), peer),
                Err(_) => sleep(BACK_OFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection: it holds its place, and ends when its time is over or the place is another's.
pub(super) struct Visit {
    stream: TcpStream,
    number: u64,
    /// Ready when the place is another's.
    asked: oneshot::Receiver<()>,
    /// A request has begun, and no answer to it.
    is_asking: bool,
    /// The end of the connection, whatever it does.
    over: Instant,
    /// The end of the time at hand.
    due: Pin<Box<Sleep>>,
    places: Arc<Mutex<Vec<Permit>>>,
}

impl Visit {
    /// Whether it has ended; else the task is woken when it has.
    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        Pin::new(&mut self.asked).poll(context).is_ready() || self.due.as_mut().poll(context).is_ready()
    }

    /// Gives it so much time from here on.
    fn allow(&mut self, time: Duration) {
        let due = (Instant::now() + time).min(self.over);
        self.due.as_mut().reset(due);
    }

    /// A request has begun, unless one had already.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.is_asking, true) {
            self.allow(REQUEST_TIME);
        }
    }

    /// A piece of an answer was sent.
    fn answer(&mut self) {
        self.is_asking = false;
        self.allow(IDLE_TIME);
        let now = Instant::now();
        let mut places = lock(&self.places);
        if let Some(place) = places.iter_mut().find(|place| place.number == self.number) {
            place.served = now;
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.places).retain(|place| place.number != self.number);
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let visit = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut visit.stream).poll_read(context, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            visit.begin();
        }
        if visit.has_ended(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Visit {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let visit = self.get_mut();
        if visit.has_ended(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut visit.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            visit.answer();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
