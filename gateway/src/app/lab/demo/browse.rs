//! The subscribers of the demonstration: real TLS, HTTP and HTTP/3 clients, each with its own count of what it wrote and
//! read.
//!
//! A TCP client asks, reads to the end, and only then ends its own side: every byte that it counted was acknowledged, so the
//! gateway's figures have no excuse to differ.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use billing_export::{Class, Volume};
use indicatif::ProgressBar;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::counting::{Counting, Counts};
use super::http3::Http3Client;
use super::world::{self, BALANCER, Expected, Flow, Protocol, Via};

/// Flows at once.
const CONCURRENCY: usize = 24;
/// Longest time for one flow; far more than any takes, so that nothing hangs.
const FLOW_LIMIT: Duration = Duration::from_secs(120);
/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 1_024;
/// Failures that are kept with their text; the rest are counted.
const FAILURES_MAX: usize = 20;
/// First bytes of a binary PROXY header (PROXY protocol §2.2).
const PROXY_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY; TCP over IPv4; twelve bytes of addresses follow (PROXY protocol §2.2).
const PROXY_TCP4: [u8; 4] = [0x21, 0x11, 0, 12];
/// The same for UDP over IPv4.
const PROXY_UDP4: [u8; 4] = [0x21, 0x12, 0, 12];

/// What a figure is kept for: subscriber, class, service or reason.
pub(in crate::app) type Line = (String, Class, String);

/// What the clients themselves counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// TCP and UDP payload bytes by what must become of them.
    pub lines: BTreeMap<Line, Volume>,
    /// Flows carried to their end.
    pub carried: u64,
    /// Flows refused as they had to be.
    pub refused: u64,
    /// Refusals that had to come.
    pub refusals_wanted: u64,
    /// Flows that failed.
    pub failed: u64,
    /// What was wrong with the first of them.
    pub failures: Vec<String>,
}

/// Where clients connect to, and whom they trust.
#[derive(Clone)]
pub(super) struct Network {
    /// The steered listener.
    steered: SocketAddr,
    /// The `proxy_protocol` listener.
    proxied: SocketAddr,
    /// TLS 1.3 clients.
    connector: TlsConnector,
    /// HTTP/3 clients.
    http3: Http3Client,
}

impl Network {
    /// Clients of these listeners that trust the origins' certificate.
    ///
    /// # Errors
    /// The TLS library's.
    pub(super) fn new(steered: SocketAddr, proxied: SocketAddr, trust: RootCertStore) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(trust.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { steered, proxied, connector, http3: Http3Client::new(trust)? })
    }
}

/// Runs `flows` flows of the script, [`CONCURRENCY`] at a time; `bar` hears of each that ended.
pub(super) async fn browse(network: &Network, flows: u64, bar: &ProgressBar) -> Tally {
    let mut tally = Tally::default();
    let turns = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        tokio::select! {
            Ok(turn) = Arc::clone(&turns).acquire_owned(), if next < flows => {
                let (flow, network) = (world::flow(next), network.clone());
                running.spawn(async move { run(&network, flow, turn).await });
                next = next.saturating_add(1);
            }
            Some(ended) = running.join_next() => {
                match ended {
                    Ok(ended) => tally.add(ended),
                    Err(error) => tally.fail(format!("a client's task ended: {error}")),
                }
                bar.inc(1);
            }
            else => return tally,
        }
    }
}

/// A flow that ended.
struct Ended {
    /// The flow.
    flow: Flow,
    /// What the client counted.
    volume: Volume,
    /// How it ended.
    outcome: io::Result<()>,
}

impl Tally {
    /// Flows that ended in whatever way.
    pub(super) fn flows(&self) -> u64 {
        self.carried.saturating_add(self.refused).saturating_add(self.failed)
    }

    /// Adds a flow that ended.
    fn add(&mut self, ended: Ended) {
        let Ended { flow, volume, outcome } = ended;
        let (class, detail) = match flow.visit.expected {
            Expected::Exempt(service) => (Class::Exempt, service),
            Expected::Charged(reason) | Expected::Refused(reason) => (Class::Charged, reason.label()),
        };
        let line = (flow.subscriber.label(), class, detail.to_owned());
        let sum = self.lines.entry(line).or_default();
        // Not to be reached: 2^64 bytes take centuries on any interface.
        *sum = sum.checked_add(volume).unwrap_or(*sum);
        let refusal = matches!(flow.visit.expected, Expected::Refused(_));
        if refusal {
            self.refusals_wanted = self.refusals_wanted.saturating_add(1);
        }
        match outcome {
            Ok(()) if refusal => self.refused = self.refused.saturating_add(1),
            Ok(()) => self.carried = self.carried.saturating_add(1),
            Err(error) => {
                let name = flow.visit.name.unwrap_or("a site without SNI");
                self.fail(format!("{} to {name}, {:?}: {error}", flow.subscriber.label(), flow.visit.via));
            }
        }
    }

    /// Notes a failure.
    fn fail(&mut self, text: String) {
        self.failed = self.failed.saturating_add(1);
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(text);
        }
    }
}

/// Runs one flow to its end; `turn` is given back when it has nothing more to say.
async fn run(network: &Network, flow: Flow, turn: OwnedSemaphorePermit) -> Ended {
    let counts = Arc::new(Counts::default());
    let outcome = timeout(FLOW_LIMIT, converse(network, &flow, Arc::clone(&counts), turn)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    Ended { flow, volume: counts.volume(), outcome }
}

/// Connects and speaks as the flow says; an error if what came back is not what had to come.
async fn converse(
    network: &Network,
    flow: &Flow,
    counts: Arc<Counts>,
    turn: OwnedSemaphorePermit,
) -> io::Result<()> {
    let refused = matches!(flow.visit.expected, Expected::Refused(_));
    let status = if refused { 421 } else { 200 };
    match flow.visit.protocol {
        Protocol::Quic => {
            let (from, to) = ends(network, flow);
            let header = match flow.visit.via {
                Via::Steered => Vec::new(),
                Via::Proxied => binary_proxy_header(flow),
            };
            network.http3.converse(flow, (from, to), header, counts, turn).await
        }
        Protocol::Http => {
            let mut stream = connect(network, flow, counts).await?;
            exchange(&mut stream, flow, status).await?;
            stream.shutdown().await
        }
        Protocol::Tls => {
            let stream = connect(network, flow, counts).await?;
            let handshake = network.connector.connect(server_name(flow)?, stream).into_fallible().await;
            match handshake {
                Ok(_) if refused => Err(unexpected("found a handshake, wanted the alert unrecognized_name")),
                Ok(mut stream) => {
                    exchange(&mut stream, flow, status).await?;
                    expect_end(stream.get_mut().0).await?;
                    stream.shutdown().await
                }
                Err((error, mut stream)) if refused && is_unrecognized_name(&error) => {
                    expect_end(&mut stream).await?;
                    stream.shutdown().await
                }
                Err((error, _)) => Err(error),
            }
        }
    }
}

/// Where a flow comes from and which listener it goes to: from the subscriber's address, or from the balancer's with a
/// header that names the subscriber.
fn ends(network: &Network, flow: &Flow) -> (SocketAddr, SocketAddr) {
    let (from, to): (IpAddr, _) = match flow.visit.via {
        Via::Steered => ((*flow.source.ip()).into(), network.steered),
        Via::Proxied => (BALANCER.into(), network.proxied),
    };
    (SocketAddr::new(from, 0), to)
}

/// Connects a TCP flow. A PROXY header is the balancer's: it is written before counting begins.
async fn connect(network: &Network, flow: &Flow, counts: Arc<Counts>) -> io::Result<Counting<TcpStream>> {
    let (from, to) = ends(network, flow);
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind(from)?;
    let mut stream = socket.connect(to).await?;
    match flow.visit.via {
        Via::Steered => {}
        Via::Proxied => stream.write_all(&proxy_header(flow)).await?,
    }
    Ok(Counting::new(stream, counts))
}

/// The PROXY header of a flow, as text (§2.1) or binary (§2.2).
fn proxy_header(flow: &Flow) -> Vec<u8> {
    if flow.binary_header {
        return binary_proxy_header(flow);
    }
    let (address, port) = flow.visit.destination;
    format!("PROXY TCP4 {} {address} {} {port}\r\n", flow.source.ip(), flow.source.port()).into_bytes()
}

/// The binary PROXY header of a flow (§2.2), the only form that knows UDP.
fn binary_proxy_header(flow: &Flow) -> Vec<u8> {
    let (address, port) = flow.visit.destination;
    let carried = match flow.visit.protocol {
        Protocol::Tls | Protocol::Http => PROXY_TCP4,
        Protocol::Quic => PROXY_UDP4,
    };
    let ports = [flow.source.port().to_be_bytes(), port.to_be_bytes()];
    let source = flow.source.ip().octets();
    [PROXY_SIGNATURE, carried.as_slice(), &source, &address.octets(), ports.as_flattened()].concat()
}

/// What a TLS client asks for: a name in SNI, or an address, for which there is no SNI (RFC 6066 §3).
fn server_name(flow: &Flow) -> io::Result<ServerName<'static>> {
    match flow.visit.name {
        Some(name) => ServerName::try_from(name).map_err(io::Error::other),
        None => Ok(ServerName::from(IpAddr::V4(flow.visit.destination.0))),
    }
}

/// Asks for `down_bytes`, sends `up_bytes`, and reads to the end.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    flow: &Flow,
    status: u16,
) -> io::Result<()> {
    let host = flow.visit.name.map_or_else(|| flow.visit.destination.0.to_string(), str::to_owned);
    let (up, down) = (flow.up_bytes, flow.down_bytes);
    let request = if up > 0 {
        format!("POST /{down} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {up}\r\nConnection: close\r\n\r\n")
    } else {
        format!("GET /{down} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    };
    stream.write_all(request.as_bytes()).await?;
    tokio::io::copy(&mut tokio::io::repeat(b'u').take(up), stream).await?;
    stream.flush().await?;
    let (head, body) = read_answer(stream).await?;
    let wanted = format!("HTTP/1.1 {status} ");
    if !head.starts_with(wanted.as_bytes()) {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(unexpected(&format!("found {:?}, wanted {wanted:?}", String::from_utf8_lossy(line))));
    }
    let wanted = if status == 200 { down } else { 0 };
    if body != wanted {
        return Err(unexpected(&format!("found a body of {body} bytes, wanted {wanted}")));
    }
    Ok(())
}

/// Reads an answer to the end of the stream: its head and the number of body bytes.
async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Vec<u8>, u64)> {
    let mut head = Vec::new();
    let mut head_complete = false;
    let mut body: u64 = 0;
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut chunk).await?;
        let bytes = chunk.get(..count).unwrap_or_default();
        if bytes.is_empty() && head_complete {
            return Ok((head, body));
        }
        if bytes.is_empty() || head.len() > HEAD_BYTES_MAX {
            return Err(unexpected("the answer has no complete head"));
        }
        if head_complete {
            body = body.saturating_add(bytes.len() as u64);
            continue;
        }
        head.extend_from_slice(bytes);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head_complete = true;
            let first = head.split_off(end.saturating_add(4));
            body = first.len() as u64;
        }
    }
}

/// Waits for the other side's FIN, before which nothing more may come.
async fn expect_end<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(unexpected("found bytes after the end, wanted none")),
    }
}

/// Whether the handshake was refused with the alert `unrecognized_name` (RFC 6066 §3).
fn is_unrecognized_name(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)))
}

/// An answer that is not the one that had to come.
fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy_protocol::{Carried, Outcome, Transport, header};

    #[test]
    fn both_proxy_headers_name_subscriber_and_destination() {
        let (mut text, mut binary) = (0, 0);
        for flow in (0..64).map(world::flow).filter(|flow| flow.visit.via == Via::Proxied) {
            let quic = flow.visit.protocol == Protocol::Quic;
            let bytes = if quic { binary_proxy_header(&flow) } else { proxy_header(&flow) };
            let Outcome::Header(read) = header(&bytes, 0) else { panic!("{bytes:?}") };
            let transport = match flow.visit.protocol {
                Protocol::Tls | Protocol::Http => Transport::Stream,
                Protocol::Quic => Transport::Datagram,
            };
            let (source, destination) = (flow.source.into(), flow.visit.destination.into());
            let carried = Carried::Addresses { transport, source, destination };
            assert_eq!((read.length, read.carried), (bytes.len(), carried));
            if quic || flow.binary_header { binary += 1 } else { text += 1 }
        }
        assert!(text > 0 && binary > 0);
    }
}
