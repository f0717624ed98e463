//! The sites of the demonstration: real TLS, HTTP and HTTP/3 servers on loopback, with a certificate made for one run.
//!
//! `GET /N` is answered with N bytes; a body that is sent is read and dropped. A server ends its side first and then
//! waits for the client's end, so that no byte is cut off by a reset.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{http3, world};

/// How often a port that is free everywhere is looked for.
const PORT_TRIES: usize = 50;
/// Longest request head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most request headers.
const HEADERS_MAX: usize = 16;
/// Bytes written at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Pause after an error of accept(2).
const BACK_OFF: Duration = Duration::from_millis(50);

/// Running servers.
pub(super) struct Origins {
    /// Port of every TLS server, and of every HTTP/3 server.
    pub tls: u16,
    /// Port of every HTTP server.
    pub http: u16,
    /// Trusts the servers' certificate.
    pub trust: RootCertStore,
}

/// Starts a TLS, an HTTP/3 and an HTTP server at each address of the world, one port for each kind.
///
/// # Errors
/// What the system says when ports cannot be bound, or the libraries when no certificate can be made.
pub(super) async fn start() -> io::Result<Origins> {
    let (tls_config, trust) = certificate(world::certified()).map_err(io::Error::other)?;
    let addresses = world::servers();
    let (tls, tls_listeners) = bind_secure(&addresses, &tls_config).await?;
    let (http, http_listeners) = bind_all(&addresses).await?;
    let acceptor = TlsAcceptor::from(Arc::new(tls_config));
    for listener in tls_listeners {
        let acceptor = acceptor.clone();
        tokio::spawn(accept(listener, move |stream| {
            let acceptor = acceptor.clone();
            // A client that breaks the handshake off has nothing to be told.
            async move { serve(acceptor.accept(stream).await?).await }
        }));
    }
    for listener in http_listeners {
        tokio::spawn(accept(listener, serve));
    }
    Ok(Origins { tls, http, trust })
}

/// A certificate for `names`, and the trust in it.
pub(in crate::app) fn certificate(
    names: Vec<String>,
) -> Result<(ServerConfig, RootCertStore), Box<dyn std::error::Error + Send + Sync>> {
    let made = rcgen::generate_simple_self_signed(names)?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut trust = RootCertStore::empty();
    trust.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, trust))
}

/// A TLS listener and a running HTTP/3 server at each address, all on one port.
async fn bind_secure(addresses: &[Ipv4Addr], tls: &ServerConfig) -> io::Result<(u16, Vec<TcpListener>)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for _ in 0..PORT_TRIES {
        let (port, listeners) = bind_all(addresses).await?;
        // A port that TCP has may be taken for UDP: servers already started then idle until the process ends.
        match addresses.iter().try_for_each(|address| http3::serve((*address, port).into(), tls)) {
            Ok(()) => return Ok((port, listeners)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A listener at each address, all on one port that the system chooses for the first.
async fn bind_all(addresses: &[Ipv4Addr]) -> io::Result<(u16, Vec<TcpListener>)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for _ in 0..PORT_TRIES {
        let mut port = 0;
        let mut listeners = Vec::new();
        for address in addresses {
            match TcpListener::bind(SocketAddr::from((*address, port))).await {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        if listeners.len() == addresses.len() {
            return Ok((port, listeners));
        }
    }
    Err(last)
}

/// Gives each connection a task of its own.
pub(in crate::app) async fn accept<F, S>(listener: TcpListener, service: S)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
    S: Fn(TcpStream) -> F + Send,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // A refinement: without it the same bytes are sent.
                let _ = stream.set_nodelay(true);
                // A connection that fails is the client's to tell.
                tokio::spawn(service(stream));
            }
            Err(_) => tokio::time::sleep(BACK_OFF).await,
        }
    }
}

/// Answers one request, ends our side, waits for the client's end.
pub(in crate::app) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let length = read_request(&mut stream).await?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    tokio::io::copy(&mut tokio::io::repeat(b'z').take(length), &mut stream).await?;
    stream.shutdown().await?;
    drop_rest(&mut stream).await
}

/// Reads and drops what comes until the end.
async fn drop_rest<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut chunk = [0; CHUNK_BYTES];
    while stream.read(&mut chunk).await? > 0 {}
    Ok(())
}

/// Reads a request with its body; returns the number of bytes it asks for.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<u64> {
    let broken = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(broken("the request ends early"));
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let status = request.parse(&bytes).map_err(|_| broken("the request is malformed"))?;
        if let httparse::Status::Complete(head) = status {
            let wanted = request.path.and_then(|path| path.strip_prefix('/')).and_then(|n| n.parse().ok());
            let wanted: u64 = wanted.ok_or_else(|| broken("the path is no number"))?;
            let body =
                request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let body = body.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<u64>().ok());
            let here = u64::try_from(bytes.len().saturating_sub(head)).unwrap_or(u64::MAX);
            let missing = body.unwrap_or(0).saturating_sub(here);
            tokio::io::copy(&mut stream.take(missing), &mut tokio::io::sink()).await?;
            return Ok(wanted);
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(broken("the request head is too long"));
        }
    }
}
