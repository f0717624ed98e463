//! Real QUIC peers of quinn on loopback, and a relay between them that takes notes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::UdpSocket;

/// The longest that any of this may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// What both sides speak.
pub const ALPN: &[u8] = b"test";

/// Who sent a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// What went through a relay, in order.
pub type Notes = Arc<Mutex<Vec<(From, Vec<u8>)>>>;

/// Those of the client, from the first that `since` does not count.
pub fn of_client(notes: &Notes, since: usize) -> Vec<Vec<u8>> {
    let notes = notes.lock().unwrap();
    let of_client = notes.iter().skip(since).filter(|(from, _)| *from == From::Client);
    of_client.map(|(_, datagram)| datagram.clone()).collect()
}

/// Relays between whoever writes to it and `server`; `lost` says which of the client's datagrams, by number, do not
/// arrive. They are noted all the same unless `noted` says otherwise.
pub async fn relay(
    server: SocketAddr,
    lost: fn(usize) -> bool,
    noted: fn(usize) -> bool,
) -> (SocketAddr, Notes) {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(server).await.unwrap();
    let address = front.local_addr().unwrap();
    let notes = Notes::default();
    let kept = Arc::clone(&notes);
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let (mut client, mut number) = (None, 0);
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut up) => {
                    client = Some(from);
                    if noted(number) {
                        kept.lock().unwrap().push((From::Client, up[..length].to_vec()));
                    }
                    if !lost(number) {
                        back.send(&up[..length]).await.unwrap();
                    }
                    number += 1;
                }
                Ok(length) = back.recv(&mut down) => {
                    kept.lock().unwrap().push((From::Server, down[..length].to_vec()));
                    if let Some(client) = client {
                        front.send_to(&down[..length], client).await.unwrap();
                    }
                }
            }
        }
    });
    (address, notes)
}

/// A server that names every connection it accepts; with `retry` it first asks for proof of the address.
pub fn server(
    names: &[&str],
    retry: bool,
) -> (SocketAddr, CertificateDer<'static>, Arc<Mutex<Vec<Option<String>>>>) {
    server_at(SocketAddr::from(([127, 0, 0, 1], 0)), names, retry)
}

/// Such a server at an address of its own.
pub fn server_at(
    address: SocketAddr,
    names: &[&str],
    retry: bool,
) -> (SocketAddr, CertificateDer<'static>, Arc<Mutex<Vec<Option<String>>>>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = issued.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut crypto = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    crypto.max_early_data_size = u32::MAX;
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(crypto).unwrap()));
    let endpoint = Endpoint::server(config, address).unwrap();
    let address = endpoint.local_addr().unwrap();
    let read = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&read);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if retry && !incoming.remote_address_validated() {
                incoming.retry().unwrap();
                continue;
            }
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                let data = connection.handshake_data().unwrap().downcast::<HandshakeData>().unwrap();
                told.lock().unwrap().push(data.server_name);
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let Ok(asked) = receive.read_to_end(1 << 20).await else { return };
                    let _ = send.write_all(&asked).await;
                    let _ = send.finish();
                }
            });
        }
    });
    (address, certificate, read)
}

/// A client of that server; `alpn` is offered in front of what the server speaks.
pub fn client(certificate: &CertificateDer<'static>, alpn: &[Vec<u8>], version: u32) -> Endpoint {
    client_at(SocketAddr::from(([127, 0, 0, 1], 0)), certificate, alpn, version)
}

/// Such a client at an address of its own.
pub fn client_at(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    alpn: &[Vec<u8>],
    version: u32,
) -> Endpoint {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut crypto = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    crypto.enable_early_data = true;
    crypto.alpn_protocols = [alpn, &[ALPN.to_vec()]].concat();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(crypto).unwrap()));
    config.version(version);
    let socket = std::net::UdpSocket::bind(address).unwrap();
    let runtime = quinn::default_runtime().unwrap();
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// Protocol names that make a hello longer than a datagram, as post-quantum key shares do.
pub fn long_alpn() -> Vec<Vec<u8>> {
    (0..6_u8).map(|number| vec![b'a' + number; 250]).collect()
}

/// Sends some bytes and gets them back.
pub async fn echo(connection: &Connection) {
    echo_bytes(connection, 5_000).await;
}

/// Sends so many bytes, at most a mebibyte, and gets them back.
pub async fn echo_bytes(connection: &Connection, count: usize) {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&vec![7; count]).await.unwrap();
    send.finish().unwrap();
    assert_eq!(receive.read_to_end(1 << 20).await.unwrap(), vec![7; count]);
}
