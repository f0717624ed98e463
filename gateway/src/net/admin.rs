//! The admin HTTP endpoint: health, readiness, metrics, status. Reads only; nothing can be changed through it.
//!
//! No names, addresses or queries of subscribers are served here, and no metric has a label of theirs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::attention::Attention;
use super::inherited::Inherited;
use super::socket;

/// How long one connection may last: a client that drips its request byte by byte gives its place back.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_millis(500);

/// What the endpoint serves; the answers are made by whoever knows them.
pub trait Source: Send + Sync + 'static {
    /// The metrics in Prometheus text form.
    fn metrics(&self) -> String;
    /// Why the gateway is not ready; empty when it is.
    fn not_ready(&self) -> Vec<String>;
    /// What is wrong although traffic is carried and judged.
    fn attention(&self) -> Vec<Attention>;
    /// The state of the node for people and scripts.
    fn status(&self) -> serde_json::Value;
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
    attention: Vec<Attention>,
}

/// Binds the endpoint, or takes the socket that is open already.
///
/// # Errors
/// What the system says of the address.
pub fn bind(address: SocketAddr, inherited: &mut Inherited) -> io::Result<std::net::TcpListener> {
    if let Some(socket) = inherited.take_connections(address).into_iter().next() {
        return Ok(socket);
    }
    socket::listen_alone(address)
}

/// Serves until the event loop ends; at most `connections_max` connections at once, more wait in the backlog.
///
/// # Errors
/// When the listening socket is lost.
pub async fn serve(
    listener: std::net::TcpListener,
    connections_max: usize,
    source: Arc<dyn Source>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .with_state(source);
    let places = Arc::new(Semaphore::new(connections_max));
    axum::serve(Limited { listener, places }, router).await
}

/// 200 when ready, 503 with the reasons when not; what wants attention stands beside either.
async fn readyz(State(source): State<Arc<dyn Source>>) -> impl IntoResponse {
    let reasons = source.not_ready();
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(Readiness { ready: reasons.is_empty(), reasons, attention: source.attention() }))
}

/// Prometheus text exposition format 0.0.4.
async fn metrics(State(source): State<Arc<dyn Source>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], source.metrics())
}

/// The node's state as JSON.
async fn status(State(source): State<Arc<dyn Source>>) -> impl IntoResponse {
    axum::Json(source.status())
}

/// A listener with a number of places; without a free one connections wait in the backlog.
struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Limited {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            match (place, self.listener.accept().await) {
                (Ok(place), Ok((stream, peer))) => {
                    return (
                        Visit { stream, end: Box::pin(sleep(CONNECTION_LIFETIME)), _place: place },
                        peer,
                    );
                }
                (Err(_), _) | (_, Err(_)) => sleep(BACK_OFF).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection: it holds its place, and ends when its time is over.
struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Visit {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let visit = self.get_mut();
        if visit.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut visit.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let visit = self.get_mut();
        if visit.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut visit.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
