//! An HTTP/3 origin: `GET /N` is answered with a page of N bytes, any other path with a short one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use rcgen::PublicKeyData as _;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A running server; it ends with the value.
pub struct Http3Origin {
    pub address: SocketAddr,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo in base64, as Chromium takes it.
    pub key_hash: String,
    requests: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Http3Origin {
    /// A server with a throw-away certificate for any of these names.
    pub fn at(address: SocketAddr, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = runtime.block_on(async { quinn::Endpoint::server(config, address).unwrap() });
        let requests = Arc::new(AtomicUsize::new(0));
        let origin = Self {
            address: endpoint.local_addr().unwrap(),
            key_hash: key_hash(&certified.signing_key.subject_public_key_info()),
            requests: Arc::clone(&requests),
            _runtime: runtime,
        };
        origin._runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        let _ = serve(connection, &requests).await;
                    }
                });
            }
        });
        origin
    }

    /// Requests answered.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection.
async fn serve(
    connection: quinn::Connection,
    requests: &AtomicUsize,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let quic = h3_quinn::Connection::new(connection);
    let mut connection: h3::server::Connection<_, Bytes> = h3::server::Connection::new(quic).await?;
    while let Some(resolver) = connection.accept().await? {
        let (request, mut stream) = resolver.resolve_request().await?;
        let size = request.uri().path().trim_start_matches('/').parse().unwrap_or(1);
        let head = http::Response::builder().status(200).header("content-type", "text/html").body(())?;
        stream.send_response(head).await?;
        let page = format!("<title>study</title>{}", "x".repeat(size));
        stream.send_data(Bytes::from(page)).await?;
        stream.finish().await?;
        requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The hash of a public key (SubjectPublicKeyInfo, DER) as openssl makes it.
fn key_hash(public_key: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-binary"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(public_key).unwrap();
    let digest = child.wait_with_output().unwrap().stdout;
    let mut child = std::process::Command::new("openssl")
        .args(["base64", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&digest).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
