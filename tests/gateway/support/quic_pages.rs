//! Real QUIC peers: quinn servers and clients, each with its own event loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::runtime::Runtime;

use super::client::AnyCertificate;

/// The protocol that both speak.
const ALPN: &[u8] = b"pages";
/// How long a connection may be silent before its ends give it up.
const IDLE: Duration = Duration::from_secs(20);

/// Bytes of a page that are written or read at once.
const PART: usize = 1 << 20;

/// Whether a server validates addresses before it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Answers at once.
    None,
    /// Answers the first Initial with a Retry.
    Retry,
}

/// A server of pages: a stream's first eight bytes say how many bytes it gets back.
pub struct QuicOrigin {
    pub address: SocketAddr,
    visits: Arc<AtomicUsize>,
    _endpoint: Endpoint,
    _runtime: Runtime,
}

impl QuicOrigin {
    /// On 127.0.2.1 at a port of its own.
    pub fn new() -> Self {
        Self::at(SocketAddr::from(([127, 0, 2, 1], 0)), Validation::None)
    }

    pub fn at(address: SocketAddr, validation: Validation) -> Self {
        let names = vec!["www.listed.example".to_owned(), "unlisted.example".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = u32::MAX;
        let config = QuicServerConfig::try_from(config).unwrap();
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(config));
        config.transport_config(transport());
        let runtime = runtime();
        let _context = runtime.enter();
        let socket = std::net::UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let runtime_of_quinn = Arc::new(TokioRuntime);
        let endpoint =
            Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime_of_quinn).unwrap();
        let visits = Arc::new(AtomicUsize::new(0));
        runtime.spawn(accept(endpoint.clone(), validation, Arc::clone(&visits)));
        drop(_context);
        Self { address, visits, _endpoint: endpoint, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that came, a Retry not counted.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

impl Default for QuicOrigin {
    fn default() -> Self {
        Self::new()
    }
}

async fn accept(endpoint: Endpoint, validation: Validation, visits: Arc<AtomicUsize>) {
    while let Some(incoming) = endpoint.accept().await {
        if validation == Validation::Retry && !incoming.remote_address_validated() {
            incoming.retry().unwrap();
            continue;
        }
        visits.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                tokio::spawn(async move {
                    let mut size = [0; 8];
                    receive.read_exact(&mut size).await.unwrap();
                    let _ = receive.read_to_end(1 << 30).await;
                    let mut left = usize::try_from(u64::from_be_bytes(size)).unwrap();
                    let part = vec![b'x'; PART];
                    while left > 0 {
                        let length = left.min(PART);
                        if send.write_all(&part[..length]).await.is_err() {
                            return;
                        }
                        left -= length;
                    }
                    let _ = send.finish();
                });
            }
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into().unwrap()));
    Arc::new(transport)
}

/// A client: one UDP socket, tickets of earlier connections kept.
pub struct QuicClient {
    endpoint: Endpoint,
    runtime: Runtime,
}

impl QuicClient {
    pub fn new() -> Self {
        Self::offering(&[ALPN.to_vec()])
    }

    /// With a hello too long for one datagram.
    pub fn long_hello() -> Self {
        let mut protocols: Vec<_> = (0..8_u8).map(|number| vec![b'a' + number; 200]).collect();
        protocols.push(ALPN.to_vec());
        Self::offering(&protocols)
    }

    fn offering(protocols: &[Vec<u8>]) -> Self {
        Self::offering_at(SocketAddr::from(([127, 0, 0, 1], 0)), protocols)
    }

    /// At an address of its own.
    pub fn at(own: SocketAddr) -> Self {
        Self::offering_at(own, &[ALPN.to_vec()])
    }

    fn offering_at(own: SocketAddr, protocols: &[Vec<u8>]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        config.alpn_protocols = protocols.to_vec();
        config.enable_early_data = true;
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        config.transport_config(transport());
        let runtime = runtime();
        let context = runtime.enter();
        let mut endpoint = Endpoint::client(own).unwrap();
        endpoint.set_default_client_config(config);
        drop(context);
        Self { endpoint, runtime }
    }

    /// Connects to `name` by way of `to`, or says why not within `patience`.
    pub fn connect(&self, to: SocketAddr, name: &str, patience: Duration) -> Result<Connection, String> {
        self.runtime.block_on(async {
            let connecting = self.endpoint.connect(to, name).map_err(|error| error.to_string())?;
            match tokio::time::timeout(patience, connecting).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            }
        })
    }

    /// Connects with a ticket of before and asks in the first flight; whether the server took that.
    pub fn early(&self, to: SocketAddr, name: &str, size: usize) -> (Connection, bool) {
        self.runtime.block_on(async {
            let connecting = self.endpoint.connect(to, name).unwrap();
            let Ok((connection, accepted)) = connecting.into_0rtt() else { panic!("no ticket") };
            assert_eq!(ask(&connection, 100, size).await.unwrap(), size);
            (connection, accepted.await)
        })
    }

    /// Sends `up` bytes on a stream of `connection` and gets `down` back.
    pub fn ask(&self, connection: &Connection, up: usize, down: usize) -> Result<usize, String> {
        self.runtime.block_on(async {
            match tokio::time::timeout(super::PATIENCE, ask(connection, up, down)).await {
                Ok(outcome) => outcome,
                Err(_) => Err("no answer".to_owned()),
            }
        })
    }

    /// Fetches a page of `size` bytes, however long that takes.
    pub fn fetch(&self, connection: &Connection, size: usize) {
        assert_eq!(self.runtime.block_on(ask(connection, 0, size)), Ok(size));
    }

    /// Migrates all connections to a socket of this address (RFC 9000 §9).
    pub fn rebind(&self, own: SocketAddr) {
        let _context = self.runtime.enter();
        self.endpoint.rebind(std::net::UdpSocket::bind(own).unwrap()).unwrap();
    }

    /// Ends a connection and waits until its last word is out.
    pub fn close(&self, connection: Connection) {
        connection.close(VarInt::from_u32(0), b"");
        drop(connection);
        self.runtime.block_on(async {
            tokio::time::timeout(super::PATIENCE, self.endpoint.wait_idle()).await.unwrap();
        });
    }

    /// A whole visit: connects, asks once, ends.
    pub fn visit(&self, to: SocketAddr, name: &str, up: usize, down: usize) {
        let connection = self.connect(to, name, super::PATIENCE).unwrap();
        assert_eq!(self.ask(&connection, up, down), Ok(down));
        self.close(connection);
    }
}

impl Default for QuicClient {
    fn default() -> Self {
        Self::new()
    }
}

async fn ask(connection: &Connection, up: usize, down: usize) -> Result<usize, String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let request = [&(down as u64).to_be_bytes()[..], &vec![b'u'; up]].concat();
    send.write_all(&request).await.map_err(|error| error.to_string())?;
    send.finish().map_err(|error| error.to_string())?;
    let mut read = 0;
    while let Some(part) = receive.read_chunk(PART, true).await.map_err(|error| error.to_string())? {
        read += part.bytes.len();
    }
    Ok(read)
}
