//! Connections to the admin address: few at a time, and none for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Most connections at once; further ones wait in the backlog.
const PLACES_MAX: usize = 32;
/// How long one connection may last: a scrape takes milliseconds, and whoever drips gives its place back soon.
const LIFETIME: Duration = Duration::from_secs(10);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_millis(500);

/// A listener with a number of places.
pub(super) struct Limited {
    /// The socket.
    listener: TcpListener,
    /// The places.
    places: Arc<Semaphore>,
}

impl Limited {
    /// With [`PLACES_MAX`] places.
    pub(super) fn new(listener: TcpListener) -> Limited {
        Limited { listener, places: Arc::new(Semaphore::new(PLACES_MAX)) }
    }
}

impl axum::serve::Listener for Limited {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            match (self.listener.accept().await, place) {
                (Ok((stream, peer)), Ok(place)) => {
                    let visit = Visit { stream, over: Box::pin(sleep(LIFETIME)), _place: place };
                    return (visit, peer);
                }
                (Ok(_) | Err(_), _) => sleep(BACK_OFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection: it ends when its time is over.
pub(super) struct Visit {
    /// The connection.
    stream: TcpStream,
    /// Its end.
    over: Pin<Box<Sleep>>,
    /// Its place.
    _place: OwnedSemaphorePermit,
}

impl Visit {
    /// The end of the connection's time, if it has come; else the task is woken when it comes.
    fn end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.over.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(over) = self.end(context) {
            return Poll::Ready(over);
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(over)) = self.end(context) {
            return Poll::Ready(Err(over));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
