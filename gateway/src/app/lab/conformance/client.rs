//! The subscriber's devices: one connection with one request each, and their own count of what came.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Buf as _;
use http::{Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::plan::{Audit, HTTPS, Probe, Protocol, UNMARKED_BYTES_MAX, Wanted};
use crate::app::lab::demo::counting::{Counting, Counts};
use crate::app::lab::demo::http3;

/// The longest a probe is waited for.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// The same where little is asked for, and a core that knows no mark would keep all of it back.
const FEW_BYTES_LIMIT: Duration = Duration::from_secs(20);
/// How soon more must come than the core passes on unmarked, where no answer may come: far above what that takes.
const CUT_OFF_LIMIT: Duration = Duration::from_secs(5);
/// What came last so long ago may be all: a busy machine is slow, and does not stop.
const STILL_COMING: Duration = Duration::from_secs(2);
/// How often it is looked at what has come.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What a device saw of its probe.
#[derive(Debug)]
pub(super) struct Seen {
    /// Bytes that came to it, as the records count them.
    pub down_bytes: u64,
    /// Bytes that came to its socket: stream bytes, or payload of datagrams.
    pub payload_bytes: u64,
    /// The port of that socket; 0 while it has none.
    pub port: u16,
    /// Whether all that was asked for came, or why not.
    pub outcome: Result<(), String>,
}

/// What is noted of one probe.
#[derive(Debug, Default)]
struct Noted {
    /// What came.
    counts: Arc<Counts>,
    /// The port it came to.
    port: AtomicU16,
}

impl Noted {
    /// The probe's socket is this one.
    fn note(&self, own: io::Result<SocketAddr>) {
        if let Ok(own) = own {
            self.port.store(own.port(), Ordering::Relaxed);
        }
    }
}

/// Waits for what comes of a probe, as long as its answer may take.
///
/// Where more comes than the core passes on unmarked, somebody who should be cut off is not, and the whole answer is waited
/// for: what the records say of it is what the auditor asks.
///
/// # Errors
/// The probe's, or that the time was over.
async fn limited(
    probe: &Probe,
    noted: &Noted,
    answer: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let over = |_| Err(io::ErrorKind::TimedOut.into());
    match probe.wanted {
        Wanted::Exempt if probe.audit == Audit::ZeroBalance => {
            return timeout(FEW_BYTES_LIMIT, answer).await.unwrap_or_else(over);
        }
        Wanted::Exempt | Wanted::NotExempt => {
            return timeout(PROBE_LIMIT, answer).await.unwrap_or_else(over);
        }
        Wanted::CutOff => {}
    }
    let mut answer = pin!(answer);
    let begun = Instant::now();
    let (mut came, mut last) = (0, begun);
    while came <= UNMARKED_BYTES_MAX {
        if let Ok(outcome) = timeout(LOOK, &mut answer).await {
            return outcome;
        }
        let before = std::mem::replace(&mut came, noted.counts.volume().down);
        if came != before {
            last = Instant::now();
        }
        if begun.elapsed() >= CUT_OFF_LIMIT && last.elapsed() >= STILL_COMING {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    timeout(PROBE_LIMIT, answer).await.unwrap_or_else(over)
}

/// The devices' TLS.
#[derive(Clone)]
pub(super) struct Client {
    /// For TCP.
    tls: TlsConnector,
    /// For QUIC.
    quic: Arc<QuicClientConfig>,
}

impl Client {
    /// A client that trusts the sites' certificate.
    ///
    /// # Errors
    /// The libraries'.
    pub(super) fn new(trust: &RootCertStore) -> io::Result<Self> {
        let tls = |protocol: &[u8]| -> io::Result<rustls::ClientConfig> {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(io::Error::other)?
                .with_root_certificates(trust.clone())
                .with_no_client_auth();
            tls.alpn_protocols = vec![protocol.to_vec()];
            Ok(tls)
        };
        let quic = QuicClientConfig::try_from(tls(http3::ALPN)?).map_err(io::Error::other)?;
        Ok(Self { tls: TlsConnector::from(Arc::new(tls(b"http/1.1")?)), quic: Arc::new(quic) })
    }

    /// Makes one probe.
    pub(super) async fn probe(&self, probe: &Probe) -> Seen {
        let noted = Noted::default();
        let ends = (
            SocketAddr::new(probe.who.address(probe.family), 0),
            SocketAddr::new(probe.place.address(probe.family), HTTPS),
        );
        let outcome = match probe.protocol {
            Protocol::Tcp => limited(probe, &noted, self.tcp(probe, ends, &noted)).await,
            Protocol::Quic => limited(probe, &noted, self.quic(probe, ends, &noted)).await,
        };
        let payload_bytes = noted.counts.volume().down;
        let port = noted.port.load(Ordering::Relaxed);
        let outcome = outcome.map_err(|error| error.to_string());
        Seen { down_bytes: payload_bytes, payload_bytes, port, outcome }
    }

    /// A request over TLS; the site ends first, so that no byte is cut off.
    async fn tcp(
        &self,
        probe: &Probe,
        (from, to): (SocketAddr, SocketAddr),
        noted: &Noted,
    ) -> io::Result<()> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(from)?;
        let connected = socket.connect(to).await?;
        noted.note(connected.local_addr());
        let stream = Counting::new(connected, Arc::clone(&noted.counts));
        let name = ServerName::try_from(probe.name).map_err(io::Error::other)?;
        let mut stream = self.tls.connect(name, stream).await?;
        let request = format!(
            "GET /{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            probe.payload_bytes, probe.name
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        let mut body: u64 = 0;
        let mut complete = false;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = stream.read(&mut chunk).await?;
            let bytes = chunk.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if complete {
                body = body.saturating_add(bytes.len() as u64);
                continue;
            }
            head.extend_from_slice(bytes);
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                body = head.len().saturating_sub(end.saturating_add(4)) as u64;
                complete = true;
            } else if head.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the answer has no complete head"));
            }
        }
        let good = head.starts_with(b"HTTP/1.1 200 ");
        // What the site sent behind its own end, such as its FIN, is to be read before ours goes out.
        while stream.get_mut().0.read(&mut chunk).await? > 0 {}
        stream.shutdown().await?;
        check(good, body, probe.payload_bytes)
    }

    /// A request over HTTP/3.
    async fn quic(
        &self,
        probe: &Probe,
        (from, to): (SocketAddr, SocketAddr),
        noted: &Noted,
    ) -> io::Result<()> {
        let endpoint = Endpoint::client(from)?;
        noted.note(endpoint.local_addr());
        let mut config = ClientConfig::new(Arc::clone(&self.quic) as _);
        config.transport_config(Arc::new(http3::transport(PROBE_LIMIT)?));
        let connection = endpoint.connect_with(config, to, probe.name).map_err(io::Error::other)?.await?;
        let _counted = Counted { connection: connection.clone(), counts: Arc::clone(&noted.counts) };
        let answered = ask(connection.clone(), probe).await;
        connection.close(http3::NO_ERROR, b"");
        endpoint.wait_idle().await;
        let (status, body) = answered?;
        check(status == StatusCode::OK, body, probe.payload_bytes)
    }
}

/// Counts what came over a connection at its end, also when the wait for more is given up.
struct Counted {
    /// The connection.
    connection: quinn::Connection,
    /// Where it is counted.
    counts: Arc<Counts>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.add_down(self.connection.stats().udp_rx.bytes);
    }
}

/// The request of a probe over HTTP/3; status and length of the answer.
async fn ask(connection: quinn::Connection, probe: &Probe) -> io::Result<(StatusCode, u64)> {
    let quic = h3_quinn::Connection::new(connection);
    let (mut driver, mut sender) = h3::client::new(quic).await.map_err(io::Error::other)?;
    // It ends with the connection.
    tokio::spawn(async move { driver.wait_idle().await });
    let uri = format!("https://{}/{}", probe.name, probe.payload_bytes);
    let head = Request::get(uri).body(()).map_err(io::Error::other)?;
    let mut stream = sender.send_request(head).await.map_err(io::Error::other)?;
    stream.finish().await.map_err(io::Error::other)?;
    let answer = stream.recv_response().await.map_err(io::Error::other)?;
    let mut body: u64 = 0;
    while let Some(part) = stream.recv_data().await.map_err(io::Error::other)? {
        body = body.saturating_add(part.remaining() as u64);
    }
    Ok((answer.status(), body))
}

/// Whether the answer is the one asked for.
fn check(good: bool, body: u64, wanted: u64) -> io::Result<()> {
    if good && body == wanted {
        return Ok(());
    }
    let status = if good { "200" } else { "another status than 200" };
    Err(io::Error::other(format!("found {status} and {body} bytes, wanted 200 and {wanted} bytes")))
}
