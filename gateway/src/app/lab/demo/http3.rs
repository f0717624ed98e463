//! HTTP/3 on both ends of the demonstration: real QUIC clients with their own count of the datagrams at their socket, and
//! the request handler of the sites.
//!
//! A datagram that a full socket buffer drops would be counted by its sender and by nobody else. So clients keep their
//! flow-control windows below what a socket holds by default: nothing is in flight that has no room.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{Request, Response, StatusCode};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
    UdpPoller, VarInt,
};
use rustls::RootCertStore;
use tokio::sync::OwnedSemaphorePermit;

use super::counting::Counts;
use super::world::Flow;

/// Application protocol of HTTP/3 (RFC 9114 §3.1).
pub(in crate::app) const ALPN: &[u8] = b"h3";
/// Application error code H3_NO_ERROR (RFC 9114 §8.1).
pub(in crate::app) const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// Bytes sent at a time.
const CHUNK: Bytes = Bytes::from_static(&[b'z'; 8 * 1024]);
/// Bytes that may be under way to one end: with its overhead in the kernel less than half of a socket's default buffer.
const WINDOW_BYTES: u32 = 32 * 1024;
/// How long a client believes in a connection that is silent.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Tickets, tokens and the end of a connection may cross the client's end; they are waited for so long.
const LAST_DATAGRAMS: Duration = Duration::from_millis(20);

/// TLS 1.3 for HTTP/3 clients.
#[derive(Clone)]
pub(super) struct Http3Client {
    /// Keys and trust.
    crypto: Arc<QuicClientConfig>,
}

impl Http3Client {
    /// A client that trusts the sites' certificate.
    ///
    /// # Errors
    /// The libraries'.
    pub(super) fn new(trust: RootCertStore) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(trust)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { crypto: Arc::new(QuicClientConfig::try_from(tls).map_err(io::Error::other)?) })
    }

    /// One connection with one request from the first of `ends` to the second; `header` stands in front of each datagram,
    /// as a load balancer writes it. `turn` is given back when only waiting is left: for the last datagrams of a closed
    /// connection (RFC 9000 §10.2). An error if what came back is not what had to come.
    pub(super) async fn converse(
        &self,
        flow: &Flow,
        (from, to): (SocketAddr, SocketAddr),
        header: Vec<u8>,
        counts: Arc<Counts>,
        turn: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let runtime = Arc::new(TokioRuntime);
        let socket = quinn::Runtime::wrap_udp_socket(&*runtime, UdpSocket::bind(from)?)?;
        let socket = Arc::new(CountingSocket { inner: socket, counts, header });
        let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime)?;
        let mut config = ClientConfig::new(Arc::clone(&self.crypto) as _);
        config.transport_config(Arc::new(transport(IDLE_LIMIT)?));
        let name = flow.visit.name.unwrap_or_default();
        let connecting = endpoint.connect_with(config, to, name).map_err(io::Error::other)?;
        let outcome = match connecting.await {
            Err(error) => Err(error.into()),
            Ok(connection) => request(connection, flow).await,
        };
        drop(turn);
        endpoint.wait_idle().await;
        tokio::time::sleep(LAST_DATAGRAMS).await;
        outcome
    }
}

/// Windows and times of a connection.
pub(in crate::app) fn transport(idle: Duration) -> io::Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(idle.try_into().map_err(io::Error::other)?));
    transport.receive_window(VarInt::from_u32(WINDOW_BYTES));
    transport.stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    transport.send_window(WINDOW_BYTES.into());
    Ok(transport)
}

/// Asks for `down_bytes`, sends `up_bytes`, reads to the end and closes.
async fn request(connection: quinn::Connection, flow: &Flow) -> io::Result<()> {
    let quic = h3_quinn::Connection::new(connection.clone());
    let (mut driver, mut sender) = h3::client::new(quic).await.map_err(io::Error::other)?;
    // It ends with the connection.
    let driving = tokio::spawn(async move { driver.wait_idle().await });
    let name = flow.visit.name.unwrap_or_default();
    let uri = format!("https://{name}/{}", flow.down_bytes);
    let method = if flow.up_bytes > 0 { "POST" } else { "GET" };
    let head = Request::builder().method(method).uri(uri).body(()).map_err(io::Error::other)?;
    let mut stream = sender.send_request(head).await.map_err(io::Error::other)?;
    let mut left = flow.up_bytes;
    while left > 0 {
        let part = CHUNK.slice(..usize::try_from(left).unwrap_or(CHUNK.len()).min(CHUNK.len()));
        left = left.saturating_sub(part.len() as u64);
        stream.send_data(part).await.map_err(io::Error::other)?;
    }
    stream.finish().await.map_err(io::Error::other)?;
    let answer = stream.recv_response().await.map_err(io::Error::other)?;
    let mut body: u64 = 0;
    while let Some(part) = stream.recv_data().await.map_err(io::Error::other)? {
        body = body.saturating_add(part.remaining() as u64);
    }
    connection.close(NO_ERROR, b"");
    let _ = driving.await;
    match (answer.status(), body) {
        (StatusCode::OK, body) if body == flow.down_bytes => Ok(()),
        (status, body) => {
            let wanted = flow.down_bytes;
            Err(unexpected(&format!("found {status} and {body} bytes, wanted 200 and {wanted} bytes")))
        }
    }
}

/// An answer that is not the one that had to come.
fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// A socket that counts the payload of the datagrams that pass it and puts a header in front of those it sends.
struct CountingSocket {
    /// The socket below.
    inner: Arc<dyn AsyncUdpSocket>,
    /// Where they are counted, without the header.
    counts: Arc<Counts>,
    /// Written by the load balancer; empty without one.
    header: Vec<u8>,
}

impl fmt::Debug for CountingSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CountingSocket").finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for CountingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    /// One datagram, for `max_transmit_segments` is one.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let contents = [self.header.as_slice(), transmit.contents].concat();
        self.inner.try_send(&Transmit { contents: &contents, segment_size: None, ..transmit.clone() })?;
        self.counts.add_up(transmit.contents.len() as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(context, buffers, received))?;
        received.iter().take(count).for_each(|meta| self.counts.add_down(meta.len as u64));
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    /// No larger datagrams are tried out: a header in front of them would exceed what the path was found to carry.
    fn may_fragment(&self) -> bool {
        true
    }
}

/// Serves HTTP/3 at `address`; the key and certificate are those of the TLS servers.
///
/// # Errors
/// What the system says when the port is taken, or the libraries when they refuse the certificate.
pub(in crate::app) fn serve(address: SocketAddr, tls: &rustls::ServerConfig) -> io::Result<()> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(IDLE_LIMIT)?));
    let endpoint = Endpoint::server(config, address)?;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(async move {
                // A client that breaks off has nothing to be told.
                if let Ok(connection) = incoming.await {
                    let _ = answer_all(connection).await;
                }
            });
        }
    });
    Ok(())
}

/// Answers the requests of a connection, one after the other.
async fn answer_all(connection: quinn::Connection) -> io::Result<()> {
    let quic = h3_quinn::Connection::new(connection);
    let mut connection: h3::server::Connection<_, Bytes> =
        h3::server::Connection::new(quic).await.map_err(io::Error::other)?;
    while let Some(resolver) = connection.accept().await.map_err(io::Error::other)? {
        let (request, mut stream) = resolver.resolve_request().await.map_err(io::Error::other)?;
        while stream.recv_data().await.map_err(io::Error::other)?.is_some() {}
        let wanted: Option<u64> = request.uri().path().strip_prefix('/').and_then(|path| path.parse().ok());
        let status = if wanted.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let head = Response::builder().status(status).body(()).map_err(io::Error::other)?;
        stream.send_response(head).await.map_err(io::Error::other)?;
        let mut left = wanted.unwrap_or(0);
        while left > 0 {
            let part = CHUNK.slice(..usize::try_from(left).unwrap_or(CHUNK.len()).min(CHUNK.len()));
            left = left.saturating_sub(part.len() as u64);
            stream.send_data(part).await.map_err(io::Error::other)?;
        }
        stream.finish().await.map_err(io::Error::other)?;
    }
    Ok(())
}
